"""Troubles of a small world. Each has openings, what is at stake, attempts that fail, and ways out; a way out needs a tool
("t:ladder"), an idea ("i") or strong, small, flying ... company ("g:fly"). Everything is told in templates."""

# name, realms (first: any), opening sentences, stake, failed attempts, ways out, theme of the end, question and answer
PROBLEMS = []


def problem(name, realms, opens, stake, fails, ways, end, qa, cast=None):
    PROBLEMS.append(dict(name=name, realms=realms.split(), opens=opens, stake=stake, fails=fails, ways=ways, end=end, qa=qa, cast=cast))


problem("a kitten on a roof", "town village farm home school", [
    "[Something|Somebody] was [crying|mewing|wailing] [up on the roof|high up|above their heads]. It was {#who}'s [grey|black|striped|ginger|white] kitten, [no bigger than a fist|thin as a glove], [clinging to|sitting on] the [chimney|very edge of the gutter].",
    "There was a kitten on the roof[| of {pl.the}], and it [did not know how to get down|had been there since morning|was shaking all over].",
    "{h} heard [it|the kitten] before {h.he} saw it: a [thin|small|sad] mewing from [far above|the top of the roof|somewhere near the chimney].",
], ["[If it slipped|One wrong step], [it would fall three floors|there was nothing below it but stones].", "[Clouds were coming up|It would soon be dark|The tiles were wet and slippery], and [the kitten was so very small|it cried louder and louder].", "Nobody knew [whose it was|where it had come from], and nobody [did anything|had time]."], [
    "{h} called, \"[Here, puss|Come, little one|Come down]!\" {^#who} called too. The kitten [only cried louder|crept a step farther away|looked down and shut its eyes].",
    "{h} tried to climb the [drainpipe|vine|wall], but it [creaked and came loose|bent like a straw|was too smooth], and {h.he} [slid down again|landed in the nettles].",
    "{h} held out a [bit of fish|saucer of milk|crust with butter]. The kitten [sniffed|looked], took one step, [and began to slide|and lost heart].",
    "{^#who} [stood on a barrel|stood on the shoulders of {#who}], but [a whole arm was missing|it was still too high].",
], [
    ("t:ladder", "{h} set {t} [against the wall|under the gutter] and climbed [rung by rung|without looking down|up slowly], while {q} held it [fast|with both hands]. At the top {h.he} [held out one hand and waited|talked to it softly], until [a small warm nose|a trembling paw] touched {h.his} fingers."),
    ("t:basket", "They [tied a cord to {t}|hung {t} on a long pole], put a [bit of sausage|fish head] inside and [pulled it up|lifted it] to the edge. The kitten [stepped in|climbed in at once|put in one paw, then another], and {h} let it down [as gently as an egg|hand under hand]."),
    ("t:blanket", "{h} and {q} [spread {t} out|held {t} by its corners] [right under the gutter|below the roof]. <h:[Jump|Come on], little one!> The kitten [shut its eyes and let go|slid, squeaked and fell], and [bounced once|landed in the very middle], [astonished but whole|not hurt at all]."),
    ("i:all it needs is a plank:cats come down by themselves if there is a way", "They [laid a plank from|leaned a long board against] the [shed|wall|pear tree] [to|up to] the roof. For a while nothing happened. Then the kitten [came down, paw after paw|walked down it like a queen], [straight into {h'} arms|as if it had never been afraid]."),
], "kind", ("Where was the kitten?", "It was on the roof."))

