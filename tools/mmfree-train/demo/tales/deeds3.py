"""More plots of people: making together, trading, exploring, looking for an animal, storms, moving house, journeys; and small episodes."""

from . import world as w
from .deeds import enter
from .engine import rules
from .plots import plot

rules(r"""
episode =
On the way {h} met {#who1}, who was [carrying|mending|painting|looking for] {#thing}. <w:[Have you seen {#animal}|Is it going to rain|Can you hold this a moment|Do I look like somebody who likes {#food}]?> <h:[No|Not today|If I must|I don't think so].> [And that was all|They both laughed|{^#who} heard it and shook a finger].
[For a while|Meanwhile] {h} [watched|listened to] {#who}, who was telling {#who} about {#animal} that could [count to {n5}|open doors|tell good {#food} from bad]. [Nobody believed it, but everyone stayed|It was a long story, and it got longer].
[There was {#food} at noon|At noon they ate {#food}]. {^#who} had made it, [and had forgotten the salt|and it was the best in years|after the recipe of {#who}]. {h} gave half of it to {#animal}.
{h} found {#thing} [in the gutter|under a stone|on a fence post]. [Somebody must be missing it.|Who leaves such a thing about?] {h.he} gave it to {#who}, who gave it to {#who}, who had been looking for it [since Easter|for a week].
{^#who} and {#who} were [having words|quarrelling] about {#thing}. <b:[It was mine before it was yours|You said Friday|I never touched it]!> {h} [went round them|kept out of it|said that one could use it in the morning and one in the evening, and was not thanked].
A [hat|newspaper|paper bag] blew past, and after it ran {#who}. {h} [put a foot on it|caught it], and got [{#food}|a nod|a story about {#place}] for it.
[Then it rained|A shower came down], [out of a clear sky|straight as strings], and {h} and {#who} stood under {#thing} and [talked of {#food}|guessed how many drops there were|said nothing, which was pleasant].
{#pet} the [dog|cat|goat] had [got into {#who}'s {#noun}|stolen {#food}|fallen asleep in {#thing}], and [all the street was laughing|somebody had to see to it]. {h} [held the door|fetched {#thing}|was of no great use].
{^#who} [called across|leaned out]: <w:Tell {#who} that the {#noun} is ready!> {h} promised it, and said it over and over so as not to forget: the {#noun}, the {#noun}, the {#noun}.
{h} thought of {#who}, who used to say, "[Never trust {#animal}|First {#food}, then trouble|Who hurries falls over {#thing}|A good {#noun} is half the work]." {h} had never understood it. [Today {h.he} nearly did|It did not help now either].
{^#animal} sat on {#thing} [and washed|and sang|and looked wise]. <h:[You have it good|What would you do|Don't laugh].> It [said nothing|shut one eye|went away|yawned].
From {#place} came [music|the smell of {#food}|a great noise]. {^#who} was [trying out {#thing}|getting married|teaching {#animal} to dance]. {h} [would have liked to stay|stopped for one song|went on, with the tune in {h.his} head].
[Twice|Three times] {h} was stopped: by {#who}, who wanted to know the time, and by {#who}, who [wanted to sell {#thing}|had a stone in one shoe|needed somebody to hold {#animal}].
There was one thing that made {h} smile, even then: {#who} with {#thing} on {#who}'s head. <h:[It suits you|Very fine].> [It was meant well|{^#who} curtsied].
{^#who1} stopped {h>}. <w:[Do you know who once ate {n5} plates of {#food}|Do you know why {#animals} have no pockets|What is worse than {#animal} in the bath]?> <h:[I don't know|No idea|Tell me].> <w:[I don't know either|I've forgotten|Nobody knows].> [It was an old joke|{h} groaned].
episode_b =
{h} met {#who}, who was [counting {#food}|sweeping the path with {#thing}|looking for {#thing}]. <h:[Good day|All well].> [And on {h.he} went|They sniffed at one another, as one does].
A wind came up and brought the smell of {#food} from {#place}. {h} [thought of {h.his} {h.food}|sighed|sneezed twice].
{^#who} and {#who} were quarrelling over {#thing}. [Neither knew what it was for|In the end {#animal} took it].
{h} found {#thing} in the grass. {^#who} said it was [people's work|good to eat|unlucky]. {h} left it where it was.
{^#who} told anybody who would listen that {#animal} had been seen near {#place}, [wearing a ribbon|walking backwards|with {#thing} in its mouth].
It rained a little, and {h} sat under a leaf with {#who} and talked about {#food}.
""")

