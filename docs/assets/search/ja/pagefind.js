// @ts-check
/**
 * Pagefind's search, asked in words that Japanese readers type.
 *
 * The dialog imports this file in place of `index/pagefind.js`. Pagefind wants every word of a
 * query, and takes words apart with the browser's dictionary, which knows neither
 * 「キャッシュスタンピード」 nor that 「切れる」 stands in the page as 「切れて」. So here a query
 * becomes its content words; if few pages have them all, pages with most of them follow.
 */

import * as core from "../index/pagefind.js";

export * from "../index/pagefind.js";

/** Runs of one script; whole, too, a word such as 「しきい値」, whose kanji alone says little. */
const RUNS = /(?<!\p{L})[ぁ-ん]+\p{sc=Han}(?!\p{L})|[\p{sc=Han}々]+|[ァ-ヴー]+|[ぁ-ん]+|[^\s\p{sc=Han}々ァ-ヴーぁ-ん、。「」（）：・]+/gu;
const MOST_RESULTS = 20;
/** Fewer pages than this may be all that the index took apart as the query is. */
const ENOUGH_RESULTS = 3;

/** @type {Promise<Set<string>> | undefined} */
let known;
/** @type {Promise<Record<string, string>> | undefined} */
let titles;

/** The katakana words that the pages write alone. */
function vocabulary() {
  known ??= fetch(new URL("../index/katakana.json", import.meta.url))
    .then((response) => response.json())
    .then((words) => new Set(words))
    .catch(() => new Set());
  return known;
}

/** Where each page lies, by its title in lower case. */
function titledPages() {
  titles ??= fetch(new URL("../index/titles.json", import.meta.url))
    .then((response) => response.json())
    .catch(() => ({}));
  return titles;
}

/**
 * A compound as the known words that it is made of, the longest first; else as it is.
 * @param {string} run
 * @param {Set<string>} words
 * @returns {string[]}
 */
export function parts(run, words) {
  for (let end = run.length - 2; end >= 2; end -= 1) {
    const [head, tail] = [run.slice(0, end), run.slice(end)];
    if (!words.has(head)) continue;
    if (words.has(tail)) return [head, ...parts(tail, words)];
    const rest = parts(tail, words);
    if (rest.length > 1) return [head, ...rest];
  }
  return [run];
}

/**
 * The words of a query that carry its meaning: no particles, no endings, and names such as
 * `on_event` in the parts that the index has.
 * @param {string} query
 * @param {Set<string>} words
 * @returns {string[]}
 */
export function contentWords(query, words) {
  const runs = query.normalize("NFKC").match(RUNS) ?? [];
  const content = runs.filter((run) => !/^[ぁ-ん]+$/.test(run));
  return (content.length ? content : runs).flatMap((run) =>
    /^[ァ-ヴー]+$/.test(run) ? parts(run, words) : run.split("_").filter(Boolean),
  );
}

/**
 * @param {string | null} query
 * @param {object} [options]
 */
export async function search(query, options) {
  const answer = await searchWords(query, options);
  const page = (await titledPages())[(query ?? "").normalize("NFKC").trim().toLowerCase()];
  return page ? { ...answer, results: await withFirst(page, answer.results) } : answer;
}

/**
 * The results with the page that was asked for by its title before all others.
 * @param {string} page
 * @param {any[]} results
 */
async function withFirst(page, results) {
  for (const result of results.slice(0, MOST_RESULTS)) {
    const { raw_url, url } = await result.data();
    if ((raw_url ?? url).endsWith(page)) return [result, ...results.filter((r) => r !== result)];
  }
  return results;
}

/**
 * @param {string | null} query
 * @param {object} [options]
 */
async function searchWords(query, options) {
  if (!query) return core.search(query, options);
  const words = contentWords(query, await vocabulary());
  if (!words.length) return core.search(query, options);
  const all = await core.search(words.join(" "), options);
  if (all.results.length >= ENOUGH_RESULTS) return all;
  const more =
    words.length === 1 ? ((await halves(words[0], options))?.results ?? []) : await most(words, options);
  const ids = new Set(all.results.map((/** @type {any} */ result) => result.id));
  return { ...all, results: [...all.results, ...more.filter((result) => !ids.has(result.id))] };
}

/**
 * A compound of katakana that the index knows in two words only, at the place that finds most.
 * @param {string} word
 * @param {object} [options]
 */
async function halves(word, options) {
  if (!/^[ァ-ヴー]{4,}$/.test(word)) return null;
  const cuts = Array.from({ length: word.length - 3 }, (_, index) => index + 2);
  /** @type {{results: any[]}[]} */
  const answers = await Promise.all(
    cuts.map((cut) => core.search(`${word.slice(0, cut)} ${word.slice(cut)}`, options)),
  );
  return answers.reduce((best, answer) =>
    answer.results.length > best.results.length ? answer : best,
  );
}

/**
 * Pages that have at least one of the words, those with more of them first.
 * @param {string[]} words
 * @param {object} [options]
 */
async function most(words, options) {
  const answers = await Promise.all([...new Set(words)].map((word) => core.search(word, options)));
  /** @type {Map<string, {result: any, hits: number, score: number}>} */
  const found = new Map();
  for (const result of answers.flatMap((/** @type {any} */ answer) => answer.results)) {
    const entry = found.get(result.id) ?? { result, hits: 0, score: 0 };
    found.set(result.id, { result, hits: entry.hits + 1, score: entry.score + result.score });
  }
  return [...found.values()]
    .sort((a, b) => b.hits - a.hits || b.score - a.score)
    .slice(0, MOST_RESULTS)
    .map((entry) => entry.result);
}
