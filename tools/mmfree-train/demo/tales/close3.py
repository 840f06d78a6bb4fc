"""Plots that stay close to their first sentence, continued: a wish before a feast, a thing nobody has seen, a gap in a wall, a warning,
snow, a keeper of animals, a guest, a claim that is put to the test, a lesson that a friend gives."""

from . import world as w
from .close import friend
from .engine import rules
from .plots import plot

# what is wanted; why the old one will not do; what one is for
NEEDS = [
    ("boots", "pair of boots", "were so tight that {h} [walked like a duck|had blisters on both heels]", "the shoemaker"), ("coat", "coat", "ended at the elbows[| and had lost its buttons]", "the tailor"), ("dress", "dress", "was patched in {n5} places", "the dressmaker"),
    ("trousers", "pair of trousers", "ended above the ankles", "the tailor"), ("hat", "hat", "had been eaten by a goat, all but the brim", "the hatter"), ("skates", "pair of skates", "had one blade between them", "the blacksmith"), ("costume", "costume", "still smelled of last year's jam", "the tailor"), ("gloves", "pair of gloves", "had only six fingers left", "the glover"),
]
FEASTS = "the fair|the wedding|the harvest dance|the lantern feast|the great parade|the school feast|the skating day|the festival of boats|the midsummer dance|the circus".split("|")
rules(r"""
needopen =
{h'} {nn} {bad}, and {feast} was only {weeks} away.
In {weeks} it would be {feast}, and all the world was getting ready. Only {h!} looked at {h.his} {nn}: {they} {bad}.
<h:I can't go to {feast} like this.> {h} looked down at {h.his} {nn}. {^they} {bad}.
Everybody was looking forward to {feast}. {h!} was not. {^h.his} {nn} {bad}[|, and there was no money for new ones].
{h'} {nn} {bad}. That would not have mattered so much, if it had not been for {feast}, {weeks} from now.
needcost =
{^maker} wanted {n5} crowns for a new {one}. {h} had [two|three], [in a jar|under the mattress]. So {h.he} would have to earn the rest.
{h} went to {maker} and asked. "{^n5} crowns," said {maker}, "and not a penny less." {h} counted what {h.he} had. It was not enough, not by half.
At home there was [no money for it|hardly enough for bread]. {h} did not even ask. <h/th:Then I'll earn it.>
needwork =
On Monday {h} carried {#who1}'s shopping, on Tuesday {h.he} [cleaned the rabbit hutches|swept the school yard], on Wednesday {h.he} [picked plums|beat carpets]. Coin after coin fell into the jar.
{h} [washed windows|chopped wood|minded a baby|walked two dogs|peeled potatoes at the inn] every afternoon. In the evening {h.he} counted: [three and a half|four and a bit|half a crown more].
{h} asked from door to door for work. {^#who} gave {h>} a fence to paint, and {#who} gave {h>} a cellar to clear. It was hard, and {h'} hands [were rough as bark|smelled of soap], but the jar filled.
needturn =
The day before {feast}, {h} had it all together. On the way to {maker} {h.he} met [little {nm}|a small boy], who was crying: {sad}. {h} looked at the jar for a long time. Then {h.he} [gave it to the child|turned it over in the other's hands].
At last the jar was full. But that same evening {q} [came home without work|fell ill], and the money was needed for [the doctor|the rent]. {h} put the jar on the table without a word. <q:And {feast}?> <h:[There'll be another one|I didn't really want to go].>
And then, {two} days before {feast}, the jar was gone. {h} looked everywhere. The floor had been wet, the jar had been moved, and a magpie sat in the tree with a coin in its beak. Half of it was never found.
needgood =
On the morning of {feast} a parcel lay on {h'} bed. In it was a new {one}. {^maker} had heard about it. "I had a bit left over," said the note, "and you have paid already."
{q} did not say anything. But that night there was a light in the kitchen, and one could hear scissors. In the morning {h} found it on the chair: out of grandfather's old [curtains|cloak|saddle bag], {q} had made {h>} a {one}, and it was finer than any in the shop.
Everybody for whom {h} had worked had heard of it by then. When {h} came to the door on the day of {feast}, there they stood, and each had brought a piece. In an hour there was a new {one}, {n5} people had made it, and no two parts were alike.
needend =
So {h} went to {feast} after all. People asked where one could buy such a {one}. <h:You can't. [You have to give it away first|It's a long story].>
{h} danced till the lamps went out. And the {nn}? [They|Those] of that day hang on the wall now, far too small, and nobody is allowed to throw them away.
At {feast} {h} [was the happiest of all|laughed more than anyone]. The old {nn} [got a place of honour in the cupboard|were given to the scarecrow, who was very pleased].
""".replace("{^h.his}", "{^hhis}"))


