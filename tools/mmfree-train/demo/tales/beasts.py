"""Plots of animals."""

from . import world as w
from .engine import Who, rules
from .plots import plot


# A want of one animal that the gift of another can help: gift -> how it helps.
GIFTS = {
    "dig": "dug [a tunnel under it|a hole, then a passage|till the earth flew]", "climb": "climbed up [as if there were stairs|without a moment's thought] and [threw it down|untied it]",
    "fly": "[spread {q.his} wings and rose|flew up], [over the [tool|boat|wood|goat] shed|round the tower], and saw [where it was|all there was to see]", "swim": "[slid into the water|dived] [without a splash|like an arrow] and came up with it",
    "lift": "put one shoulder under it and [lifted|heaved], with a grunt", "carry": "took it on {q.his} back and [walked|went], [step by step|without a word]",
    "squeeze through cracks": "[made {q.self} thin|breathed out] and slipped through [the crack|a gap no wider than a coin]", "see in the dark": "[looked into the blackness|opened {q.his} eyes wide] and saw it [at once|as clear as noon]",
    "follow a smell": "put {q.his} nose down and [followed the trail|ran, this way, that way], [never once looking up|past {#place}]", "be patient": "sat down and waited, [an hour|till the shadows were long], until it came [out by itself|of its own accord]",
    "jump": "[took a run|crouched] and jumped, clean over it", "sing": "sang, softly at first, until [all was calm|everyone listened]",
    "run": "ran, [faster than gossip|with flying feet], and was [there and back|gone and back] before the kettle boiled", "build": "[dragged branches|laid stick on stick], until [it held|there was a wall of it]",
    "make a great noise": "[screamed|honked] so loudly that [everyone came running|the thief ran for his life]", "think of plans": "[drew in the dust with one claw|thought of three plans and threw two away]",
    "open things": "[turned it, pressed it, listened|felt along it with quick fingers], and [click,|there!] it was open", "copy voices": "called in the voice of [{#who}|an angry farmer], and [nobody dared to move|it worked at once]",
    "walk without a sound": "crept up [on velvet feet|without stirring a leaf] and was back with it [before anyone woke|in a minute]", "count": "counted everything twice and found [that one was missing|the mistake]", "find shiny things": "tipped out a whole nest of [buttons|bottle tops], and there it was among them",
    "find the way": "danced it to them: left, right, and [three fields straight on|over the hill]", "sleep": "rolled up and slept on it, and woke with the answer",
}

