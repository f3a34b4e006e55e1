// Paths and helpers that the build stages share. Each stage runs in a process of its own:
// a Pyodide that failed half-way cannot spoil the next one.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const HERE = path.dirname(fileURLToPath(import.meta.url));
export const ROOT = path.resolve(HERE, "../..");
export const CACHE = path.join(ROOT, ".cache/lab");
export const NODE_MODULES = path.join(CACHE, "npm/node_modules");
export const WHEELS = path.join(CACHE, "wheels");
export const WORK = path.join(CACHE, "build");
export const LAB = path.join(ROOT, "docs/assets/lab");
export const RUNTIME = path.join(LAB, "runtime");
export const ENGINE = path.join(ROOT, "src/workerlab");

export const SITE_PACKAGES = "/lib/python3.14/site-packages";
export const STDLIB_ZIP = "/lib/python314.zip";
export const SO_NAME = "_pydantic_core.cpython-314-wasm32-emscripten.so";
/** Must equal the path that `import pydantic_core` looks for, or it is loaded a second time. */
export const SO_PATH = `${SITE_PACKAGES}/pydantic_core/${SO_NAME}`;
export const PAGE = 4096;

/** Imports the engine, so it travels with it. */
export const BROWSER_CLUSTER = "browser_cluster.py";
/** Python modules of ours that every interpreter carries. */
export const LAB_MODULES = fs.readdirSync(LAB).filter((name) => name.endsWith(".py") && name !== BROWSER_CLUSTER).sort();

/** What of the engine runs in the client interpreter: standard library only, see DESIGN.md. */
export const ENGINE_MODULES = ["__init__.py", "cluster.py", "errors.py", "experiment.py", "timeline.py", "trace.py"].filter((name) => fs.existsSync(path.join(ENGINE, name)));

export const pyodideDir = path.join(NODE_MODULES, "pyodide");

/** The pinned Pyodide: its loader and the factory of its WebAssembly module. */
export async function importPyodide() {
  const at = (name) => pathToFileURL(path.join(pyodideDir, name)).href;
  const { loadPyodide } = await import(at("pyodide.mjs"));
  const { default: createPyodideModule } = await import(at("pyodide.asm.mjs"));
  return { loadPyodide, createPyodideModule };
}

export function readWork(name) {
  return fs.readFileSync(path.join(WORK, name));
}

export function writeWork(name, data) {
  fs.mkdirSync(WORK, { recursive: true });
  fs.writeFileSync(path.join(WORK, name), data);
}

/** A tree of files as one buffer with an index: `[path, offset, length][]`. */
export function packTree(files) {
  const index = [];
  let offset = 0;
  for (const [name, data] of files) {
    index.push([name, offset, data.length]);
    offset += data.length;
  }
  return { index, bytes: Buffer.concat(files.map(([, data]) => data)) };
}

export function writeTree(name, files) {
  const { index, bytes } = packTree(files);
  writeWork(`${name}.json`, JSON.stringify(index));
  writeWork(`${name}.bin`, bytes);
}

/** @returns {Map<string, Buffer>} */
export function readTree(name) {
  const bytes = readWork(`${name}.bin`);
  const index = JSON.parse(readWork(`${name}.json`).toString());
  return new Map(index.map(([file, at, length]) => [file, bytes.subarray(at, at + length)]));
}

/** Pyodide's errors quote whole modules: keep messages readable. */
export function brief(error) {
  return String(error?.stack ?? error)
    .split("\n")
    .map((line) => line.slice(0, 300))
    .slice(0, 40)
    .join("\n");
}

/** Run a stage's body; a failure ends the process with a short message. */
export async function stage(name, body) {
  const fail = (error) => {
    console.error(`${name}: ${brief(error)}`);
    process.exit(1);
  };
  process.on("uncaughtException", fail);
  process.on("unhandledRejection", fail);
  await body();
  process.exit(0);
}
