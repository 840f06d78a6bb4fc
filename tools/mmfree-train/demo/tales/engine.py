"""The template engine: choices, references that agree, speech, paragraphs.

Template language:

    [a|b|c]       one of the alternatives, each of them a template (an empty one is allowed)
    {x}           reference to a character (name or pronoun, whichever is clear) or the value of a variable
    {x>} {x'}     the same as an object ("her", "Mina") or possessive ("her", "Mina's")
    {x!}          a character's name, never a pronoun
    {x.attr}      an attribute: he, him, his, self (pronouns), name, kind, a, n ...
    {@rule}       one alternative of a named rule, not used before in this story if possible
    <x:words.>    x says the words; the tag and its place are chosen; <x/soft:...> sets the manner

"a" becomes "an" where needed, and sentences are capitalised afterwards.
"""

import functools
import re

from .vary import taste, vary

RULES = {}


def rules(text):
    """Adds named rules: a line "name =", then one alternative a line."""
    name = None
    for line in text.strip().splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.endswith(" ="):
            name = line[:-2]
            RULES.setdefault(name, [])
        else:
            RULES[name].append(line)


@functools.lru_cache(None)
def parse(text):
    """A template as a tuple of strings and nodes: ("c", alternatives), ("v", reference), ("s", speaker, manner, words)."""
    pos = 0

    def sequence(stop):
        nonlocal pos
        nodes, start = [], pos
        while pos < len(text) and text[pos] not in stop:
            char = text[pos]
            if char not in "[{<":
                pos += 1
                continue
            if start < pos:
                nodes.append(text[start:pos])
            pos += 1
            if char == "{":
                end = text.index("}", pos)
                nodes.append(("v", text[pos:end]))
                pos = end + 1
            elif char == "[":
                alternatives = [sequence("|]")]
                while text[pos] == "|":
                    pos += 1
                    alternatives.append(sequence("|]"))
                pos += 1
                nodes.append(("c", tuple(alternatives)))
            else:
                end = text.index(":", pos)
                who, _, manner = text[pos:end].partition("/")
                pos = end + 1
                words = sequence(">")
                if pos >= len(text):
                    raise ValueError(f"speech not closed: {text}")
                pos += 1
                nodes.append(("s", who, manner, words))
            start = pos
        if start < pos:
            nodes.append(text[start:pos])
        return tuple(nodes)

    try:
        tree = sequence("")
    except (ValueError, IndexError) as error:
        raise ValueError(f"bad template: {text}") from error
    return tree


PRONOUNS = {
    "m": ("he", "him", "his", "himself", "his"),
    "f": ("she", "her", "her", "herself", "hers"),
    "n": ("it", "it", "its", "itself", "its"),
    "i": ("I", "me", "my", "myself", "mine"),
    "p": ("they", "them", "their", "themselves", "theirs"),
    "x": ("they", "them", "their", "themselves", "theirs"),  # a bystander, always named
}


class Who:
    """A character. `names` are the ways to name it; the first is the usual one."""

    def __init__(self, names, g, kind, **more):
        self.names = names
        self.name = names[0]
        self.g = g
        self.kind = kind
        self.he, self.him, self.his, self.self, self.hers = PRONOUNS[g]
        self.__dict__.update(more)

    def be(self, g):
        self.g = g
        self.he, self.him, self.his, self.self, self.hers = PRONOUNS[g]

    def be_narrator(self):
        self.real = self.g
        self.be("i")


class Thing:
    """An object: noun, a describing word, what it is for, and its owner."""

    def __init__(self, n, adj="", use="", pl=False):
        self.n, self.adj, self.use, self.pl = n, adj, use, pl
        self.full = f"{adj} {n}".strip()
        self.a = self.full if pl else "a " + self.full
        self.the = "the " + n
        self.it, self.they, self.was, self.its = ("them", "they", "were", "their") if pl else ("it", "it", "was", "its")
        self.this = "these" if pl else "this"
        self.has = "have" if pl else "has"

    def __str__(self):
        return self.the