problem("a clock that stopped", "town village home school farm", [
    "At {@hour} minutes past {@hour}, the [tall|painted|big] clock [in the kitchen|in the square|in the schoolroom|over {#who1}'s shop] gave up.",
    "[Nobody|No one] noticed it at first. Then {h} [said|looked up]: the clock [was not ticking|had stopped|stood still].",
    "It was too quiet. {h} [listened|stood still and listened] and knew [what was missing|why]: the [tall|big|grandfather] clock had stopped.",
], ["[The whole house|Everybody|The whole street] lived by that clock. [Now {#who} burned the bread|Now {#who} came an hour late|Now nobody knew when to go to bed, least of all {#who}].", "It had [never stopped before|gone for a hundred years|been great-grandfather's].", "<b/cross:[Without it I can't tell noon from night|We shall have to throw it out|It's only fit for firewood].>"], [
    "{h} wound it up [as far as it would go|until the key would not turn]. It [ticked {n5} times|said tick, but not tock] and stopped again.",
    "{h} [gave it a little push|tapped it on the side|shook it, only a little]. [Something rattled inside|The hands fell down to half past {@hour}|A puff of dust came out and settled on {#who}], and that was all.",
    "{^#who} came and oiled [every wheel|it with goose fat|the hinges]. It [shone beautifully|smelled of {#food}], but it did not go.",
], [
    ("t:magnifying glass", "Through {t} {h} [saw it at once|looked at wheel after wheel]: a [dead moth|grey hair|crumb of cake|tiny snail] was stuck between two [teeth|wheels]. {h.he} [blew it away|took it out with a pin], and [tick, tock, tick, tock, went the clock|the pendulum began to swing]."),
    ("t:feather", "With {t}, {h} [brushed out|swept away] [the dust of forty years|the dust behind the wheels]. [Last of all|At the very back] [something fell out|a small thing dropped down]: [a baby tooth of {#who}|a letter from {#who}]. And the clock began to [tick|go] all by itself."),
    ("i:the clock stands crooked:a pendulum must hang straight", "{h} [put a marble on the floor, and indeed, it rolled away to the left|looked along the wall: the floor had sunk]. They [pushed a folded paper|slid a thin chip of wood] under one foot of the clock, and it [ticked|began to tick] as if nothing had happened."),
    ("i:something lives inside:a clock does not squeak", "{h} [opened the little door at the back|put {h.his} ear to the wood]. In the bottom, on a bed of [chewed paper|wool], lay a mouse with five [pink|naked] babies. They [waited ten days|moved them, nest and all, to a box by the stove], and [then|after that] the clock went on as before."),
], "clever", ("What had stopped?", "The clock had stopped."))

problem("a gate that is locked", "home village castle town school", [
    "The [door|gate] was locked. {h} [pulled|pushed|rattled] once more, but it was [locked|shut fast].",
    "Behind the [high wall|green door|rusty gate] was a garden where [nobody had been for years|nobody ever went]. {h} had [walked past it|looked at it] every day, and today {h.he} [stopped|wanted to see it].",
    "[Click|Clack|Snap], went the lock behind {h>}. {h} [turned round|spun round]. The door was shut, and the key was on the other side.",
], ["[Inside|Over there], [a bird was beating against a window|somebody was calling very softly|something was moving in the ivy].", "{h'} [ball|kite|best hat] [had flown over the wall|lay on the other side], and it was [nearly supper time|getting late|beginning to rain].", "<h/soft:[I must get through|There has to be a key].>"], [
    "{h} tried [every key in the house|a bent nail|a hairpin]. [One went in but would not turn|None of them fitted|It broke, and now there was half of it in the lock].",
    "{h} [looked under the mat|felt along the top of the frame|turned over every flowerpot]. There [was|lay] a snail, a spider and a great deal of dust, but no key.",
    "{h} [knocked|called|threw pebbles at the window] until [{h.his} throat hurt|{#who} shouted for quiet]. Nobody came.",
    "{h} [tried to climb|jumped and caught the top of the wall], but [the ivy gave way|there was broken glass along it|{h.his} fingers slipped].",
], [
    ("t:key", "{t.The} was so [small|ugly|old] that nobody had [thought of it|taken it seriously]. It [slid into the lock|turned at the first try]. The hinges [screamed|sang], and there [was|lay] [a wild green place full of {#colour} roses|a pond with a stone {#pet} in the middle|{#who}, who had been locked in since Friday]."),
    ("t:spoon", "With the handle of {t}, {h} [scraped the rust out of the lock|lifted the bolt a hair's breadth, then another]. [Grain by grain|Bit by bit] it [gave|moved], and [with a groan|with a little sigh] the [old thing|lock] opened."),
    ("t:feather", "{h} dipped {t} in [lamp oil|olive oil] and [stroked the lock with it|let three drops run into the keyhole]. {h.he} [waited as long as a song lasts|counted to a hundred]. Then {h.he} pushed with one finger, and it [opened without a sound|swung open]."),
    ("g:squeeze through cracks", "{q!} [looked at the gap under the door|measured the keyhole with one eye], [breathed out|made {q.self} thin], and was [gone|through]. There was a [scratching|clink] on the other side. The bolt [slid back|jumped], and the door [swung open|was open]."),
    ("i:it opens the other way:there is no handle on this side, so it must be pulled", "{h} took hold of [the edge|the old hinge] and pulled instead of pushing. The door [opened as lightly as a book|was not locked at all]. [They looked at each other and laughed till {#who} came to see|It had never been locked in its life, said {#who}]."),
], "clever", ("What was locked?", "The gate was locked."))

