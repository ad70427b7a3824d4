// Copies what the pages use of others into static/vendor, which git ignores, each with its licence. Run by
// `make web-assets`, after npm ci.
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, "node_modules");
const vendor = join(here, "..", "static", "vendor");

// What Niivue's file holds of others: the packages that its bundle names.
const bundled = Object.keys(JSON.parse(readFileSync(join(modules, "@niivue/niivue/dist/metafile-esm.json"))).inputs)
  .filter((path) => path.includes("node_modules/"))
  .map((path) => path.split("node_modules/").at(-1).split("/"))
  .map(([first, second]) => (first.startsWith("@") ? `${first}/${second}` : first));

function licence(name) {
  const folder = join(modules, name);
  const about = JSON.parse(readFileSync(join(folder, "package.json")));
  const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
  const text = file ? readFileSync(join(folder, file), "utf8") : `${about.license}; no text comes with it.\n`;
  return `${name} ${about.version}\n\n${text}`;
}

const others = [...new Set(bundled)].sort().filter((name) => existsSync(join(modules, name)));
const own = `@niivue/niivue ${JSON.parse(readFileSync(join(modules, "@niivue/niivue/package.json"))).version}\n\n`;
const texts = [own + readFileSync(join(here, "niivue-licence.txt"), "utf8"), ...others.map(licence)];

mkdirSync(vendor, { recursive: true });
const draft = join(vendor, ".niivue.js");
copyFileSync(join(modules, "@niivue/niivue/dist/index.js"), draft);
writeFileSync(join(vendor, "niivue.licences.md"), texts.join(`\n${"-".repeat(80)}\n\n`));
renameSync(draft, join(vendor, "niivue.js"));
rmSync(draft, { force: true });
