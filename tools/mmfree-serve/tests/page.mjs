// The page in a real browser: what a person does with it, on the demo model.
//
//     node page.mjs PROGRAMS MODULES
//
// PROGRAMS is the folder with `mmfree-serve`, `mmfree-infer` and `mmfree-convert`: texts must be what `mmfree-infer` says. The folder MODULES
// has playwright-core (`npm install --prefix FOLDER playwright-core`); the browser is CHROMIUM, or `chromium` of the path.
// Exits with 1 at the first difference. With SHOTS=FOLDER pictures are left there.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const [programs, modules] = process.argv.slice(2).map((path) => resolve(path));
const { chromium } = createRequire(`${modules}/`)("playwright-core");
const PROMPT = "Once upon a time there was a king";
const folder = mkdtempSync(join(tmpdir(), "mmfree-page-"));
const ends = [];
let count = 0;

/** What `mmfree-infer` makes of a prompt. */
function infer(...args) {
  const all = ["--json", "--quiet", "--threads", "1", ...args];
  return JSON.parse(execFileSync(join(programs, "mmfree-infer"), all, { encoding: "utf8" }));
}

async function serve(...args) {
  const all = ["--port", "0", "--threads", "1", "--log", "error", ...args];
  const process = spawn(join(programs, "mmfree-serve"), all, { stdio: ["ignore", "pipe", "inherit"] });
  ends.push(() => process.kill("SIGKILL"));
  return new Promise((tell, fail) => {
    process.stdout.once("data", (line) => tell(String(line).trim()));
    process.once("exit", () => fail(new Error("the server did not start")));
  });
}

/** A page, of which everything that goes wrong is an error: scripts, policy, requests to others. */
async function open(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    // A status that is asked for shows there too, and is looked at on the page.
    const expected = /the server responded with a status of (400|401)/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !expected) faults.push(message.text());
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(address).origin) faults.push(`asks ${request.url()}`);
  });
  await page.goto(address);
  const text = async (answer = page) => answer.locator(".text [data-n]").evaluateAll((all) =>
    all.map((one) => (one.querySelector(".end") ? "" : one.textContent)).join(""));
  const at = {
    page, context, text,
    ready: () => page.waitForFunction(() => document.querySelector("#model").textContent !== ""),
    ended: () => page.waitForFunction(() => document.querySelector("#go").textContent !== "Stop" && /Seed/.test(document.querySelector("#status").textContent)),
    tokens: (n) => page.waitForFunction((n) => document.querySelectorAll(".text [data-n]").length >= n, n),
    set: (name, value) => page.fill(`#set-${name}`, String(value)),
    shot: (name) => process.env.SHOTS && page.screenshot({ path: join(process.env.SHOTS, `${name}.png`) }),
    close: async () => {
      assert.deepEqual(faults, []);
      await context.close();
    },
  };
  return at;
}

async function test(name, run) {
  await run();
  count += 1;
  console.log(`page: ${name} ... ok`);
}