problem("a leaking boat", "sea river", [
    "There was water in the boat. {h} had [felt it|noticed] first in {h.his} left [shoe|boot].",
    "[Halfway across|In the middle of the {wat}], {h} [felt something cold|looked down]: the boat was [leaking|filling with water].",
    "[Every boat leaks a little|Boats leak], {q} used to say. But this one [drank water like a cow|was full to the seats].",
], ["The [shore|bank] was [a long way off|no more than a thin line|too far to swim].", "In the boat lay [the post for the island|{n5} sacks of flour|medicine for {#who}], and none of it could get wet.", "[And the wind was rising|And there was only one oar], and [clouds were coming up|the gulls had all gone in]."], [
    "{h} bailed with {h.his} [hands|hat|shoe]. For each [hatful|shoeful] that went out, two came in, and once a small fish.",
    "{h} [stuffed {h.his} handkerchief|pushed {h.his} sock] into the crack. It [held for a moment|swelled up], and then [the water spat it out|it shot across the boat].",
    "{h} rowed [faster|as hard as {h.he} could]. The boat [only grew heavier|went in a circle].",
    "{h} sat on the hole. [It was very cold|It helped a little], but nobody can row [from there|sitting on a hole].",
], [
    ("t:candle", "{h} [warmed {t} in {h.his} hands until it was soft|broke a piece off {t}] and pressed it into the crack, [thumb by thumb|deep down]. [The water stopped|Not a drop came through], [as if somebody had turned a tap|and it has held to this day]."),
    ("t:bucket", "With {t}, {q} threw out the water while {h} rowed, [stroke after stroke|without looking round]. [Splash, pull, splash, pull|It was a race between the bucket and the hole], and [the bucket won by a hand|at last the keel scraped on sand]."),
    ("t:boots", "{h} [pulled off|cut the top from] {t}, [pushed the leather into the hole|rammed one into the hole, heel first] and [kept {h.his} foot on it|stamped it tight]. One [wet foot|good boot] was a small price. They [reached the jetty|came to the shore] before the rain."),
    ("i:the hole is at the bow:if everyone sits at the back, the front comes up", "They moved [everything|every sack] to the stern. The bow [lifted out of the water|rose], and with it the hole, [dripping|like a cow looking over a fence]. So they [came home|sailed in], [nose in the air|looking very proud]."),
], "clever", ("What was wrong with the boat?", "It was leaking."), "boat")

problem("a fallen tree across the road", "forest hill village farm", [
    "A [tree|great oak|pine|poplar] had come down [in the night|in the storm], right across the [road|track|only road to {pl.the}].",
    "{h} [came round the bend|stopped short]. Where [yesterday there had been a road|the road should have been], there was a tree, [roots in the air|lying on its side like a sleeping cow].",
    "[With a crack like thunder|With a long groan] the old tree [fell|leaned over and fell], and [the road was gone|nobody could pass].",
], ["Behind it stood [the milk cart|the doctor's carriage|a wedding with all its guests|the school bus], and [nobody could get by|more came every minute|the horses stamped].", "[The doctor had to get to a sick child|The bride was on the wrong side|The bread for the whole village was on the other side].", "The nearest [other road|bridge] was [half a day away|a morning's walk]."], [
    "{h} [pushed|pulled at a branch] with all {h.his} strength. The tree [did not even notice|moved as much as a church moves].",
    "{^#who}, {#who} and {n5} others [took hold|heaved]. The [tree stayed|rope broke], and they all [sat down in the mud|fell over backwards, {#who} last].",
    "{^#who} began to chop. [After an hour there was a notch|By noon there was a blister on each finger], and [the trunk was as thick as a table|there was a great deal of tree left].",
], [
    ("t:saw", "With {t}, {h} and {q} [took off the branches first|cut, one at each end, to and fro], [singing of {#food} to keep time|until the sawdust lay like snow on {#who}]. Then the [trunk rolled|rest was light], and {n5} [shoulders|people] [pushed it into the ditch|rolled it aside]."),
    ("t:rope", "They [tied {t} round the trunk|slung {t} over a strong bough] and hitched up [the two oxen|every horse that was there|a donkey, a cow and a bus]. [Slowly, slowly|With a long scrape], the tree [turned on its roots|swung like a gate], and [the road was open|there was room to pass]."),
    ("i:nobody has to move the tree:let what is on this side change places with what is on the other side", "So the [milk|bread|bride|doctor] climbed over, and on the other side [got into|went on in] the cart that had come from there, and the carts [turned round|went back]. [It was so simple that everyone laughed|In five minutes all were on their way], and the tree could [wait|lie there till Monday]."),
    ("g:dig", "{q!} [looked not at the tree, but at the ground under it|began to dig below the trunk]. [Earth flew|Soon there was a hollow, then a tunnel]. By noon [even the donkey could go under it|there was a passage with a roof of bark], and {h} [went through first, bowing|hung a lantern in it]."),
], "work", ("What lay across the road?", "A tree lay across the road."))