@plot(3)
def need(s):
    """Something is wanted before a feast, earned, given away, and comes back in another way."""
    h = s.start(hero="child")
    q = s.relative("q", "h")
    while q.rel not in ("mother", "father", "grandmother", "grandfather", "aunt", "uncle", "great-aunt", "great-uncle"):
        q = s.relative("q", "h")
    nn, one, bad, maker = s.pick(NEEDS)
    pl = nn.endswith("s") and nn != "dress"
    s.set(nn=nn, one=one, bad=bad, maker=maker, they="they" if pl else "it", feast=s.pick(FEASTS), weeks=s.pick(["two weeks", "three weeks", "ten days", "four weeks", "six weeks"]), two=s.pick(["two", "three"]), nm=s.new_name("m"))
    s.set(sad=s.pick(["she had broken her mother's jug, and did not dare to go home", "his dog was ill, and the doctor had to be paid", "the bread money had fallen through the grating"]).replace("she had broken her", "he had broken his"))
    s.env["hhis"] = h.his
    s.about = f"a {h.kind} who needs a new {one} for {s.env['feast']}"
    s.para("{@needopen}")
    s.para("{@needcost}", "{@needwork}", s.maybe(0.4, "{@needwork}"))
    s.para("{@needturn}", s.maybe(0.3, "{@feelsad}"))
    s.para("{@needgood}", s.maybe(0.3, "{@feelglad}"))
    s.para("{@needend}" if pl or s.p(0.5) else "So {h} went to {feast} after all. People asked where one could buy such a {one}. <h:You can't. [You have to give it away first|It's a long story].>")
    s.ask("What did {h} need?", "A new {one}.")


# a thing nobody has seen: name, rumours, where it is, what it is like, what is brought home, what comes of it
UNSEEN = [
    ("the sea", ["it was a puddle with no other side", "it was salt, but nobody believed that"], "[behind the hills|four days to the west]", "It was [grey and green|blue], it breathed like a big animal, and it had no other side. {h} took off {h.his} shoes and stood in it until {h.his} feet were blue", "a bottle of it, and a shell", "Everybody put the shell to one ear and was quiet. Then they tasted what was in the bottle. It was salt", "to the sea"),
    ("snow", ["it was feathers", "it fell upwards and burned the tongue"], "on the highest mountain", "It lay there, white and still, and when {h} took it in {h.his} hands, it [was gone|became water]. {h} laughed, lay down in it and got up again, and there was a {h.kind} of snow", "a jar of it, wrapped in straw", "When they opened the jar, there was only water in it. But it was so cold that {#who} shouted. After that they believed {h>}", "up the mountain"),
    ("a train", ["it was a dragon on a lead", "it was a row of houses that could not stay at home"], "beyond the great wood, where the rails were", "First the rails began to hum. Then it came, black and hot, and the ground shook, and out of every window looked a face. {h} waved, and somebody waved back", "a piece of coal and a ticket with a hole in it", "They passed the ticket from hand to hand and looked through the hole. \"And where does it go?\" somebody asked, very softly", "to the railway"),
    ("an elephant", ["it had a tail at both ends", "it was as big as a barn and afraid of mice"], "in the town, with the travelling circus", "It was standing in the yard, eating hay. It put out its long nose, felt {h'} face as a blind man does, and blew into {h.his} hair", "a hair from its tail, as thick as wire, and the measure of its foot, drawn on newspaper", "They spread the newspaper on the ground, and {n5} children could stand in that one foot", "to the circus"),
    ("a mountain", ["it was a hill that had not known when to stop", "one could touch the stars from it"], "at the end of the plain, where the river came from", "It stood there like a wall, with snow on its shoulders. {h} climbed until there was nothing above {h.him} but sky, and from up there {h.his} own village was as small as a crumb", "a white stone and a blue flower", "They planted the flower beside the well, and put the stone where everyone could see it. And all of them looked towards the end of the plain in a new way", "to the mountain"),
    ("the king", ["he was nine feet tall", "he ate gold with a spoon"], "in the capital, three days on foot", "He sat on a bench in the park, fed the ducks and had a cold. He moved over. <b/-:Sit down. Nobody ever sits beside me.> So {h} sat down, and they shared {food}", "a handkerchief with a crown in one corner", "\"And what is he like?\" they asked. <h:Like one of us. He would like to be visited.>", "to the capital"),
]
rules(r"""
unseenopen =
In {town} nobody knew what {thing} looked like. [People told one another|It was said] that {r1}, and [somebody's uncle had heard|others were sure] that {r2}.
Nobody in {town} had laid eyes on {thing}, not even {#who}, who [was ninety|had been as far as the next town].
<h:What does {thing} look like?> {h} asked everybody, and everybody said something different: that {r1}, that {r2}. For nobody in {town} had seen it.
When {h} was small, {h.he} was told about {thing}: that {r1}, that {r2}. But those who told {h>} had never been there.
unseengo =
<h:Then I'll go and look.> {h} took a loaf of bread and [a blanket|{h.his} good shoes], and went off, {where}. [People shook their heads|They all stood at the gate and waved].
One morning {h} could stand it no longer. {h.he} packed {food}, said goodbye and started. It was {where}[|, and nobody wanted to come along].
{h} wanted to know it for certain. So {h.he} asked the way, to {where2}, and the carter took {h>} along for part of it, [on top of the sacks|between two barrels].
unseenway =
The first night {h} slept in a barn, the second under the sky. {h'} shoes [got thin|let in the water]. <h/th:[If I turn back now, I shall never know|One more hill].> And {h} went on.
An old woman by the road asked {h>} where {h.he} was going. "I wanted to see it too, once," she said. "Then I had children, and cows. Look at it well, and look at it for me."
It was farther than {h} had thought. {h.he} [paid for {h.his} soup by drying the dishes|helped a farmer with the hay and was given cheese]. Wherever {h.he} asked, they pointed the same way.
unseenhome =
{h} came home [thin and brown|with holes in {h.his} shoes], and brought {brings}. The whole village stood round {h>}.
After {n5} days {h} was back. They had hardly hoped for it any more. On the table in the inn {h.he} laid {brings}.
{h} brought home {brings}. <h:[I have seen it|I was there].> Nobody said a word. They all moved closer.
unseenend =
And the next spring {n5} of them packed their bags, and {h} led the way, {to}.
Since then they have not said "They say" any more in {town}. They say, "Ask {h.name}."
{h} did not forget the old woman. On the way back {h.he} had told her all of it, and she had kept her eyes shut and [smiled|seen it].
At night {h} lies awake and thinks of it still. [It is enough to know that it is there|One day {h.he} will go again].
""")


