// @ts-check
// One lab on a page: the reader's versions and their editing. What a run needs (session.js)
// is imported when the reader shows intent.

import { Editor } from "./editor.js";
import { known, text } from "./messages-idle.js";
import { Store, isFor } from "./store.js";
import { View, nameOf } from "./view.js";
import { defaultWorkers, megabytes, missingFeatures, missingNeeds } from "./view-model.js";

let labs = 0;

/** @param {string} path */
async function json(path) {
  const response = await fetch(new URL(path, import.meta.url));
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
  return response.json();
}

export class LabController {
  // set by #build, when the lesson is there
  topic = /** @type {import("./view-model.js").Topic} */ (/** @type {any} */ (null));
  view = /** @type {View} */ (/** @type {any} */ (null));
  editor = /** @type {Editor} */ (/** @type {any} */ (null));
  store = /** @type {Store} */ (/** @type {any} */ (null));
  /** What is in あなたの版. */
  #own = /** @type {import("./store.js").Edit} */ (/** @type {any} */ (null));
  #variant = "bad";
  /** @type {Promise<import("./session.js").Session> | null} */
  #loading = null;
  /** @type {import("./session.js").Session | null} */
  #session = null;
  #left = new AbortController();

  /** @param {HTMLElement} host @param {string} slug */
  constructor(host, slug) {
    this.host = host;
    this.slug = slug;
    labs += 1;
    const { signal } = this.#left;
    // nothing is asked for until the reader comes near
    const near = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        near.disconnect();
        this.#open().catch(() => View.refuse(host, text("no-topic")));
      },
      { rootMargin: "600px 0px" },
    );
    near.observe(host);
    signal.addEventListener("abort", () => near.disconnect());
    addEventListener("pagehide", () => this.#session?.leave("stopped-leave"), { signal });
    addEventListener("hashchange", () => this.#openLink(), { signal });
  }

  /** The element left the page. */
  close() {
    this.#left.abort();
    this.#session?.end();
    this.editor?.destroy();
    labs -= 1;
    if (labs === 0 && this.#session) import("./session.js").then(({ closeShared }) => labs === 0 && closeShared());
  }

  async #open() {
    const missing = missingFeatures(globalThis);
    if (missing.length) return View.refuse(this.host, text("no-browser", { missing: missing.join("、") }));
    /** @type {import("./view-model.js").Topic} */
    const topic = await json(`./topics/${this.slug}.json`);
    if (this.#left.signal.aborted) return;
    if (!topic.runtime) return View.refuse(this.host, text("no-runtime"));
    const needs = missingNeeds(topic.needs);
    if (needs.length) return View.refuse(this.host, text("no-stage", { needs: needs.map((need) => (known(`need-${need}`) ? text(`need-${need}`) : need)).join("、") }));
    this.#build(topic);
    this.view.showStatus(text("cost-cold", { total: megabytes(topic.runtime) }));
    await this.#openLink();
  }

  /** @param {import("./view-model.js").Topic} topic */
  #build(topic) {
    this.topic = topic;
    this.store = new Store(topic.slug);
    const { deviceMemory: memory } = /** @type {any} */ (navigator);
    const small = matchMedia("(pointer: coarse) and (max-width: 60em)").matches;
    const view = (this.view = new View(
      this.host,
      topic,
      {
        select: (variant) => this.#select(variant),
        plan: () => this.#plan(),
        run: () => this.#run(),
        stop: () => this.#session?.leave("stopped"),
        undo: () => this.editor.undo(),
        reset: () => this.#reset(),
        adopt: () => this.#adopt(),
        compare: () => this.#compare(),
        share: () => this.#share(),
        intent: () => this.#intent(),
      },
      defaultWorkers({ memory, small }),
    ));
    this.editor = new Editor({
      parent: view.code,
      attributes: (variant) => ({ "aria-label": text(variant === "own" ? "code" : "code-locked", { name: nameOf(variant) }), "aria-describedby": view.hint.id }),
      onInput: (code) => this.#edited(code),
      onRun: () => this.#run(),
    });
    const kept = this.store.load();
    this.#own = kept ?? this.#pristine();
    view.showControls({ busy: false, alive: false });
    this.#select(kept ? "own" : "bad");
    if (kept && kept.version !== topic.version) this.#noticeChanged();
  }

  /** @returns {import("./store.js").Edit} */
  #pristine() {
    return { code: this.topic.files.bad, from: "bad", version: this.topic.version };
  }

  /** @param {string} variant @returns {string} */
  #code(variant) {
    return variant === "own" ? this.#own.code : this.topic.files[/** @type {"bad" | "good"} */ (variant)];
  }

  #intent() {
    this.view.addStyles(new URL("./lab-run.css", import.meta.url).href);
    this.editor.upgrade();
    this.#loading ??= import("./session.js").then(({ Session }) => {
      const mark = (/** @type {string} */ variant, /** @type {number | null} */ line) => void this.editor.upgrade().then(() => this.#variant === variant && this.editor.mark(line));
      return (this.#session = new Session({ topic: this.topic, view: this.view, json, mark }));
    });
    this.#loading.catch(() => (this.#loading = null));
    return this.#loading;
  }

  async #run() {
    const session = await this.#intent();
    if (!this.#left.signal.aborted) await session.start({ variant: this.#variant, code: this.#code(this.#variant), drill: this.view.drill, workers: this.view.workers });
  }

  /** Another experiment was chosen; drills show when the fix breaks. */
  async #plan() {
    const session = await this.#intent();
    await session.choose(this.view.drill);
    if (!this.#left.signal.aborted) this.#select(this.view.drill && this.#variant === "bad" ? "good" : this.#variant);
  }

  /** @param {string} variant */
  #select(variant) {
    this.#variant = variant;
    this.editor.show(variant, this.#code(variant), variant !== "own");
    this.view.showVariant(variant);
    if (!this.#session?.busy && !this.#session?.alive) this.view.showTable(variant);
    this.#showEdited();
  }

  #showEdited() {
    this.view.showEdited({ edited: this.#own.code !== this.topic.files[this.#own.from], canUndo: this.editor.canUndo });
  }

  /** @param {string} code */
  #edited(code) {
    this.#own = { ...this.#own, code };
    if (code === this.topic.files.bad) this.store.clear();
    else if (!this.store.save(this.#own)) this.view.showNotice(text("not-saved"));
    if (!this.view.diff.hidden) this.#showDiff();
    this.#showEdited();
  }

  #reset() {
    this.#own = this.#pristine();
    this.editor.replace(this.#own.code);
    this.view.showNotice(text("reset-done"));
  }

  /** Begin あなたの版 anew from the version that is shown. */
  #adopt() {
    const from = /** @type {"bad" | "good"} */ (this.#variant);
    this.#select("own");
    this.#own = { ...this.#own, from, version: this.topic.version };
    this.editor.replace(this.topic.files[from]);
    this.view.showNotice(text("adopted", { name: nameOf(from) }));
    this.editor.focus();
  }

  #noticeChanged() {
    this.view.showNotice(text("lesson-changed"), [
      ["compare", () => this.#compare()],
      ["reset", () => this.#reset()],
      ["keep", () => this.#keep()],
    ]);
  }

  /** The reader knows that the lesson changed. */
  #keep() {
    this.#own = { ...this.#own, version: this.topic.version };
    this.store.save(this.#own);
    this.view.showNotice(null);
    this.editor.focus();
  }

  #compare() {
    if (this.#variant !== "own") this.#select("own");
    if (this.view.diff.hidden) this.#showDiff();
    else this.view.showDiff(null);
  }

  async #showDiff() {
    const { showDifference } = await import("./diff-view.js");
    const { code, from } = this.#own;
    this.view.showDiff(showDifference(this.topic.files[from], code, nameOf(from)));
  }

  async #share() {
    const { toFragment } = await import("./share.js");
    const fragment = await toFragment(this.slug, this.#own);
    if (!fragment) return this.view.showNotice(text("link-too-long"));
    const link = location.href.replace(/#.*$/, "") + fragment;
    try {
      await navigator.clipboard.writeText(link);
      this.view.showNotice(text("link-copied"));
    } catch {
      this.view.showNotice(text("link-here"), [], [this.view.linkField(link)]);
    }
  }

  /** Show the code of a link; it runs only when the reader says so, and replaces no kept edit. */
  async #openLink() {
    const first = document.querySelector(`worker-lab[topic="${CSS.escape(this.slug)}"]`) === this.host;
    if (!first || !isFor(this.slug, location.hash)) return;
    if (!this.view) return this.host.scrollIntoView(); // which opens it
    const { fromFragment } = await import("./share.js");
    const edit = await fromFragment(this.slug, location.hash);
    if (this.#left.signal.aborted) return;
    this.host.scrollIntoView();
    if (!edit) return this.view.showNotice(text("link-broken"));
    const own = new Store(this.slug);
    const kept = own.load();
    const apart = kept !== null && kept.code !== edit.code && kept.link !== location.hash;
    this.store = apart ? new Store(`${this.slug}:link`) : own;
    const again = this.store.load();
    this.#own = again?.link === location.hash ? again : { ...edit, link: location.hash };
    this.#select("own");
    const message = text(edit.version === this.topic.version ? "link-opened" : "link-older");
    this.view.showNotice(message, apart ? [["restore", () => this.#restore()]] : []);
  }

  #restore() {
    this.store = new Store(this.slug);
    this.#own = this.store.load() ?? this.#pristine();
    this.#select("own");
    this.view.showNotice(null);
    this.editor.focus();
  }
}
