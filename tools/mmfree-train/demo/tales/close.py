"""Plots that stay close to their first sentence: what it names, a thing, a place or a person, is what the story is about."""

from . import world as w
from .engine import rules
from .plots import plot


def friend(s, key="q", chance=0.5):
    """A second character whose relation is told: a friend or a relative."""
    if s.p(chance):
        q = s.child(key)
        q.a = s.x("{h.his} [friend|best friend|cousin]")
        s.meet(q, q.a)
    else:
        q = s.relative(key, "h")
    return q


# -- a box that nobody may open --------------------------------------------------------------------------------------------
# content, why it was kept, what comes of it
KEPT = [
    ("a pair of very small shoes", "<q:They were [mine|my brother's]. [We had one pair between the two of us|I walked to school in them, {n5} miles each way]. [When things are hard, I look at them|I keep them so that I don't forget it].>", "{h} took off {h.his} own shoes and put them beside the small ones. [They were three times as big.|<q:You see how far we have come,> said {q}.]"),
    ("a key, and nothing else", "<q:It opens the door of the house where I was born. [The house went under when they built the dam|There is no house any more, only grass].> <h:Then what is it good for?> <q:[For remembering|I can still go in, when I shut my eyes].>", "That evening {q} shut {q.his} eyes and [led {h>} through the house, room by room|told {h>} what stood in every room], and {h} [drew it all on a big sheet of paper|saw it as if {h.he} had lived there]. The key lies in a little dish by the lamp now, where they can both see it."),
    ("a bundle of letters tied with a ribbon", "<q:A friend wrote them, when I was as old as you. [Then we quarrelled about something silly|One day I did not answer], and [after that it was too late|the years went by].> <h:Why is it too late?> {q} did not know what to say.", "So they wrote a letter together, [four pages long|with a great many blots]. For two weeks nothing came. Then the postman brought an answer. It began: \"[At last!|I thought you would never ask.|You silly old thing.]\""),
    ("a wooden flute with a crack in it", "<q:[I played it at every wedding|I used to play it every evening], until [it fell down the stairs|your grandmother died]. [Since then I have not had the heart|It does not sing any more].> <h:May I try?>", "They [closed the crack with wax|bound the crack with thread and glue]. It sounded a little hoarse, but it sounded. {q} [taught {h>} one tune, and then another|played until the stars were out], and the flute never went back into the {box}."),
    ("a handful of brown seeds", "<q:They are from my mother's garden, over the sea. [I was always afraid to plant them|I wanted to keep them safe]. As long as they lie there, [nothing can happen to them|I have them all].> <h:But nothing can grow, either.>", "{q} thought about it all night. In the morning the two of them [dug a bed by the wall|took a spade and went out]. In {month} there were flowers that nobody in {town} had ever seen, and {q} had more seeds than before."),
    ("a photograph of a boy and a girl on a bicycle", "<q:That is me, [the day we ran away to see the sea|the summer before the war]. [And that is {rname}, who could do everything|The other one is {rname}. We were going to ride round the world].> <h:Where is {rname} now?> <q:I never found out.>", "{h} found out. It took [{n5} letters|a month] and the help of the whole post office. On a Sunday in {month} {rname} stood at the gate, white-haired, with a bicycle. They rode once round the square, and everybody clapped."),
    ("an old tin whistle and a torn red cap", "<q:I was a stationmaster once, on a very small line. [Two trains a day, and one of them was always late|The trains stopped, but nobody took back the whistle].> <h:Did you like it?> <q:More than anything.>", "{h} put {n5} chairs in a row in the garden and called the neighbours. {q} put on the red cap, lifted the whistle and blew. \"All aboard!\" And they all [travelled to the sea and back|rode as far as China], until supper."),
]
rules(r"""
keptopen =
{^q!} [had a {box} that was always locked|kept a {box} {where}, and nobody was allowed to touch it|never let anybody look into the {box} {where}].
In {q'} room, {where}, stood a {box} [with a lock|tied up with string|with two brass corners]. [Nobody knew what was in it|It was older than anybody in the house].
There was only one thing in the house that {h} was not allowed to touch: the {box} {where}. It belonged to {q>}.
<h:What's in that {box}?> {h} [asked|had asked] it [a hundred times|every birthday|since {h.he} could talk], and {q} always said, "[Nothing for you|Old things|Wait till you are bigger]."
The {box} {where} [was no bigger than a loaf of bread|was grey with dust|had no name on it], but {q} [looked at it every evening|carried it out first when the chimney caught fire|would not have sold it for a hundred crowns].
On the day that {q} moved in with them, {q.he} brought one coat, one chair, and a {box}[| that nobody else was allowed to carry].
keptguess =
{h} [often lay awake and wondered|thought about it at night]. [Was it gold|Was it a map|Was it something that was alive]? [It did not rattle|When one shook it, it only sighed a little|It was too light for gold].
<h:It's [money|treasure], said the boy next door. {h} [did not think so|was not so sure]. {q} [wore the same coat every winter|mended {q.his} own socks].
[{h'} mother|{h'} father] [did not know either|only shrugged]. "[Ask again when you are older|Some things are private]."
Once {h} [put an ear to the lid|held the {box} up to the light]. [Nothing ticked, nothing moved|There was a smell of lavender and dust]. {h.he} [put it back quickly|felt ashamed and put it back].
keptday =
Then, [one wet afternoon|one evening in winter|on a Sunday], {h} came in and saw that the {box} [stood open on the table|was open]. {q} sat in front of it and did not [look up|hear {h>}].
One day {q} [was ill and had to stay in bed|could not find {q.his} glasses]. <q:Bring me the {box}. [You may open it for me|My hands are too stiff today|It's time you saw it].> {h'} heart beat fast.
At last {h} [could bear it no longer|found the key in the sugar bowl]. {h.he} lifted the lid by the width of a finger. Behind {h.him} a voice said, <q/-:Well, if you must look, look properly.> It was {q}, and {q.he} was not even angry.
On {h'} [tenth|ninth|eleventh] birthday {q} said, <q/-:[You are old enough now.|Today you may see it.]> {q.he} put the {box} on the table and turned the key.
keptsee =
In the {box} lay {content}. [That was all|{h} looked for more, but there was no more]. <h:[Is that all|Why do you keep it]?> {h} asked.
{h} bent over it. There was no gold. There was {content}. <h:I don't understand,> {h} said.
It was {content}. {h} had thought of [everything but that|gold, of maps and of magic, but never of that].
keptend =
[Nobody locks the {box} any more|The {box} stands on the shelf now, where everybody can see it], and when somebody asks {h>} what is in it, {h.he} says, "[Come in, and we'll tell you|The best thing in the house]."
Since that day {h} has [had a {box} of {h.his} own|kept a {box} too]. [What is in it|What {h.he} keeps there] is [a secret|nobody's business yet].
<q:You might have asked me [sooner|long ago].> <h:I asked you every year!> And they both had to laugh.
""".replace("<h:It's [money|treasure], said the boy next door.", '"It\'s [money|treasure]," said the boy next door.').replace("<h:[Is that all|Why do you keep it]?> {h} asked.", "<h:[Is that all|Why do you keep it]?>").replace("<h:I don't understand,> {h} said.", "<h:I don't understand.>"))


