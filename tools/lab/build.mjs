// Builds the browser runtime of the lab: `sh tools/lab/build.sh` (which finds Node) calls this.
//
//   downloads (pinned, cached in .cache/lab) → compile → snapshot → pack → docs/assets/lab/runtime
//
// Nothing happens when the inputs are those of the last build; nothing is downloaded twice.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { CACHE, ENGINE, ENGINE_MODULES, HERE, LAB, ROOT, RUNTIME, WHEELS, WORK } from "./common.mjs";

const PLATFORM = ["--platform", "pyemscripten_2026_0_wasm32", "--python-version", "3.14", "--implementation", "cp", "--abi", "cp314", "--abi", "abi3", "--abi", "none", "--only-binary=:all:"];
const IMAGES = ["base", "sql"];

const listed = (folder, pattern) => fs.readdirSync(folder).filter((name) => pattern.test(name)).sort().map((name) => path.join(folder, name));

function digest(files) {
  const hash = createHash("sha256");
  for (const file of files) hash.update(path.relative(ROOT, file)).update("\0").update(fs.readFileSync(file)).update("\0");
  return hash.digest("hex");
}

const DOWNLOADS = ["package.json", "package-lock.json", "requirements.txt"].map((name) => path.join(HERE, name));
const LIBRARIES = [...DOWNLOADS, ...["compile.mjs", "compile.py", "common.mjs"].map((name) => path.join(HERE, name))];
const EVERYTHING = [
  ...listed(HERE, /\.mjs$|^(package.*\.json|requirements\.txt|compile\.py|warm.*\.py|lazy_names\.py)$/),
  ...listed(LAB, /\.py$|^restore\.js$/),
  ...ENGINE_MODULES.map((name) => path.join(ENGINE, name)),
];

function stop(message) {
  console.error(`make lab: ${message}`);
  process.exit(2);
}

function run(command, args, options = {}) {
  try {
    execFileSync(command, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"], ...options });
  } catch (error) {
    const tail = String(error.stderr ?? error).trim().split("\n").filter((line) => !/^WARNING/i.test(line)).slice(-4).join("\n");
    stop(`${path.basename(command)} ${args[0]} に失敗しました。ネットワークとディスクを確かめて、もう一度実行してください。\n${tail}`);
  }
}

/** Do *work* unless the stamp says that it was done for these files. */
function once(name, files, work) {
  const stamp = path.join(CACHE, `${name}.stamp`);
  const wanted = digest(files);
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, "utf8") === wanted) return;
  work();
  fs.mkdirSync(CACHE, { recursive: true });
  fs.writeFileSync(stamp, wanted);
}

function findPython() {
  for (const candidate of [path.join(ROOT, ".venv/bin/python"), "python3", "python"]) {
    try {
      execFileSync(candidate, ["-m", "pip", "--version"], { stdio: "ignore" });
      return candidate;
    } catch {
      continue;
    }
  }
  return stop("pip のある Python が見つかりません。先に make setup を実行してください。");
}

function download() {
  once("npm", DOWNLOADS.slice(0, 2), () => {
    const folder = path.join(CACHE, "npm");
    fs.rmSync(folder, { recursive: true, force: true });
    fs.mkdirSync(folder, { recursive: true });
    for (const file of DOWNLOADS.slice(0, 2)) fs.copyFileSync(file, path.join(folder, path.basename(file)));
    console.error("make lab: npm のパッケージを取得しています…");
    run(process.env.NPM ?? "npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], { cwd: folder });
  });
  once("wheels", DOWNLOADS.slice(2), () => {
    fs.rmSync(WHEELS, { recursive: true, force: true });
    console.error("make lab: PyPI の wheel を取得しています…");
    run(findPython(), ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", ...PLATFORM, "--dest", WHEELS, "--requirement", DOWNLOADS[2]]);
  });
}

const stage = (script, ...args) => run(process.execPath, [path.join(HERE, script), ...args], { stdio: ["ignore", "inherit", "inherit"] });

function isComplete(inputs) {
  try {
    const manifest = JSON.parse(fs.readFileSync(path.join(RUNTIME, "manifest.json"), "utf8"));
    return manifest.inputs === inputs && Object.values(manifest.files).every(({ file, bytes }) => fs.statSync(path.join(RUNTIME, file)).size === bytes);
  } catch {
    return false;
  }
}

const inputs = digest(EVERYTHING);
if (!isComplete(inputs)) {
  download();
  once("libraries", LIBRARIES, () => {
    console.error("make lab: ライブラリをコンパイルしています（30 秒ほど）…");
    fs.rmSync(WORK, { recursive: true, force: true });
    stage("compile.mjs", "libraries");
  });
  stage("compile.mjs", "own");
  for (const image of IMAGES) stage("snapshot.mjs", image);
  stage("pack.mjs", inputs, ...IMAGES);
}