@plot(2.5)
def unseen(s):
    """A thing that nobody at home has seen, and somebody who goes to look."""
    h = s.start(first=0)
    name, rumours, where, like, brings, shown, to = s.pick(UNSEEN)
    s.set(thing=name, r1=rumours[0], r2=rumours[1], where=where, brings=brings, to=to)
    s.env["where2"] = s.env["where"].split(" ", 1)[1] if s.env["where"].startswith("behind") else "the place"
    s.about = f"somebody who goes to see {name}"
    s.para("{@unseenopen}")
    s.para("{@unseengo}", "{@unseenway}")
    s.para(s.maybe(0.5, "{@atlast} {h} was there.", "And then, one morning, {h.he} was there."), like + ".")
    s.para("{@unseenhome}", shown + ".", "{@unseenend}")
    s.ask("What did {h} want to see?", "{^thing}.")
    s.ask("What did {h} bring home?", "{^brings}.")


# behind the gap
BEHIND = [
    ("a brown eye, looking back", "It belonged to {qa}, who was not allowed out because of [a bad leg|a weak chest]. {^q.he} had not spoken to another child since [Easter|the summer]", "From then on they met there every day. They passed through whatever would fit: [marbles, a drawing, half a biscuit|a string, a pencil, the first strawberry]. One at each end of the string, they could even play cards", "In {month} the doctor said the word at last, and {q} came out by the front door. They looked at each other. <q:You're taller than I thought.> <h:You've only seen my eye.>"),
    ("a garden, gone wild, with a stone bench in it", "In the middle sat {qa}, reading, and {q.he} was as startled as {h} was. <q:I thought I was the only one who knew.>", "They pulled out the nettles and found a path. They pulled out more and found a rose. Every day they found something else, and nobody asked where they were after school", "In {month} it bloomed all at once, so that the smell went over the wall, and people stopped and wondered. Then they opened the gate, and made it everybody's garden"),
    ("a dog that had only three legs, and wagged its tail", "It was tied up, and the bowl was empty. {qa} came by and looked through as well. <q:That's nobody's dog. The people moved away.>", "They brought it water and bread, {h} in the morning and {q} at night. It always stood there before they came. Then one day a board was taken off, and it was free", "Today it runs ahead of them both, faster than many with four. It lives at {h'} house on weekdays, and with {q} on Sundays"),
    ("a workshop full of wooden birds", "{qa}, {q.he} told {h>} later, had found the gap too, from the other side, and was peeping out. They bumped their heads together. It was {q'} grandfather who made the birds", "The old man did not like visitors, but he liked people who looked. <b:Well, come in, and hold this.> He showed them how to cut a wing, so thin that the light came through", "For the spring feast they hung {n5} birds in the lime tree. When the wind blew, all of them turned. And the smallest two had been made by {h} and {q}"),
    ("a flock of white geese, and a pond", "{qa} was standing there with a stick, guarding them. <q:Don't let them see you. They bite.> The next moment {h} had a beak in the sleeve", "{q} laughed until {q.he} had to sit down. After that they guarded the geese together, and {h} learned all their names, and which of them to be afraid of", "In autumn the wildest one brought {h>} a white feather and laid it at {h.his} feet. <q:She has never done that for anyone.> {h} wears it in {h.his} cap"),
]
rules(r"""
gapopen =
In the wall {bywhat} there was a gap, [just big enough for a cat|no wider than a hand|hidden by ivy]. {h!} found it when {h.his} ball [rolled through|got stuck in it].
One board in the fence {bywhat} was loose. [Nobody had noticed it|One had to know it]. {h!} pushed it aside, only a little, and looked through.
{h!} walked along the high wall {bywhat} every day on the way to school. And one day a stone had fallen out, at just the height of {h.his} eyes.
[Nobody knew|Nobody had ever told {h>}] what was behind the fence {bywhat}. But in the third board there was a knothole, and {h!} was [exactly tall enough|curious].
A small hole, as round as a coin, let the light through the old gate {bywhat}. {h!} shut one eye and put the other to it.
""")


