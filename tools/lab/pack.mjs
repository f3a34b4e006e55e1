// Stage 3: everything the browser downloads, under immutable names, and the manifest.
// Usage: node pack.mjs INPUTS IMAGE...
import fs from "node:fs";
import path from "node:path";
import { createHash } from "node:crypto";
import { deflateSync, gzipSync } from "node:zlib";
import { MAGIC, preloadExtension, trampolineSlot } from "../../docs/assets/lab/restore.js";
import { NODE_MODULES, PAGE, RUNTIME, SITE_PACKAGES, SO_PATH, STDLIB_ZIP, importPyodide, packTree, pyodideDir, readTree, readWork, stage } from "./common.mjs";
import { storedZip } from "./zip.mjs";

/** Memory of a fresh instance at the moment of the restore. */
async function freshMemory(snapshot, env) {
  const { loadPyodide, createPyodideModule } = await importPyodide();
  const extension = new WebAssembly.Module(readWork("pydantic_core.wasm"));
  let memory;
  await loadPyodide({
    _loadSnapshot: snapshot,
    env,
    createPyodideModule: async (settings) => {
      settings.preRun.push((Module) => {
        if (!Module.HEAP32[trampolineSlot(Module)]) Module.wasmTable.grow(1);
        preloadExtension(Module, extension, SO_PATH);
      });
      const Module = await createPyodideModule(settings);
      memory = Buffer.from(Module.HEAPU8.slice());
      Module.growMemory(snapshot.length);
      return Module;
    },
  });
  return memory;
}

/** Keep the pages that differ from a fresh instance (static data) or are not zero (the rest). */
async function packPages(snapshot, layout) {
  const [, header] = new Uint32Array(snapshot.buffer, snapshot.byteOffset, 2);
  const heap = snapshot.subarray(header);
  const fresh = [await freshMemory(snapshot, { LANG: "de_DE.UTF-8", PADDING: "a".repeat(200) }), await freshMemory(snapshot, { HOME: "/tmp/elsewhere" })];
  const zero = Buffer.alloc(PAGE);
  const count = Math.ceil(heap.length / PAGE);
  const bitmap = Buffer.alloc(Math.ceil(count / 8));
  const kept = [];
  for (let i = 0; i < count; i++) {
    const page = heap.subarray(i * PAGE, (i + 1) * PAGE);
    const base = fresh.map((memory) => ((i + 1) * PAGE <= memory.length ? memory.subarray(i * PAGE, (i + 1) * PAGE) : zero));
    const untouched = base[0].equals(base[1]) && page.equals(base[0]);
    if (i < layout.staticPages ? untouched : page.equals(zero)) continue;
    kept.push(page);
    bitmap[i >> 3] |= 1 << (i & 7);
  }
  const words = new Uint32Array([MAGIC, header, count, heap.length]);
  return Buffer.concat([Buffer.from(words.buffer), snapshot.subarray(0, header), bitmap, ...kept]);
}

/** Index (JSON, padded to the length in the first word) and bytes in one file. */
function archive(files) {
  const { index, bytes } = packTree(files);
  const head = Buffer.from(JSON.stringify(index));
  const size = Buffer.alloc(4);
  size.writeUInt32LE(head.length);
  return Buffer.concat([size, head, bytes]);
}

const PYC_HEADER = 16; // flags and hash: the lazy loader wants the marshalled code alone

/** Each entry is compressed by itself: an interpreter inflates only what it imports. */
function lazyArchive(std, site, modules) {
  const files = [];
  for (const [name, [, origin]] of Object.entries(modules.lazy).sort()) {
    const inZip = origin.startsWith(STDLIB_ZIP);
    const file = origin.slice((inZip ? STDLIB_ZIP : SITE_PACKAGES).length + 1) + "c";
    files.push([name, (inZip ? std : site).get(file).subarray(PYC_HEADER)]);
  }
  for (const [name, data] of site) if (!/\.pyc$|\.py$/.test(name)) files.push([`${SITE_PACKAGES}/${name}`, data]);
  return archive(files.map(([name, data]) => [name, deflateSync(data, { level: 9 })]));
}

