// @ts-check
// A Web Worker with an interpreter in it, seen from the page: boot, lend the snapshot, kill.

import { LabError } from "./protocol.js";

/** @typedef {import("./assets.js").Assets} Assets */
/** @typedef {import("./network.js").Network} Network */
/** @typedef {import("./protocol.js").Capabilities} Capabilities */

/** Milliseconds until an interpreter that does not come up is given up. */
export const BOOT_TIMEOUT = 180_000;

/**
 * @typedef {object} Boot
 * @property {Assets} assets
 * @property {string} image     key of the manifest's `images`
 * @property {boolean} plain    without the snapshot
 * @property {boolean} jspi     false: as a browser without JSPI
 * @property {number} pid
 * @property {number} parentPid
 * @property {Record<string, string>} env
 * @property {Network} network
 * @property {boolean} [breakLayout] pretend that the layout is another one (tests)
 */

export class InterpreterProcess {
  /** @type {(message: any) => void} messages that are not about booting */
  onmessage = () => {};
  /** @type {(error: LabError) => void} the interpreter died by itself; called at most once */
  onfatal = () => {};
  #dead = false;

  /**
   * @param {string} script  "./worker.js" or "./client-worker.js"
   * @param {Boot} boot
   * @param {(url: URL) => Worker} [spawn]
   */
  constructor(script, boot, spawn = (url) => new Worker(url, { type: "module" })) {
    this.boot = boot;
    this.pid = boot.pid;
    this.worker = spawn(new URL(script, import.meta.url));
    this.worker.onmessage = ({ data }) => this.#dispatch(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new LabError("worker-crashed", event.message));
    };
  }

  get dead() {
    return this.#dead;
  }

  /** Send the boot message; resolves when the interpreter says that it is up. @param {string} upType @param {object} [extra] @returns {Promise<Capabilities>} */
  async start(upType, extra = {}) {
    const { assets, image, plain, jspi, pid, parentPid, env, breakLayout } = this.boot;
    const { manifest, wasm, extension } = await assets.modules();
    const zip = plain ? await assets.buffer("plain") : null;
    if (this.#dead) throw new LabError("stopped");
    const config = { base: assets.base, manifest: breakLayout ? broken(manifest, image) : manifest, wasm, extension, plain: zip, jspi, pid, parentPid, env };
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(new LabError("boot-timeout", `pid ${pid}`)), BOOT_TIMEOUT);
      const settle = (/** @type {() => void} */ then) => {
        clearTimeout(timer);
        this.settleBoot = null;
        then();
      };
      /** @type {{ type: string, up: (capabilities: Capabilities) => void, fail: (error: LabError) => void } | null} */
      this.settleBoot = { type: upType, up: (capabilities) => settle(() => resolve(capabilities)), fail: (error) => settle(() => reject(error)) };
      this.post({ type: "boot", config, image, ...extra });
    });
  }

  /** @param {any} message @param {Transferable[]} [transfer] */
  post(message, transfer = []) {
    if (!this.#dead) this.worker.postMessage(message, transfer);
  }

  /** End it at once, whatever it is doing. Late messages are dropped. */
  kill() {
    if (this.#dead) return;
    this.#dead = true;
    this.worker.terminate();
    this.boot.assets.forget(this);
    this.settleBoot?.fail(new LabError("stopped"));
  }

  /** @param {any} message */
  #dispatch(message) {
    if (this.#dead) return;
    const { assets, image, network } = this.boot;
    switch (message.type) {
      case "borrow":
        return void assets
          .borrow(image, this, (buffer) => this.post({ type: "snapshot", buffer }, [buffer]))
          .catch((error) => this.#fail(error));
      case "give-back":
        return void assets.giveBack(image, message.buffer);
      case "connect":
        return this.post({ type: "connected", id: message.id, error: network.connect(message.host, message.tcpPort, message.port) });
      case "fatal":
        return this.#fail(new LabError(message.layout ? "layout-changed" : "worker-crashed", message.detail));
    }
    if (message.type === this.settleBoot?.type) this.settleBoot?.up(message.capabilities);
    else this.onmessage(message);
  }

  /** @param {LabError} error */
  #fail(error) {
    if (this.#dead) return;
    const booting = this.settleBoot;
    booting?.fail(error);
    this.kill();
    if (!booting) this.onfatal(error);
  }
}

/** @param {import("./protocol.js").Manifest} manifest @param {string} image */
function broken(manifest, image) {
  const copy = structuredClone(manifest);
  copy.images[image].layout.tableLength += 1;
  return copy;
}
