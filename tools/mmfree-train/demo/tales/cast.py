"""Casting: characters and things of one story, chosen so that they can be told apart."""

import re

from . import world as w
from .engine import Story, Thing, Who


class Cast(Story):
    def new_name(self, g):
        for _ in range(20):
            if self.p(0.07):
                first, middle, last = w.SYLLABLES
                name = self.pick(first) + self.pick(middle) + self.pick(last)
            else:
                name = self.pick(w.GIRLS if g == "f" else w.BOYS)
            if all(name[:2] != n[:2] for n in self.env.get("_names", [])):
                break
        self.env.setdefault("_names", []).append(name)
        return name

    def gender(self):
        """Mostly another one than the last character's, so that pronouns stay clear."""
        last = self.env.get("_g")
        g = ("f" if last == "m" else "m") if last and self.p(0.68) else self.pick("mf")
        self.env["_g"] = g
        return g

    def child(self, key, g=None):
        g = g or self.gender()
        self.env["_g"] = g
        who = Who([self.new_name(g)], g, "girl" if g == "f" else "boy", trait=self.fresh(w.TRAITS), age=self.pick("six seven eight nine ten eleven twelve".split()), animal=False, child=True)
        who.a = f"a {who.kind}"
        who.call = who.name
        self.env[key] = who
        return who

    def grown(self, key, job=None):
        """A grown-up with a trade or a house: "the miller", "old Mrs Tanaka", "Hamid the ferryman"."""
        g = self.gender()
        job = job or self.fresh(w.JOBS)
        if job == "postman" and g == "f":
            job = "postwoman"
        if job.endswith("man") and job not in ("postman",) and g == "f":
            job = {"fisherman": "fishwife", "ferryman": "ferrywoman", "night watchman": "night nurse"}.get(job, job)
        name, sur = self.new_name(g), self.pick(w.SURNAMES)
        title = {"f": "Mrs", "m": "Mr"}[g]
        style = self.r.random() if key != "h" else 0.3 + 0.3 * self.r.random()
        if key == "h" and self.p(0.5):
            title, sur, style = "", name, 0.5
        if style < 0.3:
            names = [f"the {job}"]
            a = f"the {job}"
        elif style < 0.6:
            names = [f"{title} {sur}".strip()]
            a = f"{names[0]} the {job}"
        elif style < 0.8:
            names = [f"old {name}" if self.p(0.5) else name, f"the {job}"]
            a = f"{names[0]} the {job}"
        else:
            names = [name, f"the {job}"]
            a = f"{name} the {job}"
        who = Who(names, g, "woman" if g == "f" else "man", trait=self.fresh(w.TRAITS), job=job, animal=False, child=False, a=a.rstrip(","), intro=a)
        who.call = f"{title} {sur}".strip() if 0.3 <= style < 0.6 else name if style >= 0.6 else "neighbour" if self.p(0.5) else "my friend"
        who.jobname = f"a {job}"
        self.env[key] = who
        return who

    def relative(self, key, of):
        g = self.gender()
        rel = self.fresh(w.RELATIVES[g])
        own = self.env[of]
        who = Who(["{%s.his} %s" % (of, rel)], g, rel, trait=self.fresh(w.TRAITS), animal=False, child=False, rel=rel)
        who.a = f"{own.his} {rel}"
        who.call = {"mother": "Mum", "father": "Dad"}.get(rel, rel.capitalize() if " " not in rel and "-" not in rel else "you old dear")
        if rel.startswith("big "):
            who.call = self.new_name(g)
        self.env[key] = who
        return who

    def beast(self, key, kinds=None, named=None):
        for _ in range(10):
            kind = self.fresh(kinds or list(w.ANIMALS))
            if kind not in self.env.get("_kinds", []):
                break
        self.env.setdefault("_kinds", []).append(kind)
        home, food, gift, size, lives, moved = w.ANIMALS[kind]
        g = self.gender()
        if named is None:
            named = self.p(0.62)
        if named:
            for _ in range(20):
                name = self.pick(w.PET_NAMES if self.p(0.75) else (w.GIRLS if g == "f" else w.BOYS))
                if all(name[:2] != n[:2] for n in self.env.get("_names", [])) and name.lower() != kind:
                    break
            self.env.setdefault("_names", []).append(name)
            names = [name, f"the {kind}"]
            a = f"{name} the {kind}"
        else:
            names = [f"the {kind}"]
            a = f"a {kind}"
        who = Who(names, g, kind, trait=self.fresh(w.TRAITS), home=home, food=food, gift=gift, size=size, lives=lives, moved=moved, animal=True, child=False, a=a)
        who.kinds = w.plural(kind)
        who.call = names[0].removeprefix("the ")
        who.aa = f"a {kind} [called|named|by the name of] {names[0]}" if named else f"a {kind}"
        who.Aname = f"{names[0]} the {kind}" if named else f"the {kind}"
        self.env[key] = who
        return who

    def thing(self, key, kinds=None, plain=False):
        n = self.fresh(kinds or list(w.THINGS))
        use, adjectives = w.THINGS[n]
        adj = self.pick(adjectives.split()) if self.p(0.75) else self.pick(["old", "little", "good", "plain", "battered", "fine", "strange"])
        thing = Thing(n, "" if plain else adj, use, pl=n == "boots")
        if n == "boots":
            thing.a = f"a pair of {adj} boots"
        self.env[key] = thing
        return thing

    def place(self, key, name):
        at, realm, details = w.PLACES[name]
        self.env[key] = Place(name, at, realm, details)
        return self.env[key]

    # -- people, animals and things in passing: {#who}, {#thing} ... ------------------------------------------------------
    def some_detail(self):
        return self.fresh(self.env["pl"].details)

    def some_who(self):
        """Somebody of the neighbourhood: the same two or three people through the whole story, in turn."""
        cast = self.env.setdefault("_cast", [])
        if len(cast) < 2 or (len(cast) < 3 and self.p(0.1)):
            for _ in range(20):
                who = self._who()
                if all(word not in self.env.get("_names", ()) and word not in self.env.get("_kinds", ()) for word in who[0].split()) and who[0] not in [c[0] for c in cast]:
                    break
            cast.append(who)
            self.env["_turn"] = len(cast) - 1
            return who[0]
        self.env["_turn"] = (self.env.get("_turn", 0) + 1) % len(cast)
        return cast[self.env["_turn"]][0]

    def _who(self):
        """A name and what introduces it the first time (nothing for a trade)."""
        draw = self.r.random()
        if self.beastly:
            kind = self.pick(list(w.ANIMALS))
            return ("the " + kind, "") if draw < 0.5 else ("old " + self.pick(w.PET_NAMES), f"the {kind}")
        job = self.fresh(w.JOBS)
        if draw < 0.35:
            return self.pick(("Mrs ", "Mr ", "Miss ", "old Mrs ", "old Mr ")) + self.pick(w.SURNAMES), self.pick(("next door", "from the corner", "across the road")) if self.p(0.4) else f"the {job}"
        if draw < 0.6:
            return "the " + job, ""
        g = self.pick("mf")
        name = self.new_name(g)
        return (self.pick(("old ", "young ", "")) + name).strip(), self.pick(("from the mill", "next door", "from the corner", "from across the road", f"the {job}"))

    def meet(self, who, before="", after=""):
        """Says who somebody is where the name stands for the first time: "her friend Jun", "Eleni the baker"."""
        if not who.name.startswith(("the ", "{")):
            self.env.setdefault("_met", []).append((who.name, before, after))

    def introduce(self):
        """Introduces neighbours and friends where they are named for the first time."""
        hero, other = self.env.get("h"), self.env.get("q")
        if hero is not None and hero.g != "i" and getattr(other, "rel", None) and self.out:
            found = re.search(r"\b[Hh](?:is|er) %s\b" % re.escape(other.rel), self.out[0])
            if found and hero.name not in self.out[0][: found.start()]:
                self.out[0] = self.out[0][: found.start()] + f"{hero.name[0].upper()}{hero.name[1:]}'s {other.rel}" + self.out[0][found.end() :]
        told = [(name, "", intro) for name, intro in self.env.get("_cast", ())] + self.env.get("_met", [])
        for name, before, after in told:
            for i, text in enumerate(self.out):
                found = re.search(r"\b[%s]%s\b" % (name[0] + name[0].upper(), re.escape(name[1:])), text)
                if not found:
                    continue
                start, end = found.span()
                owner = text[end : end + 2] == "'s"
                if after and not (owner and not after.startswith("the ")) and not text[end:].startswith((" the ", " next door", " from", " across")):
                    text = text[:end] + " " + after + text[end:]
                if before and not text[:start].endswith(("riend ", "ousin ", "called ", "named ")):
                    first = start == 0 or text[:start].endswith((". ", '." ', '?" ', '!" ', "! ", "? "))
                    text = text[:start] + (before[0].upper() + before[1:] if first else before) + " " + text[start:]
                self.out[i] = text
                break

    def some_who1(self):
        """Somebody in passing who then speaks, as <w:...>."""
        name = self.some_who()
        self.env["w"] = Who([name], "x", "somebody", animal=False, call=name)
        return name

    def some_who2(self):
        """Somebody in passing who matters for the rest of the story: {w2}, and <y:...> speaks."""
        if "w2" not in self.env:
            self.env["w2"] = self.some_who()
            self.env["y"] = Who([self.env["w2"]], "x", "somebody", animal=False, call=self.env["w2"])
        return self.env["w2"]

    def some_thing(self):
        n = self.pick(SMALL)
        if n == "boots":
            return "a boot"
        return "a " + (self.pick(w.THINGS[n][1].split()) if self.p(0.6) else self.pick(w.COLOURS + ["old", "small", "broken", "worn", "very old"])) + " " + n

    def some_noun(self):
        return self.pick([n for n in w.THINGS if n != "boots"])

    def some_animal(self):
        return self.pick(("a ", "a ", "a young ", "an old ", "a fat ", "a thin ", "a sleepy ", "a cross ", "a wet ", "a lame ")) + self.pick(list(w.ANIMALS))

    def some_animals(self):
        return w.plural(self.pick(list(w.ANIMALS)))

    def some_nouns(self):
        return w.plural(self.some_noun())

    def some_girl(self):
        return self.pick(w.GIRLS)

    def some_boy(self):
        return self.pick(w.BOYS)

    def some_pet(self):
        return self.env.setdefault("_pet", self.pick(w.PET_NAMES))

    def some_cat(self):
        return self.env.setdefault("_cat", self.pick(w.PET_NAMES) + " the cat")

    def some_dog(self):
        return self.env.setdefault("_dog", self.pick(w.PET_NAMES) + " the dog")

    def some_food(self):
        return self.env["food"]

    def some_colour(self):
        return self.pick(w.COLOURS)

    def some_name(self):
        return self.pick(w.GIRLS + w.BOYS)

    def some_home(self):
        """A house or a place to live in."""
        if self.p(0.55):
            return f"a {self.pick(w.HOUSE)} house {self.pick(w.BY)}"
        values = {"n": w.plural(self.pick(MADE)), "k": self.pick("two three seven nine eleven forty".split()), "a": self.some_animals(), "c": self.pick(["white", "red", "green", "black", "blue", "grey"]), "f": self.pick(w.FOODS)}
        return self.pick(w.TOWNS).format(**values)

    def some_place(self):
        return self.pick((self.env["pl2"], self.env["pl3"])).the

    def some_at(self):
        return self.pick((self.env["pl"], self.env["pl2"], self.env["pl3"])).at

    def town(self, realm):
        """The place where everybody knows everybody."""
        kind = {"town": "town", "school": "town", "sea": "fishing village", "hill": "mountain village"}.get(realm, "village")
        if self.p(0.3):
            return f"the {kind}"
        if self.p(0.4):
            return f"the {kind} {self.pick(('by the lake', 'under the cliff', 'at the end of the valley', 'on the border', 'between the two rivers', 'behind the dunes' if realm == 'sea' else 'behind the wood', 'at the foot of the hill', 'on the moor', 'where the road ends'))}"
        first, _, last = w.SYLLABLES
        return self.pick(first) + self.pick(("ling", "wick", "ford", "stead", "den", "holm", "ville", "borg", "mouth" if realm == "sea" else "field")) if self.p(0.7) else f"the {kind} of {self.pick(w.SURNAMES).replace(chr(39), '')}ton"

    def setting(self, realms=None):
        """The realm of the story, the hero's home, three places in it."""
        realm = self.pick(realms or [r for r in w.REALMS if r not in ("castle", "desert") or self.p(0.5)])
        names = list(w.REALMS[realm])
        others = [n for n in w.PLACES if n not in names and (w.PLACES[n][1] in ("village", "forest", "river", "hill", "farm") or n in ("market", "bakery"))]
        self.r.shuffle(names)
        names += self.r.sample(others, 3)
        for key, name in zip(("pl", "pl2", "pl3"), names):
            self.place(key, name)
        self.env["home"] = self.pick(w.HOMES[realm]) if self.p(0.25) else self.some_home()
        self.env["realm"] = realm
        self.env["town"] = self.town(realm)
        self.env["food"] = self.pick(w.FOODS)
        self.some_who1()
        self.env["q0"] = Who(["{#who}"], "x", "somebody", animal=False, call="you")


class Place:
    def __init__(self, name, at, realm, details):
        self.name, self.at, self.realm, self.details = name, at, realm, details
        self.the = name if name == "school" else "the " + name
        self.to = "to " + self.the

    def __str__(self):
        return self.the


MADE = "kettle lantern basket whistle drum fiddle flute bell hat kite clock doll teapot ribbon pillow cheese cake spoon broom".split()
SMALL = [n for n in w.THINGS if n not in ("ladder", "boat", "cart", "bicycle", "wheelbarrow", "sledge", "seed")]
