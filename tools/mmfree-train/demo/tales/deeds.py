"""Plots of people: learning, making, searching, errands, fears, quarrels, confessions, contests, waiting."""

from . import world as w
from .engine import rules
from .plots import plot

# skill: (verb phrase, place, tries that fail, advice, how it goes at last, teacher's trade or none)
SKILLS = [
    ("swim", "[in the river|in the lake|behind the harbour wall|at the weir]", ["{h} [kicked|splashed] and swallowed [half the {wat}|a good deal of water].", "{h} sank like [a stone|an anchor|a sack of nails].", "{h} held on to the [jetty|rope|reeds] and would not let go, not even when {#who} [laughed|called]."],
     ["the water carries you if you let it. Lie on it as you lie on grass", "breathe out into the water, and don't fight it", "be long and lazy, like [a cat|an otter|a lizard] in the sun"], "{h} [let go|lay back|stretched out], and the water [held|lifted] {h.him} [like a hand|as if {h.he} were a leaf]. Three strokes, four strokes, ten."),
    ("ride a bicycle", "[in the lane|behind the church|in the yard of the {hjob}]", ["{h} wobbled [three yards|past {#who}] and [fell into the hedge|ran into a heap of sand].", "The front wheel [had a will of its own|turned the wrong way], and {h} [sat in the ditch|lay under it].", "{h} scraped [one knee, then the other|an elbow] and called the bicycle names."],
     ["don't look at the wheel. Look where you want to go", "go faster. It only falls over when it is slow", "think of {#food} and not of your feet"], "{h} [looked straight ahead|looked at the far gate] and pedalled. [The hedge flew by|{^#who} jumped aside]. Only at the [corner|end of the lane] did {h} see that nobody was holding on any more."),
    ("whistle", "[on the steps|in the yard|behind the shed]", ["Nothing came out but [air|spit].", "{h} blew until {h.he} was dizzy and had to hold on to {#who}.", "{h'} lips went numb. Not a peep."],
     ["wet your lips and say 'oo'", "blow less, not more", "think of a small bird that sits on your tongue"], "[It was hardly a sound at all|A thin thread of sound came out], like [a bird|a kettle] far away. Then [a real note|one clear note], and {#dog} [came running|pricked up his ears]."),
    ("read", "[by the stove|in the last row|under the table]", ["The letters [ran about like ants|swam like tadpoles].", "{h} said \"[horse|sheep|bread]\" where the book said \"[house|ship|beard]\", and {#who} laughed.", "{h} said {h.he} had a headache."],
     ["read with one finger, and never mind the others", "read what you like best, if it is only a bill for {#food}", "every word is a little house. Knock at one door at a time"], "[Letter by letter|Very slowly], {h} read what stood on [the sign of the {hjob}|the jar of {#food}|a letter from {#who}]. It made sense. {h} read it again, only because {h.he} could."),
    ("knit", "[by the stove|on the bench|at the window]", ["The [scarf|sock] had [more holes than wool|five corners].", "{h} dropped a stitch, and then [a dozen|the whole row], and {#cat} ran off with the ball.", "It was meant to be a mitten, but {#who} asked whether it was a net."],
     ["count under your breath, and don't hurry the last stitch", "hold the wool as you would hold [a chick|a young bird|an egg]: not too loose, not too tight", "when you go wrong, go back. That's the whole art"], "[Row after row|Stitch by stitch], it grew. It was [a little crooked|longer than it should have been] and {#colour} at one end, but it was [warm|a scarf], and {#who} [wore it all winter|asked for one too]."),
    ("row a boat", "[on the lake|in the harbour|on the mill pond]", ["The boat went [round and round|sideways], and {#who} shouted advice from the bank.", "One oar [dug too deep|caught nothing but air], and {h} [fell backwards|lay with {h.his} legs in the air].", "{h} rowed with all {h.his} might, still tied to the [post|jetty]."],
     ["pull with your back, and look at something behind you that doesn't move", "both arms are friends. Let neither be first", "slow is smooth and smooth is fast"], "{h} fixed {h.his} eyes on {#place} and pulled. The [bow|boat] [hissed through the water|drew a line as straight as a ruler]. \"[Look at that|Well, well],\" said {#who}."),
    ("bake bread", "[in the kitchen|at the bakery]", ["The first loaf was [black outside and wet inside|so hard that {#who} used it as a doorstop].", "{h} forgot the salt, and it tasted of [paper|nothing at all|wet wool].", "The dough stuck to [the table, the bowl and {#who}|everything but the tin]."],
     ["don't look at the clock. Look at the dough", "it wants warmth and time, like everybody", "knock on it underneath. If it sounds like a drum, it's done"], "{h} knocked on the crust. It [sounded like a drum|answered]. [The whole street smelled of it|{^#who} came in without knocking], and the first slice went to {#who}."),
    ("play the fiddle", "[in the attic|behind the barn|on the roof]", ["It sounded like [a cat|a goose|a donkey] with a cold.", "{#dog} [howled|left the house], and {#who} shut the window.", "One string [broke|snapped] with a noise that made {#who} jump."],
     ["sing it first. What you can't sing, you can't play", "one note a day, but that one well", "hold the bow as if it were [an egg|a bird|glass]"], "It was a small tune, [five notes up and three down|no longer than a breath]. {^#who} stopped to listen. \"Again,\" said somebody."),
    ("skate", "[on the frozen pond|on the canal]", ["{h} sat down [eleven times|hard], once on {#who}.", "{h'} feet went in two directions, and {h} stayed where {h.he} was.", "{h} clung to [a kitchen chair|the old sledge|{#who}'s arm] and was pushed about like a chair."],
     ["bend your knees and look up. The ice is where it was", "fall as often as you like. It gets shorter each time", "push with one foot and think with the other"], "[A push, a glide|One push, another], and the cold air [sang|rushed by]. {h} passed {#who}, [who waved|who had never been passed before], and [did not know how to stop|ended in a heap of snow, laughing]."),
    ("milk a cow", "[in the byre|in the barn]", ["The cow, who was called {#pet}, [put her foot in the bucket|switched {h>} across the face with her tail].", "{h} pulled for [an hour|a long time] and got [three drops|a thimbleful].", "{#pet} the cow turned her head and [looked at {h>} with pity|sighed]."],
     ["warm your hands, and lean your head against her", "sing to her. She likes [the one about the miller|slow songs best]", "it's more like asking than pulling"], "{h} leaned {h.his} forehead on the warm side and [hummed|talked of {#food}]. [Pling, pling|Hiss, hiss], went the milk in the bucket. By the end even {#who} had to say it was [well done|a full bucket]."),
    ("tell the time", "[in the kitchen|at the station]", ["{h} came [an hour late|a whole day early] to {#who}'s birthday.", "The big hand and the little hand [changed places when nobody looked|were always in each other's way].", "{h} said it was half past {@hour}, and {#who} [nearly fell off the chair laughing|laughed out loud]."],
     ["the little one is slow but important. Ask it first", "it's a cake in twelve slices. How much has been eaten", "the big hand walks, the little hand creeps"], "{h} looked up at the clock [of the station|in the square]. <h:Seventeen minutes past {@hour}!> {^#who} took out a watch. It was [exactly right|right to the minute]."),
    ("climb the tall tree", "[behind the house|in the churchyard|in the orchard]", ["{h} got as far as the [first branch|lowest fork] and [stuck there|had to be fetched down by {#who}].", "{h} looked down, and the ground was suddenly far away.", "{h} tore {h.his} trousers, and {#who} [saw it|mended them with {#colour} thread]."],
     ["three on the tree: let go with one hand or foot only, never two", "don't look down, look at your hands", "ask every branch before you trust it"], "[Branch after branch|Hand over hand], {h} went up, past an old nest, and put {h.his} head out at the top. {h} could see {#place}, and {#who}, [small as an ant|no bigger than a thumb]."),
    ("sew", "[at the window|in the tailor's shop]", ["{h} sewed [the pocket shut|the sleeve to {h.his} own trousers].", "The thread [tied itself into knots|broke], and the needle [bit {h>} in the thumb|was lost in {#who}'s chair].", "The patch was [on the wrong side|upside down], and {#colour} besides."],
     ["short thread, small stitches, long patience", "a knot at the beginning saves a tear at the end", "let the needle find its own way through"], "[Small stitches|Tiny stitches], one like the other, [marched along|ran along] the hem. {^#who} [held it up to the light|put on spectacles] and could find nothing to grumble about."),
    ("speak the new language", "[at school|in the shop]", ["{h} asked for [{#food}|bread] and was given [a bar of soap|a bucket|string|a candle].", "{h} wished {#who} \"good potato\", and [nobody laughed, which was worse|everyone laughed].", "The words [fell over each other|hid when {h.he} needed them]."],
     ["learn one song, and you have a hundred words", "speak badly, but speak. Nobody learns with a shut mouth", "ask the little ones. They never get tired of explaining"], "At the shop {h} [took a breath|stood on tiptoe] and asked for {#food}. {^#who} [said how much it was|nodded] as if it were nothing. [Outside,|In the street] {h} [jumped into the air|did a little dance]."),
    ("sleep without a lamp", "[in the new room|under the roof]", ["Something [creaked|breathed], and {h} [was out of bed and with {#who}|pulled the blanket up to {h.his} eyes].", "The coat on the door looked like [a bear|a robber|a giant][ with a hat| with no head|].", "{h} counted [sheep|to a thousand]. Number {n5} [had teeth|looked at {h.him}]."],
     ["listen and give each noise its name: stairs, stove, [mouse|wind|owl]", "the dark is only the room with its eyes shut", "say good night to every thing. Then they are yours"], "<h/soft:Good night, chair. Good night, [table|coat|jug]. Good night, [stove|window|clock].> The room [said nothing|was quiet], but in a friendly way. In the morning the lamp [was still off|had not been lit]."),
    ("catch a ball", "[in the yard|in the playground]", ["The ball [hit {h>} on the nose|went through {h'} hands as through a hoop].", "{h} shut {h.his} eyes each time. So did {#who}, in the end.", "It flew past {h.him} into [{#who}'s soup|{#place}]."],
     ["watch it all the way, as [a frog|a cat] watches a fly", "don't grab. Make a nest for it", "let your hands go back with it"], "It came [high and spinning|fast], and {h} [looked at it|watched it come], and [plop|smack], there it was in {h.his} hands. {h} stared at it as if it had been [an egg|the moon|a live bird]."),
    ("make fire with wet wood", "[in the camp|on the beach|in the hut]", ["It smoked and went out.", "{h} used up [nine matches|half the newspaper], and {#who} coughed.", "{h} blew until {h.he} saw stars. The wood sweated."],
     ["split it. It is always dry inside", "begin with something no thicker than a hair", "birch bark burns even in the rain"], "First [a thread of smoke|a red dot], then a [flame as small as a fingernail|yellow tongue]. {h} fed it [twig by twig|as one feeds a baby]. Soon {#who} was frying {#food} over it."),
    ("ring the big bell", "[in the tower]", ["{h} hung on the rope like [a wet coat|a ham|a spider on its thread], and the bell did not move.", "The rope [burned {h'} hands|pulled {h>} up to the ceiling], and {#who} had to [catch {h.him}|sit down to laugh].", "It said [\"bup\"|one flat \"dup\"], and all the jackdaws laughed."],
     ["it's not strength. Wait for it to come back, and then help it a little", "pull when it wants to be pulled", "count: and one, and two"], "{h} waited, pulled, waited. High up something [stirred|swung]. Then [BONG|a deep voice] rolled out over the roofs, and {#who} [looked up|set a watch by it]."),
]

