// A text in the making: what it follows from, its tokens, and how fast they came.

/** The likeliest tokens that each token comes with. */
const LIKELIEST = 6;

/** What a request asks for besides its sampling settings, in the words of either path. */
export function extras(path) {
  const scores = path === "v1/completions" ? { logprobs: LIKELIEST } : { logprobs: true, top_logprobs: LIKELIEST };
  return { ...scores, return_state: true, return_token_ids: true };
}

/** A seed of 32 random bits. */
export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** The texts of tokens of which the bytes are known: a character may be of several. */
function decode(entries) {
  const decoder = new TextDecoder();
  return entries.map((entry) => (entry.bytes ? decoder.decode(Uint8Array.from(entry.bytes), { stream: true }) : entry.token));
}

export class Run {
  constructor({ prompt = null, messages = null, fields, model }) {
    Object.assign(this, { prompt, messages, fields, model });
    this.promptIds = null;
    this.tokens = [];
    /** Tokens that are not drawn: those before the last fork. */
    this.kept = 0;
    this.begin();
  }

  /** A request is sent now. */
  begin() {
    this.began = performance.now();
    /** Seconds from then on, for each token. */
    this.times = [];
    this.state = null;
    this.finish = null;
  }

  get text() {
    return this.tokens.map((token) => token.text).join("");
  }

  get ids() {
    return [...this.promptIds, ...this.tokens.map((token) => token.id)];
  }

  #token(entry, id, text) {
    const others = (entry?.top_logprobs ?? []).map((other) => ({ ...other, p: Math.exp(other.logprob) }));
    return {
      id,
      text: this.model.tokenizer ? text : `${id} `,
      token: entry?.token ?? text,
      p: entry ? Math.exp(entry.logprob) : null,
      others,
      isEnd: this.model.eos_token_ids.includes(id),
    };
  }

  /** Takes in a chunk of a stream. Gives the tokens that are new, and text that belongs to the last one. */
  take(chunk) {
    const choice = chunk.choices[0];
    if (!choice) return { tokens: [], rest: "" };
    this.promptIds ??= choice.prompt_token_ids ?? chunk.prompt_token_ids ?? null;
    const text = choice.text ?? choice.delta?.content ?? "";
    const entries = choice.logprobs?.content ?? [];
    const id = choice.token_ids?.[0];
    const tokens = [];
    let rest = "";
    if (id !== undefined) {
      this.times.push((performance.now() - this.began) / 1000);
      tokens.push(this.#token(entries[0], id, text));
    } else if (this.tokens.length > 0) {
      rest = text;
      this.tokens.at(-1).text += rest;
    }
    this.tokens.push(...tokens);
    if (choice.finish_reason) {
      this.finish = choice.finish_reason;
      this.state = choice.state ?? null;
    }
    return { tokens, rest };
  }

  /** Takes in the chunk that repeats a prompt, of which the last `kept` tokens are those of a text. */
  takeEcho(chunk, kept) {
    const { logprobs, prompt_token_ids: ids } = chunk.choices[0];
    const from = ids.length - kept;
    const entries = logprobs.content.slice(from);
    const texts = decode(entries.map((entry) => entry ?? { token: "" }));
    this.promptIds = ids.slice(0, from);
    this.tokens = entries.map((entry, n) => this.#token(entry, ids[from + n], texts[n]));
    this.kept = kept;
  }

  /** Cuts the text before token `n`, and puts another of those that were likely there, if one is given. */
  fork(n, other) {
    const others = this.tokens[n]?.others ?? [];
    this.tokens.length = n;
    if (other) {
      this.tokens.push({ ...this.#token(other, other.id, decode([other])[0]), others });
    }
    this.kept = this.tokens.length;
  }

  /** Tokens a second after the first; of a text that came almost at once, from the request on. Null where there is none. */
  get rate() {
    const { times } = this;
    const end = times.at(-1);
    if (times.length < 2) return null;
    return end - times[0] > 0.2 ? (times.length - 1) / (end - times[0]) : times.length / end;
  }
}
