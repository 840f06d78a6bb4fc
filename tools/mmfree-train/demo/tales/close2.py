"""More plots that stay close to their first sentence: somebody who has not come back, a parcel without a name, a light in an empty
house, a person with a peculiarity, a wish before a feast, neighbours who do not speak, a gap in a wall, snow, a guest."""

from . import world as w
from .close import friend
from .engine import rules
from .plots import plot

rules(r"""
backopen =
{missing} should have been home by {time}. [It was long past that now|Now the lamps were lit|Now it was dark], and nobody came.
[Every Friday|Every evening|Once a week], {missing} came home [over the pass|by the river road|through the wood] [at {time}|before the lamps were lit]. That [Friday|evening] the road stayed empty.
The {cart} stood in the yard, [wet with rain|with mud up to the lamps], but {missing2} was not with it.
<h:[Where can {mhe} be|What is keeping {mhim}]?> Nobody [answered|knew]. {^missing} had gone out in the morning, to fetch {load}, and had not come back.
When it struck {@hour}, {h} went to the window for the {n5}th time. {^missing} had still not come home.
backfear =
[There had been rain for days|The river was high|There was fog on the hills], and the road was [bad|slippery|hard to see]. {h} [put on {h.his} coat|took the lantern from its hook]. <h:I'm going to look for {missinghim}.>
<b:[It's the weather|Wait till morning|There is sure to be a reason].> {h} [did not want to wait|could not sit still]. {h.he} took a lantern and [a rope|a blanket|a flask of tea].
{q!} wanted to wait till morning. <h:In the morning it may be too late.> {q} looked at {h>}, and then [got up|took the second lantern]. <q:Then we'll go together.>
backlook =
They followed the [wheel tracks|footprints] [as far as the ford|down to the alders|up to the old quarry]. There they [turned off the road|stopped]. {h} held up the lantern and called. [Nothing|Only the wind answered].
By the [ford|old oak|milestone] {h} found [a hat in the mud|a glove|a broken strap]. [It was the right one|{h} knew it at once]. So they were on the right way. {h} called as loudly as {h.he} could.
They met [the shepherd|a boy with two goats|an old woman with firewood]. <b:[I heard somebody singing, down by the stream|There was a light by the quarry, an hour ago].> They walked faster.
[Twice they lost the path|The lantern went out, and they had to light it again under {h'} coat]. {h} counted the steps, so as not to be afraid. <q:Listen! Did you hear that?>
backfound =
And then they heard it: [somebody was whistling|a faint voice|somebody was knocking on wood]. {^missing2} sat [under the bridge|at the bottom of the bank|beneath a tree], with [a twisted ankle|one leg caught under a log|a foot that would not carry any more]. "[What took you so long?|I knew you would come.|I have sung all my songs twice.]"
There, [in the shelter of a rock|in the empty sheepfold|beside the road], sat {missing2}, with [a lost lamb|a child that nobody knew|a fallen bird] wrapped in {mhis} coat. "I couldn't leave it alone in the dark," {mhe} said.
In the hut by the quarry there was a light. {^missing2} opened the door, finger on lips. An old man lay in the bed [with a fever|and slept at last]. "I could not leave him, and there was nobody to send."
backhome =
They [put {mhim} on the {cart2}|took {mhim} between them], and went home, [slowly, step by step|with the lantern in front]. At the gate the whole family was waiting, and there was {food}, [still hot|kept warm for hours].
On the way back nobody said much. {h} [carried the lantern|went in front]. When they saw the lights of home, all three of them began to sing.
{h} ran ahead to [fetch the doctor|put the kettle on]. An hour later they all sat by the stove and ate {food}, and {missing2} had to tell everything from the beginning.
backend =
Since then there is a lantern in the window every [Friday|evening], until the last one is home. {h} lights it {h.self}.
<h:Next time I'll come with you.> "Next time," said {missing2}, "I would not go without you."
The [hat|coat] is dry again. But {missing2} never goes out now without telling {h>} [which way|when {mhe} will be back].
For a week the whole village talked about it. {h} did not. {h.he} was glad [to hear the steps on the stairs|when the door opened], every evening, at {time}.
""")


