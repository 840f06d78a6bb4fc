"""More plots of people: things lost and found, errands, small mysteries, fears, quarrels, confessions, gifts, contests, waiting."""

from . import world as w
from .deeds import enter
from .engine import rules
from .plots import plot

# Where a thing may lie, and how it got there.
HIDING = [
    ("[in the pocket of {#who}'s coat|in the lining of {h.his} own coat]", "[The pocket had a hole|There was a hole in the pocket], and {lost} had slipped through"),
    ("in {#pet} the magpie's nest, among spoons and bottle tops", "it had [glittered|lain in the sun] [and that was enough|and somebody with wings had fancied it]"),
    ("[under {#who}'s chair|under the bench {at2}]", "[{h} had sat there|{h} had stopped there] [to eat {#food}|to tie a lace|to listen to {#who}], and it had [rolled|slid] down without a sound"),
    ("[in the flour bin|in the dough trough|in a loaf]", "it had [fallen in|dropped in] while {h} helped {#who} [with the baking|carry sacks]"),
    ("[in the hay|in the manger]", "{#pet} the cow had [had it in her mouth|been lying on it], and did not [care|look sorry]"),
    ("[on top of the cupboard|on the highest shelf]", "{h} had put it there {h.self}, so that {#who} should not find it"),
    ("[in the sewing basket|in the bread bin|at the bottom of the wash basket]", "{h.his} [mother|grandmother|aunt] had [tidied up|cleared the table] and [meant no harm|forgotten to say so]"),
    ("[in the reeds|between two stones of the {wat} bank]", "the [wind|water] had carried it there in the night"),
    ("[round the neck of a snowman|on the scarecrow]", "{#who} had found it and thought it [looked well there|belonged to nobody]"),
    ("[on {h.his} own head|in {h.his} own hand|hanging on {h.his} own back]", "it had been there all the time, and [nobody had had the heart to say so|everyone had thought that {h} knew]"),
]

rules(r"""
lostopen =
{^lost} was gone.
[Where was {lost}|Who had taken {lost}]? {h} [turned out {h.his} bag|looked under the bed|felt in every pocket] [twice|once more].
<h/-:[It was here a minute ago|I had it this morning|It can't just walk away]!> {h} [had emptied the whole chest|stood in the middle of the room].
{h} put {h.his} hand [in {h.his} pocket|in the box|under the pillow]. [Empty|Nothing|Only crumbs]. {^lost} was not there.
[Last night|Yesterday|That morning] {h} had [still had|put away] {lost}. Now [it was nowhere|the place was empty].
lostwhy =
It was [no ordinary {lostn}|not worth much, but it was special]: {h.his} [grandmother|uncle|best friend|father] had [given it to {h.him} before going to sea|carved it|carried it through two wars|bought it with the first money {he2} ever earned].
{h} [had to give it back|had borrowed it from {#who}] [by evening|the next day|before Sunday], and had [promised|sworn] to take care of it.
Without it [the feast could not begin|nobody would believe the story|{h} could not fall asleep].
{h} never went anywhere without it[|, not even to the dentist|, not even to bed].
asklost =
{h} asked {#who1}. <w:{^lost}? [No|Not here|I wish I had]. Ask {#who}.>
{h} wrote a notice and [hung it on the [church door|lime tree|pump]|stuck it on {#who}'s door]: "Lost: {lostn}. Reward: {#food}." [Three people came|{^#who} came at once], but only [for the {#food}|to correct the spelling].
{h} looked at {#who} and [wondered|thought the worst]. [Had {h.he} not seen a bulging pocket|Why so red in the face]? But it was only {#food}.
clue =
<q:When did you last [see it|have it]? Go through the day [backwards|step by step].> {h} shut {h.his} eyes. [Supper, school, the way home|{#who}, the stairs, {#food}].
<q:[You look|You are looking] where {#who} would look. [Look where nobody looks|Try {#place}, or what was {#food} yesterday].> {h} [laughed|stared], and then [stopped laughing|thought about it].
<q:[Stop running|Sit down]. Where were you when [it rained|the bell rang|{#who} came by]?> {h} [remembered|thought back], and [slapped {h.his} forehead|turned pale, then red].
{q} [pointed at the floor|bent down]. There was [a trail of crumbs|a thread of {#colour} wool|a wet footprint]. They followed it, on tiptoe, to the very end.
foundit =
And there it was, {where}.
They [ran|went] to look, and [sure enough|lo and behold]: {where} lay {lost}.
{^where}, [as if nothing had happened|covered with dust|safe and sound], was {lost}.
""")


@plot(4)
def lost(s):
    """A thing is lost, looked for in the wrong places and found."""
    h = s.start()
    t = s.thing("t", [k for k in w.KEEPSAKES if k not in ("kite", "ball")])
    s.set(lost=s.pick(["the %s" % t.full, "{h.his} %s" % t.full, "{h'} %s" % t.n]), lostn=t.full, at2="{#at}", he2="[he|she]")
    if h.g == "i":
        s.set(lost="my " + t.full)
    s.env["lost"] = s.env["lost"].replace(h.name + "'s", h.his)
    q = s.helper()
    s.about = f"somebody who loses {t.a}"
    wh, why = s.pick(HIDING)
    s.set(where=wh, why=why)
    if s.p(0.5):
        s.para(s.opening(), "{@lostopen}", "{@lostwhy}" if s.p(0.7) else "")
    else:
        s.para("{@lostopen}", s.scene(0.3), "{@lostwhy}")
    s.para(*["{@asklost}" for _ in range(s.pick([1, 2, 2, 3]))], s.maybe(0.5, "{@feelsad}", "{@fail}"))
    s.para(enter(s, q), "{@clue}")
    s.para("{@foundit}", "{^why}.", s.maybe(0.5, "{@humour}", "{@feelglad}"))
    s.para(*s.ending(s.pick([None, None, "clever"])))
    s.ask("What was lost?", "{^t.a}.")
    s.ask("Where was it?", "{^where}.")


