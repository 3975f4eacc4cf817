// Bundles src/ into the one file that sdbatch fills with a run: ../sdbatch/report/page.html
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const made = await build({
  entryPoints: ["src/main.tsx", "src/style.css"],
  bundle: true,
  minify: true,
  write: false,
  outdir: "out",
  target: "es2022",
  format: "iife",
  charset: "ascii",
  legalComments: "none",
});
const text = (suffix) => made.outputFiles.find((file) => file.path.endsWith(suffix)).text.trim();
const script = text("main.js");
if (/<\/script|<!--/i.test(script)) throw new Error("the script holds what would end it");
// Which sources the bundle is of: a test sees whether it is stale.
const sources = createHash("sha256");
for (const name of readdirSync("src").sort()) sources.update(name).update(readFileSync(`src/${name}`));
const page = readFileSync("src/page.html", "utf8")
  .replace("/*style*/", () => text("style.css"))
  .replace("/*script*/", () => script)
  .replace("{{sources}}", sources.digest("hex"));
writeFileSync("../sdbatch/report/page.html", page);
