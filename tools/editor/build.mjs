// Bundle the editor into docs/assets/lab/vendor: `node tools/editor/build.mjs`.
// Quick when nothing changed; offline once the packages lie in .cache/editor.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(HERE, "../..");
const CACHE = path.join(ROOT, ".cache/editor");
const TARGET = path.join(ROOT, "docs/assets/lab/vendor");
const MANIFEST = path.join(TARGET, "manifest.json");
const PACKAGES = ["package.json", "package-lock.json"];

const hash = (/** @type {(string | Buffer)[]} */ ...parts) => parts.reduce((sum, part) => sum.update(part), createHash("sha256")).digest("hex");
const read = (/** @type {string} */ name) => fs.readFileSync(path.join(HERE, name));

/** Install the locked packages, unless they lie there already. */
function install() {
  const wanted = hash(...PACKAGES.map(read));
  const stamp = path.join(CACHE, "installed");
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, "utf-8") === wanted) return;
  fs.rmSync(stamp, { force: true });
  fs.mkdirSync(CACHE, { recursive: true });
  for (const name of PACKAGES) fs.copyFileSync(path.join(HERE, name), path.join(CACHE, name));
  console.log("エディターのパッケージを npm から取得しています…");
  execFileSync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: CACHE, stdio: ["ignore", "ignore", "inherit"] });
  fs.writeFileSync(stamp, wanted);
}

async function bundle() {
  const { build } = await import(pathToFileURL(path.join(CACHE, "node_modules/esbuild/lib/main.js")).href);
  const { outputFiles } = await build({
    entryPoints: [path.join(HERE, "bundle.js")],
    bundle: true,
    format: "esm",
    minify: true,
    legalComments: "none",
    target: ["es2022"],
    nodePaths: [path.join(CACHE, "node_modules")],
    write: false,
  });
  return Buffer.from(outputFiles[0].contents);
}

async function main() {
  const stamp = hash(...[...PACKAGES, "bundle.js", "build.mjs"].map(read));
  const old = fs.existsSync(MANIFEST) ? JSON.parse(fs.readFileSync(MANIFEST, "utf-8")) : null;
  const testsReady = fs.existsSync(path.join(CACHE, "node_modules/axe-core/axe.min.js"));
  if (old?.stamp === stamp && fs.existsSync(path.join(TARGET, old.file)) && testsReady) return;
  install();
  const code = await bundle();
  const file = `editor.${hash(code).slice(0, 12)}.js`;
  fs.rmSync(TARGET, { recursive: true, force: true });
  fs.mkdirSync(TARGET, { recursive: true });
  fs.writeFileSync(path.join(TARGET, file), code);
  fs.writeFileSync(MANIFEST, JSON.stringify({ file, stamp }));
  console.log(`${file}: ${code.length} バイト（gzip ${gzipSync(code, { level: 9 }).length} バイト）`);
}

main().catch((error) => {
  console.error(`エディターを組み立てられませんでした: ${error.message}`);
  process.exit(1);
});
