// Builds ../dist: hashed files, their list, and the licences of what is inside.
// `node build.mjs --check` builds into memory and says whether ../dist is what comes out.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "..", "dist");
const vendored = join(here, "..", "..", "..", "http", "vendored");
const HASH_LENGTH = 10;

const built = await esbuild.build({
  absWorkingDir: here,
  entryPoints: { main: "src/main.tsx", ticket: "src/ticket/main.tsx", style: "src/styles/main.css" },
  outdir: dist,
  bundle: true,
  minify: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "none",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  alias: { "tus-js-client": join(vendored, "tus.min.js") },
  define: { "process.env.NODE_ENV": '"production"' },
  metafile: true,
  write: false,
  logLevel: "warning",
});

const files = new Map();
for (const file of built.outputFiles) files.set(basename(file.path), Buffer.from(file.contents));

const outputOf = (entry) => Object.entries(built.metafile.outputs).find(([, one]) => one.entryPoint === entry)[0];
const named = (entry) => basename(outputOf(entry));

/** What an entry imports at once, so that a browser asks for all of it together, and not part after part. */
function preloads(entry, folder) {
  const found = new Set([outputOf(entry)]);
  for (const output of found)
    for (const one of built.metafile.outputs[output].imports)
      if (one.kind === "import-statement") found.add(one.path);
  return [...found].slice(1).map((path) => `<link rel="modulepreload" href="${folder}/${basename(path)}">`).sort().join("\n");
}
const icon = readFileSync(join(here, "src", "icon.svg"));
const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, HASH_LENGTH)}.svg`;
files.set(iconName, icon);
const entries = { "index.html": ["src/main.tsx", "/console/assets"], "ticket.html": ["src/ticket/main.tsx", "page"] };
for (const [page, [entry, folder]] of Object.entries(entries)) {
  const text = readFileSync(join(here, "src", page), "utf8")
    .replace("{main}", named("src/main.tsx"))
    .replace("{ticket}", named("src/ticket/main.tsx"))
    .replace("{preloads}", preloads(entry, folder))
    .replace("{style}", named("src/styles/main.css"))
    .replace("{icon}", iconName);
  files.set(page, Buffer.from(text));
}
files.set("LICENSES.txt", Buffer.from(licences()));

function licences() {
  const packages = new Map([["tus-js-client", join(vendored, "tus.LICENSE.txt")]]);
  for (const input of Object.keys(built.metafile.inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.set(found[1], join(here, "node_modules", found[1], "LICENSE"));
  }
  const parts = [];
  for (const name of [...packages.keys()].sort())
    parts.push(`${name}\n\n${readFileSync(packages.get(name), "utf8").trim()}\n`);
  return parts.join(`\n${"-".repeat(80)}\n\n`);
}

if (process.argv.includes("--check")) {
  const kept = existsSync(dist) ? readdirSync(dist) : [];
  const wrong = new Set(kept.filter((name) => !files.has(name)));
  for (const [name, data] of files)
    if (!kept.includes(name) || !data.equals(readFileSync(join(dist, name)))) wrong.add(name);
  if (wrong.size) {
    console.error(`api/doors/console/dist differs from its source: ${[...wrong].sort().join(", ")}`);
    console.error("Run `make console`, and commit what it writes.");
    process.exit(1);
  }
} else {
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist);
  for (const [name, data] of files) writeFileSync(join(dist, name), data);
}
