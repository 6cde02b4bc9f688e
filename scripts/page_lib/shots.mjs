// Pictures of pages in headless Chromium; scripts/screenshot-readme starts this: shots.mjs FOLDER OUT PAGE...
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";

const require = createRequire(path.resolve("target/peers/package.json"));
const { chromium } = require("playwright-core");
const [folder, out, ...names] = process.argv.slice(2);
const profile = fs.mkdtempSync(path.join(os.tmpdir(), "mailbell-chromium-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  viewport: { width: 1280, height: 1000 },
});
let faults = 0;
function check(what, holds) {
  console.log((holds ? "ok  " : "FAIL  ") + what);
  faults += holds ? 0 : 1;
}

try {
  const page = browser.pages()[0] ?? (await browser.newPage());
  for (const name of names) {
    await page.goto("file://" + path.resolve(folder, name));
    const short = name.replace(/\.html$/, "").replaceAll("/", "-");
    const pictures = await page.$$eval("img", (all) => all.map((image) => [image.getAttribute("src"), image.complete && image.naturalWidth > 0]));
    for (const [source, loaded] of pictures) check(`${name}: ${source} is shown`, loaded);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    check(`${name}: nothing is wider than the page`, !wide);
    // The recording plays once.
    if (pictures.some(([source]) => source.endsWith("demo.svg"))) await page.waitForTimeout(12000);
    for (const scheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      await page.evaluate(() => window.scrollTo(0, 0));
      await page.screenshot({ path: path.join(out, `${short}-${scheme}.png`) });
      await page.screenshot({ path: path.join(out, `${short}-${scheme}-whole.png`), fullPage: true });
      for (const image of await page.$$("img[src$='.svg']")) {
        const picture = path.basename(await image.getAttribute("src"), ".svg");
        await image.screenshot({ path: path.join(out, `${picture}-${scheme}.png`) });
      }
    }
  }
} finally {
  await browser.close();
  fs.rmSync(profile, { recursive: true, force: true });
}
console.log(`screenshot-readme: ${faults} failed; pictures in ${out}`);
process.exitCode = faults ? 1 : 0;