@plot(2.5)
def gap(s):
    """A gap in a wall, and who is behind it."""
    h = s.start(hero="child")
    q = s.child("q")
    behind, who, then, end = s.pick(BEHIND)
    s.env["qa"] = f"a {q.kind} called {q.name}"
    s.env["q.he"] = q.he
    s.set(bywhat=s.pick(["behind the school", "at the end of the lane", "beside the churchyard", "next to the brewery", "along the railway", "round the old villa", "at the bottom of the garden", "across the street", "by the coal yard", "behind the stables"]), month=s.pick("May June July September April".split()))
    s.about = "a gap in a wall and what is behind it"
    who = who.replace("{^q.he}", q.he.capitalize())
    if who.startswith("{qa}"):
        who = who.replace("{qa}", "{^qa}", 1)
    who = who.replace(". {qa} came", ". {^qa} came")
    s.para("{@gapopen}", "On the other side was " + behind + ".")
    s.para(who + ("." if who[-1] not in ".>" else ""))
    s.para(then + ("." if then[-1] not in ".>" else ""), s.maybe(0.4, "{@feelglad}", "It was their secret, and that was half the joy of it."))
    s.para(end + ("." if end[-1] not in ".>" else ""))
    s.para(s.pick(["The gap has been mended long since. [They don't need it any more|But {h} still runs a hand over the place, whenever {h.he} passes].", "They never told anyone how it had begun. \"Through a wall,\" {h} says, when people ask, and that is true.", "Whenever {h} comes by there now, {h.he} bends down and looks through, only to see whether somebody is looking back."]))
    s.ask("Whom did {h} get to know?", "{q!}.")


# the forbidden thing: what, whose word, what happens, how it is put right, the reason
WARNED = [
    ("the little door in the clock", "{h} opened it, only a crack. [With a whirr|Whirr,] the wooden cuckoo shot out, past {h'} nose, and fell on the floor, and its spring after it", "They sat together until midnight, {q} with the pincers and {h} with the lamp. When it called again, it called twelve, although it was only eleven", "the spring was older than both of them and could not bear to be woken"),
    ("the third jar on the shelf", "{h} lifted the lid. A cloud of pepper rose up, and {h} sneezed, and the cat sneezed, and the baby sneezed, and the sneezing went on until the jar lay in pieces", "It took the whole afternoon to sweep it up. They sneezed at every stroke of the broom, and in the end they laughed at every sneeze", "it was the strongest pepper in the land, and a little of it had to last all year"),
    ("the white box behind the barn", "{h} lifted the roof, and it hummed. Then the bees came out. {h} ran faster than {h.he} had ever run, straight into the pond, and stayed there up to {h.his} nose", "{q} came with smoke and a wet sheet, and spoke to them quietly. By evening they were all at home again, and {h} had {n5} stings, and a spoonful of honey for each", "the bees were just then moving in a new queen, and were nervous"),
    ("the red handle in the mill", "{h} pulled it down. Somewhere above, water began to roar, the stones began to turn, faster and faster, and flour flew out of every crack until {h} was as white as a snowman", "{q} leaned on the handle, and {h} leaned on it too, and it went up again, inch by inch. Then they shovelled the flour back into the sacks with their hands", "it opened the sluice all at once, and that was only for great floods"),
    ("the window in the tower", "{h} undid the hook. The wind threw it open and swept in, and all the papers on the table flew up, out, and away over the roofs like a flock of doves", "For two days {h} went from house to house and asked for them. One was in a gutter, one was on a cow. The last one {q} found in {q.his} own hat", "on those papers was the history of the whole village, and {q} had just written the last word"),
    ("the cage in the shed", "{h} opened it, because something in there was cheeping so sadly. A young owl hopped out, looked at {h>}, flapped, and sat on the highest beam, where nobody could reach it", "They waited all night, with a bit of meat on a string. At dawn it came down by itself, and sat on {h'} shoulder as if that had always been its place", "its wing had not healed yet, and it would have fallen prey to the first cat"),
]
rules(r"""
warnopen =
<q:You may [touch|open] everything here, {h.name}, but not {what}.> [That was the first thing {q} said|{q} said it twice]. And from that moment on {h} could think of nothing else.
<q:Leave {what} alone,> said {q}, and [went off to market|put on {q.his} hat]. {h} nodded. [{h.he} really meant it|For an hour all went well].
There was one rule in {q'} house, and it was this: nobody was to touch {what}. [{h} had never asked why|Nobody had ever told {h>} the reason].
<q:Whatever you do, stay away from {what}!> {h} promised it. It was an easy promise, [as long as {q} was in the room|until {h.he} was alone].
warnwant =
{h} [walked past it once, then again|looked at it from the door|sat down with {h.his} back to it]. [It looked quite harmless|It was so quiet in the house]. <h/th:[Just one look|Only with one finger|Why not, really].>
All morning {h} was good. {h.he} [read a book|drew a horse|played with the cat]. But {h.his} eyes went there again and again. [What could be so bad about it|One look could do no harm, surely]?
{h} [counted to a hundred|sat on {h.his} hands]. It did not help. [{h.he} got up|Step by step {h.he} went nearer].
warncome =
And then the door opened, and there stood {q>}. [For a while it was very quiet|{h} wished the floor would open]. <h:I only wanted to look.> {q} [hung up {q.his} hat|took off {q.his} coat]. <q:Well. Now you have looked. Come and help.>
When {q} came back, {h} [stood there, red as a beet|did not try to hide anything]. <h:I did it. I'm sorry.> {q} [was silent for a moment|sighed]. <q:First we put it right. Then we talk.>
warnwhy =
<q:Do you know now why I said it?> {h} nodded. But {q} explained it all the same: {why}. <h:Why didn't you tell me that before?> {q} thought. <q:You are right. I should have.>
Afterwards {q} told {h>} the reason: {why}. <h:If I had known that, I would not have touched it.> <q:And if I had told you, you would have asked to see it. So next time I'll do both: tell you, and show you.>
warnend =
Today there is a note on {what}, in {h'} best handwriting: "Please don't. I know what happens."
{h} never went near {what} again, not without {q>}. But with {q>} {h.he} was allowed to, [every Sunday|once a year], and that was much better.
And when {h'} little cousin came to visit, it was {h} who said, "You may touch everything, but not that. And I'll tell you why."
""".replace("<q:Leave {what} alone,> said {q}, and [went off to market|put on {q.his} hat].", "<q:Leave {what} alone.> With that {q} [went off to market|went out]."))