@plot(4)
def kept(s):
    """A box of an old relative that nobody may open, and what is in it."""
    h = s.start(hero="child")
    q = s.relative("q", "h")
    while q.rel.split("-")[-1] not in ("grandmother", "grandfather", "aunt", "uncle"):
        q = s.relative("q", "h")
    content, why, after = s.pick(KEPT)
    s.set(box=s.pick("chest tin trunk case drawer suitcase basket jar biscuit-tin hatbox casket".split()).replace("-", " "), month=s.pick("May June July August September".split()), rname=s.new_name("f" if q.g == "m" else "m"), content=content)
    s.set(where=s.pick(["under the bed", "on top of the wardrobe", "behind the stove", "under the stairs", "at the back of the cupboard", "by the window", "beneath the workbench", "in the attic"]))
    after = after.replace("<q:You see how far we have come,> said {q}.", "<q:You see how far we have come.>")
    s.about = f"a {s.env['box']} that nobody may open"
    s.para("{@keptopen}", s.maybe(0.5, "{@keptguess}"))
    s.para("{@keptguess}", s.maybe(0.4, "{@think}"))
    s.para("{@keptday}", "{@keptsee}")
    s.para(why)
    s.para(after)
    s.para("{@keptend}")
    s.ask("What was in the {box}?", "{^content}.")
    s.ask("Whose was the {box}?", "It was {q'}.")