@plot(3)
def notback(s):
    """Somebody has not come home and is looked for."""
    h = s.start()
    q = friend(s)
    g = "m" if q.g == "f" else "f"
    who = s.pick({"m": ["father", "grandfather", "uncle", "big brother"], "f": ["mother", "grandmother", "aunt", "big sister"]}[g])
    while who == getattr(q, "rel", ""):
        who = {"m": "uncle", "f": "aunt"}[g] if who not in ("uncle", "aunt") else {"m": "father", "f": "mother"}[g]
    s.set(missing="{h'} " + who, missing2="{h.his} " + who, missinghim="him" if g == "m" else "her", mhis="his" if g == "m" else "her", mhe="he" if g == "m" else "she", mhim="him" if g == "m" else "her")
    s.env["missing"] = (h.his if h.g == "i" else h.name + "'s") + " " + who
    s.set(cart=s.pick(["donkey", "pony", "mule", "horse"]), cart2=s.pick(["donkey", "sledge", "handcart"]), time=s.pick(["six o'clock", "seven o'clock", "sunset", "supper time", "eight o'clock"]), load=s.pick(["flour from the mill", "the winter's wood", "medicine from the town", "a letter from the station", "salt", "lamp oil"]))
    s.about = "somebody who has not come home"
    tell = f"{h.name}'s {who}"
    s.para(s.x("{@backopen}").replace(tell, tell), s.maybe(0.3, "{@weather}"))
    s.para("{@backfear}")
    s.para(("{q} came along. " if s.p(0.3) else "") + "{@backlook}", s.maybe(0.4, "{@backlook}"), s.maybe(0.3, "{@feelafraid}"))
    s.para("{@backfound}")
    s.para("{@backhome}", "{@backend}")
    s.ask("Who had not come home?", "{^missing}.")


rules(r"""
parcelopen =
[One morning|On a rainy Monday|On the last day of the year] a parcel lay on the step, [wrapped in blue paper|tied with red string|no bigger than a brick], and there was no name on it.
The postman [scratched his head|turned the parcel over]. There was a stamp on it and a street, but [no name|the rain had washed away the name]. He gave it to {h!}, because {h.he} [was standing there|asked what was the matter].
A parcel had come, and nobody knew for whom. [It weighed almost nothing|It was soft at one end and hard at the other|Something in it ticked], and on the paper stood only: "{label}"
In the post office lay a parcel that nobody fetched. [It had lain there since Easter|It was the only thing on the shelf]. {h}, who came by every day, read the label: "{label}"
<b:Is this yours?> {h} looked at the parcel. It was [small|square|light], and instead of a name it said: "{label}"
parcelask =
{h} took it to {#who1}. <w:[I never get parcels|My birthday is in March|Who would write to me]. [But do tell me whose it is|It might be for next door].> So it was not for {w>}.
{h} carried it [up the street and down again|from house to house]. [Everybody would have liked it to be theirs|Everybody shook it], and everybody had to say no.
The [teacher|doctor|baker] thought about it seriously. "I am not the one," [he|she] said. "But there is a house at the end of the lane where the postman never stops."
<b:Open it, then you'll know.> {h} held it behind {h.his} back. <h:It isn't mine to open.>
parcelto =
So {h} came to {r.a}, who [lived alone|had no family that anybody knew of|never had visitors]. {r} read the label three times. <r/soft:[That is what he called me|There is only one person who would write that|Nobody has called me that since I was a child].>
At the very end of the lane {h} knocked at the door of {r.a}. {r} took the parcel in both hands, as if it were [made of glass|a living thing]. <r/soft:Come in. I can't open it alone.>
It was getting dark when {h} thought of {r.a}. <h:It says, '{label}' Is that you?> {r} did not answer. {r.he} only [nodded|held on to the door].
parcelin =
In it was a [knitted cap|pair of mittens], in the colours of a flag, and a letter. {r'} brother, who had sailed away before {h} was born, was [alive and well|coming home in spring].
In it lay a small wooden ship and a note: "I promised it to you when we were ten. It took me longer than I thought." {r} [laughed and cried at once|set it on the window sill, where it could see the water].
In it was a tin of biscuits, still fresh, and a picture of three children with {r'} nose. "Dear Grandpa or Grandma of our street," it said, "we are the new family on the hill. We have none. Would you like to be ours?"
There were {n5} small packets in it, one for each year, and in each of them lay a [feather|shell|pressed flower] from another country. <r:She said she would go round the world. And she thought of me every year.>
parcelend =
The two of them wrote the answer together. {r} said what it should say, and {h} [wrote it down|drew a picture at the bottom]. And on that letter there was a name, as large as could be.
Since then the postman stops at that house, too. And when he has nothing for {r>}, {h} writes something, so that he need not pass by.
{h} was given the blue paper and the stamp. But what {h.he} liked best was [how {r} stood at the door and waved|that {r} had asked {h>} to come in].
They put the paper away, with the label on top. "{label}" Now two people in {town} knew who that was.
""")


