"""More plots of people: making together, looking for an animal."""

from . import world as w
from .deeds import enter
from .engine import rules
from .plots import plot

# -- making something together ---------------------------------------------------------------------------------------------
MAKES = [
    ("a raft", "[planks|barrels|old doors]", "sail [to the island|down the {wat}]", "It [tilted|turned twice in a circle], took a little water, and swam"), ("a soup for everyone", "[carrots|onions|beans|bones]", "feed the whole street", "It tasted of [everything in it|{#food} and smoke|the sea], and {#who} [licked the pot|had four plates|asked who had cooked it]"),
    ("a kite as big as a door", "[paper|canes|string]", "fly it from {place}", "It shook itself and went up, until the string sang"), ("a scarecrow", "[straw|trousers|a turnip]", "save the cherries", "The birds held a meeting, and then sat on [its hat|its arms]. [But they left the cherries alone and ate {#who}'s peas|It looked so much like {#who} that {#who} said good morning to it]"),
    ("a tree house", "[boards|nails|rope]", "have a place without grown-ups", "It leaned a little, but everyone fitted in, even {#who}"), ("a quilt", "[scraps|thread|buttons]", "have something warm for {who3}", "There was a piece of everybody in it: a sleeve, a curtain, a bit of flag"),
    ("a play", "[curtains|crowns|paint]", "earn money for a new bell", "The [king|prince] forgot his words, the [dragon|cow|moon], who was {#who}, said them for him, and [people asked for it again|{#who} threw {#food}]"), ("a snow castle", "[snow|buckets|a broken window]", "win against the children of the other street", "It had two towers, and it stood till March"),
    ("a bench", "[oak boards|screws|varnish]", "let old {who3} rest on the way to {place}", "From then on nobody passed without sitting down a minute"), ("a cart with a sail", "[wheels|a bed sheet|a pole]", "be the fastest on the hill", "It ran, it flew, and it stopped in {#who}'s hedge"),
    ("a lamp for the dark corner", "[glass|wire|oil]", "let nobody stumble there again", "The corner was no corner any more, but a place, and {#who} put a chair there"), ("a garden on the roof", "[soil|tubs|seeds]", "have something green to look at", "In [June|July] there were [beans|peas|{#colour} flowers], and a bee had found the way up"),
    ("an oven of clay", "[clay|straw|stones]", "bake on feast days", "The first loaf was [crooked|black on one side], and [nobody has ever eaten better|{#who} ate the whole of it]"), ("a map of everything", "[paper|ink|string]", "find all that had ever been lost", "When it was done, {#who} found [the way to a friend's house|the bench of a long-ago summer|{#who}'s well] on it, and went there the same day with {#food}"),
]
rules(r"""
makeopen =
<h:Let's [make|build] {mk}!> [Nobody answered|{^#who} laughed|Everybody looked up]. <h:To {why}.> [Then they were all for it|That was another matter].
{h} wanted to [make|build] {mk}, to {why}. There was only one trouble: {h.he} had nothing to make it of.
What they needed was {mk}, to {why}. [Everyone said so, and nobody began|So {h} began].
[It was raining|The holidays were long], and {h} had had enough of [sitting about|counting flies]. <h:I shall [make|build] {mk}, and then we can {why}.>
bring =
<b:There's {stuff} in my shed, but I want to [help|have a turn].> So {#name} came along as well.
In {#who}'s yard lay {stuff}, [under snow|under a cloth]. <h:May we have it?> <w:[If you carry it.|What for?]> They [carried it].
makework =
They [worked|hammered|sewed and glued|carried and measured] until [it was dark|{#who} called them in|their hands were {#colour}]. {h} [held|cut|measured], {q} [tied|nailed|counted], and {#who} gave orders.
<q:[Higher|A bit to the left|Not like that]!> <h:[Like this|Which left|Then do it yourself]?> [They laughed|They began again]. {^#who} said one could see it would be something.
makefail =
Then [a rope broke|the middle gave way|somebody sat on it], and it lay there in a heap. Nobody said anything. {^#who} [picked up the first piece|began to whistle].
On the second day [it all fell down|the best part was missing]: {#who} had [taken it for firewood|lent it to {#who}]. {h} [swallowed|counted to ten] and began once more.
[It was too small|It was crooked]. <h/sad:[It's no good|It will never hold].> <q:[It's not good yet|Turn it round].> They [turned it round|gave it a coat of {#colour}], and [it was better|nobody could see it any more|{#who} liked it].
""")


