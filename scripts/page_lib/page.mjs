// The page in headless Chromium; scripts/test-page starts this: page.mjs BINARY FOLDER.
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { Mailbell } from "./server.mjs";

const require = createRequire(path.resolve("target/peers/package.json"));
const { chromium } = require("playwright-core");
const [binary, shots] = process.argv.slice(2);
const PATIENCE = 60000;
let checks = 0;

function check(what, holds) {
  if (!holds) throw new Error("does not hold: " + what);
  checks += 1;
  console.log("ok  " + what);
}

const MAILS = [
  ["alice", "News of the Bank <news@bank.example>", "Your statement of November is ready"],
  ["bob", "\"Marta Kov\u00e1cs\" <marta@studio.example>", "Re: drawings for the stairs, second floor"],
  ["alice", "backup@nas.home", "[nas] backup finished: 214 GB in 3 h 12 min"],
  ["alice", "Camera <cam@door.home>", "Motion at the front door"],
  ["bob", "GitHub <noreply@code.example>", "[lib/parser] Pull request 118: accept empty groups in address lists, and say in the documentation why they are kept (review wanted)"],
  ["alice", "\u5c71\u7530\u592a\u90ce <taro@example.jp>", "\u3054\u4e88\u7d04\u306e\u78ba\u8a8d"],
  ["bob", "monitor@hosting.example", "RESOLVED: web-2 answers again after 4 minutes"],
  ["alice", "Invoices <billing@power.example>", "Invoice 2026-11-0471"],
];
const encoded = (text) => `=?utf-8?b?${Buffer.from(text).toString("base64")}?=`;
const header = ([, from, subject]) => `From: ${from.replace(/^([^<"]*[^\x00-\x7f][^<]*)(?= <)/, (name) => encoded(name))}\nSubject: ${encoded(subject)}`;
const HOSTILE = "<script>window.broken = 1</script><img src=x onerror='window.broken = 1'>";