@plot(3)
def parcel(s):
    """A parcel without a name, and whom it is for."""
    h = s.start(hero="child")
    r = s.grown("r")
    s.env["label"] = s.pick(["For the one who waits.", "To the best whistler in the street.", "For Snail, at the end of the lane.", "For the one with the cold hands.", "To my old captain.", "For whoever lost at chess.", "To Sparrow, from Crow.", "For the one who gave me half.", "To the girl or boy who could not swim.", "For the owner of the green door."])
    s.about = "a parcel without a name"
    s.para("{@parcelopen}", s.maybe(0.4, "{h} [was curious|had never held such a parcel]. <h:Somebody is waiting for it.>"))
    s.para("{@parcelask}", s.maybe(0.6, "{@parcelask}"))
    s.para("{@parcelto}")
    s.para("{@parcelin}")
    s.para("{@parcelend}")
    s.ask("Whom was the parcel for?", "It was for {r.a}.")


# who is there, why, and what comes of it
LIGHTS = [
    ("the old schoolmaster", "he had {sold} his house and was too proud to tell anyone that he had nowhere to go", "The next day {h'} family aired the room under the roof. \"We need somebody for the homework,\" they told him, and that was true. He moved in on Sunday, with two suitcases and a globe"),
    ("a girl with a fiddle", "at home the baby slept, and she was not allowed to make a sound", "{h} found her a better place, the loft over the stable, where the horses like music. On the day of the fair she played for everybody, and the baby, of all people, laughed"),
    ("{j.a}", "every night {j.he} was building something there, {build}, for {j.his} {kid}, and it was to be a surprise", "They promised not to say a word. For {n5} evenings they [held the lamp|handed {j.him} the nails], and on the birthday the {kid}'s mouth stood open for a whole minute"),
    ("a fox with three young ones", "what shone was not a lamp at all, but the moon in a broken mirror, whenever they pushed it in their play", "They told everyone that the house was haunted, and left it at that. So the foxes had their peace until the young ones were big"),
    ("two children from the ferry", "their mother was ill in the town, and they did not want to be sent to strangers", "They were not sent to strangers. They were sent to {h'} kitchen, where there was {food}, and every Saturday they all went to the town together, until their mother could come home"),
    ("the woman who had been born there", "she came back once a year, on that one week, to sit at the window where her mother had sat", "She showed them where the cherry tree had been and where the dog was buried. In spring {h} planted a new tree there, and the next year she found it in bloom"),
    ("an old sailor", "he lit a candle each night for a ship that had not come home, and from that window one could see farthest", "Now they take turns, {h} on Mondays and {q} on Thursdays. The ship has not come yet, but another one, in the great storm, saw the light and kept off the rocks"),
]
rules(r"""
lightopen =
Nobody had lived in {hs} for {n5} years. And yet, [one evening|on the first night of autumn|late on a Sunday], {h} saw a light [in the upper window|move from window to window].
[At night|After dark] something shone in {hs}. {h} could see it from {h.his} bed: [a small yellow light|a light that trembled], and it went out at {@hour}.
<q:There's a light in {hs}.> <h:[There can't be|That's not possible]. It's empty.> They stood [at the gate|on the hill] and looked. The light was there.
{^hs} was empty; everybody knew that. The door was nailed up, and [grass grew in the gutters|the swallows flew in and out]. But who had lit a lamp in it?
[Three nights in a row|Since Monday] {h} had seen it: smoke came out of the chimney of {hs}, and behind the shutters there was a light.
lightsay =
<b:[Thieves|Ghosts|That's only the moon]. [Stay away from it|I wouldn't go there for money].> {h} was not so sure. [Thieves don't come every night|Ghosts need no lamp|The moon does not go out at {@hour}].
At breakfast nobody believed {h>}. <b:[You dreamed it|You and your stories].> But {q} believed {h>}. <q:Tonight we'll go and look.>
{h} wrote it all down: when it came, when it went, which window. {q} looked at the paper. <q:That's somebody who does not want to be seen.>
lightgo =
[When the others were asleep|When it was quite dark], they [crept through the hedge|climbed over the wall]. The grass was wet. [One window stood open a hand's breadth|The back door was not locked]. {h} held {h.his} breath and looked in.
They went on tiptoe, hand in hand. A stair creaked. Under the last door lay a strip of light. <q/soft:You knock.> <h/soft:No, you.> So they both knocked.
{h} went first, {q} close behind. Something [smelled of soup|hummed]. A ghost that [cooked|hummed]? That took away half of {h'} fear, and {h.he} pushed the door open.
lightwho =
It was {cul}. [For a moment nobody said anything|All of them were equally frightened|And the fright was on both sides]. Then it all came out: {why}.
In the light of a single candle sat {cul}. <h:What are you doing here?> It was [a long story|soon told]: {why}.
There was no ghost and no thief. There was only {cul}. And the reason was this: {why}.
lightend =
There is still a light there now and then. But {h} [turns over and goes to sleep|knows who it is], and nobody is afraid of it any more.
<q:Are you sorry that it was no ghost?> {h} thought about it. <h/ans:No. [You can't give soup to a ghost|This is better].>
<b:[Well, was it thieves|So what was it]?> {h} and {q} looked at each other. <h:A light.> And that was the truth.
When {h} passes {hs} today, {h.he} [looks up at that window|lifts {h.his} cap]. [Every house is waiting for somebody|It does not look empty any more].
""")


