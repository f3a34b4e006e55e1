// @ts-check
// How a snapshot becomes a running interpreter. Leans on private parts of one pinned Pyodide;
// the build (tools/lab) computes every number, and each is asserted again before it is used.

/** Raised when the layout is not the one that the snapshot was made for. */
export class LayoutError extends Error {
  name = "LayoutError";
}

/** First word of a packed snapshot. */
export const MAGIC = 0x4c50414b;
const HEADER_WORDS = 4;

/**
 * Index (in HEAP32) of CPython's pointer to the call trampoline. Browsers fill it with a
 * wasm-GC function in a table slot of its own; Node 20 and iOS leave it 0.
 *
 * @param {any} Module
 */
export function trampolineSlot(Module) {
  const offset = Module.HEAP32[Module.__PyEM_EMSCRIPTEN_TRAMPOLINE_OFFSET >> 2];
  return (Module.__PyRuntime + offset) >> 2;
}

/**
 * Load an extension module before the runtime starts, so that its place in memory and in the
 * function table is the same at build and at restore. Python's later `dlopen` finds it by path.
 *
 * @param {any} Module
 * @param {WebAssembly.Module} extension
 * @param {string} path
 */
export function preloadExtension(Module, extension, path) {
  const dependency = `lab:${path}`;
  Module.addRunDependency(dependency);
  const library = Module.newDSO(path, undefined, "loading");
  library.refcount = Infinity;
  library.global = false;
  const flags = { loadAsync: true, global: false, nodelete: true };
  Module.loadWebAssemblyModule(extension, flags, path, {}).then((/** @type {any} */ exports) => {
    library.exports = exports;
    Module.removeRunDependency(dependency);
  });
}

/**
 * Write the packed pages of a snapshot over the memory of a fresh instance.
 *
 * Layout of the pack: four words (MAGIC, bytes of the Pyodide header, number of pages, heap
 * bytes), the header, a bitmap of the pages that follow, the pages.
 *
 * @param {Uint8Array} pack
 * @param {any} Module
 * @param {{ page: number, staticPages: number, heapBytes: number }} layout
 */
export function writePages(pack, Module, layout) {
  const [, header, pages] = readHeader(pack, layout);
  const { page, staticPages } = layout;
  const before = Module.HEAPU8.length;
  Module.growMemory(layout.heapBytes);
  const heap = Module.HEAPU8;
  if (heap.length < layout.heapBytes) throw new LayoutError(`memory is ${heap.length} bytes`);
  let at = HEADER_WORDS * 4 + header;
  const bitmap = pack.subarray(at, (at += Math.ceil(pages / 8)));
  const kept = (/** @type {number} */ i) => (bitmap[i >> 3] >> (i & 7)) & 1;
  for (let first = 0; first < pages; ) {
    let end = first + 1;
    while (end < pages && kept(end) === kept(first)) end++;
    if (kept(first)) {
      heap.set(pack.subarray(at, (at += (end - first) * page)), first * page);
    } else if (end > staticPages) {
      const from = Math.max(first, staticPages) * page;
      const to = Math.min(end * page, before);
      if (to > from) heap.fill(0, from, to);
    }
    first = end;
  }
}

/**
 * The part of a pack that Pyodide's own `_loadSnapshot` wants to see.
 *
 * @param {Uint8Array} pack
 * @param {{ heapBytes: number }} layout
 */
export function pyodideHeader(pack, layout) {
  const [, header] = readHeader(pack, layout);
  return pack.slice(HEADER_WORDS * 4, HEADER_WORDS * 4 + header);
}

/**
 * @param {Uint8Array} pack
 * @param {{ heapBytes: number }} layout
 */
function readHeader(pack, layout) {
  const words = new Uint32Array(pack.buffer, pack.byteOffset, HEADER_WORDS);
  if (words[0] !== MAGIC) throw new LayoutError("not a snapshot");
  if (words[3] !== layout.heapBytes) throw new LayoutError("snapshot and layout differ");
  return words;
}
