// @ts-check
/**
 * Which versions a specifier such as `~=0.109.2` accepts, as PEP 440 says.
 *
 * Left out, and refused as `Unsupported`: `===`, and local versions (`1.0+cu124`). Markers,
 * extras and URLs belong to requirements, not to specifiers. tests/lab/pep440.test.mjs compares
 * all of this with what Python's `packaging` says.
 */

/** What the text is not allowed to be, or what this file leaves out. */
export class Unsupported extends Error {}

/**
 * @typedef {object} Version
 * @property {number} epoch
 * @property {number[]} release
 * @property {["a" | "b" | "rc", number] | null} pre
 * @property {number | null} post
 * @property {number | null} dev
 */

/** @typedef {(version: Version) => boolean} Check */

/**
 * @typedef {object} Specifiers
 * @property {Check} accepts
 * @property {boolean} namesPrerelease Whether the writer asked for pre-releases by naming one.
 */

/** @typedef {"chosen" | "prerelease" | "refused"} Answer */

const VERSION = new RegExp(
  "^v?(?:(\\d+)!)?(\\d+(?:\\.\\d+)*)" +
    "(?:[-_.]?(alpha|beta|preview|pre|a|b|c|rc)[-_.]?(\\d*))?" +
    "(?:-(\\d+)|[-_.]?(post|rev|r)[-_.]?(\\d*))?" +
    "(?:[-_.]?(dev)[-_.]?(\\d*))?(\\+.*)?$",
);
const CLAUSE = /^(~=|===|==|!=|<=|>=|<|>)\s*(\S+)$/;
/** @type {Record<string, "a" | "b" | "rc">} */
const PRE = { a: "a", alpha: "a", b: "b", beta: "b", c: "rc", rc: "rc", pre: "rc", preview: "rc" };

/**
 * @param {string} text
 * @returns {Version}
 */
export function parseVersion(text) {
  const found = VERSION.exec(text.trim().toLowerCase());
  if (!found) throw new Unsupported(`「${text}」は版として読めません。`);
  const [, epoch, release, pre, preNumber, implicitPost, post, postNumber, dev, devNumber, local] = found;
  if (local) throw new Unsupported(`「${text}」のようなローカル版（+ の付く版）は、この欄では扱いません。`);
  return {
    epoch: Number(epoch ?? 0),
    release: release.split(".").map(Number),
    pre: pre ? [PRE[pre], Number(preNumber || 0)] : null,
    post: implicitPost ? Number(implicitPost) : post ? Number(postNumber || 0) : null,
    dev: dev ? Number(devNumber || 0) : null,
  };
}

/** @param {Version} version */
export function isPrerelease(version) {
  return version.pre !== null || version.dev !== null;
}

/**
 * @param {number[]} a
 * @param {number[]} b
 */
function compareNumbers(a, b) {
  for (let i = 0; i < Math.max(a.length, b.length); i += 1) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference) return difference;
  }
  return 0;
}

/**
 * What comes after the release numbers, in PEP 440's order: dev, a, b, rc, final, post.
 * @param {Version} version
 */
function suffix({ pre, post, dev }) {
  const onlyDev = dev !== null && pre === null && post === null;
  const kind = pre ? { a: 0, b: 1, rc: 2 }[pre[0]] : onlyDev ? -1 : 3;
  return [kind, pre?.[1] ?? 0, post ?? -1, dev ?? Infinity];
}

/**
 * Below 0, 0, or above 0, for sorting.
 * @param {Version} a
 * @param {Version} b
 */
export function compare(a, b) {
  const release = a.epoch - b.epoch || compareNumbers(a.release, b.release);
  if (release) return release;
  const [left, right] = [suffix(a), suffix(b)];
  const at = left.findIndex((part, index) => part !== right[index]);
  return at < 0 ? 0 : left[at] < right[at] ? -1 : 1;
}

/**
 * Whether two versions are of the same release, whatever follows it.
 * @param {Version} a
 * @param {Version} b
 */
function sameRelease(a, b) {
  return a.epoch === b.epoch && compareNumbers(a.release, b.release) === 0;
}

/**
 * Such as 1.0rc1 of 1.0, or 1.0.post1.dev1 of 1.0.post1; a pre-release has none of its own.
 * @param {Version} version
 * @param {Version} wanted
 */