@plot(3)
def light(s):
    """A light in an empty house, and who is there."""
    h = s.start(hero="child", first=0)
    q = friend(s, chance=0.75)
    j = s.grown("j")
    who, why, after = s.pick(LIGHTS)
    who = who.replace("the old schoolmaster", "[the old schoolmaster|the old organist|the teacher who had left in spring]")
    s.set(hs=s.pick(["the house on the hill", "the old mill", "the tower by the river", "the yellow house at the corner", "the old customs house", "the gardener's cottage", "the villa behind the wall", "the last house before the wood", "the old station", "the boat builder's house"]))
    s.set(sold="[sold|lost]", build="[a doll's house with nine rooms|a rocking horse|a sledge with a bell|a boat with a red sail]", kid="[grandson|granddaughter|youngest daughter]")
    s.set(cul=who, why=why)
    s.about = "a light in an empty house"
    s.para("{@lightopen}")
    s.para("{@lightsay}")
    s.para("{@lightgo}", s.maybe(0.3, "{@feelafraid}"))
    s.para("{@lightwho}")
    s.para(after + ".", "{@lightend}")
    s.ask("Where was the light?", "In {hs}.")
    s.ask("Who was there?", "It was {cul}.")


# what is peculiar; how it shows; the trouble; how it saves the day; the end
ODDITIES = [
    ("could not keep a secret", ["{h} told {#who} what {#who} would get for Christmas", "whoever whispered something to {h>} heard it at the baker's an hour later"], "So the others stopped telling {h>} anything. When {h} came in, they were quiet, and {h} [ate {h.his} bread alone|felt like a stranger at {h.his} own table]", "Then {h} heard two men [behind the barn|at the fence] say that they would come for the [horses|church silver] that night. <b:And you keep your mouth shut!> {h} did what {h.he} always did. In half an hour everybody knew it, and at midnight the two men found {n5} neighbours with lanterns", "Now people say, \"Tell it to {h.name}, if you want it done.\""),
    ("could not tell a fib, not even a small one", ["when {#who} asked, \"Do you like my hat?\" {h} said, \"No, but I like you\"", "at the shop {h} said, \"The pears are better next door\""], "It made life hard. {^#who} [did not greet {h>} any more|was offended for a week], and {h'} mother said, \"Couldn't you at least say nothing?\" {h} tried, and [it came out as a cough|turned purple]", "Then money was missing from the [school box|mayor's desk], and a stranger was to be locked up for it. <h:It wasn't him. He was with me at the bridge.> Anyone else might not have been believed. But everybody knew that {h} could not lie, and the man went free", "\"It is uncomfortable to have such a {h.kind} in the street,\" people say. \"But we would not be without {h>}.\""),
    ("laughed at the wrong moment", ["{h} laughed in church, at the dentist's and in the middle of the mayor's speech", "the more serious the faces were, the louder {h} laughed"], "In the end {h} was [sent out of the classroom|left at home] whenever something was serious, and it was [lonely out there|dull to laugh alone]", "Then two families who had not spoken for {n5} years met in the street, red with anger, and {h} began to laugh. First one of them smiled, then another. In the end they all [held their sides|sat on the kerb and wept with laughter], and nobody knew any more what they had been angry about", "Since then {h} has been invited to every quarrel."),
    ("asked why from morning till night", ["{h} asked why the sea was salt, why the cat purred and why the teacher wore a wig", "when one answered, {h} only asked the next question"], "People crossed the street when {h} came. <b:Because that's how it is!> they said, and [shut the door|walked faster]", "Then the wise men of the town wanted to pull down the old wall, for it had always been in the way. <h:Why was it built?> Nobody knew. So they looked it up, and found that it kept the river out. A week later the flood came, and stopped at the wall", "The mayor has made it a law: before anything is pulled down, {h} may ask one question."),
    ("was slower than anybody else", ["{h} needed an hour for {h.his} soup and two for {h.his} shoes", "when the others were home from school, {h} was only just passing the bakery"], "<b:We can't wait for you any longer,> the others said, and [ran ahead|were gone round the corner]. {h} [went on at {h.his} own pace|looked after them]", "Then a small child was lost, and all of them ran through the wood and called, and found nothing. {h} walked behind them, looking at every leaf. And so it was {h} who saw the small red shoe beside the hollow tree, and the child asleep inside", "<b:Why didn't we see it?> {h} thought about it, for quite a while. <h/ans:You were too fast.>"),
    ("was afraid of nothing and counted everything", ["{h} knew that there were two hundred and six steps to the tower and {n5} cracks in the ceiling", "at night {h} counted the stars in the window, and there were always the same"], "The others [laughed at it|found it boring]. <b:What is it good for?> {h} did not know. It [was just so|made {h.him} calm]", "Then, on the way back from the [cave|island], {h} stood still. <h:One is missing. We were eleven, and now we are ten.> Nobody had noticed. They went back and found the smallest, sitting on a stone with {food} in one hand, [too tired to call|singing to herself]", "Since that day nobody goes on a trip without {h>}."),
    ("talked to things as if they were people", ["{h} said good morning to the stove and thanked {h.his} shoes", "{h} asked the gate how it had slept"], "The others [tapped their foreheads|whispered about it]. {h} did not mind much, but {h.he} [spoke more softly after that|sometimes wished that one of them would ask what the gate had answered]", "Then, one morning, {h} said good day to the old bridge and stopped. <h:It sounds different.> Nobody else had heard anything. But the carter was careful and looked underneath, and there was a crack in the beam, as wide as a hand. The {@hour} o'clock coach would have gone over it", "Nobody taps a forehead now. And the carter says good morning to the bridge as well."),
]
rules(r"""
oddityopen =
{whoq} {odd}.
{whoq} {odd}. [It had always been so|Nobody knew where {h.he} got it from|It had begun on the day {h.he} learned to speak].
There was [nothing wrong with|only one thing the matter with] {whoq2}, except that {h.he} {odd}.
[Everybody|The whole of {town}|All the street] knew that {whoq2} {odd}.
""")