rules(r"""
wantskill =
[More than anything|More than {#food}|For as long as {h.he} could remember], {h} [wanted|longed] to learn to {skill}.
{h} wanted to learn to {skill}. [Everybody else could do it|Even {#who} could do it|{^#who} could do it, and so could {#who}].
<h:I'm going to learn to {skill}[|, and nobody can stop me|, if it takes all [summer|winter|year]].> [{^#who} laughed.|{^#who} said it couldn't be done in a week.|Nobody had asked.]
[Everyone in {h'} family|All the children in the street|Everybody in {home}] could {skill}, [only {h} could not|all but {h>}].
<b:[Can't you {skill} yet|You still can't {skill}|What, you can't {skill}]?> {h} [went red|looked at {h.his} shoes|shook {h.his} head].
There was one thing that {h} could not do, and that was to {skill}.
[In {n5} days|On Sunday|In a month] there would be [a feast|a big day] {pl.at}, and anyone who could {skill} might [join in|take part]. {h} could not.
reasonskill =
[{h'} {rel}|{^#who}] had learned it at the age of [four|five].
[It looked so easy|It looked like nothing at all] when {#who} did it.
{h} did not tell anyone why. [But it had to do with {#who}|It was a secret between {h.him} and {#cat}].
Without it {h} could not [go along to {#place}|help {#who}|be in the team with {#name} and {#name}].
practise =
{h} practised [before breakfast|after school|in secret|until it was dark|whenever {#who} was not looking], {skat}.
[On Monday|The first day] {tense}: {skat}, {h} tried and tried.
[Every|Each] [day|evening], {skat}, {h} tried again.
That very [evening|afternoon] {h} began, {skat}.
again =
{h} [got up|gritted {h.his} teeth] and tried [again|once more|a [fourth|fifth|sixth] time].
[The next day it was no better|The second day was worse than the first|On Thursday it rained and {h} tried all the same].
<h/cross:[I'll never learn it|It's impossible|I give up|I'm too stupid for it]!> [But {h.he} did not give up|The next day {h.he} was back|{^#who} said {h.he} had said that yesterday too].
[It was the same story|Nothing was any different] on [Tuesday|Wednesday|Friday].
advise =
<q:May I tell you something, {h.name}? {^advice}.>
{q} had watched for [a while|three days]. <q:{^advice}.> [That was all {q.he} said|And {q} went on eating {food}].
<q:Who taught you that?> <h:Nobody.> <q:I thought so. {^advice}.>
<q:[When I was small|At your age] I couldn't do it either. {^#who} told me: {advice}.> {h} [frowned|listened|laughed]. It [sounded too simple|did not sound like much|was worth a try].
<h:How do you do it?> {q} [scratched {q.his} ear|had to think]. <q:Well, {advice}.>
""")