# A need: (what is wrong, what it is about, why it matters, tries that fail)
NEEDS = [
    ("{h'} [ball|{#colour} ribbon|only bell] had fallen into [the old well|a crack in the rock|a hollow tree]", "dig climb squeeze-through-cracks", "It had been a present from {#who}, [and there was only one|on the day of the great snow]", ["{h} reached down with a stick. It [slid deeper|broke]", "{h} called into the hole. Only {h.his} own voice came back"], "{h} held it in both paws and [turned it over|wiped it clean|did not let go of it all day]"),
    ("a [rock|tree] had rolled in front of {h'} {h.home}", "dig lift carry", "The little ones were [still inside|asleep in there]", ["{h} pushed. It was like pushing {#place}", "{h} scratched till {h.his} claws were sore"], "[The little ones tumbled out, one after the other|Out came the first nose, then the second], asking [for {h.food}|what all the noise was about]"),
    ("the youngest of {h'} children had not come home", "fly follow-a-smell see-in-the-dark", "It was getting dark, and [a fox had been seen|fog lay {pl.at}]", ["{h} ran to {pl2.the} and back, calling", "{h} asked {#who}, who had seen nobody, but had been asleep"], "And there [behind {#place}|beside {#who}] sat the little one, [quite happy|half asleep|with a mouth full of {#food}]"),
    ("somebody had stolen {h'} whole store of {h.food}", "follow-a-smell see-in-the-dark fly be-patient", "It was all that {h} had for the [winter|week]", ["{h} looked under every leaf. There were beetles, and there was last year's moss, but no {food2}", "{h} blamed {#who}, who cried so much that {h} was sorry"], "The thief was [a young rat|a thin weasel|an old jackdaw], who had [seven mouths to feed|thought it belonged to nobody]. They [shared what was left|took back half of it and left half]"),
    ("the river was rising, and {h'} {h.home} stood lower than all the others", "build dig", "Water was already [coming in at the door|round {#who}'s feet]", ["{h} swept it out. It came back, and brought friends", "{h} put a [stone|log|sack of moss] before the door. It floated away"], "The water [turned aside|went by on the other side], and the {h.home} [stood dry|stayed as dry as a biscuit]"),
    ("{h} could not sleep, for there was a noise in the night, like [teeth|a saw|somebody weeping]", "see-in-the-dark be-patient sing fly", "It was the seventh night, and {h} [walked into things|fell asleep over breakfast]", ["{h} stuffed moss in {h.his} ears. The noise got in all the same", "{h} shouted at it. It stopped, and began again as soon as {h} lay down"], "It was only [a young owl|a lost lamb|a small toad], who [had the hiccups|was learning to whistle|was lonely and wept at night]. [After that it wept no more, for it had company|{h} gave it {#food}, and it was quiet]"),
    ("{h} was caught in a [net|fence|snare]", "open-things dig climb make-a-great-noise", "The hunter would come [at sunrise|before long]", ["{h} pulled. That drew it tighter", "{h} cried for help. Somebody heard it and went the other way"], "The [net|fence|snare] [fell open|gave way], and {h} [was free|shook off the last of it]"),
    ("[the feast|{#who}'s wedding|the great supper] was that evening, and [nobody|not even {#who}] had thought of the music", "sing copy-voices make-a-great-noise", "All the animals {pl.at}, {#who} among them, were coming, and {h} had [promised it|said it would be the best ever]", ["{h} tried to sing. A cloud came over the sun", "{h} beat on a hollow log. {^#who} asked whether somebody was ill"], "And that evening they danced until [the moon went to bed|their feet gave out]"),
]

rules(r"""
mock =
The others [laughed|smiled behind their paws]. <b:You? [What can you do|You're too {sz}|Go home and grow]!>
<h:[Thank you|It's kind of you], but what can [a {q.kind}|somebody like you] do [here|about it]?> {h} did not mean it badly.
Nobody had thought of asking {q>}. Nobody ever did.
<q:Let me try.> {h} looked [at {q>} from top to toe|past {q>} for somebody {sz2}].
offer_b =
<q:[I heard you|I saw it all|I was passing]. [Perhaps I can do something|Let's see what can be done|May I].>
{q} [said nothing, but went to work|did not wait to be asked].
<q:[You once gave me {h.food}|You let me pass first, by {#place}|You never laughed at me, not even when {#who} did]. [I haven't forgotten|Now it's my turn|So here I am].>
did_b =
And {q} {gifted}.
[Then|And then|Without another word] {q} {gifted}. 
{q} [drew a breath|shook {q.self}|looked at it from all sides]. Then {q.he} {gifted}.
after_b =
In [no time|a quarter of an hour|less time than it takes to tell], [all was well|it was done|the trouble was over].
And so it was [done|settled], and {h} [could breathe again|did not know what to say|sat down with a bump].
{h} [stared|looked again]. [It was done|It was all right again|The trouble was gone]. 
thank_b =
<h:[You have saved me|I thought you were too {sz}|I'll never say "only a {q.kind}" again]. [Have some {h.food}.|Come to supper.|What can I give you?]> <q:[A seat by the fire|Nothing. Say good morning to me now and then|Do you have any {q.food}]?>
{h} gave {q>} [half of all the {h.food}|the best place in the {h.home}], and [nobody called {q>} {sz} again|the others moved closer together].
From that day on there was always [a light|a bowl of {q.food}] [in the window|by the door] for {q>}.
""")