@plot(3)
def oddity(s):
    """Somebody with a peculiarity that is a trouble until it saves the day."""
    h = s.start(first=0)
    kind = s.pick(["child", "child", "of"])
    if h.child and kind == "of":
        job = s.pick(w.JOBS)
        s.env["whoq2"] = f"{h.name}, the {job}'s {'daughter' if h.g == 'f' else 'son'},"
    elif h.child:
        s.env["whoq2"] = h.name
    else:
        s.env["whoq2"] = h.a
    s.env["whoq"] = s.env["whoq2"]
    odd, shows, trouble, saves, end = s.pick(ODDITIES)
    s.set(odd=odd)
    s.about = f"{'a ' + h.kind} who {odd}"
    trouble = trouble.replace("<b:Because that's how it is!> they said, and [shut the door|walked faster]", "<b:Because that's how it is!> And they [shut the door|walked faster]").replace("<b:We can't wait for you any longer,> the others said, and [ran ahead|were gone round the corner]", "<b:We can't wait for you any longer!> And they [ran ahead|were gone round the corner]")
    s.para("{@oddityopen}", "{^sh}." if not s.set(sh=s.pick(shows)) else "", s.maybe(0.4, "{@trait_line}") if False else "")
    s.para(trouble + ".", s.maybe(0.5, "{@feelsad}", "{@think}"))
    s.para(saves + ".")
    s.para(s.maybe(0.4, "{@feelglad}"), end, s.maybe(0.3, "{@quiet}", "{@home}"))
    s.ask("What was special about {h!}?", "{h!} {odd}.")