@plot(4)
def learning(s):
    """Somebody learns to do a thing."""
    verb, at, fails, advice, done = s.pick(SKILLS)
    h = s.start()
    s.set(skill=verb, hjob=s.pick(w.JOBS), rel=s.pick(["sister", "brother", "cousin", "grandmother", "grandfather"]), skat=at, tense="[it went badly|it was terrible|nothing worked]")
    s.set(advice=s.pick(advice))
    q = s.helper()
    s.about = f"{'a ' + h.kind if h.child or h.g != 'i' else 'somebody'} who learns to {verb}"
    speaks = s.p(0.2) and not q.animal
    intro = s.opening() if s.p(0.6) else ""
    s.para(intro, s.scene(0.25), "{@wantskill}", s.maybe(0.45, "{@reasonskill}"))
    fs = s.r.sample(fails, s.pick([1, 2, 2, 3]))
    tries = ["{@practise}", fs[0]]
    for f in fs[1:]:
        tries += [s.pick(["{@again}", ""]), f]
    s.para(*tries, s.maybe(0.5, "{@feelsad}", "{@micro}", "{@humour}", "{@think}"))
    s.para(enter(s, q), "{@advise}")
    s.para(s.pick(["{h} tried it[ that evening| at once|, not believing a word|].", "[The next|Next] [morning|day], {skat}, {h} [remembered it|tried it]."]) if s.p(0.7) else "{@atlast} {h} was ready to try once more." if s.p(0.3) else "",
           done)
    s.para(s.maybe(0.5, "{@thanks}", "{@feelglad}"), *s.ending("work"))
    s.ask("What did {h} want to learn?", "To {skill}.")
    s.ask("Who gave {h> } advice?".replace("> ", ">"), ("{q!}" if not q.animal else "{q.Aname}") + ".")


def enter(s, q):
    if hasattr(q, "intro"):
        q.intro1, q.intro2 = q.intro, q.a
        if q.intro.endswith(","):
            return s.pick(["{@offer0}", "It was {q.intro2} who [noticed|saw it|stopped]."])
    return s.enter(q)


rules(r"""
offer0 =
{q.intro1} [came by|was watching|had seen it all].
[Then|One evening] {q.intro1} sat down on the wall.
""")