@plot(2.5)
def warned(s):
    """A thing that must not be touched, and what happens when it is."""
    h = s.start(hero="child")
    q = s.relative("q", "h") if s.p(0.7) else s.grown("q")
    what, happens, right, why = s.pick(WARNED)
    s.set(what=what, why=why)
    s.about = f"a {h.kind} who must not touch {what}"
    intro = "{h} was spending the [summer|holidays|week] with {q.a}[|, who did not talk much]." if s.p(0.6) or hasattr(q, "job") else ""
    s.para(intro, "{@warnopen}") if s.p(0.5) or hasattr(q, "job") else s.para("{@warnopen}", intro)
    s.para("{@warnwant}")
    s.para(happens + ".", s.maybe(0.3, "{@feelafraid}"))
    s.para("{@warncome}", right + ".")
    s.para("{@warnwhy}", "{@warnend}")
    s.ask("What was {h} not to touch?", "{^what}.")


rules(r"""
snowopen =
When {h} woke up, [it was too quiet|the light on the ceiling was strange]. {h.he} went to the window. {^snowed}.
In the night {snowed}. {h!} could not open the door; {h.he} had to climb out of the window.
{^snowed}. [School was shut|No train ran, no bell rang|The road was gone]. {h!} put on two pairs of trousers and {went} out.
For {n5} days and nights it had come down without a pause, and now it was over. {^snowed}. {h!} was the first one out.
snowsee =
Smoke was rising from every chimney, only not from {r'}. {h} counted again. [There was no doubt|One was missing]. And {r} [was over eighty|had had a cough all week|lived alone].
{h} wanted to build a [snowman|castle]. But then {h.he} noticed something: in front of {r'} house there was not one footprint, and the shutters were closed.
Everybody had dug out their door. Only {r'} was still white to the top. <h:Has anybody seen {r>} today?> Nobody had.
snowdig =
{h} fetched {q>} and two shovels. They dug from {@hour} till noon, first a ditch, then a tunnel. [Their breath froze on their scarves|The snow ran down their necks]. At last they struck wood.
"Let's go," said {q}, and they tied [boards|baskets] under their feet, so as not to sink in. It was only a stone's throw, and it took an hour. {h} knocked. Nothing. {h.he} knocked again.
They all made a chain, {h} in front, then {q}, then half the street, and handed the snow back in buckets. Nobody sang at first. Then everybody did.
snowin =
Inside, {r} lay in bed in hat and coat. The wood was in the shed, and the shed was under the snow. <r/soft:I knew that somebody would come. I only did not know when.> {h} lit the stove, and {q} made tea.
Behind the door stood {r>}, with a ladle in one hand. <r:I have been digging from this side. With a spoon!> And {r.he} laughed so hard that {r.he} had to sit down.
{r} was sitting by the cold stove with {n5} sparrows, a hedgehog and somebody's cat. They had all come in before the worst of it. <r:We have eaten the last of the oats. You are just in time.>
snowend =
They ate {food}, all three of them, and {r} told of the winter when [the birds fell from the sky|they skated to church]. When they went home, {r'} chimney smoked like the others. {h} counted: now it was right.
In the evening {h} built the snowman after all, in front of {r'} window. It had a shovel in its hand, so that it could begin at once, next time.
Since then there is a bell on a long string between the two houses. When it snows, {r} rings it three times. It means: I'm well, and the soup is on.
The snow lay till March. But the path from door to door was never closed again, not for a day.
""")


