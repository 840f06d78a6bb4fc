// A text as a link: all that it follows from, in the part of an address that is never sent to a server.

import { Settings } from "./settings.js";

/** The part of an address behind `#` for a run, by which it is made again. */
export function write(run, fingerprint) {
  const link = new URLSearchParams();
  const put = (name, value) => value !== undefined && value !== null && link.set(name, value);
  put("prompt", run.prompt);
  put("messages", run.messages && JSON.stringify(run.messages));
  // A text that was forked follows from its tokens up to there.
  if (run.kept > 0) {
    put("ids", [...run.promptIds, ...run.tokens.slice(0, run.kept).map((token) => token.id)].join(" "));
    put("kept", run.kept);
  }
  for (const name of Settings.names) put(name, run.fields[name]);
  link.set("max_tokens", Math.max(run.tokens.length - run.kept, 1));
  put("model", fingerprint);
  return `#${link}`;
}

/** What such a part says; null where it is none. */
export function read(hash) {
  const link = new URLSearchParams(hash.replace(/^#/, ""));
  if (!link.has("seed") || !(link.has("prompt") || link.has("messages"))) return null;
  const found = { fields: {}, prompt: link.get("prompt"), model: link.get("model"), kept: 0 };
  for (const name of Settings.names) {
    const text = link.get(name);
    if (text === null) continue;
    found.fields[name] = name === "stop" ? text : Number(text);
    if (Number.isNaN(found.fields[name])) return null;
  }
  const ids = (link.get("ids") ?? "").split(" ").filter(Boolean).map(Number);
  const kept = Number(link.get("kept") ?? 0);
  if (!ids.every(Number.isSafeInteger) || !Number.isSafeInteger(kept) || kept < 0 || kept > ids.length) return null;
  Object.assign(found, { ids, kept });
  try {
    found.messages = JSON.parse(link.get("messages"));
  } catch {
    return null;
  }
  const isMessage = (one) => typeof one?.role === "string" && typeof one?.content === "string";
  if (found.messages !== null && !(Array.isArray(found.messages) && found.messages.every(isMessage))) return null;
  return found;
}
