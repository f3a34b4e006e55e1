// Stage 2: boot an interpreter, load pydantic_core before it runs, import and use everything,
// and keep its memory. Usage: node snapshot.mjs IMAGE. Writes IMAGE.bin (raw memory),
// IMAGE.layout.json and IMAGE.modules.json.
import nodeCrypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { HERE, SITE_PACKAGES, WORK, SO_PATH, importPyodide, readTree, readWork, stage, writeWork } from "./common.mjs";
import { readLayout } from "./layout.mjs";
import { storedZip } from "./zip.mjs";
import { preloadExtension, trampolineSlot } from "../../docs/assets/lab/restore.js";

/** Fill the free heap with zeros: what was freed compresses to nothing. */
function zeroFreeMemory(Module) {
  const programBreak = () => Module.HEAPU32[Module._emscripten_get_sbrk_ptr() >>> 2];
  const held = [];
  let end = programBreak();
  for (let size = 1 << 18; size >= 16; size >>= 1) {
    for (;;) {
      const at = Module._malloc(size);
      if (!at) break;
      if (programBreak() !== end) {
        end = programBreak();
        Module._free(at);
        break;
      }
      Module.HEAPU8.fill(0, at, at + size);
      held.push(at);
    }
  }
  for (const at of held) Module._free(at);
  Module.HEAPU8.fill(0, programBreak());
}

/** No clock and no chance: the same inputs give the same memory. */
function makeDeterministic() {
  let ticks = 0;
  const now = () => ++ticks / 64; // a binary fraction: exact
  const RealDate = Date;
  const start = RealDate.UTC(2026, 0, 1);
  globalThis.Date = class extends RealDate {
    constructor(...args) {
      super(...(args.length ? args : [start + Math.floor(now())]));
    }
    static now = () => start + Math.floor(now());
  };
  performance.now = now;
  Math.random = () => 0.5;
  let byte = 0;
  const fill = (array) => {
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).forEach((_, i, bytes) => (bytes[i] = ++byte));
    return array;
  };
  globalThis.crypto.getRandomValues = fill;
  nodeCrypto.randomFillSync = fill; // what Pyodide asks in Node
}

/** What each image imports and uses; the first is the smallest, and what most topics need. */
const WARM = { base: ["warm.py"], sql: ["warm.py", "warm_sql.py"] };

await stage("snapshot", async () => {
  const image = process.argv[2];
  makeDeterministic();
  const layout = readLayout();
  const { loadPyodide, createPyodideModule } = await importPyodide();
  const std = readTree("std");
  const site = new Map([...readTree("site"), ...readTree("lab")]);
  writeWork("std.zip", storedZip([...std]));
  const extension = new WebAssembly.Module(readWork("pydantic_core.wasm"));
  let module;
  const pyodide = await loadPyodide({
    _makeSnapshot: true,
    stdLibURL: path.join(WORK, "std.zip"),
    env: { PYTHONHASHSEED: "0", PYTHONDONTWRITEBYTECODE: "1", LANG: "C.UTF-8" },
    createPyodideModule: (settings) => {
      settings.preRun.push((Module) => {
        module = Module;
        layout.tableBase = reserve(Module);
        preloadExtension(Module, extension, SO_PATH);
      });
      return createPyodideModule(settings);
    },
  });
  layout.tableLength = module.wasmTable.length;
  if (module.HEAP32[layout.jspi.address >> 2] !== layout.jspi.without) throw new Error("layout: run_sync's method pointer is not where the code says");

  // Files are written from here, not from Python: no garbage in its heap.
  const { FS } = pyodide;
  for (const [name, data] of site) {
    const target = name.endsWith(".pyc") ? cachedName(name) : name;
    FS.mkdirTree(`${SITE_PACKAGES}/${path.dirname(target)}`);
    FS.writeFile(`${SITE_PACKAGES}/${target}`, data);
    // a pyc in __pycache__ needs a source file beside it, its content is never looked at
    if (name.endsWith(".pyc") && !site.has(name.slice(0, -1))) FS.writeFile(`${SITE_PACKAGES}/${name.slice(0, -1)}`, "");
  }
  FS.writeFile(SO_PATH, ""); // the import system wants to see it; dlopen then finds the loaded one
  pyodide.runPython("import sys; sys.dont_write_bytecode = True; import lab_boot");
  const scope = pyodide.runPython("dict(__name__='warm')");
  for (const script of WARM[image]) pyodide.runPython(fs.readFileSync(path.join(HERE, script), "utf8"), { globals: scope });
  const statuses = (await pyodide.runPythonAsync("await warm()", { globals: scope })).toJs();
  const expected = [200, 200, 200, 200, 200, 200, 200, 500, 400, 404, 200, 200];
  if (String([...statuses]) !== String(expected)) throw new Error(`the warm-up answered ${[...statuses]}, expected ${expected}`);

  pyodide.globals.set("ALL", JSON.stringify([[...std.keys()], [...site.keys()]]));
  const modules = JSON.parse(pyodide.runPython(fs.readFileSync(path.join(HERE, "lazy_names.py"), "utf8")));
  writeWork(`${image}.modules.json`, JSON.stringify(modules));
  pyodide.runPython("forget()", { globals: scope });
  scope.destroy();
  pyodide.runPython("del ALL, lazy_names; import sys; sys.modules.pop('warm', None); import gc; gc.collect(); gc.freeze()");
  zeroFreeMemory(pyodide._module);
  layout.heapBytes = pyodide._module.HEAPU8.length;
  if (pyodide._module.wasmTable.length !== layout.tableLength) throw new Error("layout: the function table grew while warming up");
  writeWork(`${image}.bin`, pyodide.makeMemorySnapshot());
  writeWork(`${image}.layout.json`, JSON.stringify(layout));
  console.log(`${image}: ${modules.loaded} modules, heap ${(layout.heapBytes / 1e6).toFixed(1)} MB, table ${layout.tableLength}`);
});

function cachedName(name) {
  return `${path.dirname(name)}/__pycache__/${path.basename(name, ".pyc")}.cpython-314.pyc`;
}

/** Node 20 has no wasm-GC trampoline: keep its table slot free, browsers will fill it. */
function reserve(Module) {
  if (!Module.HEAP32[trampolineSlot(Module)]) Module.wasmTable.grow(1);
  return Module.wasmTable.length;
}
