// @ts-check
// Boots one Pyodide inside a Web Worker: from the snapshot, or on the plain path without it.

import { LayoutError, preloadExtension, pyodideHeader, trampolineSlot, writePages } from "./restore.js";

/** @typedef {import("./protocol.js").BootConfig} BootConfig */

const EMPTY_ZIP = "data:application/zip;base64,UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==";
/** What the zip keeps below site-packages has to lie in the file system; the rest runs from it. */
const PLAIN_BOOT = `
import sys, zipfile
sys.dont_write_bytecode = True
with zipfile.ZipFile("/lib/python314.zip") as archive:
    archive.extractall("/lib/python3.14", [n for n in archive.namelist() if n.startswith("site-packages/")])
    index = archive.read("lab_lazy.json").decode()
import lab_boot, lab_lazy
lab_lazy.install_from(index)
`;

/**
 * JSPI suspends WebAssembly stacks. On iOS Pyodide calls through JavaScript frames, which may
 * not be suspended: there it has to be off before Pyodide looks for it.
 * @param {boolean} wanted
 */
function settleJspi(wanted) {
  const apple = /iPad|iPhone|iPod/.test(navigator.userAgent) || (navigator.platform === "MacIntel" && navigator.maxTouchPoints > 1);
  if (wanted && !apple) return;
  const api = /** @type {any} */ (WebAssembly);
  delete api.Suspending;
  delete api.promising;
}

/** Wrappers of JavaScript functions are WebAssembly modules of some 40 bytes. */
const SMALL_MODULE = 256;

/**
 * Pyodide fetches its own WebAssembly and compiles a tiny module for each JavaScript function
 * in its table. Let it have the one that the page compiled, and each tiny one only once.
 * @param {WebAssembly.Module} wasm @param {() => Promise<any>} body
 */
async function withSharedModules(wasm, body) {
  const { fetch } = self;
  const { instantiateStreaming, Module } = WebAssembly;
  /** @type {Map<string, WebAssembly.Module>} */
  const compiled = new Map();
  self.fetch = (input, init) => (String(input).endsWith("pyodide.asm.wasm") ? Promise.resolve(new Response("")) : fetch(input, init));
  WebAssembly.instantiateStreaming = async (_, imports) => ({ module: wasm, instance: await WebAssembly.instantiate(wasm, imports) });
  WebAssembly.Module = new Proxy(Module, {
    construct(target, [bytes]) {
      if (bytes.byteLength > SMALL_MODULE) return new target(bytes);
      const key = String(bytes);
      const module = compiled.get(key) ?? new target(bytes);
      compiled.set(key, module);
      return module;
    },
  });
  try {
    return await body();
  } finally {
    self.fetch = fetch;
    WebAssembly.instantiateStreaming = instantiateStreaming;
    WebAssembly.Module = Module;
  }
}

/** @param {BootConfig} config */
async function importPyodide({ base, manifest }) {
  const [{ loadPyodide }, { default: createPyodideModule }] = await Promise.all([
    import(base + manifest.files.loader.file),
    import(base + manifest.files.glue.file),
  ]);
  return { loadPyodide, createPyodideModule };
}

/** @param {BootConfig} config @param {any} layout */
function commonOptions({ base }, layout) {
  return {
    indexURL: base,
    packageBaseUrl: base,
    checkAPIVersion: true,
    lockFileContents: { info: { abi_version: "2026_0", arch: "wasm32", platform: "emscripten_5_0_3", python: "3.14.2", version: layout.version }, packages: {} },
  };
}

/**
 * @param {BootConfig} config
 * @param {string} image
 * @param {() => Promise<ArrayBuffer>} borrow  gives the snapshot; it must be given back
 * @param {(buffer: ArrayBuffer) => void} giveBack
 */
async function bootFromSnapshot(config, image, borrow, giveBack) {
  const { layout } = config.manifest.images[image];
  const { loadPyodide, createPyodideModule } = await importPyodide(config);
  const header = borrowed(borrow, giveBack, (pack) => pyodideHeader(pack, layout));
  /** @type {any} */
  let failure = null;
  return withSharedModules(config.wasm, async () =>
    loadPyodide({
      ...commonOptions(config, layout),
      stdLibURL: EMPTY_ZIP,
      _loadSnapshot: await header,
      createPyodideModule: async (/** @type {any} */ settings) => {
        let slot = 0;
        let trampoline = 0;
        settings.preRun.push((/** @type {any} */ Module) => {
          slot = trampolineSlot(Module);
          trampoline = Module.HEAP32[slot];
          if (!trampoline) Module.wasmTable.grow(1);
          if (Module.wasmTable.length !== layout.tableBase) failure = new LayoutError(`function table has ${Module.wasmTable.length} slots before the extension`);
          preloadExtension(Module, config.extension, layout.soPath);
        });
        const Module = await createPyodideModule(settings);
        if (!failure && Module.wasmTable.length !== layout.tableLength) failure = new LayoutError(`function table has ${Module.wasmTable.length} slots`);
        const method = Module.HEAP32[layout.jspi.address >> 2];
        if (!failure && method !== 0 && method !== layout.jspi.without && method !== layout.jspi.withJspi) failure = new LayoutError(`run_sync is ${method}`);
        if (failure) throw failure;
        await borrowed(borrow, giveBack, (pack) => writePages(pack, Module, layout));
        Module.HEAP32[slot] = trampoline;
        Module.HEAP32[layout.jspi.address >> 2] = Module.jspiSupported ? layout.jspi.withJspi : layout.jspi.without;
        return Module;
      },
    }),
  );
}

