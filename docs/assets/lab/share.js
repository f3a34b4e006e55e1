// @ts-check
// The reader's edit in the fragment of a link: nothing of it reaches a server.

import { FRAGMENT, MAX_CODE, asEdit, isFor } from "./store.js";

/** @typedef {import("./store.js").Edit} Edit */

const MAX_FRAGMENT = 30_000;

/** @param {Uint8Array<ArrayBuffer>} bytes @param {CompressionStream | DecompressionStream} stream @param {number} limit */
async function through(bytes, stream, limit) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (new Blob([bytes]).stream().pipeThrough(/** @type {any} */ (stream))).getReader();
  const parts = [];
  for (let size = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > limit) {
      await reader.cancel();
      throw new RangeError("too long");
    }
    parts.push(value);
  }
  return new Uint8Array(await new Blob(/** @type {any} */ (parts)).arrayBuffer());
}

/**
 * A fragment that holds the edit, or null when it would be too long for a link.
 * @param {string} topic @param {Edit} edit @returns {Promise<string | null>}
 */
export async function toFragment(topic, { link: _, ...edit }) {
  const packed = await through(new TextEncoder().encode(JSON.stringify(edit)), new CompressionStream("deflate-raw"), Infinity);
  const letters = Array.from(packed, (byte) => String.fromCharCode(byte)).join("");
  const code = btoa(letters).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const fragment = `${FRAGMENT}${topic}.${code}`;
  return fragment.length > MAX_FRAGMENT || edit.code.length > MAX_CODE ? null : fragment;
}

/** @param {string} topic @param {string} fragment @returns {Promise<Edit | null>} null when it is damaged */
export async function fromFragment(topic, fragment) {
  try {
    if (!isFor(topic, fragment) || fragment.length > MAX_FRAGMENT) return null;
    const code = fragment.slice(FRAGMENT.length + topic.length + 1);
    const letters = atob(code.replace(/-/g, "+").replace(/_/g, "/"));
    const packed = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
    const plain = await through(packed, new DecompressionStream("deflate-raw"), 8 * MAX_CODE);
    return asEdit(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(plain)));
  } catch {
    return null;
  }
}