@plot(2.5)
def snowed(s):
    """Snow, and a chimney that does not smoke."""
    h = s.start()
    q = friend(s)
    r = s.grown("r")
    if not r.names[0].startswith("the "):
        r.names = r.names[:1]
    s.set(snowed="[the snow lay up to the window sills|the whole street had vanished under snow|the fences were gone, and the cars were white hills|everything was white, as high as the letter boxes|the snow had buried the lane from hedge to hedge]", went=s.pick(["went", "climbed", "waded"]))
    s.about = "a day with a great deal of snow"
    s.para("{@snowopen}", s.maybe(0.4, "[There was not a track to be seen|It was so still that one could hear the snow settle|The sun came up, and everything glittered]."))
    s.meet(r, after=f"the {r.job}")
    s.para("{@snowsee}".replace("{r'}", "{r'}"), s.maybe(0.3, "{@feelafraid}"))
    s.para("{@snowdig}")
    s.para("{@snowin}")
    s.para("{@snowend}")
    s.ask("Who was in trouble?", "{r.a}.")


# the claim; how it is told; a first test; the great test; what the teller thinks
CLAIMS = [
    ("that {c.he} understands what the birds say", "in the morning {c.he} sits on the step and nods, and now and then {c.he} laughs", "I asked what the sparrow had just said. \"It says that you have eaten the last biscuit,\" said {c}. [I had|It was true], but a bird need not have told {c>}", "Then, one evening, {c} ran into the kitchen. \"The swallows say that we must bring in the hay, now!\" The sky was blue. But {c} cried so hard that we went. When the last cart was in, the storm broke"),
    ("that the old tree in the yard tells {c.him} things", "{c.he} puts one ear to the bark and shuts {c.his} eyes", "I put my ear to it as well. I heard a creak and a beetle. \"You're not listening,\" said {c}. \"You're waiting for words\"", "Then, one night, {c} came to my bed. \"It says that it's tired, and that we mustn't sleep on this side.\" I grumbled, but I went along to the kitchen. At three o'clock there was a crash. A branch as thick as a man lay across my pillow"),
    ("that {c.he} has a friend in the pond", "{c.he} takes half of {c.his} bread there and comes back without it", "I hid behind the willow and watched. {c} sat there and talked, and the water made a ring, and that was all. \"Fish,\" I said. \"Fish don't say please,\" said {c}", "Then our smallest goat fell in and went under. Before anyone could jump, something pushed it up from below, and it stood on the bank, dripping. There was a broad brown back, for a moment, and a splash. \"Thank you,\" said {c}"),
    ("that {c.he} can smell what the weather will be", "{c.he} sticks {c.his} nose out of the window each morning and announces it", "I wrote it down for a week. On Monday it was right, on Tuesday too. On Wednesday {c} said \"frogs\", and I thought that now I had caught {c>}. On the way to school we could not put a foot down for frogs", "On the day of the regatta the sun was shining, and {c} stood on the jetty and would not let anybody go out. \"It smells of iron,\" {c.he} said. They laughed, but they waited, to do {c>} a favour. In half an hour the fog was so thick that one could not see the water"),
    ("that our house is alive", "{c.he} says good night to the stairs and strokes the banister", "I said that a house is boards and nails. Just then the door slammed. \"Now it's offended,\" said {c}", "Then came the night of the fire. All of us were asleep. A shutter banged, again and again, though there was no wind, until we woke and smelled the smoke. We put it out with three buckets. \"It called us,\" said {c}, and patted the wall"),
]
rules(r"""
claimopen =
My {cr} {cname} [is sure|swears|tells everybody] {claim}. [Nobody believes {c>}|I didn't believe it].
My {cr} says {claim}. {^how}.
You may believe it or not, but my {cr}, who is called {cname}, says {claim}. {^how}.
[The others laugh about|At school they tease] my {cr}, because {c.he} says {claim}. I [used to laugh too|laughed as well, at first].
claimend =
Since then I haven't laughed about it. I don't say that it is true. But I [bring {c>} half of my biscuits, in case somebody else would like one|ask {c>}, before I make plans].
Was it chance? My father says so. But I have noticed that he asks {c.him} too, when he thinks that nobody hears.
"Do you believe me now?" asked {c}. I thought about it. "I believe that you listen better than the rest of us," I said. That was enough for {c>}.
Yesterday I tried it myself, when nobody was looking. I heard nothing. But [it was a friendly sort of nothing|I think I shall try again tomorrow].
""")


