// @ts-check
// Mounts <worker-lab topic="…">. The only file of the lab's page with side effects; every page
// loads it, so it holds nothing else. Custom elements mount themselves, also after instant navigation.

class WorkerLab extends HTMLElement {
  /** @type {import("./worker-lab.js").LabController | null} */
  #controller = null;

  async connectedCallback() {
    const { LabController } = await import("./worker-lab.js");
    if (!this.isConnected || this.#controller) return;
    this.#controller = new LabController(this, this.getAttribute("topic") ?? "");
  }

  disconnectedCallback() {
    this.#controller?.close();
    this.#controller = null;
    this.replaceChildren();
  }
}

if (!customElements.get("worker-lab")) customElements.define("worker-lab", WorkerLab);