const profile = fs.mkdtempSync(path.join(os.tmpdir(), "mailbell-chromium-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  viewport: { width: 1280, height: 860 },
});
const server = await Mailbell.prepare(binary, "[[pipe]]\npath = \"notify\"\n[[hook]]\nname = \"archive\"\ncommand = [\"/bin/true\"]\n");
let tokened = null;
try {
  await server.start();
  for (const mail of MAILS.slice(0, 5)) await server.send(mail[0], header(mail));
  const page = browser.pages()[0] ?? (await browser.newPage());
  const faults = [];
  page.on("console", (said) => said.type() === "error" && faults.push(said.text()));
  page.on("pageerror", (error) => faults.push(String(error)));
  const address = `http://127.0.0.1:${server.http}/`;
  await page.goto(address);
  const seqs = () => page.$$eval("#list li[data-seq]", (items) => items.map((item) => Number(item.dataset.seq)));
  const until = (count) => page.waitForFunction((count) => document.querySelectorAll("#list li[data-seq]").length >= count, count, { timeout: PATIENCE });
  await until(5);
  check("the events of the journal are there", String(await seqs()) === "5,4,3,2,1");

  await page.evaluate(() => (window.stays = true));
  await server.send("alice", header(MAILS[5]));
  await until(6);
  check("a mail appears without a reload", await page.evaluate(() => window.stays === true));
  check("decoded, as text", (await page.textContent("#list li .subject")) === MAILS[5][2]);

  await server.send("bob", `From: ${HOSTILE}\nSubject: ${HOSTILE}`);
  await until(7);
  check("a subject of <script> is text", (await page.textContent("#list li .subject")) === HOSTILE);
  check("and runs nothing", (await page.evaluate(() => window.broken)) === undefined && (await page.$$("#list script, #list img")).length === 0);
  check("nothing on the page is an error", faults.length === 0 || console.log(faults));

  for (let round = 0; round < 3; round += 1) {
    const count = (await seqs()).length;
    await server.stop(round % 2 ? "SIGKILL" : "SIGTERM");
    await page.waitForFunction(() => document.getElementById("link").className === "off", null, { timeout: PATIENCE });
    check("the page says that there is no connection", /no connection/.test(await page.textContent("#wrong")));
    if (round === 0) await page.screenshot({ path: path.join(shots, "offline.png") });
    await server.start();
    await server.send("alice", header(MAILS[6 + (round % 2)]));
    await until(count + 1);
    await server.send("alice", header(MAILS[3]));
    await until(count + 2);
    const seen = await seqs();
    check(`no gap and no repeat after ${round % 2 ? "a kill" : "a restart"}`, seen.every((seq, at) => seq === seen.length - at));
  }
  await page.waitForFunction(() => document.getElementById("link").className === "live", null, { timeout: PATIENCE });
  await page.waitForFunction(() => document.getElementById("wrong-title").textContent === "All is well", null, { timeout: PATIENCE });
  await page.waitForFunction(() => /hook archive/.test(document.getElementById("side").textContent), null, { timeout: PATIENCE });
  const framed = await browser.newPage();
  await framed.goto(`http://localhost:${server.http}/`);
  check("another name of loopback is served too", (await framed.title()).includes("mailbell"));
  await framed.close();
  await page.waitForTimeout(4500);
  await page.screenshot({ path: path.join(shots, "light.png"), fullPage: true });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: path.join(shots, "dark.png"), fullPage: true });
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 390, height: 844 });
  await page.screenshot({ path: path.join(shots, "narrow.png"), fullPage: true });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
  check("nothing is wider than a phone", !wide);

  // What may be wrong, and parts of which the page knows only the names.
  const soon = (days) => new Date(Date.now() + days * 86400000).toISOString();
  await page.route("**/status", async (route) => {
    const status = await (await route.fetch()).json();
    status.disk_free_octets = 90 * 1024 * 1024;
    status.min_free_octets = 100 * 1024 * 1024;
    status.certificates = [{ file: "/etc/mailbell/chain.pem", expires: soon(5) }];
    status.subscribers.push({ name: "webhook:crm", last_seq: 1, backlog: 12, oldest_unread: soon(-2), retries: 40, given_up: 3, lost: 0 });
    status.remotes = [
      { remote: "work", folder: "INBOX", state: "watching", last_success: soon(-0.001), new_today: 12, messages: 40, parked: 0, given_up: 0, next_try: null, last_error: null },
      { remote: "old", folder: "INBOX", state: "waiting", last_success: soon(-0.3), new_today: 0, messages: 0, parked: 1, given_up: 0, next_try: soon(0.01), last_error: "login refused: " + HOSTILE },
    ];
    status.queue = { waiting: 2, oldest: soon(-0.1), size_octets: 48211, last_error: null };
    status.mqtt = [{ name: "home", state: "connected", sent: 118, last_error: null }];
    await route.fulfill({ json: status });
  });
  await page.waitForFunction(() => document.getElementById("wrong").className === "bad", null, { timeout: PATIENCE });
  check("what is wrong is at the top", /gave up 3 events/.test(await page.textContent("#wrong")) && /less than mail.min_free/.test(await page.textContent("#wrong")));
  check("what a remote says is text", (await page.evaluate(() => window.broken)) === undefined && (await page.$$("#wrong script, #wrong img, #side script, #side img")).length === 0);
  await page.screenshot({ path: path.join(shots, "wrong-narrow.png"), fullPage: true });
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.screenshot({ path: path.join(shots, "wrong.png"), fullPage: true });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.screenshot({ path: path.join(shots, "wrong-dark.png"), fullPage: true });

  tokened = await Mailbell.prepare(binary, "token_file = \"token\"\n[[pipe]]\npath = \"notify\"\n");
  fs.writeFileSync(path.join(tokened.folder, "token"), "a-long-secret\n", { mode: 0o600 });
  await tokened.start();
  await tokened.send("alice", header(MAILS[0]));
  const asked = await browser.newPage();
  await asked.goto(`http://127.0.0.1:${tokened.http}/`);
  await asked.waitForSelector("#token:visible", { timeout: PATIENCE });
  check("without the token nothing is shown", await asked.isHidden("#main"));
  await asked.fill("#token", "wrong");
  await asked.press("#token", "Enter");
  await asked.waitForSelector("#why.fault:visible", { timeout: PATIENCE });
  await asked.screenshot({ path: path.join(shots, "token.png") });
  await asked.fill("#token", "a-long-secret");
  await asked.press("#token", "Enter");
  await asked.waitForSelector("#list li[data-seq]", { timeout: PATIENCE });
  await asked.reload();
  await asked.waitForSelector("#list li[data-seq]", { timeout: PATIENCE });
  check("with the token the page works, and a reload keeps it", (await asked.evaluate(() => localStorage.length)) === 0);
  console.log(`test-page: ${checks} passed, 0 failed; pictures in ${shots}`);
} catch (error) {
  console.error(error);
  console.error(server.log().slice(-3000));
  console.log(`test-page: ${checks} passed, 1 failed`);
  process.exitCode = 1;
} finally {
  await browser.close();
  await server.remove();
  if (tokened) await tokened.remove();
  fs.rmSync(profile, { recursive: true, force: true });
}