rules(r"""
errand =
{q} [put {t.a} into {h'} hands|gave {h>} {t.a}, wrapped in [a cloth|newspaper|straw]]. <q:[Take this to|Carry this to|This must go to] {rec}, [before dark|before it rains|and mind the new road].>
{h} was to take {t.a} to {rec}, who [was ill in bed|had waited for it all year|lived {far}|needed it before evening].
{^rec} had [sent for|ordered|asked for] {t.a}, and there was nobody to take it but {h>}.
<q:Who will [carry|take] {t.a} to {rec}?> [Nobody moved|Everyone looked at the ceiling]. <h:I will.>
way1 =
The way led [past {#place}|over {#place}|through {#place}] [and along the {wat}|and up a steep path|and down a lane with high hedges].
{h} [set out|started] [at once|with a piece of {#food} in {h.his} pocket|in {h.his} best shoes], [counting {h.his} steps|singing|not looking back].
It was {far2}, [with {#place} in between|and uphill all the way|and the road was new to {h>}].
{h} passed {#who}, who asked for the time, and who [wished {h>} luck|shook a finger at {h>}|gave {h>} {#food} to take along].
meetway =
[At the crossroads|Halfway|By a milestone|At a stile] [sat|stood] {#who1} with [a twisted ankle|an empty stomach]. {h} [could not just walk on|thought of the time, and stopped all the same]. {h.he} [helped|shared {h.his} {#food}|did what could be done]. <w:[You won't be sorry|I shan't forget it|Go by {#place}, it's shorter].>
Then [it began to rain|the fog came down|hail rattled on the road]. {h} put {t} [under {h.his} coat|under {h.his} hat|inside {h.his} shirt], crept under a cart and counted the drops.
There was no [bridge|path|sign] where {#who} had said there was. {h} [asked {#who}|walked along a ditch], and [found a plank|came out at {#place}], muddy to the knees.
A boy called {#boy} [ran along beside {h>}|barred the way]. "What have you got there?" he [asked|called]. "[Show me.|Give it here.]" {h} told him it was a snake, and [that was that|he kept his distance].
{h} [stumbled|slipped|tripped]. {t} [flew through the air|rolled down the bank] and stopped at the feet of {#who}, [not even scratched|with one small dent]. {h} [did not breathe for some time|sat down, weak in the knees].
arrive2 =
{^rec} [took {t} in both hands|unwrapped it slowly|said nothing for a while]. <r:[Do you know what this is|You can't know what this means to me|At last]! [It belonged to {#who}|Now we can have the feast, and {#who} too].>
{^rec} laughed, and gave {h>} [{#food}|a place by the fire].
<r:[Sit down|Get dry first|Eat something]. [Nobody goes from my door hungry|You must have walked all day].> {^rec} brought {#food}, and [the stove|the cat] was warm.
""")


@plot(5)
def errand(s):
    """Something has to be carried to somebody, and the way is not without trouble."""
    h = s.start()
    q = s.relative("q", "h") if s.p(0.5) else s.grown("q")
    rec = s.grown("r")
    s.env["rec"] = rec.names[0]
    s.last = {}
    t = s.thing("t", ["lantern", "kettle", "basket", "fiddle", "clock", "cake", "cheese", "key", "bell", "book", "map", "teapot", "jar", "mirror", "watch", "music box", "loaf", "hat", "compass", "drum", "pillow", "needle"])
    s.set(far="[beyond {#place}|on the other side of the {wat}|three villages away|up by {#place}|behind seven hills]", far2="[a long way|two hours on foot|no more than a mile|half a day's walk]")
    s.about = f"somebody who carries {t.a} to {rec.names[0]}"
    meet = "{q!} was [baking|busy with the washing|writing a letter]. " if s.p(0.4) else ""
    if hasattr(q, "job"):
        meet = "{q.a} lived next door. " if not q.intro.endswith(",") else ""
    s.para(s.opening() if s.p(0.7) else s.scene(1), meet + "{@errand}")
    s.para("{@way1}", s.scene(0.3), "{@meetway}")
    for _ in range(s.pick([0, 1, 1, 2])):
        s.para(s.maybe(0.4, "{@way1}", "{@weather}"), "{@meetway}", s.maybe(0.25, "{@feelafraid}", "{@think}"))
    s.env["x"] = h
    s.para("When {h} [came to|reached|found] the house at last, {rec} [was just lighting the lamp|sat in the doorway|stood at the window|had almost given up hope]. {h} [held out|handed over|unwrapped] {t}.", "{@arrive2}")
    s.para(*s.ending(s.pick(["kind", "work", None])))
    s.ask("What did {h} carry?", "{^t.a}.")
    s.ask("Who was it for?", "It was for {rec}.")