function isPrereleaseOf(version, wanted) {
  if (!isPrerelease(version) || isPrerelease(wanted) || !sameRelease(version, wanted)) return false;
  return wanted.post === null || (version.post === wanted.post && version.pre === null);
}

/**
 * Such as 1.0.post1 of 1.0, or 1.0a1.post1 of 1.0a1.
 * @param {Version} version
 * @param {Version} wanted
 */
function isPostOf(version, wanted) {
  if (version.post === null || wanted.post !== null || wanted.dev !== null) return false;
  return sameRelease(version, wanted) && String(version.pre) === String(wanted.pre);
}

/**
 * @param {Version} version
 * @param {number} epoch
 * @param {number[]} prefix
 */
function startsWith(version, epoch, prefix) {
  return version.epoch === epoch && prefix.every((number, i) => (version.release[i] ?? 0) === number);
}

/** @type {Record<string, (wanted: Version) => Check>} */
const OPERATORS = {
  "==": (wanted) => (version) => compare(version, wanted) === 0,
  "!=": (wanted) => (version) => compare(version, wanted) !== 0,
  ">=": (wanted) => (version) => compare(version, wanted) >= 0,
  "<=": (wanted) => (version) => compare(version, wanted) <= 0,
  "<": (wanted) => (version) =>
    compare(version, wanted) < 0 && !isPrereleaseOf(version, wanted),
  ">": (wanted) => (version) =>
    compare(version, wanted) > 0 && !isPostOf(version, wanted),
  "~=": (wanted) => (version) =>
    compare(version, wanted) >= 0 && startsWith(version, wanted.epoch, wanted.release.slice(0, -1)),
};

/**
 * @param {string} clause
 * @returns {Specifiers}
 */
function parseClause(clause) {
  const found = CLAUSE.exec(clause);
  if (!found) throw new Unsupported(`「${clause}」は、演算子と版の組として読めません。例：~=0.109.2`);
  const [, operator, text] = found;
  if (operator === "===") throw new Unsupported("=== は、この欄では扱いません。");
  if (text.endsWith(".*")) {
    if (operator !== "==" && operator !== "!=") {
      throw new Unsupported(`「${clause}」：.* を付けられるのは == と、その否定だけです`);
    }
    const { epoch, release, pre, post, dev } = parseVersion(text.slice(0, -2));
    if (pre || post !== null || dev !== null) {
      throw new Unsupported(`.* の前に書けるのは、数字だけの版です：「${clause}」`);
    }
    /** @type {Check} */
    const inside = (version) => startsWith(version, epoch, release);
    const accepts = operator === "==" ? inside : (/** @type {Version} */ v) => !inside(v);
    return { accepts, namesPrerelease: false };
  }
  const wanted = parseVersion(text);
  if (operator === "~=" && wanted.release.length < 2) {
    throw new Unsupported(`~= には、数字が 2 つ以上要ります：「${clause}」`);
  }
  return {
    accepts: OPERATORS[operator](wanted),
    namesPrerelease: operator !== "!=" && isPrerelease(wanted),
  };
}

/**
 * @param {string} text Clauses joined by commas; all of them have to hold.
 * @returns {Specifiers}
 */
export function parseSpecifiers(text) {
  const clauses = text.split(",").map((clause) => clause.trim()).filter(Boolean).map(parseClause);
  return {
    accepts: (version) => clauses.every((clause) => clause.accepts(version)),
    namesPrerelease: clauses.some((clause) => clause.namesPrerelease),
  };
}

/**
 * What an installer would say of each version: pre-releases are taken only when the specifier
 * names one, or when nothing else fits.
 * @param {Specifiers} specifiers
 * @param {Version[]} versions
 * @returns {Answer[]}
 */
export function answer(specifiers, versions) {
  const fits = versions.map((version) => specifiers.accepts(version));
  const final = versions.some((version, index) => fits[index] && !isPrerelease(version));
  return versions.map((version, index) => {
    if (!fits[index]) return "refused";
    const held = isPrerelease(version) && final && !specifiers.namesPrerelease;
    return held ? "prerelease" : "chosen";
  });
}
