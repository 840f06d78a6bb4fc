// The server's interface, as far as this page uses it.

const KEY = "mmfree-key";

/** What went wrong, to be shown as text. */
export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

let held = "";
try {
  held = sessionStorage.getItem(KEY) ?? "";
} catch {
  // A browser that keeps nothing: the key lasts as long as the page.
}

export function key() {
  return held;
}

export function setKey(text) {
  held = text;
  try {
    text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY);
  } catch {
    // As above.
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key()) headers.authorization = `Bearer ${key()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server cannot be reached.");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  throw new Failure(answer?.error?.message ?? `The server answered ${response.status}.`, response.status);
}

/** The model that is served. */
export async function model() {
  const models = await (await ask("v1/models")).json();
  return models.data[0];
}

/** Yields the objects of a streamed answer. */
export async function* stream(path, body, signal) {
  const headers = { "content-type": "application/json" };
  const response = await ask(path, { method: "POST", headers, body: JSON.stringify({ ...body, stream: true }), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Failure("The connection broke off.");
    });
    if (done) throw new Failure("The answer broke off.");
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ")) continue;
      if (event === "data: [DONE]") return;
      const chunk = JSON.parse(event.slice(6));
      if (chunk.error) throw new Failure(chunk.error.message);
      yield chunk;
    }
  }
}