TAGS = {
    ".": ["said"],
    "?": ["asked"] * 7 + ["wanted to know", "said", "inquired"],
    "!": "cried called shouted said exclaimed cried called".split() + ["burst out"],
}
MANNERS = {
    "soft": ["whispered", "murmured", "said softly", "said quietly", "breathed", "said gently"],
    "th": ["thought", "thought", "said to {x.self}", "told {x.self}"],
    "sad": ["sighed", "said sadly", "said with a sigh", "sniffed", "said and looked at the ground", "mumbled", "said in a flat voice"],
    "glad": ["laughed", "said with a smile", "said, beaming", "cried", "said happily", "sang out", "said and clapped"],
    "cross": ["grumbled", "snapped", "said crossly", "muttered", "said with a frown", "huffed"],
    "shy": ["said shyly", "mumbled", "whispered", "said, going pink", "said, not looking up", "stammered"],
    "firm": ["said firmly", "said", "declared", "announced", "said in a steady voice", "said and folded {x.his} arms"],
    "call": ["called", "shouted", "yelled", "called out", "cried", "bellowed"],
    "ans": ["said", "answered", "replied", "said", "said after a moment", "answered at once", "said slowly"],
}
BEATS = {
    "person": [
        "{x} [scratched|rubbed] {x.his} [chin|nose|head].", "{x} nodded slowly.", "{x} put {x.his} head on one side.", "{x} bit {x.his} lip.",
        "{x} looked up.", "{x} shrugged.", "{x} drew a long breath.", "{x} [tugged|pulled] at {x.his} sleeve.", "{x} [frowned|smiled a little|grinned].",
        "{x} turned round.", "{x} thought for a [moment|while].", "{x} came closer.", "{x} counted on {x.his} fingers.", "{x} blinked.",
        "{x} shook {x.his} head.", "{x} cleared {x.his} throat.",
    ],
    "animal": [
        "{x} put {x.his} head on one side.", "{x} blinked.", "{x} looked up.", "{x} came a little closer.", "{x} sniffed the air.", "{x} nodded slowly.",
        "{x} thought for a [moment|while].", "{x} turned round.", "{x} sat very still.", "{x} shook {x.his} head.", "{x} sat down.", "{x} [yawned|sneezed].",
    ],
}
HUMAN = re.compile(r"sleeve|hand|finger|hat\\b|pocket|coat|shoe|boot|knuckle|hair|sock|dinner|bus\\b|school|work|penny|step\\b|stair|bed\\b|thumb|button|street")
OBJECT = re.compile(r"\b(?:at|without|from|to|with|of|by|behind|beside|near|past|on|over|around|asked|told|tell|ask|give|help|gave|helped|thanked|hugged|scolded|made|let|past|towards|against|watched|saw|heard) $")
NEIGHBOUR = re.compile(r" (?:next door|from upstairs|from the mill|from across the road|from the corner|the twin)'s")
FIRST_LAST = re.compile(r"\bI and (my (?:big |little |great-)?[a-z]+|[A-Z][a-z]+)\b")
TAIL = re.compile(r'(," [a-z]+ (?:[\w\'-]+ ){0,4}[\w\'-]+, ")(And|But|So|Only|Then|Who)\b')
ASKED = re.compile(r'([?!]" )(Asked|Said|Cried|They asked|Somebody asked|Someone asked|From|Till)\b')
FIRST = re.compile(r"\bI (still |always |never |often |only |simply )?(lies|says|wears|goes|walks|passes|turns|looks|makes|knows|asks|comes|bends|lights|keeps|has|is|runs|rings|thinks|lets|listens|gives|nods|counts|lifts|could)\b")
PLAIN = {"has": "have", "is": "am", "goes": "go", "passes": "pass", "could": "could"}
LOW = "\x01"  # keeps the next letter as it is, after a mark that would end a sentence
CAPITAL = re.compile(r'(^|[.!?]"? |[.!?] "|^")([a-z])')
ARTICLE = re.compile(r"\b([Aa])n? (?=(\W*)(\w+))")
AN = re.compile(r"(?:[aeio]|u(?!ni|se|su|ke)|hour|honest)(?!ne\b|nce\b|ur)", re.I)


def article(match):
    word = match[3]
    vowel = bool(AN.match(word)) and not word.lower().startswith(("eu", "one-", "once"))
    return match[1] + ("n " if vowel and not match[2] else " ")