# sign: (strange thing, clues, who it was, how it was made good)
MYSTERIES = [
    ("[every night|each evening at {@hour}] a light [moved about|went on and off] in [the old mill|the empty house|the tower]", ["the dust on the stairs was full of small round prints", "on the sill lay candle wax, still warm", "it smelled of {#food}"], "{#who}, who was secretly [building a telescope|learning to dance], [because at home there was no room|and did not want to be laughed at]", "[They promised not to tell|They were shown everything], and [on Sunday they helped carry the paint|had to try it too]"),
    ("somebody had [eaten|bitten into] [the pie|the {food}|three of the {food}]", ["there were crumbs [as far as the window|under the bed]", "{#dog} was [on the chain|far too fat to jump so high]", "the spoon was missing too, and dogs don't use spoons"], "{h.his} [grandfather|great-uncle], who [walked in his sleep|could not sleep for hunger since the doctor had forbidden him sweets]", "They [tied a bell to his slippers|left him a small plate every night], and [that was the end of it|nobody told the doctor]"),
    ("[each morning|every day] there was [a silver button|a bent coin|a glass marble|a blue bead|a brass key] on the doorstep, [and nobody knew from whom|with no name on it]", ["the snow showed only the prints of a bird", "it always came after they had [put out crumbs|fed the crows]", "it was always something that shone"], "[a crow|a magpie|a jackdaw] with [one white feather|a bent beak], which {#who} had fed all winter and which [was paying its debts|paid in its own way]", "They kept the things in a box, and the bird got {#food} on Sundays"),
    ("a [sound|voice] came out of the [wall|chimney|cellar] at night, [half sighing, half singing|like somebody blowing over a bottle]", ["it only came when the wind was from the [north|east|sea]", "when {h} put a hand on the bricks, they hummed", "in the daytime there was [nothing|not a sound], not so much as a mouse"], "the wind itself, in [an old organ pipe|a bottle|a broken flute] that {#who}'s [father|uncle|great-aunt] had walled in [a hundred years ago|long before {#who} was born]", "They dug it out, cleaned it and gave it to {#who}, who [plays it on feast days|built a whole organ round it]"),
    ("the [washing|stockings|left shoes] [disappeared|vanished], [one a night|piece by piece]", ["only woollen things were taken", "there was a hole in the hedge, low down", "at the edge of the {wat} lay a thread of {#colour} wool"], "[a fox|a badger|a cat] with {n5} young, who had lined her den with {#who}'s stockings", "[Nobody wanted the stockings back|They let her keep them], and [{#who} knitted new ones, in {#colour}|{#who} went barefoot till {#who} knitted new ones]"),
    ("the hens [laid no eggs|laid {#colour} eggs|had all moved to the roof]", ["the straw was pressed down, as if something heavy had slept there", "there was a feather that came from no hen", "at dusk the hens all looked the same way"], "a [fox|goose|heron|gull] with a hurt [wing|foot], which had crept in with them, and the hens were [too polite to sit|taking turns to keep it warm]", "They [bound up the wing with a ribbon|fed it herrings], and in [April|spring] it [was off|went home to {#place}]"),
    ("on the {pl.name} wall somebody had [drawn|chalked] [a horse|a whale|an elephant|a lion|a great bird], and the next day another, [bigger|in colours]", ["the chalk was the kind that is used at school", "the animals grew no higher than a child's arm can reach", "{#who} had chalk on one elbow"], "the quiet new {qk}, who [had not spoken a word yet|did not know the language], and said with pictures what could not be said in words", "They gave {q2} more chalk and the longest wall [in town|there was]. Now {#who} brings visitors to see it"),
    ("the school bell [rang|struck] at midnight[|, three nights running|, though the door was locked]", ["the rope was chewed", "there were nutshells on the beam", "the last one to go up had left {#food} in the belfry"], "a family of {sq}, who had found the {#food} and used the rope as [a staircase|a swing]", "They [moved the {sq} to {#place}|tied up the rope], and everyone slept, except {#who}, who had got used to it"),
]

rules(r"""
mystopen =
[It was very strange|There was something odd|Something was not right]: {mys}.
{^mys}. [Nobody could explain it, not even {#who}|People began to talk|It was the third time that week, said {#who}].
[First {#who} noticed it, then {#who}|At first they laughed about it]: {mys}.
<b:[Have you heard|I saw it with my own eyes|It's happened again]!> [Overnight the whole village knew|Everybody knew what was meant]: {mys}.
guess =
{^#who} [spoke of ghosts|thought of thieves|blamed {#who}|put a broom across the door].
<b:[It's a ghost|It's a thief|I blame the weather].> <h:[I don't think so|Ghosts don't {ghost}|We shall see].>
[Some|Half the street|{^#who}] said [thieves|ghosts|it was a sign], [the rest|{#who}] said it was {#who}.
watch =
{h} [decided to find out|made up {h.his} mind to keep watch|fetched {h.his} notebook|could not let it rest]. <h/soft:[There's a reason for everything|I only want to know].>
[That night|When it was dark], {h} and {q} [lay down in the [tool|boat|wood|goat] shed|climbed into a tree], with {#food} and [a lamp under a cloth|one blanket between them].
clueis =
[First|The first thing they found|One thing was clear]: {c1}.
{^c1}. {h} [wrote it down|showed it to {q}]. <q:[Odd|Interesting|That's no ghost].>
<h:Look! {^c1}.> {q} [bent down|whistled|nodded].
clue2is =
[And then there was this|Then {q} found something else|The second thing was even stranger]: {c2}.
{^c2}. [That could not be chance|That settled it|Now {h} began to see].
[Besides|What was more], {c2}.
solve =
[They waited until {@hour}|They hardly breathed|The moon came out]. [Something moved|A board creaked]. {h} [lifted the cloth from the lamp|jumped up|stepped forward]. [It was|And who was it? It was] {cul}.
[All at once|In the middle of supper] {h} [put the two together|saw it all]. [They ran to look|They went there on tiptoe]. It was {cul}.
[They followed the trail|One clue led to the other], past {#place}, [and round a corner|and up a ladder]. There [they found out|the riddle was solved]: it was {cul}.
""")