/**
 * @template T
 * @param {() => Promise<ArrayBuffer>} borrow @param {(buffer: ArrayBuffer) => void} giveBack
 * @param {(pack: Uint8Array) => T} use
 */
async function borrowed(borrow, giveBack, use) {
  const buffer = await borrow();
  try {
    return use(new Uint8Array(buffer));
  } finally {
    giveBack(buffer);
  }
}

/** @param {BootConfig} config @param {string} image */
async function bootPlain(config, image) {
  const { layout } = config.manifest.images[image];
  const { loadPyodide, createPyodideModule } = await importPyodide(config);
  const zip = URL.createObjectURL(new Blob([/** @type {ArrayBuffer} */ (config.plain)]));
  try {
    const pyodide = await withSharedModules(config.wasm, () =>
      loadPyodide({
        ...commonOptions(config, layout),
        stdLibURL: zip,
        createPyodideModule: (/** @type {any} */ settings) => {
          settings.preRun.push((/** @type {any} */ Module) => preloadExtension(Module, config.extension, layout.soPath));
          return createPyodideModule(settings);
        },
      }),
    );
    pyodide.runPython(PLAIN_BOOT);
    pyodide.FS.writeFile(layout.soPath, "");
    return pyodide;
  } finally {
    URL.revokeObjectURL(zip);
  }
}

/** The whole lazy pack, synchronously: an import statement cannot wait. @param {BootConfig} config */
function fetchLazy({ base, manifest }) {
  const request = new XMLHttpRequest();
  request.open("GET", base + manifest.files.lazy.file, false);
  request.responseType = "arraybuffer";
  request.send();
  if (request.status !== 200) throw new Error(`lazy pack: HTTP ${request.status}`);
  return new Uint8Array(request.response);
}

/** Call *work* in a browser task of its own. @param {() => void} work */
function afterThisTask(work) {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => work();
  return () => port2.postMessage(null);
}

/**
 * Boot, and give the interpreter its identity.
 *
 * @param {BootConfig} config
 * @param {string} image
 * @param {object} host
 * @param {() => Promise<ArrayBuffer>} host.borrow
 * @param {(buffer: ArrayBuffer) => void} host.giveBack
 * @param {(json: string) => void} host.emit
 * @param {(host: string, port: number) => Promise<any>} host.connect
 * @param {(error: any) => void} host.fatal  the interpreter is broken and must be ended
 * @param {(blocked: boolean) => void} [host.loopBlocked] without it nothing here may block, and the
 *   loop runs on the common stack, which is cheaper
 * @returns {Promise<{ pyodide: any, capabilities: import("./protocol.js").Capabilities }>}
 */
export async function bootInterpreter(config, image, { borrow, giveBack, emit, connect, fatal, loopBlocked }) {
  settleJspi(config.jspi);
  const pyodide = config.plain ? await bootPlain(config, image) : await bootFromSnapshot(config, image, borrow, giveBack);
  pyodide._api.on_fatal = fatal;
  const bridge = {
    connect: (/** @type {string} */ host, /** @type {number} */ port) => ({ promise: connect(host, port) }),
    loopBlocked,
    sleep: (/** @type {number} */ milliseconds) => ({ promise: new Promise((resolve) => setTimeout(() => resolve(undefined), milliseconds)) }),
    iterator: (/** @type {any} */ iterate) => (loopBlocked && pyodide._module.jspiSupported ? () => void iterate.callPromising() : afterThisTask(iterate)),
    lazy: () => fetchLazy(config),
  };
  const boot = pyodide.pyimport("lab_boot");
  boot.adopt(emit, bridge, config.pid, config.parentPid, JSON.stringify(config.env));
  boot.destroy();
  return { pyodide, capabilities: { jspi: Boolean(pyodide._module.jspiSupported), snapshot: !config.plain } };
}
