// @ts-check
// One Web Worker = one uvicorn worker process. Speaks with cluster.js; Python is lab_server.py.

import { bootInterpreter } from "./interpreter.js";
import { Connector } from "./network.js";

/** @type {any} */
let server = null;
let blocked = false;
let woken = false;
/** @type {((buffer: ArrayBuffer) => void) | null} */
let takeSnapshot = null;

const post = (/** @type {any} */ message, /** @type {Transferable[]} */ transfer = []) => self.postMessage(message, { transfer });
const connector = new Connector(post);

/** A blocked event loop does not accept: the connection is left to the others. */
function accept() {
  if (woken && !blocked && server) {
    woken = false;
    post({ type: "accept" });
  }
}

/** @type {any} */
let booted = null;

/** @param {{ config: import("./protocol.js").BootConfig, image: string }} message */
async function boot({ config, image }) {
  booted = await bootInterpreter(config, image, {
    borrow: () =>
      new Promise((resolve) => {
        takeSnapshot = resolve;
        post({ type: "borrow" });
      }),
    giveBack: (buffer) => post({ type: "give-back", buffer }, [buffer]),
    emit: (json) => post({ type: "output", json }),
    connect: (host, port) => connector.connect(host, port),
    fatal,
    loopBlocked: (value) => {
      blocked = value;
      accept();
    },
  });
  post({ type: "booted", capabilities: booted.capabilities });
}

/** Import the app and run its lifespan. @param {{ files: import("./protocol.js").Files, app: string, environment: Record<string, string> }} message */
async function start({ files, app, environment }) {
  const module = booted.pyodide.pyimport("lab_server");
  const call = booted.capabilities.jspi ? module.start.callPromising : module.start;
  const error = await call.call(module.start, JSON.stringify(files), app, JSON.stringify(environment));
  if (error) return post({ type: "app-error", traceback: error });
  server = module;
  post({ type: "ready" });
}

/** @param {any} message */
async function handle(message) {
  switch (message.type) {
    case "boot":
      return boot(message);
    case "start":
      return start(message);
    case "snapshot":
      return takeSnapshot?.(message.buffer);
    case "wake":
      woken = true;
      return accept();
    case "requests":
      return server.requests(message.batch);
    case "abort":
      return server.abort(message.id);
    case "connected":
      return connector.connected(message);
    case "websocket-open":
      return server.open_websocket(message.request);
    case "websocket-message":
      return server.receive_websocket(message.id, message.data);
    case "websocket-close":
      return server.close_websocket(message.id, message.code);
    case "stop":
      await server?.stop();
      return post({ type: "stopped" });
  }
}

/** Nothing fails in silence: the page ends this Worker and says why. @param {any} error */
function fatal(error) {
  post({ type: "fatal", layout: error?.name === "LayoutError", detail: String(error?.message ?? error).slice(0, 2000) });
}

self.addEventListener("unhandledrejection", ({ reason }) => fatal(reason));
self.onmessage = ({ data }) => {
  handle(data).catch(fatal);
};