# -- a thing that no longer works -------------------------------------------------------------------------------------------
# thing, where, what it had done, what is missed, what was the matter, how it was mended, how it works again
SILENT = [
    ("bell", "of the school", "rang at eight every morning", "[the children came late|nobody knew when lessons began]", "a swallow had built her nest in it, with four eggs", "So the bell had to wait. {h} [beat on a saucepan at eight every morning|ran through the streets and shouted instead], for {n5} weeks, until the young swallows flew", "Then the bell rang again, [louder than ever|as clear as water], and everybody knew whom they had to thank"),
    ("fountain", "in the square", "splashed day and night", "[the pigeons sat on the rim and waited|the old people had nothing to listen to]", "a small wooden boat was stuck in the pipe", "{h} [reached in up to the shoulder|bent a wire into a hook] and pulled, and out came the boat, [green with moss|without its sail]. On it stood the name of a boy who was a grandfather now. <h:Is it yours?> {h} asked him, and he [laughed till he coughed|held it in both hands]", "The water shot up [as high as a house|like a tree], and the first thing that sailed in it was the little boat"),
    ("mill wheel", "below the bridge", "turned and clattered since anyone could remember", "[there was no flour|the miller sat on his steps with nothing to do]", "a branch had got between the spokes, far below the water", "They shut the sluice and waited until the stream had run dry. Then {h}, who was [the smallest|the thinnest], crept under the wheel and [sawed|broke] the branch in two", "The wheel groaned, shook itself and turned. That evening there was fresh bread, and the first loaf was for {h>}"),
    ("music box", "on the shelf", "played every night before bed", "[the baby would not go to sleep|the evenings were too quiet]", "a crumb was stuck between the two smallest teeth", "{h} [held the lamp while {q} took out four screws|took a hair from the brush and drew it through the teeth], and the crumb [fell out|jumped on the table]", "It played again, [from the place where it had stopped|a little slower than before], and the baby was asleep before the end"),
    ("pump", "in the yard", "gave water to nine houses", "[everybody had to walk to the river|the cows stood and bellowed]", "the leather inside had dried up and shrunk", "{h} cut a round piece from [an old boot|the tongue of a shoe], and {q} greased it and put it in", "{h} pumped, once, twice, ten times. It coughed, and then the water came, and the cows drank first"),
    ("lamp", "on the harbour wall", "burned every night for the boats", "[the fishermen did not dare to go out|two boats had already touched the rocks]", "a family of spiders had closed the air holes with their webs", "{h} [brushed the holes free with a feather|carried the spiders, one by one, to the boat shed], and {q} trimmed the wick and poured in new oil", "At dusk the light stood over the water again. One after another the boats came home, and each of them blew its horn for {h>}"),
    ("swing", "under the walnut tree", "carried every child of the street", "[the little ones stood about and did not know what to do|nobody laughed in the yard any more]", "one rope had rotted through where it rubbed on the branch", "{h} fetched [a good rope from the harbour|the old washing line], and {q}, who could tie {n5} kinds of knot, [showed {h>} the best of them|tied it twice and sat on it to try it]", "The smallest child was allowed to go first, so high that her feet touched the leaves"),
    ("stove", "in the schoolroom", "hummed from October to April", "[they sat there in coats and gloves|the ink froze]", "a bird's nest, three winters old, had fallen down the chimney", "{h} climbed on the roof with a [stone on a rope|long brush], and {q} stood below with a bucket. Down came twigs, feathers and soot, and all of it [landed on {q>}|fell beside the bucket]", "By noon the stove was humming. They took off their gloves, and somebody put apples on it to roast"),
    ("wind vane", "on the church roof", "told everybody which way the wind blew", "[the sailors asked at every door|the washing was hung out in the rain]", "a paper kite had wound its string round the pole", "{h} climbed the tower, [step after step|all hundred and ten of them], and cut the string. <h/call:Whose kite is this?> Far below a small boy [put up his hand|hid behind his mother]", "The cock on the roof turned, squeaked and pointed to the west. The boy got his kite back, and was told where not to fly it"),
]
rules(r"""
silentopen =
[One morning|That autumn|On the first day of spring|In the week before the fair] the {thing} {at} {stopped}.
The {thing} {at} had always {did}. {^when} it {stopped}.
[For forty years|For as long as anyone could remember|Ever since {h} was born] the {thing} {at} had {did}. Now it [did not|did so no more].
Something was missing. {h} [stood still and thought|was the first who noticed it]: it was the {thing} {at}. It had {did}, day after day, and now it {stopped2}.
<b:[Have you noticed|What is the matter]? The {thing} {at} has stopped!> [It was true|Everybody ran to look]. It had {did}, and now it {stopped2}.
Nobody had ever thought much about the {thing} {at}. It simply {did0}. But {when} it {stopped}.
silentmiss =
Without it {miss}.
[At first people laughed about it|For a day nobody minded]. But then {miss}.
It was worse than one would have thought: {miss}.
silentadvice =
<w:[Throw it away|We must buy a new one|It is too old]. [It was never any good|Nobody can mend that].> <h:[Wait|Let me look at it first].> [{^w} only laughed|{^w} shook her head|Nobody minded, and nobody believed in it].
{^#who} [hit it with a hammer|gave it a kick|shook it]. That did not help. {^#who} [said a bad word|said that it was the weather]. That did not help either.
They sent for a man from the city. He [looked at it for a minute|did not even open his bag], said that it would cost a hundred crowns, and went away again. [Nobody had a hundred crowns|All of them together did not have half of that].
[Everybody gave advice|Everybody knew what ought to be done]: oil it, paint it, leave it alone. [Nobody did anything|And nobody got his hands dirty]. So {h} [decided to look for himself|began].
silentlook =
{h} [sat down in front of it|went there with a lamp] and looked at it [for a whole afternoon|from all sides|the way one looks at a sick animal]. <h/th:[It wants to work|A thing does not stop for no reason].>
{h} asked {q>} to come along, who [was good with {q.his} hands|had sharp eyes|never said that a thing could not be done]. Together they looked at it, [piece by piece|from top to bottom].
<h:Will you help me?> {h} asked {q>}. <q:[I know nothing about it|I've never done such a thing]. But four eyes see more than two.> So they went and looked.
silentfind =
[And then they saw it|At last they found it|Then {h} saw it]: {cause}.
<h:[Look|Come here|Hold the lamp]! > {h} pointed. [It was so simple|No wonder]: {cause}.
<q:What's that?> {q} bent down. [Nobody had thought of that|That was all]: {cause}.
silentend =
[From then on|After that], whenever something in {town} [stopped|broke|did not go], people said, "[Ask {h.name}.|Has {h.name} seen it?]"
{h} still [went there sometimes|walked past it every day], and [listened|gave it a pat|nodded to it as one nods to a friend].
<q:[How did you know|What made you look there]?> <h:I didn't know. I [only looked|only asked it what was the matter].>
And the man from the city? He [was never sent for again|read about it in the newspaper].
It has not stopped again, [to this day|not once]. {h} [makes sure of it|looks after it, every spring].
""".replace("<h:Will you help me?> {h} asked {q>}.", "<h:Will you help me, {q.name}?>").replace("[decided to look for himself|began]", "[had a look|began]"))