@plot(3)
def gifted(s):
    """An animal in need, and another, looked down on, whose gift is what is wanted."""
    h = s.start(["forest", "farm", "river", "hill", "sea"], hero="beast")
    what, gifts, why, tries, result = s.pick(NEEDS)
    s.set(what=what)
    gift = s.pick(gifts.split()).replace("-", " ")
    kinds = [k for k, v in w.ANIMALS.items() if v[2] == gift and k != h.kind] or ["mouse"]
    q = s.beast("q", kinds)
    s.env["when"] = s.x("{@when}")
    small = q.size == "s"
    s.set(sz="small" if small else s.pick(["clumsy", "slow", "strange"]), sz2="bigger" if small else "finer", food2=h.food, gift=gift)
    s.env["gifted"] = GIFTS.get(gift, "did what only {q.he} could do")
    s.about = f"{h.a if not h.names[0].startswith('the') else 'a ' + h.kind} in trouble, who is helped by a {q.kind}"
    s.para(s.opening(), s.scene(0.3))
    s.para("[But|Then,] {when}, [there was trouble|something happened|the trouble began]: {what}.", why + "." if s.p(0.8) else "", s.pick(tries) + ".", s.maybe(0.4, "{@feelafraid}", "{@feelsad}", "{@micro}"))
    others = []
    if s.p(0.55):
        o = s.beast("o")
        others = ["{o.Aname} [came by|looked on|stopped]. <o:[I am in a hurry|I would help, but my [supper|dinner] is getting cold|You should have thought of that before|In my family that never happens].>"]
        if s.p(0.4):
            others.append(tries[0] + "." if False else "{h} [sat down|hung {h.his} head|looked after {o>}].")
    s.para(*others, "[There was {q.aa} who had heard it all|Then came {q.Aname}|{q.Aname} put {q.his} head round the corner|In the grass sat {q.Aname}|Nobody had noticed {q.Aname}].", s.pick(["{@mock} {@offer_b}", "{@offer_b}", "{@offer_b}"]))
    how = s.x("{@did_b}")
    s.para(s.env and how, s.maybe(0.3, "{@micro}"), s.maybe(0.3, "{@after_b}"), result + ".", "{@thank_b}")
    s.para(*s.ending(s.pick(["friend", "kind", None])))
    s.ask("What was the matter?", "{^what}.")
    s.ask("Who helped {h}?".replace("{h}", "{h!}"), "{q.Aname}.")


# contest: (what, how the boaster loses, how the quiet one wins)
CONTESTS = [
    ("a race to {pl2.the}", "[stopped to look at {h.his} own face in a puddle|lay down for a minute]", "went on, [one foot before the other|neither fast nor slow], [past {#who}|through the nettles], without once looking up"),
    ("who could find the most beautiful thing", "came back with a peacock's feather as long as a bed", "opened one paw. In it sat a drop of dew, and in the dew was {place2}, upside down, with the sun in it"),
    ("who could keep silent the longest", "said after a minute: \"I'm winning!\"", "sat and thought of {q.food}, and forgot that there was a contest at all"),
    ("who could carry an egg to {pl2.the}", "ran, [and the egg ran too, down {h.his} chest|and had scrambled egg between the toes]", "rolled it in moss and walked as if asleep. On the last yard it hatched, and [walked over the line by itself|counted as two]"),
    ("who could tell the best story", "told one of {h.self} that [was longer than winter|had forty battles in it], and the judge asked twice how long it still went on", "told of a small light in a window, and nothing more. Nobody said a word, [and two of them went home to see their mothers|and then the owl blew her nose]"),
    ("who could stand on one leg the longest", "stood like a [post|candle], until a fly [sat on {h.his} nose|came]", "had stood on one leg every night since childhood and [was asleep|did not know that it was hard]"),
    ("who could build the best house before the rain", "built a tower with a balcony and a flag, and the first gust took it", "piled [stone on stone|stick on stick], [moss|mud|{#food}] between, and a door towards [the south|{#place}]. [By evening {#who} and {#who} sat in it|That night {n5} animals slept there], [the loser in the driest corner|and {#who} snored]"),
]


