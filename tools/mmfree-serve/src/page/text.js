// A text token by token: shown as it comes, coloured by probability, and walked through by keys or pointer.

/** The steps of the heat map: tokens less likely than this are one step warmer. */
const STEPS = [0.75, 0.4, 0.15, 0.05, 0.01];

export function heat(probability) {
  return STEPS.filter((step) => probability < step).length;
}

export function percent(probability) {
  if (probability >= 0.9995) return "100 %";
  return probability < 0.0001 ? "< 0.01 %" : `${Number((100 * probability).toPrecision(2))} %`;
}

/** A token's text so that spaces and line ends are seen. */
export function visible(text) {
  return text === "" ? "(no text)" : text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥");
}

export class TextView {
  /** `choose` is told of the number of the token that is chosen, and whether to go to its alternatives. */
  constructor(place, choose) {
    this.choose = choose;
    this.at = -1;
    /** Tokens; the element would count its children anew for each. */
    this.length = 0;
    this.element = document.createElement("p");
    this.element.className = "text";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", "Generated text; arrow keys go from token to token, Enter to what else could have been");
    this.element.addEventListener("click", (event) => {
      const token = event.target.closest("[data-n]");
      if (token && getSelection().isCollapsed) this.select(Number(token.dataset.n));
    });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    place.replaceChildren(this.element);
  }

  #key(event) {
    const last = this.length - 1;
    const to = { ArrowRight: this.at + 1, ArrowLeft: this.at < 0 ? last : this.at - 1, Home: 0, End: last }[event.key];
    if (to !== undefined && !event.altKey && !event.ctrlKey && !event.metaKey) {
      this.select(Math.min(Math.max(to, 0), last));
    } else if (event.key === "Enter" && this.at >= 0) {
      this.choose(this.at, true);
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Adds a token: its text is never taken for anything but text. */
  push(token, kept) {
    const span = document.createElement("span");
    const ink = document.createElement("span");
    span.dataset.n = this.length;
    this.length += 1;
    if (token.p !== null) span.dataset.heat = heat(token.p);
    span.classList.toggle("kept", kept);
    ink.className = token.isEnd ? "ink end" : "ink";
    const [space] = token.text.match(/^\s*/);
    ink.textContent = token.isEnd ? "end" : token.text.slice(space.length);
    // Space before a word has no colour, as it may hang over the end of a line; before all words it is not shown.
    if (this.element.querySelector(".ink:not(:empty)")) {
      span.append(space);
    } else {
      const lead = document.createElement("span");
      lead.className = "lead";
      lead.textContent = space;
      span.append(lead);
    }
    span.append(ink);
    this.element.append(span);
  }

  /** What comes behind the last token without one of its own. */
  addToLast(text) {
    const last = this.element.lastElementChild;
    if (last && text) last.lastElementChild.textContent += text;
  }

  truncate(length) {
    while (this.length > length) {
      this.element.lastElementChild.remove();
      this.length -= 1;
    }
    this.unselect();
  }

  select(n) {
    this.unselect();
    const token = this.element.children[n];
    if (!token) return;
    this.at = n;
    token.classList.add("at");
    token.scrollIntoView({ block: "nearest" });
    this.choose(n, false);
  }

  unselect() {
    this.element.querySelector(".at")?.classList.remove("at");
    this.at = -1;
  }

  set running(running) {
    this.element.classList.toggle("running", running);
    this.element.setAttribute("aria-busy", running);
  }
}