class Story:
    """One story being told: the characters and things by name, and the paragraphs so far."""

    def __init__(self, rng):
        self.r = rng
        self.env = {}
        self.out = []
        self.last = {}
        self.runs = {}
        self.used = set()
        self.qa = []
        self.about = ""
        self.beastly = False
        self.taste = taste(rng)

    # -- choices ---------------------------------------------------------------------------------------------------------
    def p(self, chance):
        return self.r.random() < chance

    def pick(self, items):
        return self.r.choice(items)

    def fresh(self, items):
        """One of the items that this story hasn't had, if there is one."""
        for _ in range(6):
            item = self.r.choice(items)
            if item not in self.used:
                break
        self.used.add(item)
        return item

    def set(self, **values):
        for key, value in values.items():
            self.env[key] = self.settle(value) if isinstance(value, str) else value

    def rule(self, name):
        return self.x(self.pick_rule(name))

    def pick_rule(self, name):
        """One alternative of a rule that this story hasn't had, and that its hero has the limbs and clothes for."""
        for _ in range(8):
            text = self.fresh(RULES[name])
            if not self.beastly or not HUMAN.search(text):
                break
        return text

    # -- expansion -------------------------------------------------------------------------------------------------------
    def x(self, text):
        return self._seq(parse(text))

    def settle(self, text):
        """A template whose choices are made, with its references to characters still open."""
        parts = []
        for node in parse(text):
            if type(node) is str:
                parts.append(node)
            elif node[0] == "c":
                parts.append(self._settle(self.r.choice(node[1])))
            else:
                parts.append(self._settle((node,)))
        return "".join(parts)

    def _settle(self, nodes):
        parts = []
        for node in nodes:
            if type(node) is str:
                parts.append(node)
            elif node[0] == "c":
                parts.append(self._settle(self.r.choice(node[1])))
            elif node[0] == "v":
                key = node[1].lstrip("^")
                if key[0] == "@":
                    text = self.settle(self.pick_rule(key[1:]))
                    parts.append(text[:1].upper() + text[1:] if node[1][0] == "^" else text)
                elif key[0] == "#":
                    parts.append(self._ref(node[1]))
                else:
                    parts.append("{" + node[1] + "}")
            else:
                parts.append("<%s%s:%s>" % (node[1], "/" + node[2] if node[2] else "", self._settle(node[3])))
        return "".join(parts)

    def _seq(self, nodes):
        parts = []
        for node in nodes:
            if type(node) is str:
                parts.append(node)
            elif node[0] == "c":
                parts.append(self._seq(self.r.choice(node[1])))
            elif node[0] == "v":
                key = node[1]
                if key in self.env and parts and type(self.env[key]) is Who and OBJECT.search(parts[-1]):
                    key += ">"
                parts.append(self._ref(key))
            else:
                parts.append(self.say(self.env[node[1]], node[2], node[3]))
        return "".join(parts)

    def _ref(self, key):
        if key[0] == "@":
            return self.rule(key[1:])
        if key[0] == "#":
            return getattr(self, "some_" + key[1:])()
        if key[0] == "^":
            text = self._ref(key[1:])
            return text[:1].upper() + text[1:]
        form = ""
        if key[-1] in ">'!":
            key, form = key[:-1], key[-1]
        base, _, attr = key.partition(".")
        value = self.env[base]
        if attr:
            if isinstance(value, Who):
                if attr in ("aa", "Aname", "jobname"):
                    self.last[value.g] = value
                    self.runs[id(value)] = 0
                if attr == "name":
                    attr = "call"
            out = getattr(value, attr)
            return self.x(out) if isinstance(out, str) and ("[" in out or "{" in out) else str(out)
        if isinstance(value, Who):
            return self.refer(value, form)
        value = str(value)
        return self.x(value) if "{" in value or "[" in value or "<" in value else value

    def refer(self, who, form=""):
        if who.g == "i":
            return {"": "I", ">": "me", "'": "my", "!": "I"}[form]
        if who.g == "x":
            return self.x(who.names[0]) + ("'s" if form == "'" else "")
        clear = self.last.get(who.g) is who
        run = self.runs.get(id(who), 0)
        if form != "!" and clear and run < 3 and self.r.random() < (0.74, 0.62, 0.4)[run]:
            self.runs[id(who)] = run + 1
            return {"": who.he, ">": who.him, "'": who.his}[form]
        self.runs[id(who)] = 0
        self.last[who.g] = who
        name = self.r.choice(who.names) if len(who.names) > 1 and self.r.random() < 0.45 else who.names[0]
        if "{" in name:
            name = self.x(name)
            self.last[who.g] = who
        if form == "'":
            return name + "'s"
        return name

    # -- speech ----------------------------------------------------------------------------------------------------------
    def say(self, who, manner, words):
        text = self._seq(words) if not isinstance(words, str) else self.x(words)
        text = text.strip()
        text = text[:1].upper() + text[1:]
        self.env["x"] = who
        if manner == "-":
            return f'"{text}"'
        end = text[-1]
        if manner:
            verb = self.x(self.fresh(MANNERS[manner]))
        else:
            verb = self.r.choice(TAGS.get(end, TAGS["."]))
            early = re.search(r"[,.] ", text[:60])
            if end == "?" and early:
                verb = "said"  # the words before the tag are no question
        draw = self.r.random()
        beats = BEATS["person" if not getattr(who, "animal", False) else "animal"]
        if not manner and who.g != "x" and draw < 0.17 and end in ".?!":
            return self.x(self.fresh(beats)) + f' "{text}"'
        simple = " " not in verb or verb.startswith("said ") is False
        if draw < 0.27 and (not manner or simple) and verb not in ("added", "went on", "wanted to know", "burst out"):
            return f'{self.refer(who)} {verb}, "{text}"'
        pronoun = who.g == "i" or (self.last.get(who.g) is who and self.runs.get(id(who), 0) < 3 and self.r.random() < 0.7)
        if pronoun:
            self.runs[id(who)] = self.runs.get(id(who), 0) + 1
            tag = f"{who.he} {verb}"
        else:
            name = self.refer(who, "!")
            first, _, rest = verb.partition(" ")
            if first in ("wanted", "went", "burst", "told") or rest == "out":
                tag = f"{name} {verb}"
            elif rest and not rest.startswith(("and", "after", "at", "with", "in", "under", "to")):
                tag = f"{first} {name}{',' if first.endswith(',') else ''} {rest}".replace(",,", ",") if not first.endswith(",") else f"{first[:-1]} {name}, {rest}"
            else:
                first, comma = (first[:-1], ",") if first.endswith(",") else (first, "")
                tag = f"{first} {name}{comma} {rest}".strip() if self.r.random() < 0.8 or comma else f"{name} {verb}"
        split = re.search(r"[,.!?] ", text[:60])
        if split and (manner or text[split.start()] in ",.") and self.r.random() < 0.4 and 7 <= split.start() and text[split.end() :].count(" ") >= 2 and "and went" not in tag:
            head, mark, tail = text[: split.start()], text[split.start()], text[split.end() :]
            if mark == ",":
                if tail[0].islower() or tail[:2] in ("I ", "I'"):
                    return f'"{head}," {LOW}{tag}, "{LOW}{tail}"'
            else:
                return f'"{head}{"," if mark == "." else mark}" {LOW}{tag}. "{tail}"'
        body = text[:-1] + "," if end == "." else text
        return f'"{body}" {LOW}{tag}.'

    # -- paragraphs ------------------------------------------------------------------------------------------------------
    def para(self, *texts):
        self.last, self.runs = {}, {}
        text = " ".join(filter(None, (self.x(t) for t in texts if t)))
        if text.strip():
            self.out.append(finish(vary(text, self.r, self.taste)))

    def ask(self, question, answer):
        self.last, self.runs = {}, {}
        hero = self.env.get("h")
        first = hero is not None and hero.g == "i"
        if first:
            hero.be(hero.real)
        self.qa.append((finish(self.x(question)), finish(self.x(answer))))
        if first:
            hero.be("i")


def finish(text):
    text = " ".join(text.split())
    text = re.sub(r" ([,.;!?])", r"\1", text)
    text = re.sub(r'([.!?]),"', r'\1"', text)
    text = re.sub(r"(?<!\.)\.\.(?!\.)", ".", text)
    text = re.sub(r'([?!]"?)\.', r"\1", text)
    text = FIRST_LAST.sub(lambda m: m[1] + " and I", text)
    text = NEIGHBOUR.sub(r"'s", text)
    text = ARTICLE.sub(article, text)
    text = CAPITAL.sub(lambda m: m[1] + m[2].upper(), text)
    text = re.sub(r'(: |, )"([a-z])', lambda m: m[1] + '"' + m[2].upper(), text)
    text = TAIL.sub(lambda m: m[1] + m[2].lower(), text)
    text = ASKED.sub(lambda m: m[1] + m[2].lower(), text).replace('.".', '."')
    text = FIRST.sub(lambda m: "I " + (m[1] or "") + PLAIN.get(m[2], m[2][:-1]), text)
    return text.replace(LOW, "")