@plot(1.7)
def mystery(s):
    """Something strange, two clues, an innocent cause."""
    h = s.start()
    q = s.child("q") if s.p(0.6) else s.relative("q", "h")
    if q.child:
        q.a = "{h.his} friend"
    mys, clues, cul, good = s.pick(MYSTERIES)
    c1, c2 = s.r.sample(clues, 2)
    g = s.pick("mf")
    s.set(qk="boy" if g == "m" else "girl", q2="him" if g == "m" else "her", sq="[squirrels|dormice|mice|martens]", ghost="[eat|knock|leave crumbs|need candles]")
    s.set(mys=mys, c1=c1, c2=c2, cul=cul, good=good)
    s.about = "something strange that is found out in the end"
    if s.p(0.5):
        s.para(s.opening(), "{@mystopen}")
    else:
        s.para("{@mystopen}", s.maybe(0.4, "{@weather}"))
    s.para("{@guess}", s.maybe(0.4, "{@guess}"), "{@watch}")
    s.para("{@clueis}", s.maybe(0.4, "{@think}", "{@micro}", "{@feelafraid}"), "{@clue2is}")
    s.para("{@solve}", s.maybe(0.5, "{@feelglad}", "{@humour}", "<h:[So that's it|So it was you]!>"))
    s.para("{good}.", *s.ending(s.pick(["clever", "friend", None])))
    s.ask("What was strange?", "{^mys}.")
    s.ask("Who was it?", "It was {cul}.")


# fear: (of what, where it shows, how it is, what helps, what happens)
FEARS = [
    ("the dark", "the cellar, where the {food} was kept", "The steps went down into [nothing|a blackness like ink]", ["sing. The dark likes songs", "take one step, and then decide about the next", "the dark is only shy"], "{h} sang [the one about the miller's daughter|the longest song {h.he} knew|the bedtime song], first thin, then louder. The cellar answered with an echo, in tune. {h} came up with the jar, [and a cobweb for a crown|singing the last verse]"),
    ("thunder", "the open field behind {#place}, with nowhere to hide", "[The first clap|A clap] came like [a cupboard|a piano|forty pans] falling down the stairs", ["count from the flash to the bang, and you'll know how far it is", "it's only the sky moving its furniture", "hold my hand and shout back"], "They counted, and {#who} with them. [Seven|Nine|Six]. At the next, [twelve|thirteen|ten]. <h:It's going away!> {^#who} danced in the puddles, and {h} was almost sorry"),
    ("dogs", "the yard of {#who}, where a big {#colour} dog called {#pet} lay on a chain", "It [rose|got up], [bigger than {#who}|yard by yard], with a bone in its mouth", ["stand like a tree and look at your shoes", "let it smell your hand, and think of {#food}", "it is as afraid of you as you of it. Look at its tail"], "{h} stood like a tree. A wet nose [went over {h.his} hand|bumped {h.his} knee]. Then the big beast sighed, lay down on {h.his} feet and [shut its eyes|was asleep|let {#who} pass as well]"),
    ("speaking in front of people", "the hall, where [a hundred|sixty] faces were waiting", "{h'} tongue [stuck to {h.his} teeth|was made of wood]", ["tell it to one person only. Tell it to me", "picture them all as [geese|sheep|cabbages] in hats", "begin with the truth: say that you are afraid"], "<h:[I had a speech, but it has run away to {#place}|My knees are shaking. Can {#who} see it from there]?> Somebody laughed, kindly. {^#who} nodded. After that [the words came one after the other, like ducks|it was like talking at supper]"),
    ("heights", "the [rope bridge|ladder|tower stairs] up by {#place}", "It [swayed|hung in the air], and below was [a great deal of nothing|the river, as thin as a thread]", ["look at my back and put your feet where I put mine", "hold on with your eyes to that {#colour} door over there", "fear is a bad walker. It can't keep up with you"], "{h} kept {h.his} eyes on the {#colour} cloth on {#who}'s shoulder. [Nine steps|Twenty steps|{^n5} steps]. The wood creaked and held, and somewhere {#who} was counting aloud. And then there was [grass|stone] under {h.his} feet, and {h} [lay down on it|kissed it]"),
    ("deep water", "the lake, [black and still|where {#who} was already splashing about]", "{h} could not see the bottom", ["it is one water, shallow or deep, and it carries just the same", "go in up to the knee today. The rest can wait", "ask the water its name"], "To the knees, to the belt, [a gasp|a squeal|a thought of {#food}], to the chin, and {#who} clapped. {h} lifted one foot, then the other. <h/call:I'm not standing! Look, I'm not standing!>"),
    ("the new school", "the gate, where everyone but {h} seemed to know where to go", "The building had a hundred windows, and all of them looked at {h}", ["look for somebody who stands alone, and stand there too", "the first day is the longest. It only gets shorter", "eat your {food} slowly, and somebody will want some"], "By the wall stood {#name}, who was looking at nothing, with ears quite red. <h:Are you new?> \"Yes.\" <h:So am I.> [After that they were two, and at noon {#name} made three|After that they were two, and two is quite a lot]"),
    ("the neighbour", "the house at the end of the lane, where old {sur} lived, who [never spoke|shouted at everyone]", "{h'} [ball|kite] lay in the middle of the garden", ["knock. It's the quickest way to find out", "people who shout have often been left alone too long", "take some {food} along"], "The door opened. <r:What is it?> <h:I brought you some {food}.> It was quiet for a long time. <r:With raisins?> And the door opened wider"),
]
rules(r"""
fearopen =
{h} was afraid of {fear}. [Nobody knew it|Only {#cat} knew|It was a secret|It was silly, but so it was|That was all there was to it].
Everyone is afraid of something. {h} was afraid of {fear}.
There was [not much|little|nothing else in the world] that {h} feared, but {h.he} feared {fear}.
[When {h} was three|Once, long before], {#who} had [frightened {h>} badly|played a nasty trick on {h>}], and [since then|ever since] {h} had been afraid of {fear}.
fearmust =
And now {h.he} had to [go to|face|go past] {spot}.
[But|Of all things,] {when} [the way led to|there was no way round] {spot}.
Then, {when}, {#who} [needed help|sent {h>} on an errand|was in trouble], and {h} stood before {spot}.
[And what lay before {h>} now|And where did {h} have to go {when}]? {^spot}.
excuse =
{h} [said {h.he} had a sore foot|remembered that {#who} was waiting|suddenly had to tie both shoes].
{h} [turned round|went back] [once|twice|three times]. [Nobody saw it|{^#who} saw it and said nothing].
<b:[What are you waiting for|Are you growing roots there|Well, are you coming]?> <h:[In a minute|I'm thinking|You go first].>
""")


