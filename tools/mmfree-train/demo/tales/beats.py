"""Rules that every plot shares: time and weather, openings, feelings that are shown, small scenes, endings."""

from .engine import rules

rules(r"""
when =
one [bright|grey|windy|still|frosty|hot|misty|dull|golden|wet|blustery|mild|bitter|sleepy] [morning|afternoon|evening|day]
[early|late] one [Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|morning|evening]
on [the hottest day of summer|the coldest day of winter|the shortest day of the year|the longest day of the year]
on [the first|the last] day of [spring|summer|autumn|winter|the year|the holidays|the term|January|June|October|March|the harvest]
[one|on a] [Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday] [morning|afternoon|evening] in [January|February|March|April|May|June|July|August|September|October|November|December]
the day [after|before] [the fair|the market|the first snow|the storm|Christmas|New Year|{h.his} birthday|the harvest supper|the wedding|the school play|the big match]
[just before|just after|a little before|soon after|long before] [breakfast|supper|sunrise|sunset|noon|midnight|bedtime|dinner|the church clock struck {@hour}]
[one|that] [spring|summer|autumn|winter], when [the cherries were ripe|the days were growing short|the swallows came back|the river was low|the nights were cold|the bean flowers were out|the leaves had begun to turn|the snow lay up to the window sills|the ice had just gone]
at [six|seven|eight|nine|ten|eleven|three|four|five] o'clock [in the morning|on a Sunday|sharp|one evening]
when the [rain stopped|fog lifted|moon came up|bells began|shops opened|sun was over the [roof|hill|trees]]
on a [Saturday|Sunday|day] when [nobody wanted to do anything|everybody else was busy|the wind couldn't make up its mind|it rained and shone by turns|even the cat stayed in]
hour =
three
four
five
six
seven
nine
ten
eleven
weather =
The [wind|rain] [rattled|shook|pushed at|worried at|leaned on] the [windows|shutters|door|gate|roof].
It had [rained|snowed|blown|poured] [all night|since morning|for three days|without a stop|since Sunday].
[Fog|Mist] lay [over|on] the [fields|roofs|water|road|hills] [like milk|like wool|and would not move|and swallowed every sound].
[The sun|A pale sun|A big red sun] [hung|stood] [low over|just above|behind] the [roofs|trees|hills|chimneys].
[Snow|Frost] [covered|lay on|sparkled on] [every roof and every branch|the ground|the steps|everything].
There was not a [breath of wind|cloud in the sky|leaf moving|sound to be heard].
[Clouds|Grey clouds|Big white clouds] [sailed|hurried|rolled|drifted] [over|past] [the hills|the chimneys|like ships|as if they were late].
The air [smelled|tasted] of [snow|rain|cut grass|smoke|wet leaves|hay|salt|thunder|apples].
[Thunder|A storm] [grumbled|muttered|rumbled] [far away|behind the hills|over the water].
It was so [hot|cold|wet|windy] that [even the dogs stayed indoors|nobody went out without need|the hens would not leave their house|the milk turned|people talked of nothing else|the washing froze on the line|birds sat about with their beaks open].
The [first stars|moon|evening star] [came out|had just risen|showed above the trees|stood over the barn].
[A thin rain fell|Drizzle blew about|A few flakes fell], [hardly worth an umbrella|the kind that gets into your collar|and the lamps were lit early].
sense =
{^pl.at}, {@detail}, and {@detail}.
{^pl.at} {@detail}.
[It was busy|It was quiet|Things were as usual|It was never quite still|There was always something to look at] {pl.at}: {@detail}, {@detail}[|, and {@detail}].
[As always|That day|As ever], {@detail}, and {@detail}.
{^@detail}, and {@detail}.
{^@detail}. {^@detail}.
detail =
{#detail}
micro =
Nobody spoke.
[Nobody moved|It was very quiet|Everybody waited].
[Somewhere|Far off] [a door banged|a clock struck {@hour}|a bell rang|a dog barked].
feelsad =
{h} had a lump in {h.his} throat[| as big as a [plum|walnut|potato]].
{h'} [shoulders|eyes|chin] [sank|stung|trembled].
{h} [swallowed|sniffed|blinked] [hard|twice|several times], but it didn't help.
{h} did not feel like [supper|talking|anything at all].
{h} [sat down|sank down] on [the step|a stone|the bottom stair|an upturned bucket|the kerb|the edge of the bed] and [put {h.his} head in {h.his} hands|stared at {h.his} feet|said nothing for a long time].
Two [big|hot|slow] tears ran down {h'} nose[| and dripped off the end].
{h} felt as [small as a button|heavy as a wet sack|flat as a pancake|empty as an old jar].
{h} kicked [a stone|the wall|at a tuft of grass], and [it hurt|that did not help|only hurt {h.his} toe].
[All the fun had gone out of the day.|The whole day had turned grey.|It was as if somebody had blown out a lamp.]
feelglad =
{h} [felt warm|felt light|felt it] [right down to {h.his} toes|all over|from top to toe].
{h} [could not stop smiling|grinned from ear to ear|smiled so hard that {h.his} cheeks hurt].
{h} [wanted to shout|could have hugged the whole world|felt a good deal taller|felt as if {h.he} could fly].
{h'} heart [gave a jump|gave a skip|was thumping like a drum|sang].
{h} [laughed out loud|let out a whoop|clapped {h.his} hands|spun round on {h.his} heels].
{h} was [so pleased|so happy|so proud] that {h.he} [forgot to be hungry|forgot {h.his} hat|couldn't sleep that night|told everyone {h.he} met].
feelafraid =
{h'} [knees|hands] [shook|trembled|felt like water].
{h'} teeth [began to chatter|would not keep still].
{h'} mouth [went|was] [dry|dry as flour].
{h} could hear {h.his} own heart[|, quick and loud| going like a mill].
{h} wanted to run[| away], but {h.his} feet [would not move|had other ideas|stayed where they were].
{h} held {h.his} breath[ and counted to [ten|five|twenty]|| and listened].
A cold shiver ran down {h'} back.
{h} [shut {h.his} eyes tight|pressed {h.his} lips together|took hold of the [wall|gate|door]] [for a moment|and waited|and went on].
think =
{h} thought [and thought|about it all [day|evening|through dinner]|hard|for a long time].
{h} [turned it over in {h.his} mind|chewed on it] [like a toffee|all the way home|as {h.he} [walked|ate|lay in bed]].
[That night|For a long while|All through supper] {h} [lay awake|could think of nothing else|said hardly a word].
{h} [walked up and down|went round in a circle|stood quite still|sat on the fence] and [thought|tried to think|waited for an idea].
<h/th:There must be [a way|something I can do|somebody who knows|another way].>
then =
Then
After that
A little later
[A moment|A minute|An hour|A while] later
[Next|And so|So]
Before long
[The next|Next] [morning|day]
[By and by|Presently|In the meantime]
atlast =
At last
[In the end|Finally]
After [an hour|a long while|a great many tries|what felt like a year]
[Little by little|Slowly|Bit by bit]
[Just as|The very moment] {h} was about to give up,
sudden =
[Suddenly|All at once|Just then|At that moment|Without warning]
[Out of nowhere|Before anyone could blink|In the same moment]
[Then, with a bang,|Then, without a sound,|And then]
try1 =
First {h} [tried the simple thing|did what anybody would do|did the first thing that came into {h.his} head].
{h} [rolled up {h.his} sleeves|took a deep breath|spat on {h.his} hands|wasted no time] [and set to work|and began|and got going].
{h} [was not one to give up|was not going to sit and wait|made up {h.his} mind to do something|decided to start at once].
<h/firm:[I'll|I will] [see to it|manage it|do it|take care of it][ myself|| somehow].>
<h/firm:[Well|Right|Very well], [sitting here won't help|standing about won't mend it|let's begin|somebody has to do something].>
fail =
It was no [use|good].
[Nothing happened.|Nothing at all happened.|That did not work.|It did not work.|That was no help.]
[That only made it worse.|That made things worse.|It was worse than before.]
[So that was that.|So much for that.|So that was no good.]
<h/cross:[Bother|Bah|Oh no|Blast it|Of all the rotten luck]!>
<h/sad:[It won't work|It's no good|I can't do it|I knew it].>
[That might have worked for somebody else.|It had seemed such a good idea.]
offer =
<q:[What's the matter|What's wrong|Why the long face|What's all this|What are you up to|Is something wrong], {h.name}?>
<q:[You look|You seem] [worried|as if you had lost something|like a wet week|as if you'd swallowed a fly].>
<q:[Can I help|May I help|Do you want a hand|Could you use some help]?>
<q:[Tell me about it|Out with it|Let's hear it|Come in and tell me], {h.name}.>
tell =
{h} told {q>} [everything|the whole story|all about it|what had happened].
{h} [explained|poured it all out|told the story from the beginning], and {q} [listened|did not interrupt once|nodded now and then|listened to the very end].
[So|And so] {h} told {q>}, [and it all came out in a rush|starting at the wrong end|with a good many sniffs|as well as {h.he} could].
meet =
{q!} [happened to come by|came along the road|was just passing|came round the corner|was there already|looked over the fence].
[Just then|As luck would have it|At that very moment] {q!} [came by|came along|passed|turned up|was on the way home].
{h} [ran|hurried|went] [straight|off|over] to {q!}.
{h} [went to see|asked|turned to|thought of] {q!}, who [knew a thing or two|was never too busy to listen|lived close by|had seen a good deal of the world|always had an answer].
Who should come along [then|at that moment] but {q!}!
thanks =
<h/glad:[Thank you|Thank you, thank you|Oh, thank you|How can I thank you], {q.name}!>
<h:[I don't know how to thank you|I could never have done it alone|I won't forget this].> <q:[Then don't|You did the hard part|Oh, it was nothing|You would have done the same].>
{h} thanked {q>} [three times|with all {h.his} heart|until {q} laughed|and meant it].
{h} [hugged {q>}|shook {q'} hand] [hard|for a long time|so hard that {q} gasped].
humour =
[The cat|A hen|The dog|A pigeon|The goose|A fat sparrow] [watched|looked on] [as if it had paid for a ticket|with great interest|and did not think much of it|from the [wall|gate|roof]].
[It|That] [was not elegant|was not pretty|did not look very grand], but it [worked|would do|was quick].
There was [mud|flour|soot|paint|jam|straw|dust] [on {h'} nose|in {h'} hair|up to {h'} elbows|everywhere], and nobody [minded|said a word about it|cared].
home =
{h} [went|walked|ran|came|set off] home [through the dusk|under the stars|by the short way|in the last light|with {h.his} hands in {h.his} pockets|tired and content|whistling].
[It was dark|It was nearly dark|The lamps were lit|The moon was up|Supper was on the table] when {h} [got home|came in|came home|shut the door behind {h.him}].
[That evening|That night|Before supper|At bedtime] {h} [told the whole story|told it all again|had a great deal to tell] [at the table|to anyone who would listen|by the fire|from the beginning|twice].
quiet =
[That night|Later|In bed that night] {h} lay [and listened to the [rain|wind|owls|sea|clock]|awake for a while|thinking of it|under the blanket], [and fell asleep smiling|and was asleep before {h.he} knew it|warm and tired].
[Outside|Far away|Somewhere] [a dog barked|an owl called|a bell rang|the wind went on|it began to rain], and [inside|by the stove|in the kitchen] it was [warm|quiet|bright].
[The rest of the day|The rest of the evening|The rest of that week] was [quite ordinary|very quiet|as usual], and {h} did not mind at all.
[Nobody spoke of it much|It was never much talked of] [afterwards|after that], but {h} [never forgot it|thought of it every [spring|winter|summer|autumn]|kept it in mind].
food =
[They had|{^#who} brought|Everyone shared|They ate|{^#who} had made] {food}[| for supper|, still hot|, and there was enough for everyone|, and {#who} took the last bit].
[Afterwards|Then|To celebrate,] they [sat down|sat by the fire|sat on the steps] [and ate|with] {food}[|, and nobody spoke until it was gone].
end_courage =
[Being brave does not mean [not being afraid|having no fear], {h} [thought|decided|found out]. It means [going on all the same|doing it anyway]|{^#who} says one gets used to anything. {h} [isn't so sure|nodded], but the next time was easier].
[After that|From then on|Ever after] {h} [was still afraid sometimes|still shook a little now and then], but {h.he} knew [what to do|that it would pass|how to take the first step].
<h:I was afraid [all the time|from beginning to end].> <q:[So was I|Of course you were|I know], and you did it [all the same|anyway]. That's what counts.>
end_kind =
[One good turn had led to another.|One kindness had brought another.|A kindness is seldom lost.|Kindness finds its way home.]
[It had cost {h>} only|All it had cost was] [a little time|an afternoon|a few steps|some trouble|a bit of {#food}], and it had [changed everything|made a friend|made the whole day bright, for {#who} too].
<q:[If you ever need anything|Whenever you need help|Should you ever be in trouble], [call me|come to me|you know where I live].>
end_work =
[Good things take time|Good work takes time|It takes as long as it takes], {h} [said|would say] [later|whenever anyone asked|with a shrug].
[Whenever|Each time] something was hard [after that|from then on], {h} [remembered that day|thought of it|tried just once more].
[Nobody is born knowing|You cannot know a thing before you learn it], {q} [always said|used to say]. {h} [had to agree|knew now that it was true].
end_honest =
[The truth had been|Telling the truth had been] [heavy to lift|hard to say|bitter for a minute], but it was [light to carry|soon over|better than a bad night].
{h} slept [better|well] that night [for the first time in days|than {h.he} had all week|without a single dream].
<q/soft:I'd rather have [a broken thing and a true word|the truth and a mess] than [a whole shelf of lies|a tidy lie].>
end_friend =
[They have been friends|The two of them have been friends|They were friends] [ever since|from that day on|as long as they lived].
[Two are better than one|It is good to have company|Half a trouble is easily carried], especially [on a dark road|in bad weather|when there is washing-up to do|with {#food}|when {#who} is cross].
And [when it rains|on Sundays|to this day|whenever they can] they [sit together|meet|share a [bun|bench|pot of tea]] and [laugh about it|talk about that day|tell it all again].
end_clever =
[A small idea|A quiet idea|A good idea] is [sometimes stronger than|worth more than] [a strong arm|ten strong arms|a great deal of shouting].
<q:How did you think of [that|it]?> <h:[I just looked at it the other way round|I stopped pulling and started thinking|I don't know. It was simply there|I asked myself what [water|a cat|my grandmother] would do].>
[After that|From then on], when anyone [was stuck|had a riddle|did not know what to do], they said, "Ask {h.name}."
end_any =
[And that was that.|And so it stayed.|That is all there is to tell.|That is how it was.|And that is the whole story.]
[The end.|Here the story ends.|And there we'll leave them.]
[It had been|What] [a good day|a long day|quite a day|a day to remember], [all in all|take it all round|from beginning to end].
<h:[What a day|Well, well|Who would have thought it]!> [And {h.he} meant it.|And there was nothing more to say.|]
[The next|Next] morning [the sun came up|the cock crowed|the bells rang|it rained] [as if nothing had happened|as on any other day|and there was {#food} for breakfast].
[Years later|Long afterwards|Weeks later] {h} still [smiled|laughed] [when {h.he} thought of it|about it].
trait_line =
{h} was {h.trait}[|, everybody said so|, most of the time|, and {h.his} [friends|neighbours|family] knew it].
[People said|Everyone agreed|It was well known] that {h} was {h.trait}[|, and they were right|, and a little {trait2} too].
If there was one thing {h} [could not stand|did not like], it was [waiting|being late|porridge|a closed door|getting up|wet socks|being told to hurry|a loose button].
{h} liked [rain|maps|old songs|long words|high places|the smell of bread|quiet corners|stories about the sea|counting things|being first|being left in peace] [better than anything|more than {h.he} could say|very much].
{h} [always had|was never seen without|went nowhere without] [a piece of string in {h.his} pocket|{h.his} {keep}|a hole in one sock|a question to ask|a song in {h.his} head].
{h} [collected|drew|knew all about|dreamed of] [stones with holes in them|clouds|ships|beetles|lost buttons|birds|old keys|stars].
animal_line =
{h} [was very fond of|thought the world of|got up early for|could never have enough of] {h.food}[|, and of {#food}| and hardly ever shared it].
{h'} {h.home} was [small but dry|neat|never tidy|the best for miles around|just big enough for one|always open to guests].
{h} was {h.trait}, [for a|even for a] {h.kind}.
Nobody [could|knew how to] {h.gift} [like {h.name}|as well as {h.name}|better than {h.name}], or so {h} [believed|said|hoped].
""")