@plot(2)
def claim(s):
    """A brother or sister claims something that nobody believes."""
    s.setting()
    s.start(hero="child", first=1)
    c = s.child("c")
    cr = s.x("[little |youngest |big |]") + ("sister" if c.g == "f" else "brother")
    what, how, test, great = s.pick(CLAIMS)
    s.env["cr"], s.env["cname"] = cr, c.name
    c.names = [c.name]
    s.set(claim=what, how=how)
    s.about = f"a {c.kind} who says {s.x(what)}"
    opening = s.x("{@claimopen}")
    s.para(opening, "" if s.x(how)[:20].lower() in opening.lower() else how[0:1] and "{^how}.", "{^c.he} is {c.age} years old." if False else "")
    s.para(test[:-1] + '."' if test[-1] == '"' else test + ".")
    s.para(great + ".")
    s.para("{@claimend}")
    s.ask("Who says it?", "{cname}.")


# who keeps what
KEEPERS = [("goats", "goat", "a white one with one horn"), ("sheep", "sheep", "the old one with the torn ear"), ("geese", "goose", "the grey one that always walked last"), ("donkeys", "donkey", "the smallest one, the colour of ash"), ("ponies", "pony", "the blind one"), ("hens", "hen", "the speckled one"), ("pigeons", "pigeon", "the one with the white collar"), ("cows", "cow", "the brown one with the star")]
rules(r"""
keepopen =
{^up}, {an} kept {n5} {ks}. {^khe} knew each of them by name and [sang to them in the evening|counted them every night|needed nobody else].
{^an} lived {up0}, all alone with {n5} {ks}. [Once a month {khe} came down to buy salt|People hardly ever saw {khim}].
Whoever went {up0} could hear the bells and somebody calling: that was {an}, who had {n5} {ks} and no other family.
The {n5} {ks} {up0} belonged to {an}. {^khe} was [so old that nobody knew how old|a little deaf, and very cheerful].
keepgone =
One evening {khe} counted, and counted again. One was missing: {kone}. {^khe} called until {khis} voice was gone.
Then came a night of wind, and in the morning one was gone: {kone}, [the best of them all|which {khe} had brought up with a bottle].
One autumn day, [in the fog|after the storm], only {left} came home. The one that was missing was {kone}.
keephelp =
{h!} was bringing up the [post|bread] and [found {khim} sitting on the step|heard it]. "I can't climb any more," said the old {kw}, "and it is afraid of strangers." <h:I'll look for it. What does it listen to?> "To this," said the old {kw}, and gave {h>} [a small horn|a wooden pipe|{khis} hat, which smelled of salt].
{h!}, a {h.kind} from the village, saw {khim} standing at the edge and calling. <h:Let me go. I have young legs.> The old {kw} looked at {h>}. "Take my [stick|coat]," {khe} said. "It knows that. It will come to you."
keepsearch =
{h} climbed [over the scree|through the gorge|up to the last trees]. In the mud by a stream there was a print. {h} called, listened, called again. [An echo answered|A stone rolled]. Then there was a small sound, above {h.him}.
{h} looked in the old quarry, beside the waterfall and under the rocks. The sun was going down. <h/th:If I were afraid, where would I go?> {h} saw a dark gap between two rocks, and crept in.
keepfound =
And there it stood, on a ledge [no wider than a bench|above the water], and could go neither forward nor back. {h} held out what the old {kw} had given {h.him}, and talked in a low voice. Step by step it came, until its nose was in {h'} hand.
There it lay, in the dry moss, and it was not alone. Beside it, still wet, lay a tiny one and blinked. That was why it had gone away. {h} took the little one under {h.his} coat, and the mother trotted behind {h>}, all the way.
keepend =
When the old {kw} saw them coming, {khe} did not say anything. {^khe} only counted, out loud, up to {n5}, and at the last number {khis} voice broke. Since then {h} comes up every Saturday, and does the climbing.
"What shall I give you?" asked the old {kw}. {h} wanted nothing. So {khe} gave {h>} [the name of every one of them|the song that {khe} sang in the evening], and that is something that {khe} had never given to anyone.
That night {h} slept up there, [with a warm flank on each side|under a blanket that smelled of hay], and heard the old {kw} singing. And every voice that was there answered.
""")