@plot(2.5)
def fear(s):
    """Somebody is afraid of a thing, and does it all the same."""
    h = s.start(hero="child")
    name, spot, shows, helps, done = s.pick(FEARS)
    s.set(sur=s.pick(["Mrs ", "Mr "]) + s.pick(w.SURNAMES), when="{@when}")
    r = s.grown("r")
    r.names, r.call = ["old " + s.env["sur"]], s.env["sur"]
    r.g = "m" if s.env["sur"].startswith("Mr ") else "f"
    r.he, r.him, r.his = ("he", "him", "his") if r.g == "m" else ("she", "her", "her")
    s.set(fear=name, spot=spot, helps=s.pick(helps))
    q = s.relative("q", "h") if s.p(0.5) else s.child("q")
    if q.child:
        q.a = "{h.his} friend"
    s.about = f"a {h.kind} who is afraid of {name}"
    s.para(s.opening() if s.p(0.55) else "", "{@fearopen}", s.scene(0.3))
    s.para("{@fearmust}", shows + ".", "{@feelafraid}", s.maybe(0.6, "{@excuse}"))
    s.para(enter(s, q) if s.p(0.7) else "{q!} was there too.", s.maybe(0.4, "<q:[Afraid|Are you afraid]?> {h} [nodded|said nothing]."), "<q/soft:[Listen|You know what|Look here], {helps}.>", s.maybe(0.3, "[<h:Are you never afraid?> <q:[Every day|Ask {#who}].>|<h:And if it goes wrong?> <q:Then we'll laugh about it, with {food}.>|<h:Do you promise?> <q:I promise.>]"))
    s.para(s.maybe(0.4, "{h} [swallowed|nodded|took a deep breath|shut {h.his} eyes and opened them again]."), done + ".", s.maybe(0.4, "{@feelglad}"))
    s.para(*s.ending("courage"))
    s.ask("What was {h} afraid of?", "{^fear}.")
    s.ask("Who helped?", "{q!}.")


