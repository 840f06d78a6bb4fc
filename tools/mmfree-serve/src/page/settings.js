// The sampling settings: a field left empty is the model's own.

// Name in requests, label, step, least, most, and whether it belongs to the first few.
const FIELDS = [
  ["temperature", "Temperature", "any", 0, 100, true],
  ["top_p", "Top-p", "any", 0, 1, true],
  ["top_k", "Top-k", 1, 0, 4294967295, true],
  ["min_p", "Min-p", "any", 0, 1, true],
  ["max_tokens", "Tokens at most", 1, 1, null, true],
  ["seed", "Seed", 1, -9007199254740991, 9007199254740991, true],
  ["typical_p", "Typical-p", "any", 0, 1, false],
  ["repetition_penalty", "Repetition penalty", "any", 0, 100, false],
  ["frequency_penalty", "Frequency penalty", "any", -2, 2, false],
  ["presence_penalty", "Presence penalty", "any", -2, 2, false],
  ["no_repeat_ngram_size", "No repeated n-gram", 1, 0, 4294967295, false],
];

/** Tokens of a text, unless told otherwise. */
const TOKENS = 100;

export class Settings {
  #inputs = new Map();

  constructor(form) {
    this.form = form;
    for (const [name, label, step, min, max, first] of FIELDS) {
      const input = this.#add(name, label, "number", first);
      Object.assign(input, { step, min, max: max ?? "", inputMode: step === 1 ? "numeric" : "decimal" });
    }
    this.#add("stop", "Stop before", "text", false);
    this.#inputs.get("stop").parentElement.classList.add("full");
    this.#inputs.get("seed").placeholder = "random";
    this.#inputs.get("stop").placeholder = "a text; \\n is a line end";
    this.#inputs.get("max_tokens").placeholder = TOKENS;
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  #add(name, text, type, first) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type, name, id: `set-${name}`, autocomplete: "off" });
    label.append(text, input);
    this.form.querySelector(first ? "#fields" : "#more-fields").append(label);
    this.#inputs.set(name, input);
    return input;
  }

  /** Shows what holds where a field is empty. */
  setDefaults(model) {
    for (const [name, value] of Object.entries(model.sampling ?? {})) {
      const input = this.#inputs.get(name);
      // Numbers of 32 bits have some seven digits.
      if (input) input.placeholder = String(Number(value.toPrecision(7)));
    }
    this.#inputs.get("max_tokens").max = model.max_tokens ?? "";
  }

  /** The fields that are given, by their names in requests; null where one is wrong, which is then shown. */
  read() {
    if (!this.form.checkValidity()) {
      const wrong = this.form.querySelector(":invalid");
      if (wrong.closest("details")) wrong.closest("details").open = true;
      this.form.reportValidity();
      return null;
    }
    const fields = { max_tokens: TOKENS };
    for (const [name, input] of this.#inputs) {
      if (input.value !== "") fields[name] = name === "stop" ? input.value.replaceAll("\\n", "\n") : Number(input.value);
    }
    return fields;
  }

  /** Sets the fields, and empties those that are not given. */
  write(fields) {
    for (const [name, input] of this.#inputs) {
      const value = fields[name] ?? "";
      input.value = name === "stop" ? String(value).replaceAll("\n", "\\n") : value;
      if (value !== "" && input.closest("details")) input.closest("details").open = true;
    }
  }

  set seed(seed) {
    this.#inputs.get("seed").value = seed;
  }

  static get names() {
    return [...FIELDS.map(([name]) => name), "stop"];
  }
}