@plot(2)
def keeper(s):
    """Somebody old who keeps animals, and the one that is missing."""
    h = s.start(["hill", "farm", "forest", "river"], hero="child", first=0)
    ks, k, kone = s.pick(KEEPERS)
    if s.p(0.5) and k not in ("hen", "pigeon", "goose"):
        pass
    g = s.pick("mf")
    kw = "man" if g == "m" else "woman"
    s.env.update(ks=ks, k=k, kone=kone, kw=kw, khe="he" if g == "m" else "she", khis="his" if g == "m" else "her", khim="him" if g == "m" else "her")
    number = s.pick([("seven", "six"), ("nine", "eight"), ("eleven", "ten"), ("twelve", "eleven"), ("five", "four")])
    s.env["n5"], s.env["left"] = number
    s.env["an"] = s.pick(["an old " + kw, f"old {s.new_name(g)}", "a very old " + kw, "an old " + kw + " with a " + ("white beard" if g == "m" else "red headscarf")])
    s.env["up0"] = s.pick(["up on the moor", "above the last trees", "where the road ends", "on the far side of the ridge", "in the hut by the waterfall", "behind the seventh hill", "high on the green alp"])
    s.env["up"] = s.env["up0"]
    s.about = f"an old {kw} who keeps {ks}"
    s.para("{@keepopen}")
    s.para("{@keepgone}", "{@keephelp}")
    s.para("{@keepsearch}")
    s.para("{@keepfound}")
    s.para("{@keepend}")
    s.ask("What was missing?", f"A {k}: {{kone}}.")


# who the guest is, what he or she says, what is found out, how it ends
GUESTS = [
    ("an old man with a cello case", "\"I have to play tomorrow,\" he said, \"and I have forgotten where.\" In his pocket was only half a ticket", "{h} held the half ticket to the light. There was a picture of a bridge on it, and part of a name. <h:That's our town! And tomorrow is the wedding at the inn.> The old man slapped his forehead", "Next day he played so that even the waiters stood still. And at the end he played a piece that nobody knew. \"I made it in the night,\" he said, \"and it is called {h.name}\""),
    ("a small girl with a suitcase as big as herself", "\"I'm going to my grandmother,\" she said. \"She lives in a house with a blue door.\" More than that she did not know", "{h} asked what one could see from the house. \"Ships,\" she said, \"and a red tower.\" There was only one place like that, at the very end of the line. {h} stayed with her, although it was late", "The blue door opened before they had knocked. The grandmother had to sit down on the suitcase. {h} got home at midnight, with a bag of warm biscuits, and was not scolded, for once"),
    ("a woman in a wet green coat", "She fell asleep at once, with her head against the window. When she woke, she looked out and cried, \"Where are we? I should have got out three stops ago!\" And there was nothing going back till morning", "{h} took her home, where there was something hot to eat, and a sofa. She had been on her way to [a new post|her new school], and she had been so afraid of it that she had not slept for three nights", "On Monday the new teacher came into {h'} class. She wore a green coat. She looked round, saw {h>} and winked, and {h} knew that it would be a good year"),
    ("a soldier with a bird in his cap", "\"It fell out of the sky where I was posted,\" he said. \"Now I'm going home, but I don't know whether anybody is waiting for me there\"", "{h} asked for the name of the street, and it was the one where {h.he} had once seen a lamp in a window that burned in broad daylight. <h:There's a house where the lamp is never put out. An old couple lives there>", "The door stood open. The old people did not ask anything. The bird flew up on the lamp and sang, and only then did somebody put it out"),
    ("a boy who held a jar with a goldfish in it", "\"We're moving,\" he said, \"and in the new flat there's no room for him. I thought I'd ride with him to the end, and then I'd see\"", "{h} looked at the fish, and the fish looked at {h>}. <h:We have a pond. He would have company, and you could come and see him.> The boy thought about it for two stops", "The fish is as long as a hand today. Every Sunday the boy comes out on the early bus, and the two of them sit on the edge and tell him the news"),
]
rules(r"""
guestopen =
It was the last [bus|ferry|tram] of the day, and {h!} was going home on it. There was only one other person: {guest}.
[Late in the evening|In the pouring rain|On New Year's Eve], when {h!} thought that nobody would come any more, [somebody got on|the door opened]. It was {guest}.
The waiting room was empty, except for {h>} and {guest}. The clock said {@hour} past {@hour}, and it was raining.
Between two stops, in the middle of nowhere, the [bus|tram] halted, and in came {guest}. {h!} [moved over|made room].
When {h!} got on the evening [ferry|bus], all the seats were free but one. There sat {guest}.
""".replace("{@hour} past {@hour}", "ten past {@hour}"))


@plot(2)
def guest(s):
    """A late traveller, and where the way leads."""
    h = s.start(hero="child", first=0.2)
    who, says, out, end = s.pick(GUESTS)
    s.env["guest"] = who
    s.about = who
    dot = lambda t: t + ("" if t[-1] in ".>" else ".")  # noqa: E731
    s.para("{@guestopen}", s.maybe(0.5, "For a while neither of them said a word.", "The rain ran down the windows."))
    s.para(says.rstrip('"') + '."' if says.endswith('"') else dot(says), s.maybe(0.4, "{@think}"))
    s.para(dot(out))
    s.para(end.rstrip('"') + '."' if end.endswith('"') else dot(end), s.maybe(0.5, "{@end_any}", "{@quiet}"))
    s.ask("Whom did {h} meet?", "{^guest}.")