# quarrel: (about what, how it began, what each did, how it was made up)
QUARRELS = [
    ("who was to have {t.a}", "<h:It's mine, I saw it first!> <q:I picked it up!> They pulled, [one at each end|this way and that], until it [slipped and fell in the mud|made a nasty little noise]", "[They sawed the day in half: mornings for one, evenings for the other|They gave it to little {#name}, who had been watching with big eyes]"),
    ("a line down the middle of the room", "{h} drew a line [with chalk|with a stick]. <h:This side is mine.> The [window|stove|lamp] was on one side, and the [door|bed|bread] was on the other", "[When it got cold, {q} pushed the first log over the line|{h} slid a slice of {food} over the line with one finger], and [by evening it was rubbed out by four feet|nobody could say afterwards where the line had been]"),
    ("a secret", "{h} had told it to {q}, and {q} had told it to {#who}, and now the whole street knew it", "<q:I was so proud that you told me. I wanted to show it, like [a medal|a new coat|a prize].> <h:Next time show it to {#cat}.> <q:Next time?> <h:Next time.>"),
    ("a game", "{q} said that {h} had cheated. {h} said that {q} [couldn't count|had cheated first]. [The dice|The marbles|The cards] flew through the room, and one hit {#who}", "They had to find [all the marbles|every card] under the [bed|cupboard] and the [stove|bench], and by the time they had found the last one, [they had forgotten who was winning|they were laughing]"),
    ("nothing at all", "Nobody could say later how it began. There was something about {#food}, and something about {#who}, and then there were [words like stones|doors that slammed]", "They [both came round the corner at once and bumped their heads|met at the {pl2.name}, each with {#food} for the other]"),
    ("whose turn it was", "<h:You always go first!> <q:I never go first!> The [swing|bicycle|sledge] stood there, and [nobody had it|it was getting late]", "<q:You go first.> <h:No, you.> <q:Please.> And so they [quarrelled a second time|nearly began again], and burst out laughing"),
    ("a promise", "{q} had promised to come to {#place} [at {@hour}|on Saturday], and {h} had waited [in the rain|for two hours], with {#food} going cold", "It came out that {q} had [sat up with a sick goat all night|been looking for the neighbour's lost child]. <h:Why didn't you say so?> <q:You didn't ask. You shouted.>"),
]
rules(r"""
after_q =
{h} went home [by the back way|without a word|kicking stones]. [The day was long|It was a very long afternoon].
For [two days|a week|three days] they did not [speak|look at one another]. {h} [walked on the left of the street, and {q} on the right|played alone, and {q} talked very loudly to {#who}].
{h} [played alone|read the same page three times]. It was [no fun|not the same]. [It took two for almost everything|Nobody laughed at the right place].
{h} saw something funny and turned to tell {q}. [But there was nobody there|Then {h.he} remembered].
{h} told {#who1} all about it. {^w} [listened|went on peeling potatoes] and asked only, "[And what did you do|What would {#who} say|Is being right better than {#food}|Do you want to be right or have a friend]?"
friends0 =
{h} and {q} were friends. [They did everything together, even {sill}|If you saw one, you saw the other].
[Nobody|No one] in {home} had ever seen {h} without {q}, or {q} without {h}.
{h!} and {q!} [had shared|shared] a [desk|bench|tree house] for [two|three|four] years, [and {#food} besides|and every secret].
""")


@plot(2)
def quarrel(s):
    """Two friends fall out and make up."""
    h = s.start(hero="child")
    q = s.child("q")
    s.thing("t")
    what, began, made = s.pick(QUARRELS)
    s.set(what=what, sill="[washing up|having the measles|losing their shoes]")
    s.about = "two friends who quarrel"
    s.para(s.opening() if s.p(0.5) else "", "{@friends0}", s.scene(0.2))
    s.para("[But|Then], {@when}, they quarrelled about {what}.", began + ".", s.maybe(0.6, "<h/cross:[I'll never play with you again|Go home, then|You're no friend of mine]!> <q/cross:[Good|Suits me|I was going anyway]!>"))
    s.para("{@after_q}", s.maybe(0.6, "{@after_q}"), s.maybe(0.4, "{@feelsad}", "{@think}"))
    s.para(s.pick(["{@then}, [it happened|the thing came right by itself].", "[It was {#who} who brought them together|It was a small thing that ended it].", "In the end [one of them had to begin|somebody had to take the first step].", ""]), made + ".")
    s.para(*s.ending("friend"))
    s.ask("Whom did {h} quarrel with?", "With {q!}.")
    s.ask("What did they quarrel about?", "They quarrelled about {what}.")


