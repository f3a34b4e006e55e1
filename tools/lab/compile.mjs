// Stage 1: unpack and compile with Pyodide's own Python. `libraries` makes the trees "std" and
// "site" (paths inside the interpreter → bytes), slow and rarely needed; `own` makes "lab" (our
// modules of every interpreter) and "engine" (src/workerlab, for the client alone).
import fs from "node:fs";
import path from "node:path";
import { BROWSER_CLUSTER, ENGINE, HERE, LAB, LAB_MODULES, SITE_PACKAGES, STDLIB_ZIP, WHEELS, ENGINE_MODULES, importPyodide, pyodideDir, stage, writeTree, writeWork, SO_NAME } from "./common.mjs";

/** Files beside modules that code reads at run time. */
const DATA_FILES = /\.(json|txt|html|css|js|pem)$/;
const META_FILES = /\.dist-info\/(METADATA|entry_points\.txt)$/;
const LEFT_OUT = /^(tzdata|pip|site-packages\/README)|\/(tests?|testing)\//;

function walk(FS, root) {
  const found = [];
  for (const name of FS.readdir(root).sort()) {
    if (name === "." || name === "..") continue;
    const at = `${root}/${name}`;
    if (FS.isDir(FS.stat(at).mode)) found.push(...walk(FS, at));
    else found.push(at);
  }
  return found;
}

/** Only the headers of METADATA: nobody reads the README at run time. */
function metadata(name, data) {
  const text = new TextDecoder().decode(data);
  return Buffer.from(name.endsWith("METADATA") ? text.split("\n\n")[0] + "\n" : text);
}

/** @param {any} pyodide @returns {(root: string, prefix: string, strip: boolean) => [string, Buffer][]} */
function compiler(pyodide) {
  pyodide.runPython(fs.readFileSync(path.join(HERE, "compile.py"), "utf8"));
  const compileTree = pyodide.globals.get("compile_tree");
  return (root, prefix, strip) => {
    const files = [];
    for (const pair of compileTree(root, prefix, strip)) {
      const [name, bytes] = pair.toJs();
      if (!LEFT_OUT.test(name)) files.push([name, Buffer.from(bytes)]);
      pair.destroy();
    }
    return files.sort(([a], [b]) => (a < b ? -1 : 1));
  };
}

function compileLibraries(pyodide) {
  const { FS } = pyodide;
  const compiled = compiler(pyodide);
  FS.mkdirTree("/site");
  for (const wheel of fs.readdirSync(WHEELS).sort()) {
    if (!wheel.endsWith(".whl")) continue;
    pyodide.unpackArchive(new Uint8Array(fs.readFileSync(path.join(WHEELS, wheel))), "wheel", { extractDir: "/site" });
  }
  FS.mkdirTree("/std");
  const stdlib = new Uint8Array(fs.readFileSync(path.join(pyodideDir, "python_stdlib.zip")));
  pyodide.unpackArchive(stdlib, "zip", { extractDir: "/std" });

  const site = compiled("/site", `${SITE_PACKAGES}/`, true);
  for (const file of walk(FS, "/site")) {
    const name = file.slice("/site/".length);
    if (LEFT_OUT.test(name)) continue;
    if (META_FILES.test(name)) site.push([name, metadata(name, FS.readFile(file))]);
    // anyio reads its own source for its lazy imports
    else if (DATA_FILES.test(name) || /^anyio\/(.*\/)?__init__\.py$/.test(name)) site.push([name, Buffer.from(FS.readFile(file))]);
    else if (name.endsWith(SO_NAME)) writeWork("pydantic_core.wasm", FS.readFile(file));
  }
  writeTree("site", site.sort(([a], [b]) => (a < b ? -1 : 1)));
  writeTree("std", compiled("/std", `${STDLIB_ZIP}/`, true));
}

function compileOwn(pyodide) {
  const { FS } = pyodide;
  const compiled = compiler(pyodide);
  FS.mkdirTree("/lab");
  FS.mkdirTree("/engine/workerlab");
  for (const name of LAB_MODULES) FS.writeFile(`/lab/${name}`, fs.readFileSync(path.join(LAB, name)));
  for (const name of ENGINE_MODULES) FS.writeFile(`/engine/workerlab/${name}`, fs.readFileSync(path.join(ENGINE, name)));
  FS.writeFile(`/engine/${BROWSER_CLUSTER}`, fs.readFileSync(path.join(LAB, BROWSER_CLUSTER)));
  writeTree("lab", compiled("/lab", `${SITE_PACKAGES}/`, true));
  writeTree("engine", compiled("/engine", `${SITE_PACKAGES}/`, false));
}

await stage("compile", async () => {
  const { loadPyodide } = await importPyodide();
  const pyodide = await loadPyodide({ env: { PYTHONNODEBUGRANGES: "1" } });
  if (process.argv[2] === "own") compileOwn(pyodide);
  else compileLibraries(pyodide);
});