@plot(4)
def silent(s):
    """A thing that everybody relies on stops; somebody looks for the cause."""
    h = s.start()
    q = friend(s)
    n, at, did, miss, cause, mend, again = s.pick(SILENT)
    past = {"rang": "rung", "burned": "burned", "turned": "turned", "played": "played", "gave": "given", "carried": "carried", "hummed": "hummed", "told": "told", "splashed": "splashed"}
    verb, rest = did.split(" ", 1)
    if verb == "turned":
        rest = rest.replace("and clattered since anyone could remember", "and clattered").strip()
    s.set(thing=n, at=at, did=f"{past[verb]} {rest}", did0=f"{verb} {rest}", miss=miss, cause=cause)
    s.set(stopped=s.pick(["stopped", "was silent", "did not work any more"]) if n in ("bell", "music box") else s.pick(["stopped", "gave up", "did not work any more"]), stopped2=s.pick(["had stopped", "was dead", "did nothing at all"]), when=s.pick(["one day", "one morning", "one Monday", "in the middle of winter" if n == "stove" else "one evening"]))
    s.about = f"a {n} that no longer works"
    s.some_who1()
    s.para("{@silentopen}", "{@silentmiss}")
    s.para("{@silentadvice}", s.maybe(0.35, "{@silentadvice}"))
    s.para("{@silentlook}", "{@silentfind}")
    s.para((mend if "{h} asked him" not in mend else mend.replace("<h:Is it yours?> {h} asked him, and he", "<h:Is it yours?> He")) + ".", again + ".")
    s.para(s.maybe(0.3, "{@feelglad}"), "{@silentend}")
    s.ask("What had stopped?", "The {thing} {at}.")
    s.ask("Why did it not work?", "{^cause}.")


