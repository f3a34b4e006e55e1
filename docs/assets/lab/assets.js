// @ts-check
// Downloads the runtime once per page, on request, and lends it to the interpreters.

import { LabError } from "./protocol.js";

/** @typedef {import("./protocol.js").Manifest} Manifest */
/** @typedef {import("./protocol.js").Asset} Asset */

const GZIP = [0x1f, 0x8b];

/**
 * Progress of the download: bytes over the wire with gzip, as the manifest knows them.
 * @typedef {{ loaded: number, total: number }} Progress
 */

/**
 * The bytes of a file that was published as .gz. A server that also labels it as gzip makes
 * the browser inflate it: then there is nothing left to do.
 * @param {ReadableStream<Uint8Array>} stream @param {number} length
 */
async function inflate(stream, length) {
  const reader = stream.getReader();
  const first = await reader.read();
  const rest = new ReadableStream({
    start: (controller) => (first.value ? controller.enqueue(first.value) : undefined),
    pull: async (controller) => {
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
  const zipped = first.value?.[0] === GZIP[0] && first.value?.[1] === GZIP[1];
  const plain = zipped ? rest.pipeThrough(/** @type {any} */ (new DecompressionStream("gzip"))) : rest;
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const output = plain.getReader(); ; ) {
    const { done, value } = await output.read();
    if (done) break;
    if (at + value.length > length) throw new LabError("download-damaged", `more than ${length} bytes`);
    bytes.set(value, at);
    at += value.length;
  }
  if (at !== length) throw new LabError("download-damaged", `${at} of ${length} bytes`);
  return bytes.buffer;
}

/** Everything of the runtime that is kept in memory. One instance per page. */
export class Assets {
  /** @type {Map<string, { loaded: number, asset: Asset }>} */
  #progress = new Map();
  /** @type {Set<(progress: Progress) => void>} */
  #listeners = new Set();
  /** @type {Map<string, Promise<ArrayBuffer>>} */
  #buffers = new Map();
  /** @type {Map<string, { free: ArrayBuffer | null, borrower: object | null, queue: { borrower: object, lend: (buffer: ArrayBuffer) => void }[] }>} */
  #lending = new Map();
  /** @type {Promise<{ manifest: Manifest, wasm: WebAssembly.Module, extension: WebAssembly.Module }> | null} */
  #modules = null;

  /** @param {string} base URL of the runtime folder, with a slash at its end */
  constructor(base) {
    this.base = base;
    /** @type {Promise<Manifest> | null} */
    this.manifestLoaded = null;
  }

  /** @param {(progress: Progress) => void} listener @returns {() => void} stop listening */
  onProgress(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** @returns {Promise<Manifest>} */
  manifest() {
    this.manifestLoaded ??= this.#fetch("manifest.json").then((response) => response.json());
    this.manifestLoaded.catch(() => (this.manifestLoaded = null));
    return this.manifestLoaded;
  }

  /** The two compiled modules; every interpreter shares them. */
  modules() {
    this.#modules ??= (async () => {
      const manifest = await this.manifest();
      const [wasm, extension] = await Promise.all([this.#compile(manifest, "wasm"), this.#compile(manifest, "extension")]);
      return { manifest, wasm, extension };
    })();
    this.#modules.catch(() => (this.#modules = null));
    return this.#modules;
  }

  /** A published file, inflated; kept. @param {string} role */
  buffer(role) {
    let buffer = this.#buffers.get(role);
    if (!buffer) {
      buffer = this.#load(role);
      buffer.catch(() => this.#buffers.delete(role));
      this.#buffers.set(role, buffer);
    }
    return buffer;
  }

  /** Start the download of what an image needs. @param {string} image */
  async prefetch(image) {
    const { images } = await this.manifest();
    await Promise.all([this.modules(), this.#stock(images[image].snapshot), this.buffer("engine")]);
  }

  /**
   * Lend the only copy of a snapshot to one interpreter after the other: they take it by
   * transfer and give it back, so that it is in memory once.
   * @param {string} image @param {object} borrower @param {(buffer: ArrayBuffer) => void} lend
   */
  async borrow(image, borrower, lend) {
    const stock = await this.#stock((await this.manifest()).images[image].snapshot);
    stock.queue.push({ borrower, lend });
    this.#lendNext(stock);
  }

  /** @param {string} image @param {ArrayBuffer} buffer */
  async giveBack(image, buffer) {
    const stock = await this.#stock((await this.manifest()).images[image].snapshot);
    stock.free = buffer;
    stock.borrower = null;
    this.#lendNext(stock);
  }

  /** A borrower was terminated: forget its wishes; what it held is loaded again. @param {object} borrower */
  forget(borrower) {
    for (const [role, stock] of this.#lending) {
      stock.queue = stock.queue.filter((entry) => entry.borrower !== borrower);
      if (stock.borrower !== borrower) continue;
      stock.borrower = null;
      this.#load(role).then((buffer) => {
        stock.free = buffer;
        this.#lendNext(stock);
      });
    }
  }

  /** @param {string} role */
  async #stock(role) {
    let stock = this.#lending.get(role);
    if (!stock) {
      const buffer = await this.buffer(role);
      this.#buffers.delete(role);
      stock = this.#lending.get(role) ?? { free: buffer, borrower: null, queue: [] };
      this.#lending.set(role, stock);
    }
    return stock;
  }

  /** @param {{ free: ArrayBuffer | null, borrower: object | null, queue: { borrower: object, lend: (buffer: ArrayBuffer) => void }[] }} stock */
  #lendNext(stock) {
    if (!stock.free) return;
    const next = stock.queue.shift();
    if (!next) return;
    const buffer = stock.free;
    stock.free = null;
    stock.borrower = next.borrower;
    next.lend(buffer);
  }

  /** @param {string} file */
  async #fetch(file) {
    let response;
    try {
      response = await fetch(this.base + file);
    } catch (error) {
      throw new LabError("download-failed", `${file}: ${error}`);
    }
    if (!response.ok) throw new LabError(file === "manifest.json" && response.status === 404 ? "runtime-missing" : "download-failed", `${file}: HTTP ${response.status}`);
    return response;
  }

  /** @param {Manifest} manifest @param {string} role */
  async #compile(manifest, role) {
    const asset = manifest.files[role];
    this.#report(role, asset, 0);
    const response = await this.#fetch(asset.file);
    // compileStreaming alone may use the browser's code cache, so the body is not looked at
    const typed = response.headers.get("content-type")?.startsWith("application/wasm");
    const module = await (typed ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer()));
    this.#report(role, asset, asset.gzip);
    return module;
  }

  /** @param {string} role @returns {Promise<ArrayBuffer>} */
  async #load(role) {
    const asset = (await this.manifest()).files[role];
    this.#report(role, asset, 0);
    const response = await this.#fetch(asset.file);
    let seen = 0;
    const counted = /** @type {ReadableStream<Uint8Array>} */ (response.body).pipeThrough(
      new TransformStream({
        transform: (chunk, controller) => {
          seen += chunk.length;
          this.#report(role, asset, Math.min(seen, asset.gzip));
          controller.enqueue(chunk);
        },
      }),
    );
    return inflate(counted, asset.raw);
  }

  /** @param {string} role @param {Asset} asset @param {number} loaded */
  #report(role, asset, loaded) {
    this.#progress.set(role, { loaded, asset });
    const entries = [...this.#progress.values()];
    const progress = {
      loaded: entries.reduce((sum, entry) => sum + entry.loaded, 0),
      total: entries.reduce((sum, entry) => sum + entry.asset.gzip, 0),
    };
    for (const listener of this.#listeners) listener(progress);
  }
}
