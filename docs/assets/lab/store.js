// @ts-check
// The reader's edit, kept in this browser. share.js puts it into a link.

/** `version` is the lesson's when the edit was made; `from` the variant that it began as;
 * `link` the fragment that it was opened from.
 * @typedef {{ code: string, from: "bad" | "good", version: string, link?: string }} Edit */

const PREFIX = "workerlab:edit:";
/** How the fragment of a link to a lab begins. */
export const FRAGMENT = "#lab=";
/** More than any lesson needs; keeps a hostile link from filling the memory. */
export const MAX_CODE = 65_536;

/** @param {any} value @returns {Edit | null} */
export function asEdit(value) {
  const good = value && typeof value.code === "string" && value.code.length <= MAX_CODE && typeof value.version === "string";
  return good ? { code: value.code, from: value.from === "good" ? "good" : "bad", version: value.version, ...(value.link && { link: String(value.link) }) } : null;
}

export class Store {
  /** @param {string} topic @param {() => Storage} [storage] may throw: browsers forbid it at times */
  constructor(topic, storage = () => localStorage) {
    this.key = PREFIX + topic;
    this.storage = storage;
  }

  /** @returns {Edit | null} */
  load() {
    try {
      return asEdit(JSON.parse(this.storage().getItem(this.key) ?? "null"));
    } catch {
      return null;
    }
  }

  /** @param {Edit} edit @returns {boolean} whether it is kept */
  save(edit) {
    try {
      this.storage().setItem(this.key, JSON.stringify(edit));
      return true;
    } catch {
      return false;
    }
  }

  clear() {
    try {
      this.storage().removeItem(this.key);
    } catch {
      // nothing was kept then
    }
  }
}

/** Whether the fragment is a link to this lab. @param {string} topic @param {string} fragment */
export const isFor = (topic, fragment) => fragment.startsWith(`${FRAGMENT}${topic}.`);