async function main() {
  const keys = join(folder, "keys");
  writeFileSync(keys, "a-key\n");
  const [plain, chatty, locked] = await Promise.all([serve(), serve("--chat-template", "plain"), serve("--api-key-file", keys)]);
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  // Chromium's own sandbox is not to be had as root.
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"], timeout: 120_000 });
  ends.push(() => browser.close());

  await test("the text is that of the command line, and a link makes it again", async () => {
    const at = await open(browser, plain, { permissions: ["clipboard-read", "clipboard-write"] });
    await at.ready();
    const expected = infer("-n", "60", "--seed", "7", "--temp", "0.9", "--top-p", "0.8", PROMPT).text;
    await at.page.fill("#prompt", PROMPT);
    for (const [name, value] of [["seed", 7], ["max_tokens", 60], ["temperature", 0.9], ["top_p", 0.8]]) await at.set(name, value);
    await at.page.click("#go");
    await at.ended();
    assert.equal(await at.text(), expected);
    assert.match(await at.page.textContent("#status"), /60 tokens, as many as asked for\. Seed 7\./);
    assert.equal(await at.page.textContent("#count"), "60");
    assert.match(await at.page.textContent("#first"), / s$/);

    await at.page.click("#link");
    await at.page.waitForFunction(() => /copied/.test(document.querySelector("#status").textContent));
    const link = await at.page.evaluate(() => navigator.clipboard.readText());
    const other = await open(browser, link);
    await other.ready();
    assert.equal(await other.page.inputValue("#prompt"), PROMPT);
    assert.match(await other.page.textContent("#notice"), /makes the same text again/);
    assert.equal(await other.page.locator(".text").count(), 0, "nothing runs before someone says so");
    await other.page.click("#go");
    await other.ended();
    assert.equal(await other.text(), expected);
    await other.close();

    const foreign = await open(browser, link.replace(/model=[^&]*/, "model=mmfree-000000000000"));
    await foreign.ready();
    assert.match(await foreign.page.textContent("#notice"), /by another model/);
    await foreign.close();
    await at.close();
  });

  await test("it streams, stops, goes on, and makes another", async () => {
    const at = await open(browser, plain);
    await at.ready();
    await at.page.fill("#prompt", PROMPT);
    await at.set("seed", 3);
    await at.set("max_tokens", 60_000);
    await at.page.click("#go");
    await at.tokens(5);
    assert.equal(await at.page.textContent("#go"), "Stop", "text is there before the end");
    await at.shot("streaming");
    // A click of Playwright's would wait until the button stays where it is, which it does when the text has ended.
    await at.page.dispatchEvent("#go", "click");
    await at.ended();
    const stopped = await at.text();
    const tokens = await at.page.locator(".text [data-n]").count();
    assert.match(await at.page.textContent("#status"), /stopped/);
    // By its tokens, as what was broken off left no state.
    await at.set("max_tokens", 20);
    await at.page.click("#more");
    await at.ended();
    const more = await at.text();
    assert.ok(more.startsWith(stopped) && more.length > stopped.length);
    const n = await at.page.locator(".text [data-n]").count();
    assert.ok(n === tokens + 20 || /ended by itself/.test(await at.page.textContent("#status")));
    assert.equal(more, infer("-n", String(n), "--seed", "3", PROMPT).text.slice(0, more.length));

    // By its state: the joined text is the one without a break.
    await at.set("max_tokens", 10);
    await at.page.click("#go");
    await at.ended();
    await at.page.click("#more");
    await at.ended();
    assert.equal(await at.text(), infer("-n", "20", "--seed", "3", PROMPT).text);

    const before = await at.text();
    await at.page.click("#again");
    await at.ended();
    const seed = await at.page.inputValue("#set-seed");
    assert.notEqual(seed, "3");
    assert.notEqual(await at.text(), before);
    assert.equal(await at.text(), infer("-n", "10", "--seed", seed, PROMPT).text);
    await at.close();
  });

  await test("a token shows what else could have been, and the text forks there", async () => {
    const at = await open(browser, plain);
    await at.ready();
    await at.page.fill("#prompt", PROMPT);
    await at.set("seed", 11);
    await at.set("max_tokens", 30);
    await at.page.click("#go");
    await at.ended();
    await at.page.check("#heat");
    await at.page.locator(".text [data-n='9'] .ink").click();
    await at.shot("heat");
    const levels = await at.page.locator(".text [data-n]").evaluateAll((all) => all.map((one) => Number(one.dataset.heat)));
    assert.ok(new Set(levels).size > 2, "probabilities differ");
    const colour = (n) => at.page.locator(`.text [data-n='${n}'] .ink`).evaluate((one) => getComputedStyle(one).backgroundColor);
    const [hot, cold] = [levels.findIndex((level, n) => level >= 4 && n !== 9), levels.findIndex((level, n) => level === 0 && n !== 9)];
    assert.notEqual(await colour(hot), await colour(cold));

    const texts = await at.page.locator(".text [data-n]").evaluateAll((all) => all.map((one) => one.textContent));
    const others = at.page.locator("#others button");
    assert.ok((await others.count()) >= 6);
    const chosen = await at.page.locator("#others [aria-current]").textContent();
    assert.ok(chosen.includes(texts[9].trim()), `${chosen} is ${texts[9]}`);
    const other = at.page.locator("#others button:enabled").first();
    const word = (await other.locator("code").textContent()).replaceAll("␣", " ");
    await other.click();
    await at.ended();
    const forked = await at.text();
    assert.ok(forked.startsWith(texts.slice(0, 9).join("") + word), forked);
    assert.equal(await at.page.locator(".text .kept").count(), 10);
    assert.equal(await at.page.locator(".text [data-n]").count(), 40);
    // The text after a fork is that of its tokens as a prompt, and so is that of its link.
    await at.page.click("#link");
    const again = await open(browser, at.page.url());
    await again.ready();
    await again.page.click("#go");
    await again.ended();
    assert.equal(await again.text(), forked);
    assert.equal(await again.page.locator(".text .kept").count(), 10);
    await again.close();

    await at.page.locator(".text [data-n='4'] .ink").click();
    await at.page.click("#fork");
    await at.ended();
    const second = await at.text();
    assert.ok(second.startsWith(texts.slice(0, 4).join("")) && second !== forked);
    await at.close();
  });

  await test("all of it goes with the keyboard alone", async () => {
    const at = await open(browser, plain);
    await at.ready();
    const { keyboard } = at.page;
    const focused = () => at.page.evaluate(() => document.activeElement.id || document.activeElement.className);
    for (let n = 0; (await focused()) !== "prompt"; n++) {
      assert.ok(n < 10, "the prompt is reached");
      await keyboard.press("Tab");
    }
    await keyboard.type(PROMPT);
    await at.set("seed", 4);
    await at.set("max_tokens", 12);
    await at.page.focus("#prompt");
    await keyboard.press("Control+Enter");
    await at.ended();
    await keyboard.press("Tab");
    assert.match(await focused(), /^text/);
    await keyboard.press("Home");
    for (let n = 0; n < 3; n++) await keyboard.press("ArrowRight");
    assert.equal(await at.page.locator(".text .at").getAttribute("data-n"), "3");
    assert.notEqual(await at.page.textContent("#token-said"), "");
    await keyboard.press("Enter");
    const label = await at.page.evaluate(() => document.activeElement.getAttribute("aria-label"));
    assert.match(label, /^Fork with: /);
    await keyboard.press("Enter");
    await at.ended();
    assert.equal(await at.page.locator(".text [data-n]").count(), 4 + 12);
    assert.match(await focused(), /^text/, "the focus is on the text again");
    await keyboard.press("ArrowLeft");
    await keyboard.press("Escape");
    assert.equal(await at.page.locator(".text .at").count(), 0);
    // Escape stops.
    await at.set("max_tokens", 60_000);
    await keyboard.press("Control+Enter");
    await at.tokens(20);
    await keyboard.press("Escape");
    await at.ended();
    // Everything that can be operated has a name.
    const nameless = await at.page.evaluate(() => [...document.querySelectorAll("button, input, textarea, [tabindex]")]
      .filter((one) => !(one.getAttribute("aria-label") || one.labels?.length || one.textContent.trim())).map((one) => one.outerHTML));
    assert.deepEqual(nameless, []);
    await at.close();
  });

  await test("chat answers turn by turn, forks and makes another answer", async () => {
    const at = await open(browser, chatty);
    await at.ready();
    await at.page.click("#mode-chat");
    await at.set("seed", 5);
    await at.set("max_tokens", 16);
    const ask = async (text) => {
      await at.page.fill("#message", text);
      await at.page.press("#message", "Enter");
      await at.ended();
    };
    await ask("Tell me a tale");
    const first = await at.text(at.page.locator(".turn.assistant").first());
    assert.equal(first, infer("-n", "16", "--seed", "5", "user: Tell me a tale\nassistant:").text);
    await ask("And then?");
    const second = await at.text(at.page.locator(".turn.assistant").nth(1));
    assert.equal(second, infer("-n", "16", "--seed", "5", `user: Tell me a tale\nassistant: ${first.trim()}\nuser: And then?\nassistant:`).text);
    await at.shot("chat");
    await at.page.click("#link");
    const again = await open(browser, at.page.url());
    await again.ready();
    await again.page.click("#go");
    await again.ended();
    assert.equal(await again.text(again.page.locator(".turn.assistant").last()), second);
    await again.close();
    await at.page.click("#again");
    await at.ended();
    assert.equal(await at.page.locator(".turn").count(), 4);
    assert.notEqual(await at.text(at.page.locator(".turn.assistant").nth(1)), second);
    // A fork in an earlier answer drops what came after.
    await at.page.locator(".turn.assistant").first().locator("[data-n='5'] .ink").click();
    await at.page.locator("#others button:enabled").first().click();
    await at.ended();
    assert.equal(await at.page.locator(".turn").count(), 2);
    await at.page.click("#clear");
    assert.equal(await at.page.locator(".turn").count(), 0);
    await at.close();

    const without = await open(browser, plain);
    await without.ready();
    await without.page.click("#mode-chat");
    assert.match(await without.page.textContent("#no-chat"), /no chat template/);
    assert.ok(await without.page.isDisabled("#go"));
    await without.close();
  });

  await test("a server with keys asks for one, and takes it", async () => {
    const at = await open(browser, locked);
    await at.page.waitForSelector("#key-form:not([hidden])");
    assert.match(await at.page.textContent("#status"), /asks for an API key/);
    await at.page.fill("#key", "wrong");
    await at.page.keyboard.press("Enter");
    await at.page.waitForSelector("#error:not([hidden])");
    assert.match(await at.page.textContent("#error"), /not one of this server's/);
    await at.page.fill("#key", "a-key");
    await at.page.keyboard.press("Enter");
    await at.ready();
    assert.ok(await at.page.isHidden("#key-form"));
    await at.page.fill("#prompt", PROMPT);
    await at.set("seed", 1);
    await at.set("max_tokens", 5);
    await at.page.click("#go");
    await at.ended();
    assert.equal(await at.text(), infer("-n", "5", "--seed", "1", PROMPT).text);
    assert.ok(!(await at.page.content()).includes("a-key") && !at.page.url().includes("a-key"));
    await at.close();
  });

  await test("a model without a tokenizer takes and shows token ids", async () => {
    const file = join(folder, "tiny.mmfree");
    execFileSync(join(programs, "mmfree-convert"), ["synthesize", "--quiet", "--size", "hidden=64,layers=2,vocab=200", "-o", file]);
    const at = await open(browser, await serve("-m", file));
    await at.ready();
    assert.match(await at.page.textContent("#prompt-label"), /token ids/);
    await at.page.fill("#prompt", "once");
    await at.page.click("#go");
    await at.page.waitForSelector("#error:not([hidden])");
    assert.match(await at.page.textContent("#error"), /must be token ids/);
    await at.page.fill("#prompt", "1, 5 9");
    await at.set("seed", 3);
    await at.set("max_tokens", 8);
    await at.page.click("#go");
    await at.ended();
    const expected = infer("-m", file, "-n", "8", "--seed", "3", "--ids", "1,5,9").ids;
    assert.deepEqual((await at.text()).trim().split(" ").map(Number), expected);
    await at.page.locator(".text [data-n='4'] .ink").click();
    await at.page.locator("#others button:enabled").first().click();
    await at.ended();
    assert.deepEqual((await at.text()).trim().split(" ").map(Number).slice(0, 4), expected.slice(0, 4));
    await at.page.click("#mode-chat");
    assert.ok(await at.page.isVisible("#no-chat"));
    await at.close();
  });

  await test("what the server and the model say is text, never markup", async () => {
    const at = await open(browser, plain);
    await at.ready();
    const evil = "<img src=x onerror=\"document.title='lost'\"><script>document.title='lost'</script>";
    // The server's error names the model that is asked for; the answer's text is what it is.
    await at.page.route("**/v1/completions", (route) => {
      const token = { token: evil, logprob: -0.5, bytes: null, id: 9, top_logprobs: [{ token: evil, logprob: -1, bytes: null, id: 8 }] };
      const choice = { index: 0, text: ` ${evil}`, finish_reason: "length", token_ids: [9], prompt_token_ids: [1], logprobs: { content: [token] } };
      const body = `data: ${JSON.stringify({ choices: [choice] })}\n\ndata: [DONE]\n\n`;
      return route.fulfill({ status: 200, contentType: "text/event-stream", body });
    });
    await at.page.fill("#prompt", evil);
    await at.page.click("#go");
    await at.ended();
    await at.page.locator(".text .ink").click();
    assert.equal(await at.text(), ` ${evil}`);
    assert.equal(await at.page.locator("#others code").first().textContent(), evil.replaceAll(" ", "␣"));
    await at.page.unroute("**/v1/completions");
    await at.page.route("**/v1/completions", (route) =>
      route.fulfill({ status: 400, contentType: "application/json", body: JSON.stringify({ error: { message: evil } }) }));
    await at.page.click("#go");
    await at.page.waitForSelector("#error:not([hidden])");
    assert.equal(await at.page.textContent("#error"), evil);
    assert.equal(await at.page.locator("img[src=x]").count(), 0);
    assert.notEqual(await at.page.title(), "lost");
    // And the policy lets no other script run.
    const ran = await at.page.evaluate(() => {
      const script = document.createElement("script");
      try {
        script.textContent = "globalThis.lost = true";
        document.body.append(script);
      } catch {
        return "refused";
      }
      return String(globalThis.lost);
    });
    assert.notEqual(ran, "true");
    await at.context.close();
  });

  await test("a setting that cannot be is named at its field, and an error of the server is shown", async () => {
    const at = await open(browser, plain);
    await at.ready();
    await at.page.fill("#prompt", PROMPT);
    await at.set("top_p", 2);
    await at.page.click("#go");
    assert.equal(await at.page.evaluate(() => document.activeElement.id), "set-top_p");
    assert.equal(await at.page.locator(".text").count(), 0);
    await at.set("top_p", 0);
    await at.page.click("#go");
    await at.page.waitForSelector("#error:not([hidden])");
    assert.match(await at.page.textContent("#error"), /top_p: is 0/);
    await at.page.click("#settings button[type=reset]");
    assert.equal(await at.page.inputValue("#set-top_p"), "");
    await at.close();
  });

  await test("a phone shows all of it without sideways scrolling, light and dark", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const at = await open(browser, chatty, { viewport: { width: 360, height: 740 }, colorScheme, hasTouch: true, isMobile: true });
      await at.ready();
      const fits = async (where) => {
        const over = await at.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(over <= 0, `${where}: ${over} px too wide`);
      };
      await fits("empty");
      await at.page.fill("#prompt", `${PROMPT} ${"verylongword".repeat(20)}`);
      await at.set("seed", 2);
      await at.set("max_tokens", 60);
      await at.page.tap("#go");
      await at.ended();
      await fits("text");
      await at.page.check("#heat");
      await at.page.locator(".text [data-n='2'] .ink").tap();
      await at.page.waitForSelector("#token.open");
      const box = await at.page.locator("#token").boundingBox();
      assert.ok(box.y + box.height <= 741 && box.y > 200, "the token is shown beside the text");
      await fits("token");
      await at.shot(`phone-${colorScheme}`);
      await at.page.tap("#token-close");
      await at.page.tap("#mode-chat");
      await fits("chat");
      await at.close();
    }
  });
}

let failed = false;
try {
  await main();
} catch (error) {
  failed = true;
  console.error(`page: FAILED: ${error.stack}`);
}
for (const end of ends) await end();
rmSync(folder, { recursive: true });
console.log(`page: ${count} passed, ${failed ? 1 : 0} failed`);
process.exit(failed ? 1 : 0);
