// @ts-check
/**
 * How many workers fit, and which limit says so. Pure: no DOM, so that node can test it.
 *
 * @typedef {"cpu" | "memory" | "database"} Limit
 * @typedef {object} Machine One container, or one machine without containers.
 * @property {number} cores CPU quota; 0.5 is half a core.
 * @property {number | null} memory MiB that all workers together may use; null: not asked.
 * @property {number | null} perWorker MiB (PSS) of one worker under load.
 * @property {number | null} connections Connections that the database leaves to this app.
 * @property {number} pool Most connections of one worker: pool_size + max_overflow.
 * @property {number} containers Containers that share the database.
 * @typedef {{ limit: Limit, workers: number, text: string }} Bound
 * @typedef {object} Answer
 * @property {number} workers
 * @property {Limit} decided The limit that is reached first.
 * @property {Bound[]} bounds
 * @property {string} headline
 * @property {string[]} notes
 */

/** @type {Record<Limit, string>} */
export const NAMES = { cpu: "CPU", memory: "メモリ", database: "データベースの接続" };

/** @param {number} value */
const plain = (value) => String(Math.round(value * 100) / 100);

/**
 * What `floor` should see: 0.3 / 0.1 is 2.9999999999999996.
 * @param {number} total
 * @param {number} part
 */
const fit = (total, part) => Math.floor(total / part + 1e-9);

/** @param {Machine} machine @returns {Bound} */
function byCpu({ cores }) {
  const workers = Math.max(1, fit(cores, 1));
  const text =
    cores < 1
      ? `${plain(cores)} コアは 1 コアに満たないので、1 つです。`
      : `${plain(cores)} コアに 1 つずつで、${workers} つです。`;
  return { limit: "cpu", workers, text };
}

/** @param {Machine} machine @returns {Bound | null} */
function byMemory({ memory, perWorker }) {
  if (memory === null || perWorker === null) return null;
  const workers = fit(memory, perWorker);
  const text = `${plain(memory)} MiB ÷ ${plain(perWorker)} MiB で、${workers} つまでです。`;
  return { limit: "memory", workers, text };
}

/** @param {Machine} machine @returns {Bound | null} */
function byDatabase({ connections, pool, containers }) {
  if (connections === null) return null;
  const workers = fit(connections, pool * containers);
  const shared = containers > 1 ? ` ÷ ${containers} コンテナ` : "";
  const text = `${connections} 本 ÷ ${pool} 本${shared}で、${workers} つまでです。`;
  return { limit: "database", workers, text };
}

/** @param {Machine} machine */
export const oldRule = (machine) => Math.floor(2 * machine.cores) + 1;

/** @param {Machine} machine @param {Bound[]} bounds */
function aboutOldRule(machine, bounds) {
  const rule = oldRule(machine);
  const broken = bounds.filter(({ limit, workers }) => limit !== "cpu" && rule > workers);
  const over = broken.map(({ limit }) =>
    limit === "memory"
      ? `メモリは ${plain(rule * (machine.perWorker ?? 0))} MiB`
      : `接続は最大 ${rule * machine.pool * machine.containers} 本`,
  );
  const start = `「2 × コア数 + 1」では ${rule} つです。`;
  if (over.length) return `${start}${over.join("、")}になり、上限を超えます。`;
  return `${start}メモリと接続の、入力した上限には収まります。`;
}

/** @param {Machine} machine @param {Bound[]} bounds @param {number} workers */
function notesFor(machine, bounds, workers) {
  const notes = [];
  if (machine.cores < 1) notes.push("2 つ目のワーカーも、同じ CPU の割り当てを分け合います。");
  if (workers === 1) {
    notes.push("このワーカーが死ぬと、起動し直すまで、このコンテナは答えません。");
  }
  const asked = new Set(bounds.map(({ limit }) => limit));
  if (!asked.has("memory")) notes.push("メモリは確かめていません。");
  if (!asked.has("database")) notes.push("データベースの接続は確かめていません。");
  notes.push(aboutOldRule(machine, bounds));
  return notes;
}

/**
 * The number to start with, and why.
 * @param {Machine} machine
 * @returns {Answer}
 */
export function workerCount(machine) {
  const bounds = [byCpu(machine), byMemory(machine), byDatabase(machine)].filter(
    (bound) => bound !== null,
  );
  const workers = Math.min(...bounds.map((bound) => bound.workers));
  const first = bounds.find((bound) => bound.workers === workers);
  const decided = first ? first.limit : "cpu";
  const headline =
    workers < 1
      ? `1 つも動かせません。足りないのは、${NAMES[decided]}です。`
      : `${workers} ワーカーから始めます。決めたのは、${NAMES[decided]}です。`;
  return { workers, decided, bounds, headline, notes: notesFor(machine, bounds, workers) };
}

/**
 * What a field must hold.
 * @typedef {{ label: string, unit: string, value: string, min: number, whole: boolean, optional: boolean }} Field
 * @type {Record<"cores" | "memory" | "perWorker" | "connections" | "poolSize" | "overflow" | "containers", Field>}
 */
export const FIELDS = {
  cores: { label: "CPU の割り当て", unit: "コア", value: "2", min: 0.05, whole: false, optional: false },
  memory: { label: "ワーカーに使えるメモリ", unit: "MiB", value: "512", min: 1, whole: false, optional: true },
  perWorker: { label: "ワーカー 1 つの PSS", unit: "MiB", value: "80", min: 1, whole: false, optional: true },
  connections: { label: "アプリに使える接続", unit: "本", value: "40", min: 1, whole: true, optional: true },
  poolSize: { label: "pool_size", unit: "本", value: "5", min: 1, whole: true, optional: false },
  overflow: { label: "max_overflow", unit: "本", value: "10", min: 0, whole: true, optional: false },
  containers: { label: "コンテナの数", unit: "個", value: "1", min: 1, whole: true, optional: false },
};

/** @typedef {keyof typeof FIELDS} Name */

/**
 * A field's number, or what is wrong with it.
 * @param {Name} name
 * @param {string} text
 * @returns {{ value: number | null, error: string }}
 */
export function read(name, text) {
  const { min, whole, optional } = FIELDS[name];
  if (text.trim() === "") {
    return { value: null, error: optional ? "" : "数を入れてください。" };
  }
  const value = Number(text);
  if (!Number.isFinite(value) || value < min) {
    return { value: null, error: `${min} 以上の数を入れてください。` };
  }
  if (whole && !Number.isInteger(value)) {
    return { value: null, error: "整数を入れてください。" };
  }
  return { value, error: "" };
}

/**
 * All fields at once.
 * @param {Record<Name, string>} texts
 * @returns {{ machine: Machine | null, errors: Partial<Record<Name, string>> }}
 */
export function readAll(texts) {
  /** @type {Partial<Record<Name, string>>} */
  const errors = {};
  /** @param {Name} name */
  const number = (name) => {
    const { value, error } = read(name, texts[name]);
    if (error) errors[name] = error;
    return value;
  };
  const machine = {
    cores: number("cores") ?? 0,
    memory: number("memory"),
    perWorker: number("perWorker"),
    connections: number("connections"),
    pool: (number("poolSize") ?? 0) + (number("overflow") ?? 0),
    containers: number("containers") ?? 0,
  };
  return { machine: Object.keys(errors).length ? null : machine, errors };
}