rules(r"""
broke =
{h} had only wanted to [look at it|hold it for a minute|show it to {#cat}]. Now {t} lay [on the floor|on the stones], [a piece was missing|in two halves|in {n5} pieces], [and {#who} was coming up the path|and the house was very quiet|and {#cat} looked at it].
[Crash!|Crack!|Clink!] {h} [stood quite still|did not dare to look]. {q'} {t.full} was broken.
[It happened so fast|It was over before {h.he} knew it]. {h'} elbow [touched {t}|caught on {t}], {t} [rocked|tipped], {h} [reached out|jumped], and then there was a [crash|crack] that {#who} must have heard.
{h} had borrowed {q'} {t.full} without asking. [Nobody would have known|It would only be for an hour]. But [the rope snapped|the wind took it], and now it was [broken|ruined].
hide =
{h} buried it by the [tool|boat|wood|goat] shed and [whistled as if nothing had happened|went out by the window].
<h/th:Nobody saw it. I'll say [it was {#cat}|it was like that before].> 
{h} [glued it with {#food}|stuck it together with porridge|tied it up with thread]. It [held for as long as nobody breathed|looked all right from {#place}|held till {#who} shut the door].
<q:Have you seen my {t.n}?> <h:No.> [It was out before {h.he} could stop it|{^#who} looked up from the {food}].
blame =
[Then {q} thought it was|And who got the blame? It was] {#pet}[ the cat| the dog|, the neighbour's puppy]. [No milk tonight|Out you go|No {#food} for a week], [you bad beast|and no supper|said {#who}].
<q:It must have been {b2}. [That one is always in my things|Who else].> {h} [saw {b2}'s face|looked at the floor] and said nothing.
Nobody [scolded|asked]. {^#who} even gave {h>} {#food}. That was [the worst of it|almost harder to bear].
weigh =
At supper {h} [could not swallow|pushed the {food} round the plate|gave the {food} to {#cat}]. At night {h.he} [turned over {n5} times|heard every hour strike].
[Every time somebody said "{t.n}"|Each time {q} smiled at {h>}], {h} [jumped|felt hot and cold].
It is odd how heavy [a small lie|something that nobody sees] can be. {h} carried it [past {#who}|to {#place}|to school] and [back|home again], and took it to bed.
confess =
{h} [knocked|went in|stood in the doorway], [one foot on the other|pale as flour]. <h/soft:It was me. I broke your {t.n}. [And I lied|And I said nothing|And I let another be blamed for it].>
<h:[I have to tell you something|It wasn't {b2}|It wasn't the cat], [and please don't say anything until I've finished|it was me].> And out it came, [all of it|from beginning to end].
{h} laid [the pieces|what was left of it] on the table. [{h.he} had meant to make a speech, but nothing came|{^#pet} the cat went out of the room|Somewhere {#who} was singing]. <h:I'm sorry.>
forgive =
{q} [looked at the pieces|said nothing for a while]. <q:I was [angry about the {t.n}|sad about it], and I still am. But [I'm glad you came|it takes courage to stand there|{#who} would not have come|a {t.n} is only a {t.n}].>
<q:I knew. [There was [{#colour} paint|dust|{#food}] on your sleeve|{^#who} saw you through the window|You've never been so polite to {#who}].> <h:Why didn't you say so?> <q:[I wanted to give you time to say it|It was yours to say].>
amends =
Together they [glued it|mended it], with [glue from {#who}|thread and patience], and now it has [a scar|a crack], and [{q} says it is worth more than before|you have to know where to look|{#who} never noticed].
{h} [swept the yard for a week|carried water for {q} all month|read to {#who} every Sunday], and [did not mind|after that they were quits].
[And {b2} got|The cat got] [{#food}|{h.his} pudding] and an apology[|, and took both].
""")


@plot(1.7)
def confession(s):
    """Something is broken, hidden, and owned up to."""
    h = s.start(hero="child")
    q = s.relative("q", "h") if s.p(0.6) else s.grown("q")
    s.thing("t", ["teapot", "mirror", "clock", "watch", "fiddle", "music box", "doll", "kite", "telescope", "jar", "cup", "umbrella", "flute", "lantern", "compass", "drum", "magnifying glass", "shell"])
    s.set(b2="{#name}")
    s.about = f"a {h.kind} who breaks something and must tell the truth"
    intro = "{q.a} had {t.a}[, and nobody was allowed to touch it|, which {q.he} loved more than anything|, the only one of its kind]." if hasattr(q, "job") and not q.intro.endswith(",") else "{q!} had {t.a}[, and nobody was allowed to touch it|, a present from {#who}|, which had come over the sea|]."
    s.para(s.opening() if s.p(0.6) else "", intro if s.p(0.7) or hasattr(q, "job") else "", "{@broke}")
    s.para("{@hide}", s.maybe(0.7, "{@blame}"), s.maybe(0.3, "{@feelafraid}"))
    s.para("{@weigh}", s.maybe(0.4, "{@weigh}"))
    s.para(s.maybe(0.5, "[The next|Next] [morning|evening] {h} could bear it no longer.", "[After two days|On Sunday] it was too much."), "{@confess}", "{@forgive}")
    s.para("{@amends}", *s.ending("honest"))
    s.ask("What did {h} break?", "{^t.a}.")
    s.ask("Whose was it?", "It was {q'}." if hasattr(q, "job") else "It was {q'}.")


rules(r"""
plantopen =
{^#who1} gave {h>} {seed}. <w:[Put it in the ground|Plant it] and [wait|be patient]. [That's the hard part|It's slow, but it's worth it].>
{h} found {seed} [in the pocket of an old coat|on the road {pl.at}]. It was no bigger than [a tooth|a button|a ladybird], and {#who} [laughed at it|said it was a stone].
[At the market|At the fair] {h} paid a penny for {seed}.
plantdo =
{h} [planted it|pushed it into the earth] [under the window|beside the water butt|in a corner that nobody wanted] and [gave it water|put a stick beside it], [every morning and every evening|before breakfast|from a tin can].
plantwait =
[One day, two days, a week|A week went by|{^n5} days went by, and {#who} came to look]. Nothing. {h} [lay down and put an ear to the ground|asked it what it was waiting for|told it about {#who}].
{^#who1} [leaned over the fence|came past]. <w:[That'll never come up|You've planted a pebble|My grandmother had one. It froze].> {h} [went on watering|said nothing].
It [rained for {n5} days|did not rain for {n5} weeks|froze one night in May, and {#who}'s beans died]. {h} [carried water from {#place}|got up at midnight to look].
{h} [wanted to dig it up and look|nearly dug it up]. <q:[Would you grow, if {#who} pulled you out of bed every day to see|Let it sleep. It's working|{^#who} dug one up, and it was so offended that it never spoke again].>
plantup =
And then, {@when}, there was [a green point|a small green ear|a bent green neck] [in the earth|no longer than an eyelash|beside {#who}'s boot].
[One morning|On the [sixth|ninth|tenth] day|While {#who} was eating {#food}] the earth [had a crack|moved], and [in the crack was something green|up came a leaf, folded like a letter|a green nose looked out, as if to ask for {#who}].
<h/call:[It's up|Come and see|Wake up, all of you]!> {h} ran [barefoot|in {h.his} nightshirt] through the house. [And there it stood, one leaf high|{^#who}, {#who} and {#cat} had to come and look at one leaf].
plantend =
By [summer|autumn|August] it was [taller than {#who}|as high as the roof|a great tangle of green], with [{#colour} flowers|flowers like trumpets|pumpkins like moons|pods as long as {#who}'s arm], and [bees came from {#place}|{#who} took off a hat to it].
It bore [seven|nine|eleven] {#colour} [fruits|flowers as big as plates], and {h} gave [one to {#who}, one to {#who}|some to everyone who had laughed, first of all to {#who}].
[When it had withered|In the autumn] there were [forty|a hundred] new seeds. {h} [gave them away, one to each child in {home}|sent some to {#who}].
""")