# -- somebody finds a thing and looks for its owner --------------------------------------------------------------------------------
# thing, where it may lie, who misses it and why, what the owner does or says
FOUND = [
    ("key", "{@lies}", "it was the key of [the old piano|the garden gate|the clock|a tin of letters] that [had been shut for three years|nobody had been able to open since Easter]", "They opened it together. [The hinge cried out|It clicked], and {r} [sat down and said nothing for a while|laughed like a girl]. <r:Come as often as you like. It is open now.>"),
    ("purse", "{@lies}", "all the money for [the winter's wood|the doctor|the new roof] was in it", "{r} counted it with trembling fingers. Not a penny was missing. <r:[Another would have kept it|I had given up hope]. Choose something from my shop.> {h} did not choose. [It was enough to see that face|{h.he} asked to help there on Saturdays instead]."),
    ("ring", "{@lies}", "it had slipped from a wet finger [on washing day|in the garden] [forty years ago|in the year of the flood]", "{r} put it on. It was a little tight now. <r:[I looked for it until my hair was white|I told my husband that I had lost only the ring, not him].> And {r} kissed {h>} on both cheeks."),
    ("coin", "{@lies}", "it was the lucky coin that a brother had left behind when he went to sea", "{r} turned it over and over. <r:The day I lost it, his letters stopped.> The next morning a letter came. [Perhaps that was chance|{h} never said that it was the coin, and never said that it was not]."),
    ("notebook", "{@lies}", "all the songs that {r} had ever made were written in it", "{r} opened it at the last page, read, and began to sing. [It was a song about somebody who comes back|The whole street stood still]. Now there is one more song in the book, and it has {h'} name in it."),
    ("watch", "{@lies}", "it had been a father's, and it was all that was left of him", "{r} wound it up and held it to {h'} ear. It ticked. <r:That is how he sounded when he came up the stairs.> {h} [listened for a long time|understood what was meant]."),
    ("doll", "{@lies}", "a small girl had not slept since it was lost", "The small girl [snatched it|took it], smelled it and sighed. <r:She never goes anywhere without it, and now neither do I.> That night there was peace in the house, and {h} was [invited to tea by the doll|made the doll's uncle, or something like it]."),
    ("map", "{@lies}", "it showed where the old well lay under the grass", "They took spades and dug where the cross was. At noon they struck a stone lid, and below it [there was cold, clear water|one could hear water running]. <r:Now the garden will live.>"),
    ("glove", "{@lies}", "the other one had been waiting for it in a drawer all winter", "{r} put both gloves on and clapped. <r:My mother knitted them. I did not want to be the one who lost them.> Then {r} knitted a pair for {h>}, in the same {gcol} wool."),
    ("lantern", "{@lies}", "without it the way to the sheepfold was too dark, and the lambs had to be fed at night", "{r} lit it at once. <r:Come along, and you'll see what it is good for.> They went up to the fold, and {h} was allowed to give the bottle to the smallest lamb."),
    ("whistle", "{@lies}", "{r} had no voice any more, and called the dog with it", "{r} blew. From far away came a bark, and then the dog itself, over three fences. {h} had never been licked so thoroughly."),
    ("little bell", "{@lies}", "it belonged round the neck of a goat that had been lost twice since", "{r} tied it on. Cling, clang, went the goat across the meadow. <r:Now I can sleep.> And {h} got a cheese as big as {h.his} head."),
]
rules(r"""
lies =
in the grass by the road
between two stones of the bridge
under the bench at the station
at the bottom of the ditch
in a puddle in front of the school
on the steps of the church
under the leaves in the park
in the sand by the water
on the seat of the bus
in the snow by the gate
findopen =
{h!} [was on the way home|was walking home from school|was looking for snails|was running an errand|was thinking of nothing at all] when [{h.he} saw something shine|{h.his} foot touched something|{h.he} stopped short]. {^liesx} lay {at}.
{^liesx} lay {at}. [Hundreds of people had walked past it|Everybody had walked past it]; {h!} was the one who bent down.
{^at} is not something that one finds every day. {h!}, [who never looked where {h.he} was going|who was {h.age} years old|a {h.kind} of {h.age}], found one {lies0}, [on a wet Tuesday|on the first warm day|on the way to the bakery|early in the morning].
One [evening|morning|Saturday|windy day] a {h.kind} called {h!} found {at} {lies0}. [It was cold and a little rusty|It was quite wet|It was not new].
It all began with {at}. {h!} [found it|picked it up] {lies0}, [wiped it on {h.his} sleeve|turned it over] and [looked about|wondered whose it was].
findthink =
<h/th:[Somebody is looking for this|Somebody must be missing it|This belongs to somebody].> {h.he} [put it in {h.his} pocket|held it tight], and [could think of nothing else|decided to find out whose it was].
{h} [would have liked to keep it|could have kept it]. Nobody had seen {h>}. But [a thing that is lost makes somebody sad|{h.he} had once lost something too, and remembered how it felt].
<b:Keep it. [Finders keepers|Nobody saw you].> {h} [thought about it|shook {h.his} head]. <h:Somebody [is looking for it|wants it back].>
findask =
First {h} asked {#who1}. <w:[Mine|A {tn}]? [No, mine is at home|I never had one|I wish it were]. [Try next door|Ask at the market].>
{h} [went from door to door|asked everyone {h.he} met]. One had lost a dog, one an umbrella, and one [only his temper|her patience]. Nobody had lost a {tn}.
{h} wrote a note, "Found: a {tn}," and pinned it to [the door of the bakery|the big lime tree|the church door]. The next day [the rain had washed it off|somebody had written under it: "Not mine, but good luck"].
A [tall man|woman in a fur hat] said at once, "[That's mine|Give it here]!" <h:What does it look like underneath?> [That the stranger could not say|The stranger turned red and walked away].
findowner =
At the end of the [lane|street], in the last house, lived {r.a}. {h} [knocked|rang]. When {r} saw the {tn}, {r.he} [had to hold on to the door|turned quite pale|gave a cry]. For {why}.
In the evening {h} saw {r.a} [going along the road, bent low, looking at the ground|sitting on the steps with a sad face]. <h:[Have you lost something|Are you looking for this]?> {h} held out the {tn}. It was the right one, and {why}.
Only one was left whom {h} had not asked: {r.a}[, whom everybody called grumpy|, who never spoke much|]. {h} took heart and held out the {tn}. <r/soft:Where did you find it?> And then {h} heard the whole story: {why}.
findend =
{h} has found other things since, [a button, a comb, half a fork|and always asks first]. But nothing was ever as good as that {tn}.
<b:[And what did you get for it|You could have kept it]!> {h} thought of {r>} and smiled. <h:I know.>
[Since that day|From then on] {h} and {r} have been friends. [They wave to each other every morning|On Sundays they drink cocoa together], and the {tn} [is never lost again|hangs on a nail, where both can see it].
[On the way home|That night] {h'} pocket was empty, and yet {h} [felt richer than before|walked as if it were full].
""")


