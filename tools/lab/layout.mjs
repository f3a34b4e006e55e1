// The private parts of Pyodide's memory that a snapshot leans on. Everything here is computed
// from the pinned build and asserted; nothing is a constant taken from some version.
import fs from "node:fs";
import path from "node:path";
import { PAGE, SO_PATH, pyodideDir } from "./common.mjs";

function only(list, what) {
  if (list.length !== 1) throw new Error(`layout: ${what}: found ${list.length} times, expected once`);
  return list[0];
}

function signedLeb(value) {
  const out = [];
  for (let more = true; more; ) {
    const byte = value & 0x7f;
    value >>= 7;
    more = !((value === 0 && !(byte & 0x40)) || (value === -1 && byte & 0x40));
    out.push(more ? byte | 0x80 : byte);
  }
  return Buffer.from(out);
}

function readSignedLeb(bytes, at) {
  let value = 0;
  let shift = 0;
  for (;;) {
    const byte = bytes[at++];
    value |= (byte & 0x7f) << shift;
    shift += 7;
    if (!(byte & 0x80)) return [shift < 32 && byte & 0x40 ? value | (-1 << shift) : value, at];
  }
}

/**
 * Where `run_sync`'s method pointer lies, and its two values (with and without JSPI).
 *
 * Pyodide picks one at start-up; a snapshot made without JSPI would keep the wrong one. The
 * instructions are: two `i32.const` (table indices), the asm_const call with the key of
 * `() => jspiSupported`, then `i32.const <address>; select; i32.store offset`.
 */
export function findJspiSlot(wasm, glue) {
  const key = Number(only([...glue.matchAll(/(\d+):\(\)=>jspiSupported/g)], "asm const of jspiSupported")[1]);
  const pattern = Buffer.concat([Buffer.from([0x41]), signedLeb(key)]);
  const hits = [];
  for (let at = wasm.indexOf(pattern); at >= 0; at = wasm.indexOf(pattern, at + 1)) hits.push(at);
  const at = only(hits, "i32.const of that key");
  // … i32.const A; local.set x; i32.const B; local.set y; <key>
  const head = wasm.subarray(at - 8, at);
  if (head[0] !== 0x41 || head[2] !== 0x21 || head[4] !== 0x41 || head[6] !== 0x21) throw new Error("layout: code before the JSPI switch has changed");
  const [without, withJspi] = [head[1], head[5]];
  // <key>; …; call; local.set; i32.const ADDRESS; local.tee; get; get; get; select; i32.store
  const call = wasm.indexOf(Buffer.from([0x10]), at + pattern.length);
  const constant = wasm.indexOf(Buffer.from([0x41]), call + 2);
  const [address, after] = readSignedLeb(wasm, constant + 1);
  const store = wasm.subarray(after, after + 12);
  if (store[8] !== 0x1b || store[9] !== 0x36) throw new Error("layout: code after the JSPI switch has changed");
  return { address: address + store[11], without, withJspi };
}

function readUnsignedLeb(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 0x7f) * 2 ** shift;
    if (!(byte & 0x80)) return [value, at];
  }
}

/** End of the initialised data of the module: below it pages may equal those of a fresh instance. */
export function findDataEnd(wasm) {
  let at = 8;
  while (at < wasm.length) {
    const id = wasm[at++];
    let size;
    [size, at] = readUnsignedLeb(wasm, at);
    if (id === 11) return dataEnd(wasm, at);
    at += size;
  }
  throw new Error("layout: no data section");
}

function dataEnd(wasm, at) {
  let count;
  let end = 0;
  [count, at] = readUnsignedLeb(wasm, at);
  for (let i = 0; i < count; i++) {
    const mode = wasm[at++];
    let offset = 0;
    if (mode === 0) {
      if (wasm[at] !== 0x41) throw new Error("layout: data segment at a computed address");
      [offset, at] = readSignedLeb(wasm, at + 1);
      at += 1; // end
    } else if (mode !== 1) throw new Error(`layout: data segment of mode ${mode}`);
    let length;
    [length, at] = readUnsignedLeb(wasm, at);
    if (mode === 0) end = Math.max(end, offset + length);
    at += length;
  }
  return end;
}

export function readLayout() {
  const wasm = fs.readFileSync(path.join(pyodideDir, "pyodide.asm.wasm"));
  const glue = fs.readFileSync(path.join(pyodideDir, "pyodide.asm.mjs"), "utf8");
  const { version } = JSON.parse(fs.readFileSync(path.join(pyodideDir, "package.json"), "utf8"));
  return { version, soPath: SO_PATH, page: PAGE, jspi: findJspiSlot(wasm, glue), staticPages: Math.floor(findDataEnd(wasm) / PAGE) };
}
