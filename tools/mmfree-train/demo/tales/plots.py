"""Plots: each takes a tale, casts it and tells it. State (who, what, where, how many tries) decides what is told."""

from . import beats  # noqa: F401  (the shared rules)
from . import world as w
from .cast import Cast
from .engine import RULES, Who, rules
from .problems import PROBLEMS

PLOTS = []


def plot(weight=1):
    def add(function):
        PLOTS.append((function, weight))
        return function

    return add


class Tale(Cast):
    def start(self, realms=None, hero=None, first=0.14):
        """Setting and hero; now and then the hero tells the story."""
        self.setting(realms)
        hero = hero or ("child" if self.p(0.78) else "grown")
        {"child": self.child, "grown": self.grown, "beast": self.beast}[hero]("h")
        h = self.env["h"]
        self.env["keep"] = self.x("[lucky stone|red cap|notebook|catapult|little mirror|mouth organ|penknife|torch]")
        self.env["trait2"] = self.pick([t for t in w.TRAITS if t != h.trait])
        self.env["n5"] = self.pick("four five six seven eight nine ten".split())
        self.env["wat"] = self.pick(["bay", "lake", "river", "strait"]) if self.env["realm"] == "sea" else "river"
        self.beastly = hero == "beast"
        self.env["b"] = Who([self.pick(["{#who}", "{#who}", "a neighbour", "somebody", "one of the neighbours"])], "x", "somebody", plain=True, animal=False, call="neighbour")
        if hero == "child" and self.p(first):
            self.env["name0"] = h.name
            h.be_narrator()
        self.set(family=self.pick(FAMILY))
        return h

    def opening(self):
        h = self.env["h"]
        if h.g == "i":
            return "{@open_first}"
        rule = "open_animal" if h.animal else "open_child" if h.child else "open_grown"
        text = "{@%s}" % rule
        if self.p(0.15):
            text += " {@animal_line}" if h.animal else " {@trait_line}"
        return text

    def scene(self, chance=0.4):
        return "{@weather}" if self.p(chance) else ""

    def maybe(self, chance, *texts):
        return self.pick(texts) if self.p(chance) else ""

    def helper(self, key="q", beast=0.2):
        draw = self.r.random()
        if draw < beast:
            self.beast(key)
        elif draw < 0.4 + beast / 2:
            self.relative(key, "h")
        elif draw < 0.62 + beast / 2:
            other = self.child(key)
            other.a = self.x("[a {kind} from next door|a {kind} in a green coat|{h.his} friend|the new {kind}]".replace("{kind}", other.kind))
        else:
            self.grown(key)
        return self.env[key]

    def enter(self, q):
        """How the helper comes into the story for the first time."""
        if q.animal:
            return self.pick(["[Just then|At that moment|As luck would have it] {q.aa} [came by|came along|looked out of the bushes|landed on the wall|put its nose round the corner].".replace("its", q.his),
                              "{q.Aname} had [seen it all|been watching for some time|been listening].", "Nobody had noticed {q.Aname}, who [sat|lay] close by, [half asleep|all ears]."])
        if hasattr(q, "job"):
            return "[%s|{h} ran to {q.intro2}.|{q.intro1} [came by|was passing|had seen it all|stopped to look].|At that moment {q.intro1} [came round the corner|came along|looked out of the window].]" % "{h} thought of {q.intro2}. "
        if hasattr(q, "rel"):
            return "[{@meet}|{q!} [came out of the house|had heard the noise|looked out of the window|was sitting on the bench, peeling apples|put down the newspaper].|That was when {q!} [came home|came in|came to look].]"
        return "[{@meet}|{q!}, {q.a}, [came by|stopped|had seen it all|climbed over the fence].|Along came {q!}, {q.a}[, on roller skates|, eating an apple|, whistling|].]"

    def ending(self, theme=None):
        """One to three closing sentences, in the order of an evening; a theme speaks only in part of the stories."""
        glad = any(text in self.used for text in RULES["feelglad"])
        parts = [self.maybe(0 if glad else 0.35, "{@feelglad}"), self.maybe(0.3, "{@food}")]
        parts.append("{@end_%s}" % theme if theme and self.p(0.55) else self.maybe(0.5, "{@end_any}"))
        if not parts[2] or self.p(0.25):
            parts.insert(2, "{@home}" if self.p(0.4) else "{@quiet}") if not parts[1] else None
        parts = [p for p in parts if p]
        return parts or ["{@quiet}"]


