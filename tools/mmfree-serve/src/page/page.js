// The page: completion and chat, and all that can be done with a text.

import { Failure, key, model as askModel, setKey, stream } from "./api.js";
import * as links from "./link.js";
import { draw } from "./plot.js";
import { Run, extras, randomSeed } from "./run.js";
import { Settings } from "./settings.js";
import { TextView, percent, visible } from "./text.js";

const $ = (id) => document.getElementById(id);
const COMPLETIONS = "v1/completions";
const CHAT = "v1/chat/completions";

const settings = new Settings($("settings"));
let model = null;
let isChat = false;
/** The answer that actions are about: in each mode the last one. `{run, view, turn}` */
const current = { completion: null, chat: null };
/** Turns of the chat: `{role, content, element, answer}`. */
const turns = [];
/** What a link said, until it is made or something else is. */
let linked = null;
/** What is running: `{abort, done}`. */
let running = null;
/** The token that is shown: `{answer, n}`. */
let shown = null;

const answer = () => (isChat ? current.chat : current.completion);

function make(name, classes, text) {
  const element = document.createElement(name);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Messages

function say(text) {
  $("status").textContent = text;
}

function fail(error) {
  $("error").textContent = error?.message ?? "";
  $("error").hidden = !error;
  if (error?.status === 401) openKey(true);
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

// The model and the key

async function connect() {
  try {
    model = await askModel();
  } catch (error) {
    model = null;
    fail(error.status === 401 && !key() ? null : error);
    if (error.status === 401) {
      openKey(true);
      say("This server asks for an API key.");
    }
    update();
    return;
  }
  fail(null);
  say("");
  openKey(false);
  $("model").textContent = model.name;
  document.title = `${model.name} · mmfree`;
  settings.setDefaults(model);
  if (!model.tokenizer) {
    $("prompt-label").textContent = "Prompt, as token ids";
    $("prompt").placeholder = "1 365 902";
  } else {
    $("prompt").placeholder = "Once upon a time";
  }
  $("no-chat").hidden = model.chat;
  $("no-chat").textContent = model.chat
    ? ""
    : "This model has no chat template, so it can't chat. The server can be started with one: --chat-template FILE, or --chat-template plain.";
  update();
  readLink();
}

function openKey(open) {
  $("key-form").hidden = !open;
  $("key-open").setAttribute("aria-expanded", open);
  if (open) {
    $("key").value = key();
    $("key").focus();
  }
}

// What can be done now

function setMode(chat) {
  isChat = chat;
  $("mode-chat").setAttribute("aria-pressed", chat);
  $("mode-completion").setAttribute("aria-pressed", !chat);
  $("chat").hidden = $("keys-chat").hidden = $("clear").hidden = !chat;
  $("completion").hidden = $("keys-completion").hidden = chat;
  fail(null);
  showToken(null);
  report();
  update();
}

function update() {
  const run = answer()?.run;
  const can = model !== null && (!isChat || model.chat);
  $("go").textContent = running ? "Stop" : isChat ? "Send" : "Generate";
  $("go").disabled = !running && !can;
  $("again").disabled = running !== null || !can || !run;
  $("more").disabled = running !== null || !can || !run?.promptIds || !["length", "stopped"].includes(run.finish);
  $("link").disabled = running !== null || !run?.promptIds;
  $("clear").disabled = running !== null || turns.length === 0;
  $("message").disabled = $("system").disabled = isChat && !can;
}

const ENDS = { stop: "ended by itself", length: "as many as asked for", stopped: "stopped", failed: "broken off" };

/** The numbers of a run; with `end` also for those who hear the page. */
function report(end = false) {
  const run = answer()?.run;
  $("rate").textContent = run?.rate ? run.rate.toFixed(run.rate > 99 ? 0 : 1) : "–";
  $("first").textContent = run?.times.length ? `${run.times[0].toFixed(run.times[0] < 1 ? 3 : 1)} s` : "–";
  $("count").textContent = run ? run.tokens.length : "–";
  draw($("plot"), run?.times ?? []);
  if (end && run?.finish === "failed") say("");
  else if (end && run) say(`${run.tokens.length} tokens, ${ENDS[run.finish] ?? "ended"}. Seed ${run.fields.seed}.`);
}

// Making text

/** Milliseconds of work after which the browser gets a turn. */
const TURN = 12;
let worked = 0;

/** Where chunks come faster than they can be shown they are read without a pause: clicks and drawing need theirs. */
async function breath() {
  if (performance.now() - worked < TURN) return;
  await new Promise((resolve) => setTimeout(resolve));
  worked = performance.now();
}

/** Sends a request for an answer, and shows what comes. `kept` tokens of the prompt are repeated as the text's first. */
async function produce(it, path, body, kept = 0) {
  await stop();
  const { run, view } = it;
  const abort = new AbortController();
  let finished;
  running = { abort, done: new Promise((resolve) => (finished = resolve)) };
  fail(null);
  notice("");
  showToken(null);
  run.begin();
  view.running = true;
  say("Generating.");
  update();
  let drawn = 0;
  let echo = kept;
  try {
    for await (const chunk of stream(path, { ...body, ...extras(path), echo: kept > 0 || undefined }, abort.signal)) {
      await breath();
      if (abort.signal.aborted) break;
      if (echo > 0) {
        run.takeEcho(chunk, echo);
        run.tokens.forEach((token) => view.push(token, true));
        echo = 0;
        continue;
      }
      const { tokens, rest } = run.take(chunk);
      tokens.forEach((token) => view.push(token, false));
      view.addToLast(rest);
      if (performance.now() - drawn > 200) {
        drawn = performance.now();
        report();
      }
    }
    if (abort.signal.aborted) run.finish = "stopped";
  } catch (error) {
    run.finish = error.name === "AbortError" ? "stopped" : "failed";
    if (run.finish === "failed") fail(error instanceof Failure ? error : new Failure(`This page failed: ${error.message}`));
  }
  view.running = false;
  if (it.turn) it.turn.content = run.text.trim();
  running = null;
  finished();
  report(true);
  update();
}

async function stop() {
  if (!running) return;
  const { abort, done } = running;
  abort.abort();
  await done;
}

/** The settings with a seed; null where one is wrong. */
function fieldsWithSeed(seed) {
  const fields = settings.read();
  return fields && { ...fields, seed: seed ?? fields.seed ?? randomSeed() };
}

/** The prompt as requests have it; null where it is none. */
function promptOf(text) {
  if (model.tokenizer) return text;
  const ids = text.split(/[\s,]+/).filter(Boolean).map(Number);
  if (ids.length > 0 && ids.every((id) => Number.isSafeInteger(id) && id >= 0)) return ids;
  fail(new Failure("The prompt must be token ids, as this model has no tokenizer: whole numbers with spaces between."));
  $("prompt").focus();
  return null;
}

async function complete(seed) {
  const fields = fieldsWithSeed(seed);
  const text = $("prompt").value;
  const prompt = fields && promptOf(text);
  if (prompt === null) return;
  await stop();
  const again = seed === undefined && linked?.prompt === text && linked.kept > 0 ? linked : null;
  linked = null;
  const it = { run: new Run({ prompt: text, fields, model }) };
  it.view = new TextView($("answer"), (n, go) => showToken({ answer: it, n }, go));
  current.completion = it;
  await produce(it, COMPLETIONS, { prompt: again?.ids ?? prompt, ...fields }, again?.kept);
}

function addTurn(role, content) {
  const element = make("li", `turn ${role}`);
  element.append(make("span", "role", { user: "You", assistant: "Model" }[role] ?? role));
  const turn = { role, content, element, answer: null };
  const body = make("div", role === "assistant" ? "answer" : "");
  element.append(body);
  if (role === "assistant") turn.body = body;
  else body.append(make("p", "prose", content));
  turns.push(turn);
  $("turns").append(element);
  return turn;
}

function dropTurns(from) {
  turns.splice(from).forEach((turn) => turn.element.remove());
  current.chat = turns.findLast((turn) => turn.answer)?.answer ?? null;
}

function messages() {
  const system = $("system").value.trim();
  const said = turns.map(({ role, content }) => ({ role, content }));
  return system ? [{ role: "system", content: system }, ...said] : said;
}

/** Answers the turns so far. */
async function reply(fields, again = null) {
  const conversation = messages();
  const turn = addTurn("assistant", "");
  const it = { run: new Run({ messages: conversation, fields, model }), turn };
  it.view = new TextView(turn.body, (n, go) => showToken({ answer: it, n }, go));
  turn.answer = current.chat = it;
  if (again) await produce(it, COMPLETIONS, { prompt: again.ids, ...fields }, again.kept);
  else await produce(it, CHAT, { messages: conversation, ...fields });
  $("message").parentElement.scrollIntoView({ block: "nearest" });
}

async function send() {
  const text = $("message").value.trim();
  const fields = fieldsWithSeed();
  if (!fields || !text) {
    if (!text) $("message").focus();
    return;
  }
  await stop();
  addTurn("user", text);
  $("message").value = "";
  const again = linked?.messages?.at(-1)?.content === text && linked.kept > 0 ? linked : null;
  linked = null;
  await reply(fields, again);
}

function go() {
  if (running) stop();
  else if (model && isChat) model.chat && send();
  else if (model) complete();
}

async function regenerate() {
  const seed = randomSeed();
  if (settings.read()?.seed !== undefined) settings.seed = seed;
  if (!isChat) {
    await complete(seed);
    return;
  }
  const fields = fieldsWithSeed(seed);
  if (!fields) return;
  dropTurns(turns.indexOf(current.chat.turn));
  await reply(fields);
}

/** Goes on where the text was cut: by its state, or where that was not had, by its tokens. */
async function goOn() {
  const it = answer();
  const { run } = it;
  const { max_tokens, stop: end } = settings.read() ?? {};
  if (max_tokens === undefined) return;
  if (run.state) {
    await produce(it, COMPLETIONS, { state: run.state, max_tokens, stop: end });
  } else {
    run.kept = run.tokens.length;
    await produce(it, COMPLETIONS, { prompt: run.ids, ...run.fields, max_tokens });
  }
}

/** Cuts a text before token `n` and goes on from there: with another token in its place, or with a new seed. */
async function fork(it, n, other) {
  await stop();
  const fields = fieldsWithSeed(other ? it.run.fields.seed : randomSeed());
  if (!fields || !it.run.promptIds) return;
  if (it.turn) dropTurns(turns.indexOf(it.turn) + 1);
  it.run.fields = fields;
  it.run.fork(n, other);
  it.view.truncate(n);
  [...it.view.element.children].forEach((token) => token.classList.add("kept"));
  it.run.tokens.slice(n).forEach((token) => it.view.push(token, true));
  it.view.element.focus({ preventScroll: true });
  if (it.run.tokens.at(-1)?.isEnd) {
    it.run.finish = "stop";
    it.run.times = [];
    if (it.turn) it.turn.content = it.run.text.trim();
    showToken(null);
    report(true);
    update();
    return;
  }
  await produce(it, COMPLETIONS, { prompt: it.run.ids, ...fields });
}

// A token and what else could have been

function showToken(which, go = false) {
  if (shown && shown.answer !== which?.answer) shown.answer.view.unselect();
  shown = which;
  const token = which?.answer.run.tokens[which.n];
  $("token-body").hidden = !token;
  $("token-hint").hidden = Boolean(token);
  $("token").classList.toggle("open", Boolean(token));
  if (!token) return;
  const name = token.isEnd ? "end of the text" : visible(token.token);
  $("token-text").textContent = name;
  $("token-p").textContent = token.p === null ? "" : percent(token.p);
  const others = token.others.map((other) => ({ ...other, isChosen: other.id === token.id }));
  if (token.p !== null && !others.some((other) => other.isChosen)) {
    others.push({ id: token.id, token: token.token, p: token.p, isChosen: true });
  }
  $("others").replaceChildren(...others.map((other) => choice(which, other)));
  $("token-said").textContent = `${name}${token.p === null ? "" : `, ${percent(token.p)}`}`;
  if (go) ($("others").querySelector("button:enabled") ?? $("fork")).focus();
}

function choice(which, other) {
  const name = model.eos_token_ids.includes(other.id) ? "end of the text" : visible(other.token);
  const button = make("button");
  button.type = "button";
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  bar.setAttribute("aria-hidden", "true");
  rect.setAttribute("width", `${100 * other.p}%`);
  rect.setAttribute("height", "100%");
  bar.append(rect);
  button.append(bar, make("code", "", name), make("span", "", percent(other.p)));
  button.setAttribute("aria-label", `${other.isChosen ? "In the text" : "Fork with"}: ${name}, ${percent(other.p)}`);
  if (other.isChosen) {
    button.setAttribute("aria-current", "true");
    button.disabled = true;
  }
  button.addEventListener("click", () => fork(which.answer, which.n, other));
  const item = make("li");
  item.append(button);
  return item;
}

function closeToken() {
  const view = shown?.answer.view;
  showToken(null);
  view?.element.focus({ preventScroll: true });
}

// Links

async function copyLink() {
  const link = new URL(links.write(answer().run, model.system_fingerprint), location.href);
  history.replaceState(null, "", link);
  try {
    await navigator.clipboard.writeText(link.href);
    say("The link is copied.");
  } catch {
    say("The link is in the address bar.");
  }
}

/** Fills the page in by its address. Nothing is run until someone says so. */
function readLink() {
  const link = links.read(location.hash);
  if (!link || !model) return;
  linked = link;
  settings.write(link.fields);
  if (link.messages) {
    const said = [...link.messages];
    const last = said.pop();
    $("system").value = said[0]?.role === "system" ? said.shift().content : "";
    dropTurns(0);
    said.forEach(({ role, content }) => {
      const turn = addTurn(role, content);
      turn.body?.append(make("p", "text", content));
    });
    $("message").value = last?.content ?? "";
    setMode(true);
  } else {
    $("prompt").value = link.prompt;
    setMode(false);
  }
  const makes = isChat ? "Send" : "Generate";
  notice(
    link.model && link.model !== model.system_fingerprint
      ? `This link is of a text by another model (${link.model}): ${makes} will make another text.`
      : `This link has all that a text follows from: ${makes} makes the same text again.`,
  );
  $("go").focus();
}

// Wiring

$("go").addEventListener("click", go);
$("again").addEventListener("click", regenerate);
$("more").addEventListener("click", goOn);
$("link").addEventListener("click", copyLink);
$("clear").addEventListener("click", () => {
  dropTurns(0);
  setMode(true);
  $("message").focus();
});
$("fork").addEventListener("click", () => shown && fork(shown.answer, shown.n, null));
$("token-close").addEventListener("click", closeToken);
$("mode-completion").addEventListener("click", () => setMode(false));
$("mode-chat").addEventListener("click", () => setMode(true));
for (const id of ["mode-completion", "mode-chat"]) $(id).addEventListener("click", () => stop());
$("key-open").addEventListener("click", () => openKey($("key-form").hidden));
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("key").value.trim());
  connect();
});
$("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !event.ctrlKey) {
    event.preventDefault();
    if (!running) go();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !running) {
    event.preventDefault();
    go();
  } else if (event.key === "Escape") {
    if (running) stop();
    else if (shown) closeToken();
  }
});
$("heat").addEventListener("change", () => {
  document.body.classList.toggle("heat", $("heat").checked);
  $("legend").hidden = !$("heat").checked;
});
addEventListener("hashchange", readLink);

// A browser may fill in what was there before.
$("heat").checked = false;
setMode(false);
connect();