rules(r"""
sidesopen =
{a1} lived on one side of {between}, and {b1} lived on the other. [They had never said a word to each other|They had not spoken for {n5} years].
Between {a1} and {b1} was {between}. [It was not wide|One could have called across], but nobody ever did.
On this side of {between} lived {a1}, and on that side lived {b1}. [Each thought that the other was proud|Each waited for the other to say good morning].
{h!} could see the chimney of {q!} every morning, and {q!} could see the chimney of {h!}. Between them lay {between}. [That was all they knew of each other|They never visited each other].
sideswhy =
[Once|Long ago] there had been a quarrel, about [a cherry tree|a hen|a borrowed spade|the noise], and [neither had forgotten it|neither remembered how it had really been].
<b:Don't go over there,> people told both of them. <b:[They are different over there|They eat cold porridge and sing at night].> [So nobody went|And both believed it].
{h} thought, "[I'd only disturb {q.him}|{q.he} has plenty of friends]." And {q} thought just the same about {h>}.
sidesevent =
Then came the winter with the great snow. For three days {h} saw no smoke over there. On the fourth day {h} [took a shovel|put on every coat {h.he} had] and [dug a path|went across].
One night a storm tore the roof off {h'} house. {h} [sat in the rain under a table|held the walls together with both hands]. Then a lantern came across {between}, and behind it was {q>}.
One day {h} was ill and could not get up. It grew cold in the house, and nobody knocked. But {q} noticed that the window stayed dark, [thought about it|walked up and down], and came over with soup.
One summer a small [goat|dog|kitten] ran away. {h} looked for it everywhere and found it at last over there, asleep on {q'} feet. {q} had given it milk.
One evening both of them came to the spring at once, with their buckets. There was only a trickle left, enough for one. <h:You first.> <q:No, you.> It was the first thing they had ever said to each other.
sidestalk =
They sat down together, for the first time. <h:I thought you did not like me.> <q:I thought that about you!> [They stared at each other|And then they laughed, till they had to hold on to the table].
<q:Why did you never come over?> <h:Why did you never ask me?> [Neither had an answer|There was no good answer to that]. So they ate {food} instead.
It turned out that both liked {food}, that both [slept badly when the moon was full|were afraid of thunder], and that both had looked across at the other's light every night[|, and had been glad of it].
sidesend =
In spring there was a path [across {between}|from door to door]. Nobody had made it. It had come from walking.
Today there is a bench in the middle, exactly halfway. That is where they sit in the evening, and nobody can say any more which side is whose.
They still live on their two sides. But they have stretched a string across, with a bell at each end. One ring means "Good night", two mean "Come over, there's {food}."
<h:All those years!> {q} poured out more tea. <q:Then let us begin at once.> And so they did.
""".replace("<b:Don't go over there,> people told both of them. <b:[They are", "<b:Don't go over there. [They are"))


@plot(3)
def sides(s):
    """Two who live on two sides of something and do not speak, and what brings them together."""
    beast = s.p(0.5)
    h = s.start(["forest", "farm", "river", "hill", "village"], hero="beast" if beast else "grown", first=0)
    if beast:
        kind = h.kind if s.p(0.4) else None
        q = s.beast("q", [kind] if kind else None, named=True)
        if h.names[0].startswith("the "):
            h.names = [s.pick(w.PET_NAMES)] if q.kind == h.kind else h.names
            h.name = h.names[0]
        if q.kind == h.kind:
            h.names, q.names = h.names[:1], q.names[:1]
        s.env["a1"] = f"a {h.kind} called {h.name}" if not h.name.startswith("the ") else f"a {h.kind}"
        s.env["b1"] = f"{'another ' + q.kind if q.kind == h.kind else 'a ' + q.kind} called {q.name}"
    else:
        q = s.grown("q")
        for x in (h, q):
            x.names = x.names[:1] if not x.names[0].startswith("the ") else [s.pick(["old ", ""]) + s.new_name(x.g)]
            x.name = x.names[0]
            x.call = x.name
        s.env["a1"], s.env["b1"] = f"{h.name} the {h.job}", f"{q.name} the {q.job}"
    s.set(between=s.pick(["the brook", "the wide meadow", "the valley", "a deep ditch", "the old orchard", "the marsh", "the river", "the gorge", "the churchyard", "the cabbage field"]))
    s.about = f"two neighbours on two sides of {s.env['between']}"
    s.para("{@sidesopen}")
    s.para("{@sideswhy}", s.maybe(0.3, "{@sense}"))
    s.para("{@sidesevent}")
    s.para("{@sidestalk}", s.maybe(0.3, "{@sidestalk}"))
    s.para("{@sidesend}")
    s.ask("What was between them?", "{^between}.")
