// @ts-check
// The words that the parts of the lab exchange. Types and pure helpers only.

/**
 * Files of the interpreter's /app folder: path → source.
 * @typedef {Record<string, string>} Files
 */

/**
 * What an interpreter needs to boot; sent once to every Worker.
 * @typedef {object} BootConfig
 * @property {string} base         URL of the runtime folder, with a slash at its end
 * @property {Manifest} manifest
 * @property {WebAssembly.Module} wasm
 * @property {WebAssembly.Module} extension
 * @property {ArrayBuffer | null} plain   the plain path's zip; null to use the snapshot
 * @property {boolean} jspi        false: behave as a browser without JSPI
 * @property {number} pid
 * @property {number} parentPid
 * @property {Record<string, string>} env
 */

/**
 * @typedef {{ file: string, bytes: number, gzip: number, raw: number, sha256: string }} Asset
 * @typedef {{ address: number, without: number, withJspi: number }} JspiSlot
 * @typedef {{ version: string, soPath: string, page: number, jspi: JspiSlot, staticPages: number,
 *   tableBase: number, tableLength: number, heapBytes: number }} Layout
 * @typedef {{ files: Record<string, Asset>, folders: Record<string, string>, images: Record<string, { snapshot: string, layout: Layout }> }} Manifest
 */

/**
 * One request on its way to a worker process. Bodies are "binary strings", a character per byte.
 * [id, method, path, query, headers, client port, body]
 * @typedef {[number, string, string, string, [string, string][], number, string]} WireRequest
 */

/**
 * One thing that left a worker process. A response may come in several parts: the first has
 * the status and the headers, later ones have status 0; the last one has `more` false.
 * @typedef {["response", number, number, [string, string][] | null, string, boolean]} ResponsePart
 * @typedef {["log", "stdout" | "stderr", string]} LogLines
 * @typedef {["websocket", number, "open" | "message" | "close" | "end", string]} SocketFrame
 * @typedef {ResponsePart | LogLines | SocketFrame} WorkerOutput
 */

/** Why an exchange has no answer; also the code under which messages.js has its text.
 * @typedef {"connection-reset" | "connection-refused" | "timeout"} NoAnswer */

/** What this browser gave the interpreters.
 * @typedef {{ jspi: boolean, snapshot: boolean }} Capabilities */

/**
 * One worker process as the page shows it. `index` is its lane and stays when the process is
 * replaced; `served` starts again at 0 then.
 * @typedef {{ index: number, pid: number, state: "booting" | "starting" | "ready" | "dead",
 *   served: number, inFlight: number, restarts: number }} WorkerInfo
 */

/**
 * The end of one request; headers are lower-case pairs, the body is a binary string.
 * @typedef {{ status: number | null, headers: [string, string][], body: string,
 *   worker: number | null, error: NoAnswer | null }} Answer
 */

/**
 * How a run ended: with a result (the JSON that `workerlab run` writes); with the engine's own
 * message because the traffic could not be played (`failure`, Japanese); with an exception in
 * experiment.py; with something that this stage has not (`pause`, `measure`); or cancelled.
 * @typedef {{ result: any } | { failure: string, trace: any } | { traceback: string } | { unsupported: string } | { cancelled: true }} RunOutcome
 */

/**
 * One exchange as it happens: [step, pid or null, start, end (seconds), status or null, value or null].
 * @typedef {[string, number | null, number, number, number | null, number | null]} ExchangeRow
 */

/**
 * What a Cluster tells the page.
 * @typedef {{ type: "state", state: "new" | "starting" | "ready" | "running" | "stopped" }
 *   | { type: "progress", loaded: number, total: number }
 *   | { type: "workers", workers: WorkerInfo[] }
 *   | { type: "worker", worker: WorkerInfo }
 *   | { type: "worker-died", pid: number, code: string, detail: string }
 *   | { type: "service", name: string, up: boolean }
 *   | { type: "log", pid: number | null, stream: "stdout" | "stderr", text: string }
 *   | { type: "access", pid: number, client: number, method: string, target: string, status: number }
 *   | { type: "exchanges", rows: ExchangeRow[] }
 *   | { type: "notice", code: string, detail: string }
 *   | { type: "error", code: string, detail: string }} ClusterEvent
 */

/** An error with a code that messages.js knows; `detail` is for people who debug. */
export class LabError extends Error {
  /** @param {string} code @param {string} [detail] */
  constructor(code, detail = "") {
    super(detail ? `${code}: ${detail}` : code);
    this.name = "LabError";
    this.code = code;
    this.detail = detail;
  }
}

/** Bytes as a string with one character per byte. @param {Uint8Array} bytes */
export function toBinaryString(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return text;
}

/** @param {string} text */
export function fromBinaryString(text) {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** The text of a body. @param {string} binary */
export function decodeBody(binary) {
  return new TextDecoder().decode(fromBinaryString(binary));
}

/** A path with its query, taken apart. @param {string} target @returns {[string, string]} */
export function splitTarget(target) {
  const at = target.indexOf("?");
  return at < 0 ? [target, ""] : [target.slice(0, at), target.slice(at + 1)];
}
