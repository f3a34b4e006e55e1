// @ts-check
// Servers of the lab's network that are a Worker of their own. A new one is an entry here and
// a script that takes `{ type: "boot", folder }` and `{ type: "accept", tcpPort, port }`, and
// says `{ type: "up" }`. (Redis lives in the client interpreter, see client.js.)

import { WorkerHost } from "./network.js";
import { LabError } from "./protocol.js";

/** @typedef {{ script: string, tcpPorts: number[], folder: string, env: Record<string, string> }} ServiceKind */

const START_TIMEOUT = 180_000;

/** By host name. @type {Record<string, ServiceKind>} */
export const SERVICES = {
  db: { script: "./pg-worker.js", tcpPorts: [5432], folder: "pglite", env: { DATABASE_URL: "postgresql://postgres:postgres@db:5432/postgres" } },
};

/** One running server. */
export class Service {
  /**
   * @param {string} name key of SERVICES
   * @param {(url: URL) => Worker} [spawn]
   */
  constructor(name, spawn = (url) => new Worker(url, { type: "module" })) {
    this.name = name;
    this.kind = SERVICES[name];
    this.worker = spawn(new URL(this.kind.script, import.meta.url));
    this.host = new WorkerHost(this.worker, this.kind.tcpPorts);
  }

  /** @param {import("./assets.js").Assets} assets @param {(text: string) => void} log */
  async start(assets, log) {
    const { folders } = await assets.manifest();
    await new Promise((resolve, reject) => {
      const fail = (/** @type {string} */ detail) => reject(new LabError("service-failed", `${this.name}: ${detail}`));
      const timer = setTimeout(() => fail("timeout"), START_TIMEOUT);
      this.worker.onerror = (event) => fail(event.message);
      this.worker.onmessage = ({ data }) => {
        clearTimeout(timer);
        if (data.type === "up") resolve(undefined);
        else if (data.type === "fatal") fail(data.detail);
        else if (data.type === "log") log(data.text);
      };
      this.worker.postMessage({ type: "boot", folder: new URL(folders[this.kind.folder], assets.base).href });
    });
  }

  stop() {
    this.host.up = false;
    this.worker.terminate();
  }
}