# A character's opening: who, where, when.
rules(r"""
open_child =
{h!} lived in {home}, with {family}.
[Once|Once upon a time|Long ago|Not so long ago|Years ago], [there was {h.a} called {h!}, who lived|{h!} lived|{h.a} named {h!} lived] in {home}.
In {home} lived {h.a} [named|called|by the name of] {h!}[|, who was {h.age} years old|, the youngest of [three|four|five]].
{h!} was {h.age}, and {@wish0}.
[My friend|My cousin|The {h.kind} next door,] {h!} [is|was] [the most {h.trait} person I know|as {h.trait} as anyone I know]. Let me tell you what happened {@when}.
Everybody in {home} knew {h!}. {h.he} was [the {h.kind} with|the one with] [the loud laugh|the red boots|the untied laces|all the questions|ink on {h.his} fingers|scabs on both knees|the gap in {h.his} teeth].
{^pl.at}, {@detail}. {h!} [sat|stood|waited] there {@when}, [thinking|doing nothing|with {h.his} chin in {h.his} hands|swinging {h.his} legs].
{@weather} {h!} [looked out of the window|pulled on {h.his} coat|stood in the doorway|came out of the house].
{^@when}, {h!} was {pl.at}. {^@detail}[|, and {@detail}].
[Every|Each] [morning|evening|Saturday|day after school|Sunday], {h!} [went|walked|ran] {pl.to}[|, whatever the weather| to see what was new].
What do you do when [nothing goes right|you are {h.age} and nobody listens|something is too big for you|you don't know what to do]? {h!} [found out|had to find out] {@when}.
[There are|In this world there are] people who [never lose anything|are always on time|know what to say|are never in trouble]. {h!} was not one of them.
{h!} [had|has] [two|three|no] [brothers|sisters|cousins] and [one|a|only one] [goldfish|dream|good coat|bad habit|secret|pair of shoes], and this story is about [{h.him}|one day in {h.his} life].
<h/-:[Wait for me!|Look!|I'm coming!|Not again!|Is it time yet?|Where is {#who}?|There's {#food} for breakfast!]> {@beat_h}
The [smallest|last|oldest|noisiest] house in [the street|the village|town] belonged to {h'} family. {h!} [slept under the roof|had the room with the round window|shared a bed with {h.his} brother|knew every creaking board in it].
It was {@when2}. {h!} [yawned|stretched|looked up|had just sat down].
Nobody [knew|could say] [where|why] {h!} had [got the idea|learned to be so {h.trait}|found the time], but {@when} it all began.
[If you had asked {h!}, {h.he} would have said|Ask {h!}, and you would have heard] that [nothing ever happened|all days were the same] in {home}. That was before [Tuesday|Thursday|last week|this story|the autumn].
open_grown =
{h!} [had been|was] {h.jobname} in {home} for [twenty|thirty|eleven|forty|seven] years.
In {home} there lived {h.jobname} [named|called] {h!}.
{h!}, {h.jobname}, [got up|rose] [before the sun|at five|before the birds] [every morning|each day], [and was never late|as {h.his} father had done|and liked it that way].
Once there was {h.jobname} called {h!} who [lived alone|talked to {h.his} tools|sang at work|could not whistle|had never been ill].
[It is not easy|It isn't easy] to be {h.jobname}. {h!} knew [that|this] better than anybody.
{@weather} {h!}, {h.jobname}, [blew on {h.his} hands|lit the lamp|opened the shutters|put the kettle on].
open_animal =
[Once|Once upon a time|Long ago|In the old days|One year], [there lived {h.aa}|there was {h.aa}] who lived in a {h.home}.
{h.Aname} lived in a {h.home} [not far from|close to|on the far side of|within sight of] {pl.the}.
{^pl.at}, where {@detail}, [there lived|lived] {h.aa}.
{^@when}, {h.Aname} [woke up|came out|put {h.his} nose out of the {h.home}|was looking for {h.food}].
{@weather} {h.Aname} [looked out of {h.his} {h.home}|shook {h.self}|yawned|had not had breakfast yet].
Of all the animals {pl.at}, {h.Aname} was the most {h.trait}.
{h.Aname} had [one great love: {h.food}|never been farther than {pl.the}|lived in the same {h.home} since {h.he} was born].
[Do you know|Have you heard of] {h.Aname}? [No? Then listen.|{h.he} lives in a {h.home}, {pl.at}.|It's a short story, but a true one.]
<h/-:[I smell {h.food}|Good morning, world|What a day|Who's there|Is anybody up|I'm hungry]!> [That was|It was] {h.Aname}, as always the [first|last] out of bed.
Most {h.kinds} are [shy|greedy|in a hurry|quiet]. {h.Aname} was not like most {h.kinds}.
beat_h =
{h!} came [running|flying|tumbling|hopping on one leg] [down the stairs|round the corner|through the gate|out of the house].
It was {h!}, of course, {h.age} years old and [late|out of breath|wide awake|covered in dust].
The voice belonged to {h!}, {h.a} of {h.age}.
wish0 =
[wanted one thing only|had only one wish|knew exactly what {h.he} wanted|had never been in trouble before|had a birthday coming]
[the whole of {home} knew it|proud of it|already the tallest in {h.his} class|the oldest of four]
when2 =
[Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday], and {@wsmall}
[spring|summer|autumn|winter], and {@wsmall}
[morning|evening|noon|past bedtime|nearly dark|barely light], and {@wsmall}
wsmall =
the [rain|wind|snow|sun|fog] [was in no hurry to go|had come to stay|was on the roof|was everywhere]
[somebody was frying onions|the whole house smelled of soap|a cock crowed|the street was still asleep|a door banged]
there was [ice on the puddles|dew on the grass|dust in the air|nobody about|music somewhere]
""")