problem("a well without water", "village farm desert hill", [
    "The bucket came up [dry|empty|with nothing in it but a surprised frog].",
    "[For seven weeks|Since spring|For a hundred days] it had not rained, and now the well [was dry|gave only mud].",
    "{h} let the bucket down, and [instead of a splash|for the first time] there was a [clunk|dull thump]. The well was dry.",
], ["The [goats|beans|cows] [hung their heads|were thirsty], and [the little ones cried for water|the cooking pots stood empty].", "The [river|next well] was [two hours away|a day's walk], and [the jugs were heavy|the sun was merciless].", "<b/sad:[If it goes on like this, we must leave|Three days more, and the beans are done for].>"], [
    "{h} let down a longer rope. It touched stones.",
    "They dug [beside the wall|under the old fig tree]. There were stones, and under the stones more stones.",
    "The whole village sang for rain, {#who} loudest of all. One cloud came, [looked down and went away|the size of a hand].",
], [
    ("i:the ants carry wet earth:where they dig, there must be water", "{h} [followed them|crept after them on hands and knees] to a [crack in the rock|hollow behind {pl2.the}]. It was [cool there|damp]. They dug [as deep as a man|until the evening], and then [there was a gurgle|the hole filled, slowly, like an eye with tears]."),
    ("t:spade", "With {t}, {h} went down into the well {h.self} and dug [a spade deeper, and another|by the light of a candle]. At the [fourth|tenth] stroke the bottom [sighed|broke], and [cold water ran over {h.his} toes|{h.he} stood up to {h.his} knees in it]. <h/call:Pull me up, [quick|before I drown]!>"),
    ("g:follow a smell", "{q!} [put {q.his} nose to the ground|walked in circles, sniffing]. Past {pl2.the}, past the last wall, [{q} stopped|there {q} stopped] and scratched. [Under the stones it was wet|Water smells of iron and moss]. By nightfall they had a [new well|spring], and it was [sweet|as cold as snow]."),
    ("i:the well is not dry but stopped up:I can hear it dripping behind the wall", "{h} was let down on a rope with a [lamp|hammer] and knocked on the stones. One sounded [hollow|different]. {h.he} [pulled it out|knocked it loose], and [behind it was a plug of roots|mud and old leaves fell out], and then the water came, [brown first, then clear|with a great splutter]."),
], "work", ("Why were the people worried?", "The well was dry."))