FAMILY = """[two|three|four|five] [brothers|sisters|cousins] and [a grandmother who snored|a grey cat|a parrot that swore|one bicycle between them|a dog with three legs]
{h.his} [mother|father|grandmother|grandfather|aunt|uncle] and [a cat|an old dog|a canary|eleven hens|a tortoise] [called|named] {pet}
{h.his} parents, [a baby who never slept|a lodger who played the trombone|a great deal of washing|an aunt who told fortunes]
nobody but {h.his} [grandfather|grandmother|father|mother|uncle]""".replace("{pet}", "[" + "|".join(w.PET_NAMES[:60]) + "]").splitlines()

rules(r"""
open_first =
[I was {h.age} [then|when it happened]|When I was {h.age}|The year I turned {h.age}], we lived in {home}.
My name is {name0}, and [this is what happened {@when}|I want to tell you about {@when0}|I am {h.age} years old].
[It was my own fault|I didn't mean to do it|I shall never forget it|I remember it exactly|You won't believe it, but it is true]. It was {@when}.
{^@when}, I was {pl.at}. {^@detail}[|, and {@detail}].
[I don't|I do not] [like|mind] [Mondays|rain|surprises|being small], but [that day|this time] [it was different|I had no choice].
[My mother says|My grandfather says|People say] I [talk too much|never look where I am going|ask too many questions|am like a cat, always in the wrong place]. [Perhaps that is true|Maybe so]. [That is how it began|Listen anyway].
{@weather} I [was looking out of the window|had just put my boots on|was [bored|hungry|late]|sat on the stairs].
Everyone calls me {name0}[, even the postman|, though my real name is longer|]. We live in {home}, with {family}.
when0 =
the worst and best day of the year
what happened [last spring|last summer|last autumn|last winter|in the holidays]
the day I [learned something|grew up a little|got very wet|stopped being afraid]
where_tool =
[behind the door|under the stairs|in the shed|on a nail in the workshop|at the bottom of a chest|on top of the cupboard|in the attic]
own =
Then {h} remembered {t.a} [that lay|that had lain for years] {@where_tool}.
<h:[Wait|Stay here], I have an idea!> {h} ran [home|off] and came back with {t.a}[|, quite out of breath].
{h} [looked round|looked about]. And there, {@where_tool}, was {t.a}.
At home, {@where_tool}, there was {t.a}. [Nobody had used {t.it} for years|It had been {h'} grandfather's|{h} had never known what {t.it} was good for, until now]. 
lend =
<q:[I have|I've got|There's] {t.a} [at home|somewhere|{@where_tool}]. [Would that help|Would that do|Is that any good]?> <h:[That's it|That's just what we need|Would you lend {t.it} to me]!>
<h:[Do you still have|Could you lend me|Might I borrow] {t.thea}?> <q:[Take it|Of course|Gladly|If you bring it back], [and mind your fingers|and good luck|and I'm coming with you].>
{q} [scratched {q.his} head|thought for a moment], [went off|disappeared], and came back with {t.a}. <q:[Try this|How about this|Will this do]?>
{q} [fetched|brought out|went to get] {t.a} from {@where_tool0}. {t.The} [was covered in dust|was not new|looked as if it had seen better days], but it was [just right|what was needed|better than nothing].
where_tool0 =
[the shed|the attic|the back of the shop|the boot of the car|under the bed|a dusty corner|the cellar]
bargain =
<q:[I have|I own] {t.a}, but I [don't lend it to just anybody|want something for it]. [First help me|Lend me a hand first]: {@chore}.> {h} [sighed|nodded|rolled up {h.his} sleeves]. {@chored} [Then|After that] {q} brought {t.a}.
<q:{^t.a}? [Yes, I have one|I've got one]. But what do I get for {t.it}?> {h} [emptied {h.his} pockets|looked in {h.his} bag|thought of what {h.he} had]. <h:My {keep}?> {q} [looked at it|weighed it in {q.his} hand] and [nodded|smiled and gave it back|said it was a bargain]. And so {h} got {t.a}.
chore =
[the wood must be chopped|there are forty plates to wash|the hens have to be fed|the stairs want sweeping|the potatoes must be dug|the baby needs rocking|my wool is in a tangle|the water must be carried up|the boots want polishing|there are two sacks to carry]
chored =
[It took an hour|It took longer than {h.he} had thought|The work was soon done|{h} worked fast and did not grumble|It was hot work].
idea =
<q:[Wait|Listen|Stop|Hold on]. {^idea}. {^reason}.>
{q} [looked|watched] [for a while|in silence]. <q:I [think|believe|should say] {idea}. {^reason}.>
<q:[You know what|Do you know what I think]? {^idea}!> <h:[How do you know|What do you mean|And then]?> <q:{^reason}.>
{h} [stood still|lifted {h.his} head|stared]. [Something had come into {h.his} mind|It was so simple|Suddenly {h.he} saw it]. <h:{^idea}. {^reason}!>
It was {q} who [saw it|found the answer|had the idea]. <q:{^idea}. {^reason}[|, you see|, that's all].>
<h:[Of course|Now I see]! {^idea}!> {q} [raised {q.his} eyebrows|was not so sure|frowned]. <h:{^reason}, [you see|don't you see|that's why]!>
gift =
<q:[Let me|Leave it to me|I can do that|I know how to {gift}]. [I'm only {q.an}, but that's what I'm good at|I have done it all my life|It's what I do best].>
{h} [looked doubtful|looked down at {q>}|did not know whether to laugh]. <h:Can you [really|truly]?> <q:Watch.>
Now, {gift} was [the one thing|the very thing] that {q} could do better than anyone.
bridge =
{^when}, [something happened|it happened].
[But|And then] {when} [everything changed|there was trouble].
All that changed {when}.
""")