@plot(4)
def making(s):
    """Something is made of what everybody brings."""
    h = s.start()
    q = s.helper(beast=0.06)
    mk, stuff, why, result = s.pick(MAKES)
    s.set(mk=mk, place="{#place}", who3="{#name}")
    s.set(why=why)
    s.env["stuff"] = stuff
    s.about = f"somebody who makes {mk} with the help of others"
    s.para(s.opening() if s.p(0.65) else s.scene(0.6), "{@makeopen}")
    s.para("{@bring}", s.maybe(0.6, "{@bring}"))
    s.para(enter(s, q), "{@makework}", s.maybe(0.6, "{@makefail}"), s.maybe(0.25, "{@feelsad}", "{@think}"))
    s.para("[At last|On the fourth day|On Sunday|By evening] it was [done|ready]. {^#who} came to see it, and {#who}.", result + ".", s.maybe(0.5, "{@feelglad}"))
    s.para(*s.ending(s.pick(["work", "friend", None])))
    s.ask("What did they make?", "{^mk}.")


# -- an animal that has got away -----------------------------------------------------------------------------------------------
rules(r"""
awayopen =
{^pet} the {pk} was gone. [The {gate} stood open|The rope lay there, bitten through|Only the bowl was there, still full].
<h/call:{^pet}! {^pet}, where are you?> [No answer|Nothing]. The {pk} had got away, [in the night|while {#who} was talking to {#who}|because {#who} had left the gate open].
{h} had promised {#who} to look after {pet} the {pk}, [for one week only|till Sunday]. On the second day {pet} was gone.
{pet} the {pk} [had never been away for a night|was always home when {#who} lit the lamp|followed {h} everywhere, even to {#place}]. Now it was [evening|the third day], and [nobody had seen {pet}|neither {#who} nor {#who} had seen {pet}].
awaylook =
{h} [asked|ran to] {#who}. <b:A {pk}? [It ran past me with {#food} in its mouth|I saw one by {#place}, but it was bigger].>
They [hung up notices|called from door to door]. {^#who} brought a {pk}, but [it was the wrong one|it was {#who}'s]. So was the one that {#who} brought.
awayfound =
[It was {q} who heard it|Then they heard it]: a sound from [the old well|under the bridge|inside a hollow tree]. {pet} had slipped in and could not get out. {h} [climbed down|crawled in], with a rope round {h.his} waist [and {#who} at the other end|that {#who} held], and [came up again|came back] with a [very dirty|wet|thin and very cross] {pk}.
At [dusk|sunrise|{@hour} o'clock] {h} came home, [tired|wet|hungry] and without [hope|a {pk}]. And who sat [before the door|on the step beside {#who}], [as if nothing had happened|full of burrs|eating {#food}]? {pet}. Beside {pet} sat another {pk}, a thin one.
They found {pet} [by {#place}|at {#place}], beside old {#name}, who [lived alone|had nobody left] and had shared {#food} with the stray. <h:That is our {pk}.> <b:[Oh, so it has a home|I thought so].> {h} [saw the sad face|thought about it]. <h:We could [come every Sunday|share].>
""")


@plot(4)
def away(s):
    """An animal has got away and is looked for."""
    h = s.start()
    q = s.relative("q", "h") if s.p(0.5) else s.child("q")
    if q.child:
        q.a = "{h.his} friend"
    kind = s.pick("cat dog goat pony hen parrot lamb piglet donkey goose tortoise rabbit calf".split())
    s.set(pet=s.pick(w.PET_NAMES), gate=s.pick(["gate", "cage door", "stable door", "window"]))
    s.env["pk"], s.env["pks"] = kind, {"cat": "kittens", "dog": "puppies"}.get(kind, w.plural(kind))
    s.about = f"a {kind} that has run away"
    s.para(s.opening() if s.p(0.5) else "", "{@awayopen}", s.maybe(0.4, "{@weather}", "{@feelsad}"))
    s.para("{@awaylook}", s.maybe(0.7, "{@awaylook}"), s.maybe(0.3, "{@think}", "{@feelsad}"))
    s.para(enter(s, q) if s.p(0.6) else "{q!} [came along to help|had not given up either].", "{@awaylook}" if s.p(0.3) else "", "{@awayfound}")
    s.para(*s.ending(s.pick([None, None, "kind"])))
    s.ask("What was the name of the " + kind + "?", "{pet}.")
    s.ask("What had happened to {pet}?", "The {pk} had run away.")