problem("bread that does not rise", "town village farm home", [
    "The dough would not rise. It lay in its bowl like [a stone|a wet cushion|a flat grey moon].",
    "{h} lifted the cloth. [It was no use|Still nothing]: the dough was [as flat as before|no higher than a plate].",
    "[Tomorrow was the feast|In three hours the shop would open], and the dough [lay there and sulked|had not risen at all].",
], ["{q'} bread was [famous|the best in the street], and [{#who} and {#who} were waiting for it|today of all days it had to be good, for {#who} was coming].", "[There was no more flour in the house|That was the last of the yeast].", "<b/sad:[What shall we put on the table|A feast without bread is like a song without a tune].>"], [
    "{h} kneaded it [once more|until {h.his} arms ached]. It [got tough|got grey], but no bigger.",
    "{h} put it [right next to the oven|in the sun]. One side [baked|grew a crust], and the other [stayed cold|did nothing].",
    "{h} [talked to it kindly|sang to it|told it a joke]. {^#who} [laughed|joined in]. That was [nice for the dough, perhaps|no worse than the rest], but it did not rise.",
], [
    ("t:blanket", "{h} wrapped the bowl in {t} and [took it to bed|laid a warm stone beside it|sat down with it in {h.his} lap]. [In an hour|When {h.he} woke], the cloth [had a belly|stood up like a tent], and the dough [laughed over the rim|was as round as a cat]."),
    ("i:it needs a spoonful of honey:yeast gets hungry like everyone else", "{h} [stirred a spoon of honey into warm water|let honey run into the dough] and covered it up. Soon there were [bubbles|small sighs], and [the dough began to breathe|it climbed up the bowl]. The loaves came out [gold and high|with crackling crusts]."),
    ("i:flat bread is bread too:in my country we never wait for it", "So they [rolled it thin|pulled it into rounds] and [slapped it on the hot stones|baked it in a pan], [with salt and thyme|with onions and oil]. [It blistered and browned|It was done in a minute], and [people came back for more|they had to ask for the recipe three times that day]."),
], "work", ("What was wrong with the dough?", "It would not rise."))

problem("a lost child at the market", "town village", [
    "[In the middle of the crowd|Between the stalls|Beside the fountain] stood a very small [boy|girl], [crying|howling|weeping without a sound].",
    "Somebody was pulling at {h'} [sleeve|coat]. It was a small child, [whom {h.he} had never seen before|all by itself], and it said, \"[I have lost my mum|My dad is lost]!\"",
], ["It did not know [its street|where it lived]. It only knew [that its house was \"big\"|its mother's name, and that was \"Mama\"].", "There were [hundreds of people|a great many mothers about], and [all of them were in a hurry|the market was closing].", "<h/soft:[We'll find them|Don't be afraid], [I promise|I won't go away].>"], [
    "{h} asked {#who1} and {#who}. [Nobody had lost anyone|{^w} had {n5} at home, and that was enough|<w:Is it the child of {#who}?> It was not].",
    "They walked up [one row and down the next|and down three times]. The child [looked at every face|got heavier], but it was never [the right one|her].",
    "{h} shouted as loudly as {h.he} could. In that noise [it was like whispering|not even the pigeons flew up].",
], [
    ("t:drum", "{h} borrowed {t} and beat it, [boom, boom, boom|as hard as {h.he} could], until the whole market [stopped talking|turned round]. <h/call:[Who has lost a child|A child is here]!> [At the far end|Out of the crowd] came {#who}, with flying hair, [laughing and crying|running]."),
    ("t:stool", "{h} stood the child on {t}, high above the heads. <h:What do you see?> [\"Hats,\" it said. And then: \"Papa's hat!\"|\"There!\" it cried, and nearly fell off.] Through the crowd came a man with a {#colour} feather in his hat."),
    ("i:the child smells of fresh paint:somebody here has been painting all day", "They went [along the stalls to the sign-painter|by the nose, past fish and cheese]. And behind a [half-painted tiger|wet green door] a young woman [dropped her brush|cried out]. She had thought the child was [asleep in the cart|with its brother] all the time."),
    ("i:lost people run about, but whoever stands still is found:let us wait at the fountain", "So they [sat on the edge of the fountain|sat down] and {h} told [a story about a goat|the child all about {h.his} family]. [Before the goat had got home|Halfway through], someone [screamed for joy|came running]. The mother had passed the fountain [nine times|twice already], and now [there it was|there sat her child]."),
], "kind", ("Whom did {h} help?", "{h.he} helped a lost child."))