@plot(3)
def trouble(s, problem=None):
    """A trouble of the world, some attempts that fail, a tool or an idea or a friend that helps."""
    pr = problem or s.pick(PROBLEMS)
    h = s.start(pr["realms"])
    way, how = s.pick(pr["ways"])
    kind, _, rest = way.partition(":")
    if kind == "g":
        kinds = [k for k, v in w.ANIMALS.items() if v[2] == rest]
        q = s.beast("q", kinds)
        q.an = "a " + q.kind
        s.set(gift=rest)
    else:
        q = s.helper(beast=0.12)
    if hasattr(q, "intro"):
        q.intro1, q.intro2 = q.intro + ("," if q.intro.endswith("x") else ""), q.a
    s.about = pr["name"]
    s.set(when="{@when}")
    opens = s.pick(pr["opens"])
    order = s.r.random()
    if order < 0.42:
        s.para(s.opening(), s.scene(0.25), s.maybe(0.3, "{@bridge}"), opens)
    elif order < 0.8:
        s.para(opens, s.maybe(0.3, s.opening()) if h.g != "i" and "{h}" not in opens else "", s.scene(0.2))
    else:
        s.para(s.pick(["{@weather}", "{@sense}"]), opens)
    stakes = s.r.sample(pr["stake"], 1 if s.p(0.6) else 2)
    fails = s.r.sample(pr["fails"], s.pick([1, 1, 2, 2, 3]))
    first = stakes + [s.maybe(0.35, "{@try1}"), fails[0], s.maybe(0.35, "{@fail}")]
    s.para(*first)
    middle = []
    for f in fails[1:]:
        middle += [s.pick(["{@then}, ", ""]) + ("" if False else ""), f]
    middle = [m for m in middle if m and not m.endswith(", ")]
    middle.append(s.maybe(0.5, "{@feelsad}", "{@think}", "{@humour}"))
    s.para(*middle)
    meeting = [s.enter(q)]
    if s.p(0.6):
        meeting += ["{@offer}", s.maybe(0.6, "{@tell}")]
    if kind == "t":
        t = s.thing("t", [rest])
        t.The = "The " + t.n
        t.thea = "that " + t.full if s.p(0.5) else t.a
        meeting.append("{@%s}" % s.pick(["own", "lend", "lend", "bargain"]))
    elif kind == "i":
        idea, _, reason = rest.partition(":")
        s.set(idea=idea, reason=reason)
        meeting.append("{@idea}")
    else:
        meeting.append("{@gift}")
    s.para(*meeting)
    s.para(s.maybe(0.25, "{@humour}"), how, s.maybe(0.35, "{@thanks}"))
    s.para(*s.ending(pr["end"] if s.p(0.7) else None))
    s.ask(*pr["qa"])
    who = "{q!}" if not q.animal else "{q.Aname}"
    if kind == "t":
        s.ask("[What did they use|What helped in the end]?", "{^t.a}.")
    s.ask("Who [helped|was there to help]?", who + ".")


def tell(tale):
    """Tells one story, its plot chosen by weight."""
    functions, weights = zip(*PLOTS)
    tale.r.choices(functions, weights)[0](tale)
    tale.introduce()


from . import deeds  # noqa: E402,F401  (more plots)
from . import deeds2  # noqa: E402,F401
from . import beasts, close, close2, close3, deeds3  # noqa: E402,F401