# -- making something together ---------------------------------------------------------------------------------------------
MAKES = [
    ("a raft", "[planks|barrels|old doors]", "sail [to the island|down the {wat}]", "It [tilted|turned twice in a circle], took a little water, and swam"), ("a soup for everyone", "[carrots|onions|beans|bones]", "feed the whole street", "It tasted of [everything at once|{#food} and smoke|the sea], and {#who} [licked the pot|had four plates|asked who had cooked it]"),
    ("a kite as big as a door", "[paper|canes|string]", "fly it from {place}", "It shook itself and went up, until the string sang"), ("a scarecrow", "[straw|trousers|a turnip]", "save the cherries", "The birds held a meeting, and then sat on [its hat|its arms]. [But they left the cherries alone and ate {#who}'s peas|It looked so much like {#who} that {#who} said good morning to it]"),
    ("a tree house", "[boards|nails|rope]", "have a place without grown-ups", "It leaned a little, but everyone fitted in, even {#who}"), ("a quilt", "[scraps|thread|buttons]", "have something warm for {who3}", "There was a piece of everybody in it: a sleeve, a curtain, a bit of flag"),
    ("a play", "[curtains|crowns|paint]", "earn money for a new bell", "The [king|prince] forgot his words, the [dragon|cow|moon], who was {#who}, said them for him, and [people asked for it again|{#who} threw {#food}]"), ("a snow castle", "[snow|buckets|a broken window]", "win against the children of the other street", "It had two towers, and it stood till March"),
    ("a bench", "[oak boards|screws|varnish]", "let old {who3} rest on the way to {place}", "From then on nobody passed without sitting down a minute"), ("a cart with a sail", "[wheels|a bed sheet|a pole]", "be the fastest on the hill", "It ran, it flew, and it stopped in {#who}'s hedge"),
    ("a lamp for the dark corner", "[glass|wire|oil]", "let nobody stumble there again", "The corner was no corner any more, but a place, and {#who} put a chair there"), ("a garden on the roof", "[soil|tubs|seeds]", "have something green to look at", "In [June|July] there were [beans|peas|{#colour} flowers], and [a bee had found the way up|{#who} climbed up to look, with {#animal}]"),
    ("an oven of clay", "[clay|straw|stones]", "bake on feast days", "The first loaf was [crooked|black on one side|as flat as {#thing}], and [nobody has ever eaten better|{#who} ate the whole of it]"), ("a map of everything", "[paper|ink|string]", "find all that had ever been lost", "When it was done, {#who} found [the way to a friend's house|the bench of a long-ago summer|{#who}'s well] on it, and went there the same day with {#food}"),
]
rules(r"""
makeopen =
<h:Let's [make|build] {mk}!> [Nobody answered|{^#who} laughed|Everybody looked up]. <h:To {why}.> [Then they were all for it|That was another matter].
{h} wanted to [make|build] {mk}, to {why}. [There was only one trouble: {h.he} had nothing to make it of|All {h.he} had was {#thing} and an idea].
What they needed was {mk}, to {why}. [Everyone said so, and nobody began|So {h} began].
[It was raining|The holidays were long], and {h} had had enough of [sitting about|counting flies]. <h:I shall [make|build] {mk}, and then we can {why}.>
bring =
{^#who} brought {#thing}, {#who} brought {stuff}, and [{#who} brought {#food}, which was just as important|{#who} only good advice].
{h} went from door to door. {^#who} gave {stuff}, {#who} gave {#thing}, and {#who} gave {h>} a talking-to, and then {stuff} too.
<b:[You can have {#thing}|There's {stuff} in my shed|Take {#thing}, I never liked it], but I want to [help|have a turn].> So {#name} came along as well.
{h} had {#thing} [to trade|to spare], and got {stuff} for it from {#who}.
In {#who}'s yard lay {stuff}, [under snow|under a cloth]. <h:May we have it?> <w:[If you carry it|What for|Take {#animal} along too].> They [carried it|took it, all but the animal].
makework =
They [worked|hammered|sewed and glued|carried and measured] until [it was dark|{#who} called them in|their hands were {#colour}]. {h} [held|cut|measured], {q} [tied|nailed|counted], and {#who} gave orders.
{q} had the plan, and {h} had {#thing}. [It took three days|It took longer than anybody had thought]. {^#animal} came to look on each morning.
<q:[Higher|A bit to the left|Not like that]!> <h:[Like this|Which left|Then do it yourself]?> [They laughed|They began again]. {^#who} said one could see it would be something.
makefail =
Then [a rope broke|the middle gave way|somebody sat on it|{#animal} ran through it], and it [lay there in a heap|looked like {#thing} after a fire]. Nobody said anything. {^#who} [picked up the first piece|began to whistle].
On the second day [it all fell down|the best part was missing]: {#who} had [taken it for firewood|lent it to {#who}]. {h} [swallowed|counted to ten] and began once more.
[It was too small|It was crooked]. <h/sad:[It's no good|It will never hold].> <q:[It's not good yet|Turn it round].> They [turned it round|stood it on {#thing}|gave it a coat of {#colour}], and [it was better|nobody could see it any more|{#who} liked it].
The [wind|rain] came in the night. In the morning {h} found {#thing} in {#place} and the rest in {#who}'s pond. They [fetched it all back|put on stones this time].
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
    s.para("{@bring}", s.maybe(0.6, "{@bring}"), s.maybe(0.3, "{@passing}"))
    s.para(enter(s, q), "{@makework}", s.maybe(0.6, "{@makefail}"), s.maybe(0.25, "{@feelsad}", "{@think}"))
    s.para("[At last|On the fourth day|On Sunday|By evening] it was [done|ready]. {^#who} came to see it, and {#who}, and {#who} with {#thing}.", s.broken(result + "."), s.maybe(0.5, "{@feelglad}"))
    s.para(*s.ending(s.pick(["work", "friend", None])))
    s.ask("What did they make?", "{^mk}.")


# -- a chain of exchanges ------------------------------------------------------------------------------------------------------
rules(r"""
tradefirst =
All that {h} had in the world was {t.a}. [It was not much|Nobody wanted it]. But what {h.he} wished for was {goal}.
{h} wished for {goal}. {h.he} had {t.a}, and [no money|three pennies, one of them foreign].
<h:One day I'll have {goal}.> <b:With what? With that {t.n}?> {h} looked at {t}. [Why not|One has to begin somewhere], {h.he} thought.
trade =
{^#who1} [had need of|was looking for] {have}, for {bec}. <w:[I'll give you {next} for it.|Would you take {next}?|Here is {next}, if you like.]> {h} [thought it over|looked at it from all sides] and [nodded|shook hands on it].
By {#place} sat {#who1} with {next} and [a sad face|no use for it]. <h:What's wrong?> <w:If only I had {have}! {^bec2}.> So they [changed|shook hands on it], and [both were content|{#who} was witness|each thought: poor {#name}|each was sure to have done better than {#who} at the fair].
{h} came past {#place}. There {#who1} was [close to tears|in despair|walking in circles], for {bec}. {h} gave {have}, [without asking for anything|just like that]. <w:Then you must take {next}. [I insist|No, no, take it].>
tradelast =
And who should come along with {goal} but {#who1}! <w:I'd give it for {have}, on the spot. {^bec2}.> {h} [did not need to be asked twice|held it out with both hands].
At the end of the [street|road|day] lived {#who1}, who had {goal} and [nobody to give it to|no room for it]. <w:{^have}? [I've looked for that for years|That is what my mother had|{^#who} sold me the wrong one]! [Take it, child|Take the thing, and {#food} too|It's yours, before {#who} comes].>
""")
BECAUSE = ["the old one had gone down the well", "{#animal} had eaten the other", "it was a birthday", "the guests were at the door", "without it the {#noun} would not hold", "{#who} had sat on the old one", "it had been promised to {#who}", "the roof leaked just there", "it was the last thing that was wanting"]
WANTED = ["mine has gone down the well", "{#animal} has eaten mine", "I promised it to {#who}", "my guests are at the door, and I have none", "mine has been lent to {#who} for ever", "{#who} sat on mine", "it is just what {#who} wants for the wedding", "I dreamed of one", "nothing else will stop the draught"]
GOALS = ["a dog", "a pair of skates", "a violin", "a bicycle", "a tent", "a small garden", "a ticket to {#place}", "a real telescope", "a donkey", "a boat with a sail", "a warm coat", "a book with all the stars in it", "a swing", "a blue door"]


@plot(3)
def trading(s):
    """From a small thing to the thing wished for, by exchanges that help both."""
    h = s.start(hero="child")
    s.thing("t")
    s.set(goal=s.pick(GOALS))
    s.about = f"a {h.kind} who trades one thing for another"
    s.para(s.opening() if s.p(0.7) else s.scene(0.5), "{@tradefirst}")
    s.env["have"] = "the " + s.env["t"].full
    for _ in range(s.pick([2, 2, 3])):
        s.set(next="{#thing}", bec=s.pick(BECAUSE), bec2=s.pick(WANTED))
        s.para("{@trade}", s.maybe(0.3, "{@passing}", "{@humour}", "{@micro}"))
        s.env["have"] = "the " + s.env["next"].split(" ", 1)[1]
    s.set(bec2=s.pick(WANTED))
    s.para("{@tradelast}", s.maybe(0.6, "{@feelglad}"))
    s.para("[So it began with {t.a}, and it ended with {goal}|And all for {t.a}|{^#who} still tells it: {t.a}, and then {goal}].", *s.ending())
    s.ask("What did {h} have at first?", "{^t.a}.")
    s.ask("What did {h} wish for?", "{^goal}.")


# -- an animal that has got away -----------------------------------------------------------------------------------------------
rules(r"""
awayopen =
{^pet} the {pk} was gone. [The {gate} stood open|The rope lay there, bitten through|Only the bowl was there, still full].
<h/call:{^pet}! {^pet}, where are you?> [No answer|Nothing]. The {pk} had got away, [in the night|while {#who} was talking to {#who}|because {#who} had left the gate open].
{h} had promised {#who} to look after {pet} the {pk}, [for one week only|till Sunday]. On the second day {pet} was gone.
{pet} the {pk} [had never been away for a night|was always home when {#who} lit the lamp|followed {h} everywhere, even to {#place}]. Now it was [evening|the third day], and [nobody had seen {pet}|neither {#who} nor {#who} had seen {pet}].
awaylook =
{h} [asked|ran to] {#who}. <b:A {pk}? [It ran past me with {#food} in its mouth|I saw one by {#place}, but it was bigger|I've only seen {#animal} today].>
Near {#place} there was a [print|tuft of hair|trail] in the [mud|dust|snow]. {h} followed it past {#thing}, past {#who}'s hens, and lost it [at the water|in the nettles].
{h} put out {#food}, since {pet} loved that, and waited behind {#thing}. Who came? {^#animal}, and then {#animal}, and at last {#who}, who was hungry too.
They [hung up notices|called from door to door]. {^#who} brought a {pk}, but [it was the wrong one|it was {#who}'s]. [So was the one that {#who} brought|{^#who} brought {#animal}, to be on the safe side].
{^#who} had heard something [in the cellar|on the roof] of {#building}. {h} crept in with {#thing}. It was only {#animal}, and it was not pleased.
awayfound =
<q:Where does {pet} like to be best?> {h} thought of [warm places|{#food}|the sound of the {#noun}]. [And there|They went to look], in {#who}'s {#noun} basket, lay {pet}, with [four|five|three] [little ones|tiny {pks}]. [She had wanted to be left in peace|So that was why].
[It was {q} who heard it|Then they heard it]: a sound from [the old well|under the bridge|inside a hollow tree]. {pet} had [slipped in|gone after {#animal}] and could not get out. {h} [climbed down|crawled in], with a rope round {h.his} waist [and {#who} at the other end|that {#who} held|and {#thing} in one hand], and [came up again|came back] with a [very dirty|wet|thin and very cross] {pk}.
At [dusk|sunrise|{@hour} o'clock] {h} came home, [tired|wet|hungry] and without [hope|a {pk}]. And who sat [before the door|in {#thing}|on the step beside {#who}], [as if nothing had happened|full of burrs|eating {#food}]? {pet}. [Beside {pet} sat another {pk}, a thin one|{pet} had brought {#thing} along].
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
    s.para(*s.ending(s.pick([None, "friend", "kind"])))
    s.ask("What was the name of the " + kind + "?", "{pet}.")
    s.ask("What had happened to {pet}?", "The {pk} had run away.")


# -- exploring -----------------------------------------------------------------------------------------------------------------
rules(r"""
exploreopen =
Nobody [knew|could say] what was [behind|inside|at the end of] {spot}. {^#who} said [treasure|bats|nothing but dust], {#who} said [worse|{#animals}].
{h} had found {clue} [in {#thing}|between two pages of an old book|under the floor]. On it stood only: "{^spot}."
For as long as {h} could remember, {spot} had been [shut|forbidden|forgotten]. That day [the lock was off|the ivy had fallen|the door stood open a hand's breadth].
<q:I dare you to go to {spot}.> <h:[I dare you too|Together|Only if you come along].>
explorego =
They took {#thing}, {#food} and {#thing}, [in case|for one never knows], and told {#who} that they were going to {#place}.
{h} went first, with {#thing}, and {q} came after with {#thing}. [Step by step|One behind the other], they [felt their way|went in]. It smelled of {#nouns} and [cold|rain|old {#food}].
First came [a passage|a stair], then a room full of [broken {#nouns}|birdcages|mirrors with nobody in them]. {^#thing} lay in the middle, [as if somebody had just put it down|under a sheet of dust].
Something [ran over {h'} foot|moved in the corner]. {q} [squeaked|took hold of {h'} arm]. It was {#animal}, and it was [more afraid than they were|asleep again in a minute].
The lamp [flickered|went out]. <q/soft:Are you there?> <h/soft:[Yes|Where else]. Hold on to my belt.> They [counted {n5} steps|followed the wall with one hand], and saw [a chink of light|something shine].
explorefind =
[And then they found it|Then {q} held up {#thing}, and they saw it]: {find}.
[There|Over there], [behind|beyond|beside] {#thing}, was {find}. [They did not say a word|{q} whistled].
[At the very end|Behind {#thing}|Where they had nearly turned back|Under a cloth that {#animal} had chewed], [there was|they found|stood] {find}.
""")
SPOTS = ["the walled-up room behind the bakery", "the old signal box", "the house with the green shutters", "the ship that lay on the sandbank", "the tunnel under the hill", "the loft of the town hall", "the cave above the waterfall", "the last garden in the lane", "the locked cupboard in the school", "the dry well in the wood", "the wagon in the nettles", "the tower without a door"]
FINDS = [
    ("a piano with {#animal} nesting in it", "They [told nobody until the young ones had gone|oiled the pedals|shut the lid and went away on tiptoe]. [Now {#who} plays it on Sundays, with the window open|{^#who} tuned it, and {#who} sang to it|In the spring {#who} fetched it with a cart]"),
    ("a wall full of names, [hundreds of years of them|from floor to ceiling]", "They found {#who}'s grandfather, {#who}'s mother and a {#name} whom nobody knew. [Below, with {#thing},|Under {#name} and {#name},] they [scratched|wrote] their own"),
    ("a box of letters that [had never been sent|nobody had opened]", "[They read only the envelopes|They did not open one]. One was for {#who1}, and was [sixty|forty|thirty] years late. {^w} read it [standing up|at the window|three times] and then [had to sit down|laughed till the {#noun} fell over|gave both of them {#food}]"),
    ("a small door, and behind it [the very street they lived in|a kitchen they knew]", "They had come out in {#who1}'s larder. {^w} [gave them {#food} and asked them to knock next time|thought they were {#animals}|dropped {#thing} with fright]"),
    ("a shelf of jars, each with a word on it: \"[June|Sunday|Early]\", \"[Courage|Patience|Cold Feet]\", \"{^#noun}\"", "They opened only one. It smelled of [cut grass|hot stones|{#food}|new {#nouns}], and [for the rest of the day neither of them could be cross|{#who} came running and asked what was cooking]. They left the others for {#who}"),
    ("{#who1}, drinking tea, [who had been there all along|who was hiding from {#who}]", "<w:[You're the first to come in by the front|Shut the door, it draws|I've been expecting {#who}, but sit down].> There was {#food} and {#animal}, and [a great many stories|a game of cards], and from then on they came every [Monday|Friday|Sunday]"),
    ("a carousel with {#animal}, {#animal} and {#animal}, all of wood", "It took [all summer|three weeks] and half the street to get it running, {#who} with {#thing} and {#who} with oil. The first ticket went to {#who1}, who [rode it three times|sat on the second one and wept a little]"),
    ("a [seed|button|paint|map] shop, with every drawer still full", "They [took nothing but {#thing}|brought {#who} to see it]. [Now {#who} sells {#food} there|On Saturdays {#who} keeps it open], and the {#colour} drawer [is still locked|sticks]"),
    ("a telescope pointed at [the sky|{#who}'s window|{#place}]", "Whoever had left it had left a note too: \"[Please go on counting|Look on Thursday|Two more, and I have them all].\" They are at four hundred and {n5} now, and {#who} keeps the list"),
    ("a table laid for [two|three|nine], with {#food} on it, quite fresh", "They waited. {^#who} came, then {#who}, then {#who} with {#thing}. It was [a birthday|a secret club|the fire brigade], and [two chairs were fetched|nobody minded two more]"),
    ("{#thing}, {#thing} and {#thing}, each with a label: \"Lost by {#who}, [in the snow|on a Tuesday|in the year of the flood]\"", "It took them the whole [holiday|month] to carry everything back. {^#who} cried, {#who} laughed, and {#who} said that it was the wrong {#noun}"),
    ("a clock as big as a house, and {#who1} asleep beneath it", "<w:[Is it time already|Who let you in|I only closed my eyes]?> They [wound it together|helped to oil it], and that evening {#who} and {#who} set their watches by it"),
]


@plot(1.5)
def exploring(s):
    """A place nobody goes to, and what is there."""
    h = s.start(hero="child")
    q = s.child("q")
    q.a = "{h.his} [friend|cousin]"
    s.set(spot=s.pick(SPOTS), clue=s.pick(["a map", "a note", "a key with a label", "a torn page", "a drawing"]), home2="The whole street")
    find, after = s.pick(FINDS)
    s.set(find=find)
    s.env["place"] = "it"
    s.about = "two children who explore a place"
    s.para(s.opening() if s.p(0.6) else s.scene(0.5), "{q!} was {q.a}[, and never far away|, and was always there when there was something to see|].", "{@exploreopen}")
    s.para("{@explorego}", s.maybe(0.7, "{@explorego}"), s.maybe(0.4, "{@feelafraid}"))
    s.para("{@explorefind}", s.broken(after + "."))
    s.para(*s.ending(s.pick([None, "courage", "friend"])))
    s.ask("Where did they go?", "To {spot}.")
    s.ask("What did they find?", "They found {find}.")


# -- moving house, visits, first days ------------------------------------------------------------------------------------------
rules(r"""
moveopen =
The [van|cart] was packed. {^#thing} stood on top, and {#who} [waved a handkerchief|held the gate]. {h} did not wave. {^h'} new home was to be {home2}.
The next day they were to move to {home2}. <q:You'll like it there.> {h} said nothing. [Whoever says that has never had to leave {#pet} the cat behind|{h.he} liked it here].
{h} had [lost everything|left everything behind]: the {#noun} tree, {#who} with the {#food}, {#name} and {#name}. Now there was {home2}, and it [smelled wrong|was full of boxes].
movebad =
Here nobody knew {h'} name. {^#who} called {h>} {#name}, {#who} called {h>} "you there". The {#noun} was on the wrong side of the room.
At night {h} listened. [No {#noun} ticked|No train went by|The stairs creaked in the wrong places]. {h} said the old street over like a poem: {#who}, {#who}, {#place}, {#who}.
{h} [wrote to {#name}|began a letter]: "It is all right here. There is {#animal}." [Then nothing more came to mind|The rest was not true, so {h.he} crossed it out].
{h} went out to look for {#place}. There was only {#place}, and a sign: "No {#nouns}." {^#animal} looked at {h>} as if {h.he} had no business there.
movegood =
On the [fourth|sixth|ninth] day {#who1} [knocked|looked over the wall]. <w:[Can you hold {#thing}|Do you know anything about {#animals}|Have you a {#noun} to spare]? [We need one more|There's {#food} for it].> {h} could, and [so it began|stayed till dark].
A ball came over the wall. {h} threw it back. It came again, with a word on it: "[Hello|Who are you|Coming]?" {h} [found a pencil|wrote the answer underneath] and threw.
In a box, under {#thing}, {h} found {#thing} from the old house. {h.he} put it [in the window|on the step], and [before {#who} had gone by twice|by {@hour} o'clock] a [girl called {#girl}|boy called {#boy}] stopped. <b:I've got one like that!>
{^#who} was lost. <b:Which way to {#place}?> And {h} knew it. {h.he} said left, and right, and past {#who}'s gate, and [heard {h.self} say it|noticed that {h.he} lived here].
""")


@plot(1.5)
def moving(s):
    """A new home, and how it becomes one."""
    h = s.start(hero="child")
    s.relative("q", "h")
    s.set(home2="{#home}")
    s.about = f"a {h.kind} who moves to a new home"
    s.para(s.maybe(0.4, "{@weather}"), "{@moveopen}", s.maybe(0.3, "{@trait_line}"))
    s.para("{@movebad}", s.maybe(0.7, "{@movebad}"), s.maybe(0.5, "{@feelsad}", "{@think}"))
    s.para("{@movegood}", s.maybe(0.4, "{@movegood}"))
    s.para(s.pick(["[That night|In the evening] {h} wrote to {#name} again, [three pages|and this time it was all true].", "<q:[Well|And]? How is it here?> <h:[It's getting on|There's {#animal}, and {#name} next door|Not bad].>", ""]), *s.ending(s.pick([None, "friend"])))
    s.ask("Where did {h} move to?", "To {home2}.")


# -- storms and other great weather --------------------------------------------------------------------------------------------
STORMS = [
    ("the storm", "[tore slates from the roofs|bent the trees to the ground|roared in the chimney like {#animal}]"), ("the snow", "[lay up to the window sills|had filled the lane from wall to wall|came down so thick that the lamp posts wore hats]"),
    ("the flood", "[stood in the cellars|carried {#thing} down the street, and after it {#who}'s hens|came up the steps, one each hour]"), ("the fog", "[was so thick that {#who} walked into {#who}|swallowed the church, then the trees, then the gate]"),
    ("the great dark", "[came when all the lamps in town went out at once|lasted the whole evening]"),
]
rules(r"""
stormopen =
It began [with a door that banged|with a silence|in the afternoon|while they were eating {#food}]. By evening {storm} {did}.
{^#who} had smelled it coming, and {#who} had felt it in one knee. Then it came: {storm} {did}.
Nobody had ever seen anything like it: {storm} {did}. {^#who} said [there had been one like it in the year of {#animal}|{#who} had seen a worse one|it came of {#who}'s {#noun}].
stormneed =
And {w2} was [out there|all alone in the house by {#place}], with [no wood|a broken leg|a new baby|seventeen cats].
<b:Has anyone seen {w2}?> [Nobody had|They looked at one another].
The {wat} lights had gone out, and {w2} was [still on the road|on the water] with {#thing} and [the post|two goats].
stormdo =
{h} tied a rope round {h.his} waist, took {#food} and {#thing}, and went out, with {q} behind. [They had to shout|They could see no farther than their own hands].
<q:[Stay here|It's madness].> <h:[And who goes then|I know the way with my eyes shut].> {q} [put on {q.his} hat|lit the lamp] and came too. They went [from wall to wall|along the rope] to {#place}.
They made a chain: {h!}, {q!}, {#who}, {#who} and last of all {#name}, who was [the heaviest|tied to {#thing}|holding {#animal}]. [Hand in hand|Step by step|Shouting] they reached [the gate|the far side|{#place}].
{h} beat on {#thing}, every minute, for [an hour|two hours|as long as {h.his} arms held out]. [It was all one could do|{q} kept the fire up so that it could be seen|{^#who} held up a lamp beside {h>}].
stormthere =
At last a voice. {^w2} sat [on the table|in the kitchen|under an upturned boat] and was [singing, out of tune|playing cards with {#animal}|not at all surprised]. <y:[You took your time!|Come in, I've made {#food}.|Did you bring a {#noun}?]>
Something [moved|knocked]. It was {w2}, [wet through|white as a sheet], with {#animal} under one arm. <y:[I heard you|I saw your light|I had begun to say goodbye to my {#noun}].>
They [dug|waded|crawled] the last part, {q} with {#thing} in front. Then [the door|a window] opened [from inside|by itself], and there stood {w2}, [with {#thing} for a shovel|in three coats]. <y:[I was just coming to save you.|And how are things with you?]>
stormafter =
All night they sat together, {n5} people, {#animal} and {#animal}, and ate {#food}, and {#who} [told of the sea|taught them a song with {n5} verses].
In the morning [it was over|the sun came out as if it were sorry]. {^#thing} hung in a tree. {^#who} found {#who}'s hat, and {#who} found {#who}'s goat.
[People still talk of it|{^#who} still talks of it|In {h'} family it is called "the night of the {#noun}"]. [Since then|Ever since] {#who} has kept [a lamp|a rope|{#thing}|{#food}] ready by {#place}.
""")


@plot(1.5)
def storm(s):
    """Great weather, and somebody who is out in it."""
    h = s.start()
    q = s.relative("q", "h") if s.p(0.5) else s.grown("q")
    name, did = s.pick(STORMS)
    s.set(storm=name, did=did)
    s.some_who2()
    s.about = "people who help one another in bad weather"
    s.para(s.opening() if s.p(0.6) else "", "{@stormopen}")
    s.para("{@stormneed}", s.maybe(0.5, "{@feelafraid}", "{@micro}"))
    s.para(enter(s, q) if hasattr(q, "job") else "", "{@stormdo}", s.maybe(0.4, "{@stormdo}"))
    s.para("{@stormthere}", s.maybe(0.4, "{@feelglad}", "{@humour}"))
    s.para("{@stormafter}", *s.ending(s.pick([None, "courage", "kind"]))[:2])
    s.ask("Who was in trouble?", "{^w2}.")