problem("a goat that eats everything", "farm village hill", [
    "The goat, whose name was {#pet}, had eaten [{#who}'s washing|{#who}'s hat|{#food}]. [Again|It was not the first time].",
    "\"[Whose goat is that|Get that beast out of my garden]!\" The goat [looked up and went on chewing|had a sleeve hanging out of its mouth].",
    "{h} had a goat, and the goat had [an appetite|one fault]: it ate [everything|whatever it could reach].",
], ["<b/cross:[One more cabbage, and it goes to the butcher|Tie it up or sell it, I don't care which].>", "[If it got loose once more|If this went on], [it would have to be sold at the market|they would have to give it away]. And {h} loved that goat.", "Nobody in the village [greeted {h>} any more|could leave a window open]."], [
    "{h} tied it up. It ate the rope[| and looked around for {#food}].",
    "{h} built a fence. The goat [jumped over it before the last nail was in|leaned on it, and it fell down on {#who}].",
    "{h} [scolded it|talked to it seriously] for an hour. The goat [listened|nodded], and ate {h.his} [collar|notes|button] meanwhile.",
], [
    ("t:bell", "{h} hung {t} round its neck. [From then on|Now] everyone heard it coming, [cling, clang,|at every step] and had time to [shut the gate|save the socks]. The goat [was proud of it|held its head like a mayor], and [nobody lost a hat again|it got so vain that it ate less]."),
    ("i:let it eat where something must be eaten:the churchyard is full of thistles", "{h} led it to [the old churchyard|the ditch along the road], where the thistles stood [taller than a man|so thick that nobody could pass]. In a week [it was as smooth as a carpet|you could read the stones again]. Soon {#who} asked to [rent|borrow] the goat, for [{n5} eggs a week|{#food}]."),
    ("i:it is not hungry but bored:give it something to climb", "{h} [piled up|built a tower of] [crates|stones and old tyres|beer barrels]. The goat [looked at it|walked round it once], climbed to the top, and [stood there like a statue|has been king of it since]. It only came down [to sleep|for supper], and {#who}'s [shirts|cabbages] were safe."),
], "clever", ("What was the trouble with the goat?", "It ate everything."))

problem("a play without its main actor", "school village town", [
    "[An hour|Half an hour] before the play, the [dragon|king|wolf|moon] [fell ill|lost his voice|got the mumps].",
    "The hall was full, the lamps were lit, and the [lion|prince|giant] was [in bed with a fever|not there].",
    "<b/call:[We have no wolf|We have no king|The moon has the measles]!> [Behind the curtain|On the stage] everybody stopped talking.",
], ["{h} was only [a tree|the wind|the third sheep] and had [nothing to say|one word to say].", "All the [mothers and fathers|aunts] were already [sitting there|coughing and rustling]. [{^#who} had brought {#food}|{^#who} sat in the front row, beside {#who}].", "Everybody looked at {h}. {h.he} knew [the whole play by heart|every line], because {h.he} had [listened|held the book] at every rehearsal."], [
    "They thought of [leaving the part out|doing it without him]. But [who ever saw a fairy tale without a wolf|then there was no story left].",
    "{^#who} wanted to read it from the book, [but could not find the place|but began to laugh at the wrong moment].",
    "They [asked|pushed on] {#who1}, who [put on the crown and forgot every word|ran away through the window|could only say something about {#food}].",
], [
    ("i:stage fright goes away if you look at one friendly face:look only at me", "{h} put on the costume, which [was far too big|smelled of mothballs], and stepped out. The light was [like a wall|warm and white]. {h.he} [found {q'} face|looked only at {q}] and said the first line. [The rest came by itself|And then {h.he} forgot to be afraid]. At the end they [clapped till the dust fell from the curtain|stamped with their feet], and {#who} [whistled|threw {#food}|wept]."),
    ("t:blanket", "{t.The} became a [cloak|tail|mane]. {h} [crept under it|threw it round {h.his} shoulders], [growled once|drew {h.self} up], and {q} stared: [this was not {h.name} any more|that was the real thing]. The small children in the front row [screamed with joy|hid under their seats]."),
    ("i:a part can be shared:everyone says one line", "So the [wolf|king|moon] came on [in seven pieces|with six heads under one cloth], and each head said a line, [one high, one deep|in turn]. {h} [was the left ear|had the best line: \"I am hungry!\"]. It was [the funniest thing that had been seen there|so good that they keep it that way to this day]."),
], "courage", ("Why was there trouble with the play?", "Somebody who should have acted in it was ill."))

