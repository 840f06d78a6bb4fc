"""The last layer of the realiser: words and phrases that can stand for one another, short sentences joined, a time or a manner
put in front. Every story has its own taste (contractions or none), so that it reads as one voice."""

import re

# Each line: phrases that can stand for one another everywhere they are used here.
GROUPS = """
at once|straight away|right away
began to|started to
for a long time|for a good while|for ages|for quite some time
for a while|for some time
for a moment|for a second|for an instant
after a moment|after a second|after a pause|after a short silence
a little later|a bit later|some time later|a short while later
looked up|glanced up|raised {his} head
looked round|looked around|looked about
went home|walked home|made {his} way home
climbed up|clambered up|scrambled up
picked up|lifted
put down|set down|laid down
sat down on|sank down on|settled on
thought hard|racked {his} brains|thought it over
every day|day after day|each day
all night|all night long|the whole night|until morning
all at once|suddenly|all of a sudden
just then|at that moment|at that very moment|right then|that very second
by and by|after a time|in due course
again and again|over and over|time and again
once more|again|one more time
more and more slowly|ever more slowly|slower and slower
little by little|bit by bit|inch by inch|by slow degrees
very happy|very glad|overjoyed|as happy as could be
very sad|very unhappy|miserable|heavy-hearted
very tired|worn out|dog-tired|tired to the bone
very hungry|starving|ravenous|hungry as a wolf
very quiet|silent|as quiet as a mouse|hushed
very loud|deafening|loud as thunder
very carefully|with great care|ever so carefully|as carefully as possible
was afraid|was scared|was frightened
was angry|was cross|was furious|was in a temper
was surprised|was astonished|was amazed|was taken aback
nodded slowly|nodded
shook {his} head|gave a shake of the head
laughed out loud|burst out laughing|roared with laughter
laughed until|laughed till|giggled until
nobody|no one
somebody|someone
nothing happened|nothing at all happened|nothing came of it
It was no use|It was no good|It was useless
That did not work|That didn't work|That came to nothing|That was no help|No luck
beside|next to
a piece of|a bit of|a scrap of
shone|glittered|gleamed|sparkled
ran away|ran off
beautiful|lovely|splendid|wonderful
silly|foolish|daft
clever|bright|quick-witted
from then on|from that day on|after that
then|next
and so|so
loudly|at the top of {his} voice
gently|tenderly|with a light touch
carefully|with care|cautiously
happily|cheerfully|merrily|in high spirits
proudly|with {his} head held high
a long way|a good distance|quite a way
three times|three times over
took a deep breath|drew a deep breath|breathed in deeply
held {his} breath|did not dare to breathe|hardly breathed
could not sleep|could not get to sleep|lay wide awake
woke up|awoke|opened {his} eyes
got up|rose|stood up
cold|chilly|icy
warm|nice and warm|snug
dark|pitch-dark|black as ink
bright|dazzling|brilliant
wet|damp|soaking
empty|quite empty|bare
full of|filled with|crammed with|bursting with
heavy|very heavy|as heavy as lead
tired|weary|worn out
hungry|famished|hollow with hunger
happy|glad|content|cheerful
glad|happy|delighted
afraid|frightened|scared
angry|cross|annoyed
surprised|astonished|amazed
grumbled|growled|muttered
""".strip().splitlines()

# Words that are replaced only outside of speech and only before or after certain words would be unsafe; keep those out.
SKIP = {"but", "then", "next", "hard", "near", "only", "some", "so", "enough", "full of", "fast", "dry", "bright", "dark", "wet", "cold", "warm", "tired", "happy", "glad", "alone", "empty",
        "easy", "clean", "bore", "saw", "rose", "again", "afraid", "cross", "heavy", "hungry", "angry", "surprised", "stopped", "clever", "silly", "whole", "a few", "black as ink", "old and worn"}

CONTRACT = [("did not", "didn't"), ("could not", "couldn't"), ("was not", "wasn't"), ("would not", "wouldn't"), ("had not", "hadn't"), ("were not", "weren't"), ("does not", "doesn't"),
            ("do not", "don't"), ("is not", "isn't"), ("cannot", "can't"), ("it is ", "it's "), ("I have ", "I've "), ("I am ", "I'm "), ("I will", "I'll"), ("that is ", "that's ")]

CONTRACT = [(a.strip(), b.strip()) for a, b in CONTRACT if a != "I have "]
SHORTER = dict(CONTRACT)
SHORT = re.compile(r"\b(" + "|".join(a for a, _ in CONTRACT[:6]) + r")\b")
SHORTS = re.compile(r"\b(" + "|".join(a for a, _ in CONTRACT) + r")\b(?![.,!?])")
TABLE = {}
for line in GROUPS:
    members = line.split("|")
    for member in members:
        if "{" in member or member in SKIP:
            continue
        TABLE.setdefault(member.lower(), members)
PATTERN = re.compile(r"\b(" + "|".join(sorted(map(re.escape, TABLE), key=len, reverse=True)) + r")\b(?!-)", re.I)
LEADS = "After a moment|A moment later|Without another word|Then|So|And so|After that|A minute later|At that".split("|")
SUBJECT = re.compile(r'(?<=[a-z][.!?] )(He|She|I) (?=(?:[a-z]+ed|went|took|ran|put|came|sat|stood|held|thought|told|gave|made|brought|found|looked|climbed|got|threw|set)\b)')
JOIN = re.compile(r'(?<=[a-z])\. (He|She|I) (?=(?:[a-z]+ed|went|took|ran|put|came|sat|stood|held|gave|made|brought|found|got|threw|set)\b)')



def vary(text, rng, taste):
    """A paragraph with some of its phrases changed."""

    def change(match):
        word = match[0]
        new = rng.choice(TABLE[word.lower()])
        if "{" in new or rng.random() > 0.62:
            return word
        return new[:1].upper() + new[1:] if word[0].isupper() else new

    parts = text.split('"')
    for i, part in enumerate(parts):
        part = PATTERN.sub(change, part)
        if i % 2 == 0:
            if taste["join"]:
                part = JOIN.sub(lambda m: rng.choice([". %s " % m[1]] * 3 + [", and %s " % (m[1] if m[1] == "I" else m[1].lower())] * 2) , part)
            if taste["lead"]:
                part = SUBJECT.sub(lambda m: m[0] if rng.random() > 0.1 else "%s %s " % (rng.choice(LEADS) + ("," if rng.random() < 0.75 else ""), m[1] if m[1] == "I" else m[1].lower()), part)
            if taste["contract"] > 1:
                part = SHORT.sub(lambda m: SHORTER[m[0]], part)
        elif taste["contract"]:
            part = SHORTS.sub(lambda m: SHORTER[m[0]], part)
        parts[i] = part
    return '"'.join(parts)


def taste(rng):
    return {"contract": rng.choice([0, 1, 1, 2]), "join": rng.random() < 0.7, "lead": rng.random() < 0.7}
