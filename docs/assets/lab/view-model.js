// @ts-check
// What the lab shows before a run, computed. Pure: no DOM, no text of its own.

/**
 * A topic as tools/lab_topics.py writes it; `runtime`: bytes of a first run, null when the runtime was not built.
 * @typedef {{ slug: string, title: string, version: string, files: Record<"bad" | "good", string>, needs: string[],
 *   drills: [name: string, label: string, playable: boolean][],
 *   invariants: { name: string, label: string, requirement: string }[], recorded: any, runtime: number | null }} Topic
 */

/** What this stage has for an experiment. */
const HAS = ["redis"];

/** A number as the engine writes it (workerlab.experiment.number). @param {number | null} value */
export const number = (value) => (value === null ? "―" : Number.isInteger(value) ? String(value) : value.toFixed(2));

/** @param {number} bytes */
export const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

/** An interpreter takes about 100 MB: fewer on small devices. @param {{ memory?: number, small: boolean }} device memory in GB, where known */
export const defaultWorkers = ({ memory = 8, small }) => (small || memory < 4 ? 2 : 4);

/** @param {string[]} needs */
export const missingNeeds = (needs) => needs.filter((need) => !HAS.includes(need));

/** What the lab cannot do without. @param {any} scope @returns {string[]} */
export const missingFeatures = (scope) => ["Worker", "WebAssembly", "DecompressionStream", "CompressionStream"].filter((name) => !(name in scope));