@plot(1)
def contest(s):
    """A boaster and a quiet one."""
    h = s.start(["forest", "farm", "river", "hill"], hero="beast")
    q = s.beast("q")
    what, loses, wins = s.pick(CONTESTS)
    s.set(what=what, place2="{#place}", loses=loses, wins=wins)
    s.beast("j", ["owl", "toad", "heron", "tortoise", "goat"])
    s.about = f"a {h.kind} and a {q.kind} and a contest"
    s.para(s.opening() if s.p(0.6) else s.scene(0.6), "{h.Aname} [could not stop boasting|talked of nothing but {h.self}|was the finest animal {pl.at}, and said so]. <h:[Nobody is as good at anything as I am|I am the best there is|Who can beat me? Not even {#who}]!> {^#who} [yawned|had heard it before|nodded, for it was easier].")
    s.para("[One day|{^when0},] {q.Aname} [had enough|looked up from {q.his} {q.food}|cleared {q.his} throat].".replace("{^when0}", s.x("{@when}").capitalize() if False else s.x("{@when}")), "<q:[Shall we see?|Prove it.|I'll try you.] [I'm no good at it, but it would pass the time|I've beaten {#who}, and that was hard|It's that or another evening with {#who}].>", "And so it was to be {what}, with {j.Aname} as judge. [Everybody came|They came from as far as {#place}], and {#who} [sold {#food}|took bets].", s.maybe(0.4, "{@weather}"))
    s.para("{j} [raised one foot|coughed|called, \"Begin!\"].", "{h} {loses}. {q} {wins}.", s.maybe(0.4, "{@micro}"))
    s.para("<j:[{^q.name} has won|There is no question|I have seen enough].> {h} [said nothing for the first time in years|looked for words and found none|went very quiet].", s.pick(["<q:[You were good too|It was only luck|You run beautifully. You only stop too often]. [Shall we eat?|Are you hungry?|Come, there's {q.food}.]>", "<h:[Well done.|How did you do it?|I never thought I could lose.|You beat me, and fairly.]> <q:[I had time|I didn't think of winning|Nobody was looking at me. That helps].>", "[After that {h} boasted only on Sundays|From then on {h} boasted of knowing {q>}|They are friends now, and {h} does most of the talking]."]))
    s.para(*s.ending(s.pick(["friend", None, None])))
    s.ask("What was the contest?", "It was {what}.")
    s.ask("Who won?", "{q.Aname}.")


rules(r"""
newcomer =
[One day|{^when}] somebody new moved [in {pl.at}|into the empty {q.home}]: {q.aa}. [Nobody had ever seen one there|It was the first for as long as anyone could think].
rumour =
<b:[They say|I've heard] that {q.kinds} [never wash|eat {#food} with their feet|steal {h.food}|bring rain].> <w:[And they sing at night|My cousin knew one|It isn't true, but people say it].>
[It began with looks|Nobody was unkind], but nobody [was kind|stopped to talk] either.
first_step =
{h} could not stop thinking of the light. <h/th:[It must be lonely over there|I was new once too].> So {h.he} took [some {h.food}|{#food}] and went over.
{h} came by [for no reason|quite by chance, the third time that day]. {q} was planting {q.food}. <h:[What are you doing?|Do you need that held?|That's upside down, I think.]>
[A ball|A leaf] blew over the fence, and {h} had to [ask for it|knock]. [The door opened a crack|Two eyes looked out].
at_home =
Inside, it was [neat as a shell|full of clocks, all wrong|warm, and it smelled of {#food}]. <q:You're the first. I baked {#food} for twenty, the day I came.>
{q} told {h>} about {#place}, where everyone sleeps standing up. It got late without their noticing.
new_end =
When [the storm came|the roof of the [tool|boat|wood|goat] shed blew off], it was {q} who [came first|sat up all night|held the rope], and after that nobody said "{q.kinds}" any more. They said "{q.name}".
""")


@plot(2)
def newcomer(s):
    """Somebody new, gossip, and a first step."""
    h = s.start(["forest", "farm", "river", "hill", "sea"], hero="beast")
    q = s.beast("q", named=True)
    s.env["b"] = Who(["[somebody|an old neighbour]"], "x", "animal", animal=True, call="you")
    s.set(when="{@when}")
    s.about = f"a {q.kind} who is new, and a {h.kind}"
    s.para(s.opening(), "{@newcomer}")
    s.para("{@rumour}", s.maybe(0.5, "{@rumour}"), s.scene(0.2))
    s.para("{@first_step}", "{@at_home}", s.maybe(0.5, "{@at_home}"))
    s.para("{@new_end}", *s.ending(s.pick(["friend", "kind", None])))
    s.ask("Who was new?", "{q.Aname}.")
    s.ask("Who came to visit first?", "{h.Aname}.")
