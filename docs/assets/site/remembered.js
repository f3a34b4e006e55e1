// @ts-check
/** Sets of words that this browser remembers for its reader, and nobody else. */

/**
 * @param {string} key
 * @returns {Set<string>}
 */
export function load(key) {
  try {
    const stored = JSON.parse(localStorage.getItem(key) ?? "[]");
    return new Set(Array.isArray(stored) ? stored.map(String) : []);
  } catch {
    return new Set(); // no storage, or somebody else's text in it
  }
}

/**
 * @param {string} key
 * @param {Set<string>} words
 */
export function save(key, words) {
  try {
    localStorage.setItem(key, JSON.stringify([...words]));
  } catch {
    // a browser that keeps nothing: the marks last as long as the page
  }
}