/** The plain path: one zip with what the snapshot holds, imported by the interpreter itself. */
function plainZip(std, site, modules) {
  const files = new Map();
  for (const name of std.keys()) {
    if (modules.std.includes(name) || /^(encodings|_pyodide|pyodide|importlib|zipfile)\/|^_sysconfigdata|^site\.pyc/.test(name)) files.set(name, std.get(name));
  }
  const extras = [...site.keys()].filter((name) => /^anyio\/.*\.py$|\.dist-info\/|^fakeredis\/.*\.json$/.test(name));
  // beside its extension, or beside its data file: these cannot be imported from a zip
  const unpacked = (name) => (/^(pydantic_core|fakeredis)\//.test(name) ? `site-packages/${name}` : name);
  for (const name of [...modules.site, ...extras]) files.set(unpacked(name), site.get(name));
  files.set("lab_lazy.json", Buffer.from(JSON.stringify(modules.lazy)));
  return storedZip([...files].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** PostgreSQL for topics that need it: what its browser build loads, nothing of its extensions. */
function copyPglite(folder) {
  const from = path.join(NODE_MODULES, "@electric-sql/pglite");
  const { version } = JSON.parse(fs.readFileSync(path.join(from, "package.json"), "utf8"));
  const name = `pglite-${version}/`;
  fs.mkdirSync(path.join(folder, name));
  for (const file of fs.readdirSync(path.join(from, "dist"))) {
    if (/^(index|chunk-\w+)\.js$|^(pglite|initdb)\.(wasm|data)$/.test(file)) fs.copyFileSync(path.join(from, "dist", file), path.join(folder, name, file));
  }
  return name;
}

await stage("pack", async () => {
  const [inputs, ...images] = process.argv.slice(2);
  const read = (image, kind) => JSON.parse(readWork(`${image}.${kind}.json`).toString());
  const modules = read(images[0], "modules");
  const std = readTree("std");
  const site = new Map([...readTree("site"), ...readTree("lab")]);

  const folder = `${RUNTIME}.new`;
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  const manifest = { inputs, files: {}, folders: {}, images: {} };
  /** @param {string} role @param {string} name @param {Buffer} data @param {boolean} zipped */
  const publish = (role, name, data, zipped = false) => {
    const small = gzipSync(data, { level: 9 });
    const content = zipped ? small : data;
    const hash = createHash("sha256").update(content).digest("hex");
    const [stem, ...extensions] = name.split(".");
    const file = `${stem}.${hash.slice(0, 12)}.${extensions.join(".")}${zipped ? ".gz" : ""}`;
    fs.writeFileSync(path.join(folder, file), content);
    manifest.files[role] = { file, bytes: content.length, gzip: zipped ? content.length : small.length, raw: data.length, sha256: hash };
  };
  publish("loader", "pyodide.mjs", fs.readFileSync(path.join(pyodideDir, "pyodide.mjs")));
  publish("glue", "pyodide-asm.mjs", fs.readFileSync(path.join(pyodideDir, "pyodide.asm.mjs")));
  publish("wasm", "pyodide.wasm", fs.readFileSync(path.join(pyodideDir, "pyodide.asm.wasm")));
  publish("extension", "pydantic-core.wasm", readWork("pydantic_core.wasm"));
  for (const image of images) {
    const layout = read(image, "layout");
    const role = `snapshot-${image}`;
    publish(role, `${role}.bin`, await packPages(readWork(`${image}.bin`), layout), true);
    manifest.images[image] = { snapshot: role, layout };
  }
  publish("engine", "engine.bin", archive([...readTree("engine")].map(([name, data]) => [`${SITE_PACKAGES}/${name}`, data])), true);
  publish("lazy", "lazy.bin", lazyArchive(std, site, modules));
  publish("plain", "plain.zip", plainZip(std, site, modules), true);
  manifest.folders.pglite = copyPglite(folder);
  fs.writeFileSync(path.join(folder, "manifest.json"), JSON.stringify(manifest));
  fs.rmSync(RUNTIME, { recursive: true, force: true });
  fs.renameSync(folder, RUNTIME);

  for (const [role, { file, raw, gzip }] of Object.entries(manifest.files)) console.log(`${role.padEnd(14)} ${String(raw).padStart(9)} ${String(gzip).padStart(9)}  ${file}`);
  const first = ["loader", "glue", "wasm", "extension", `snapshot-${images[0]}`, "engine"];
  console.log(`first visit    ${first.reduce((sum, role) => sum + manifest.files[role].gzip, 0)} bytes with gzip`);
});