@plot(5)
def found(s, n=None):
    """A thing is found, its owner looked for, and what it meant to him."""
    h = s.start(hero="child")
    r = s.grown("r")
    n, where, why, after = s.pick(FOUND)
    s.set(tn=n, at="a " + n, lies0=where, why=why, gcol=s.pick(w.COLOURS))
    s.env["liesx"] = s.env["lies0"]
    s.about = f"a {h.kind} who finds a {n}"
    s.env["asked"] = n
    s.para("{@findopen}", s.maybe(0.3, "{@trait_line}") if False else "")
    s.para("{@findthink}", "{@findask}", s.maybe(0.5, "{@findask}"))
    s.para("{@findowner}")
    s.para(after)
    s.para("{@findend}")
    s.ask("What did {h} find?", "A {tn}.")
    s.ask("Whose was it?", "It belonged to {r.a}.")


# -- an animal and a thing ---------------------------------------------------------------------------------------------------------
# thing, where it came from, two wrong guesses (who says what it is, what happens), the use it has at last
ODD = [
    ("lamp", "[had fallen from a cart|had been left behind by the charcoal burners]", ["it's a cage for very small birds", "it's a pot for soup", "it's a hat for the rain"], "One night [fog|a snowstorm] came, and the smallest of the {o.kinds} did not come home. Then {h} [remembered how the people did it|struck two stones together], and the lamp began to burn. {h.he} hung it in the highest tree. [The little one saw the light and followed it|Two eyes shone in the dark, and came nearer], all the way home", "lights the way for everyone who is late"),
    ("umbrella", "[had come with the wind|had been forgotten on a bench]", ["it's a dead bat", "it's a walking stick with a skirt", "it's a boat"], "Then it rained for three days, and the burrows [filled with water|ran over]. {h} pushed the thing, it went [plop|click], and there was a roof. {o}, {o.his} children and {n5} beetles sat under it until the sun came out", "is a roof for everyone when it rains"),
    ("mirror", "[shone like a piece of sky|had fallen out of a coach]", ["it's a hole with somebody in it", "it's a frozen puddle", "it's a window"], "In the middle of winter the sun came over the ridge for only an hour, and not a ray of it reached the place where {o} lived. {h} set up the mirror on the hill, and a bright spot ran over the snow and [stopped right in front of the door|slipped in at the door]. {o} sat in the sun with closed eyes", "stands on the hill and sends the sun where it is missing"),
    ("drum", "[had been left behind by the musicians|had rolled down the hill]", ["it's a big round cheese", "it's a stool", "it's an egg, and one should sit on it"], "Then {h} saw smoke over the dry grass. {h.he} shouted, but {h.his} voice was too small. So {h.he} jumped on the drum, boom, boom, boom. All of them woke, and all of them ran, and when the fire had passed, nobody was missing", "hangs in the oak, for the day when it is needed again"),
    ("basket", "[had floated down the river|had been forgotten by a berry picker]", ["it's a nest for a giant", "it's a trap", "it's a hat with two ears"], "When the river rose, the children of {o} sat on a stump in the middle of the water and cried. {h} pushed the basket out, swam behind it, and the little ones climbed in, one after another. It [did not leak|leaked only a little]", "is the cradle for whatever is born in spring"),
    ("scarf", "[had hung on a thorn all winter|had been lost by a child]", ["it's a snake that is asleep", "it's a road for ants", "it's somebody's tail"], "That night it was so cold that the branches cracked, and {o} had [no fur to speak of|a cough]. {h} wound the scarf round {o>}, three times, and there was enough left for {h.self}. They slept till noon", "goes from one to the other, and whoever is coldest has it"),
    ("bell", "[had been lost by an old cow|had fallen from a sleigh]", ["it's a cup with a stone in it", "it's a flower of iron", "it's a bird that has been turned to brass"], "Then {o}, who could hardly see any more, lost the way to the water. {h} hung the bell over the spring. The wind moved it, and {o} pricked up {o.his} ears and walked towards the sound, step by step, until {o.his} nose was wet", "rings over the spring, day and night"),
    ("ladder", "[had been left behind by the apple pickers|had been forgotten by the roofers]", ["it's a fence that has fallen over", "it's the skeleton of a fish", "it's a railway"], "In the storm a young bird fell out of the nest, and its mother could not carry it. The tree was smooth and tall. {h} and {o} pushed the ladder against it, and {h} climbed, [with the bird in {h.his} mouth|very slowly, with the bird on {h.his} back], and put it back among its sisters", "leans against the tree, and every bird knows why"),
    ("boot", "[had been thrown away by a fisherman|had come up with the flood]", ["it's a boat for two", "it's a cave that one can carry", "it's a mouth without teeth"], "When the first snow fell, {o} still had no house. {h} thought of the boot. They turned it on its side, stuffed it with moss and hung a leaf before the opening. It was the warmest house for miles", "has a chimney and a name on the door"),
]
rules(r"""
oddopen =
{h.Aname} found {at}. It {from}. [{h} had never seen one|{h} did not know what it was]; [no {h.kind} in the world had one|the word for it is not known among {h.kinds}].
{^at} lay [in the clearing|by the stream|in the middle of the path|under the hedge]. It {from}. The first who came by was {h.aa}. [{h} walked round it three times|{h} sniffed at it].
There was once {h.aa} who [owned nothing but a {h.home}|was curious about everything|collected whatever people lost]. One morning {h} came upon {at}, which {from}.
What does {h.aa} do with {at}? {h} [did not know either|asked that too], on the morning when {h.he} found one [at {h.his} door|beside the path]. It {from}.
{^h.Aname} woke [early|with a start], put {h.his} nose out of the {h.home}, and [bumped against|saw] something strange. It was {at}, which {from}.
oddask =
{h} [carried|dragged|rolled] it to {o.Aname}. <o:[That's easy|Any child knows that]. {^g1}.> [{h} tried it. But it was nothing of the kind|{h} looked at it from below. It did not look like that at all].
<h:What is it?> {h} [asked {o.Aname}|wanted to know from {o.Aname}]. <o:{^g1}.> {o} [sounded very sure|had never seen one either, but liked to be asked].
oddask2 =
[An old owl|A crow|A magpie] who came by knew better. "{^g2}," [she|it] said. [So {h} tried that too, and everybody laughed|That was wrong as well, as it turned out].
The others [came to look|stood round it]. "{^g2}," said one. "[Throw it in the river|It brings bad luck]," said another. {h} [kept it all the same|took it home].
[The sparrows|The mice] all talked at once, and in the end they agreed: "{^g2}." [But it was not|That was nonsense, and {h} knew it].
oddwait =
So the {tn} stood [in front of the {h.home}|beside the door], and [was good for nothing|nobody knew what it was for]. {h} liked it all the same. [It was pleasant to look at|It was {h.his}].
{h} [cleaned it every day|dusted it with {h.his} tail]. <o:Why do you keep that useless thing?> <h:Perhaps it is only useless [until it is needed|so far].>
oddend =
Since then the {tn} {now}. And nobody asks any more what it is.
[Now everybody knew what it was for|Now they knew]. The {tn} {now}, and {h} [looks after it|keeps it clean]. <o:I always said it was something good,> {o} says. [{h} lets it pass|{h} only smiles].
<o:[So that's what it is for|I was wrong about it].> <h:So was I.> To this day the {tn} {now}.
""".replace("<o:I always said it was something good,> {o} says.", '"I always said it was something good," {o} says.').replace("[asked {o.Aname}|wanted to know from {o.Aname}]", "asked {o.Aname}").replace("<h:What is it?> {h} asked {o.Aname}.", "{h} asked {o.Aname} what it was."))


@plot(4)
def odd(s):
    """An animal finds a thing of people's, guesses what it is, and learns what it is good for when it is needed."""
    h = s.start(["forest", "farm", "river", "hill"], hero="beast")
    o = s.beast("o")
    n, origin, guesses, event, now = s.pick(ODD)
    g1, g2 = s.r.sample(guesses, 2)
    s.env["tn"], s.env["at"] = n, "a " + n
    s.set(g1=g1, g2=g2, now=now)
    s.set(**{"from": origin})
    s.about = f"a {h.kind} and a {n}"
    s.para("{@oddopen}")
    s.para("{@oddask}", "{@oddask2}")
    s.para("{@oddwait}")
    s.para(event + ".")
    s.para("{@oddend}")
    s.ask("What did {h} find?", "{^at}.")
    s.ask("What is the {tn} good for now?", "The {tn} {now}.")