problem("a baby bird out of its nest", "forest home farm school village", [
    "[Something|A small thing] lay in the grass [and peeped|under the tree]. It was a bird, [naked and blue|more beak than bird], fallen out of its nest.",
    "{h} nearly stepped on it. A young [swallow|thrush|blackbird|sparrow|starling] [sat in the path|lay there], with its beak [wide open|open like a purse].",
    "After the storm there was a nest on the ground, and in it [one|a single] [little bird|chick], [wet and cross|trembling].",
], ["[A cat came along the wall|Two crows had seen it too|The cat from next door licked its lips].", "[Above|High up], the old birds [flew round and round|screamed].", "It was [still warm|alive], but [cold would come with the night|it could not sit there much longer]."], [
    "{h} tried to give it [a crumb|milk]. It [spat|turned its head away].",
    "{h} set it on a branch. It [fell down again at once|swayed like a drunken sailor and dropped into {h.his} hands].",
    "{h} put the nest back, but [the wind threw it down|it slid off, for the branch was broken].",
], [
    ("t:hat", "{h} [stuffed {t} with hay|laid moss in {t}] and [nailed|tied] it [up in the fork|under the eaves]. Then {h.he} [hid behind the water butt|went away and watched from the window]. It took an hour. Then the old bird came [with a worm|with a beak full of flies], [looked at {#who}'s window|turned its head this way and that], and [fed its child|hopped in]."),
    ("t:basket", "In {t}, with [a scrap of wool|some dry grass], the little one was pulled up [to its branch|as high as a house]. [The old birds came at once|Nobody breathed, not even {#who}]. And a week later it stood on the rim, [spread its wings and was gone|fell, flapped, and did not fall any more]."),
    ("t:ladder", "{h} went up {t} with the bird in [{h.his} shirt|one hand]. There were [three more beaks|three sisters] in the nest, and [they made room, grumbling|they all opened together]. <h/soft:[There|In you go]. And hold on tight next time.>"),
    ("i:it is not lost but learning to fly:its mother is calling from the hedge", "So they [only kept the cat away|sat down between the bird and the cat] and waited. The little one [hopped|fluttered] [from stone to stone|to the fence]. It [fell on its nose twice|thought about it]. And then, [all at once|as if it had never done anything else], it flew."),
], "kind", ("What did {h} find?", "{h.he} found a young bird that had fallen out of its nest."))

problem("a bridge that the flood took", "river village hill forest", [
    "The bridge was gone. Where it had been, [brown water|foam] [roared|raced] between the posts.",
    "[All night|For two days] the river had risen. In the morning [the bridge was not there any more|there was no bridge].",
    "{h} stood on one side of the river, and [{h.his} home|{pl2.the}|supper] was on the other.",
], ["On the far side [stood {h.his} little brother|somebody was waving], [all alone|with the goats].", "[The school|The mill|The doctor|The market] was over there, and [so was everything else|nobody could get to it].", "[The water was too wild for a boat|No boat could live in that water], and [it was still rising|the rain had not stopped]."], [
    "{h} threw [a stone|a log] to see how deep it was. The river [took it like a pea|swallowed it and did not even burp].",
    "{^#who} and {#who} laid [a tree|two planks] across. The water [plucked it away|carried it off], [playfully|and was not even tired].",
    "{h} waded in as far as {h.his} [knees|belt]. It [pulled at {h.him} like a team of horses|tore off one shoe], and {h.he} [turned back|was glad to be on land again].",
], [
    ("t:rope", "They [tied a stone to {t} and threw it over|shot {t} across with a bow], and [over there it was made fast|somebody tied it to the old willow]. On the rope they hung {#who}'s [basket|wash tub], and in that, [one after the other|swinging and squealing], they all [came across|went over]."),
    ("t:kite", "{t.The} [carried a thread over the water|flew across on the wind]. On the thread hung a string, on the string a cord, and on the cord [a rope as thick as an arm|the rope]. By evening there was [a footbridge of rope|something like a bridge]: [it swayed|it creaked], but it held."),
    ("i:upstream the river is wide and lazy:where it is wide, it is shallow", "They walked [an hour|two hours] along the bank. There the water [spread over the stones like a sheet|only came up to the ankles], and they crossed [hand in hand|with their shoes round their necks], [step by step|one behind the other]."),
    ("g:build", "{q!} [looked at the current|measured it with one eye closed] and began to [drag branches|gnaw]. [Stick by stick|All day and half the night], [a dam grew|the water was turned aside]. In the morning they crossed with [dry feet|a cart], and the [dam|new bridge] is called after {q>} now."),
], "work", ("What happened to the bridge?", "The flood took it away."))