@plot(1)
def growing(s):
    """A seed, and patience."""
    h = s.start()
    s.set(seed="[a strange seed|a striped seed|a seed like a little skull|an acorn|a bean with a face|a seed as blue as ink|a wrinkled brown seed]")
    q = s.relative("q", "h")
    s.about = "somebody who plants a seed and waits"
    s.para(s.opening() if s.p(0.7) else "", "{@plantopen}", s.scene(0.2))
    s.para("{@plantdo}", *["{@plantwait}" for _ in range(s.pick([1, 2, 2, 3]))], s.maybe(0.3, "{@feelsad}"))
    s.para("{@plantup}", s.maybe(0.5, "{@feelglad}", "{@micro}"))
    s.para("{@plantend}", *s.ending("work"))
    s.ask("What did {h} plant?", "{^seed}.")


rules(r"""
giftopen =
{^when}, it would be {q'} birthday, and {h} had [no money|two coins and a button].
[In {n5} days|On Sunday] {q} was [coming home|leaving for the sea|turning {old}], and {h} wanted to give {q>} something [that nobody else had|special|{q.he} would not forget].
What do you give to somebody who [has everything|wants nothing|has never had a present]? {h} had to think of {q}, whose birthday was [on Saturday|the day after next|in three days].
idea_bad =
{h} [tried to bake|baked] {#food}. It [burned|ran over|would have made a good doorstop], and {#dog} [ate it|would not eat it].
{h} asked {#who1}. <w:[Socks|Give socks]. [Nobody says no to socks|That's what I always give].> {h} [sighed|had been afraid of that].
{h} asked {q} straight out. <q:[I don't need anything|Me? Nothing]. [Only a quiet hour|Only good weather|An hour without {#who}].> [That was not much help|{h} went away and thought].
gift_good =
Then {h} [had it|jumped up]. {h.he} went from door to door and asked everyone who knew {q>} for [one story. {h.he} wrote them all into a little book|one square of cloth. {h.he} sewed them together into a blanket|one line of the old song. {h.he} learned it by heart], [night after night|evening after evening].
{h} collected [the sounds|the smells] of {home} in [jars|a list]: {@detail}; {@detail}; {@detail}.
{h} made [ten|seven] slips of paper. On each stood something that {h.he} would do: "[One morning of wood-chopping|I'll wash up|I'll listen to the story of {#who} again]." "[One walk to {#place}|Breakfast in bed|An hour of not asking why]."
{h} got up before everyone, [swept the whole yard|lit the stove], put {#food} on the table and hung [lanterns|paper birds] in the tree, [forty of them|one for every year].
gift_given =
{q} [unwrapped it|looked at it] and said nothing. {h'} heart [sank|stood still]. Then {h.he} saw that {q} [was wiping {q.his} eyes|could not speak].
<q:[Who told you|How did you know|You made this]? [It's what I have always wanted|I didn't know myself that I wanted it|Not even {#who} ever gave me such a thing|{^#who} will be green with envy].>
""")


@plot(2.5)
def gift(s):
    """A present that costs nothing but thought."""
    h = s.start(hero="child")
    q = s.relative("q", "h") if s.p(0.65) else s.grown("q")
    s.set(when="[on Sunday|on Thursday|in four days|in a week]", old="[fifty|sixty|seventy|eighty|thirty]")
    s.about = f"a {h.kind} who looks for a present"
    intro = "{q.intro2}" if False else ""
    if hasattr(q, "job"):
        intro = "{h} had a friend: {q.a}." if not q.intro.endswith(",") else "{h} had a grown-up friend called {q!}."
    s.para(s.opening() if s.p(0.6) else s.scene(0.3), intro, "{@giftopen}")
    s.para(*["{@idea_bad}" for _ in range(s.pick([1, 2, 2]))], s.maybe(0.5, "{@feelsad}", "{@think}"))
    s.para("{@gift_good}", s.maybe(0.4, "{@micro}"))
    s.para("{@gift_given}", *s.ending(s.pick(["kind", None])))
    s.ask("Whom was the present for?", "It was for {q!}.")
