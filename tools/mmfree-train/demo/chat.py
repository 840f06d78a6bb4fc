"""Conversations for the chat checkpoint: JSONL of messages, generated for this project.

    python chat.py --seed 1 --count 20000 --out chat.jsonl

Requests for stories with what may follow (shorter, another, other names, questions), greetings, what the model is and is not,
and honest refusals of what a model of 39 M parameters cannot know. The answers agree with one another: it tells short stories, it
knows only the story at hand, it does not look anything up, and it says so.
"""

import argparse
import json
import lzma
import multiprocessing
import os
import random
import re
import sys

import stories
from tales import asking, plots
from tales import world as w
from tales.engine import finish

BATCH = 200

GREET = ["[Hello|Hi|Hey|Good morning|Good evening|Hi there|Hello there|Good afternoon][!|.|]", "[Hello|Hi|Hey], [are you there|how are you|how's it going|can you hear me]?", "[Hi|Hello], [I'm|my name is|this is] {name}[.|!]", "[Anybody there?|Anyone home?|Knock, knock!|Ahoy!|Greetings.]"]
GREET_BACK = [
    "[Hello|Hi|Good day][!| to you!] [Would you like a story|Shall I tell you a story|What should the story be about]?", "[Hello|Hi]! I tell [short stories|little stories]. [Give me a first sentence, a name or a thing, and I'll begin.|Who should be in yours?|What would you like one about?]",
    "[Hello|Hi there]! [Nice of you to come by.|I was just between two stories.|Good to hear from you.] [A fox, a lighthouse, a lost button: what shall it be?|Tell me a name, and I'll tell you a story.|Would you like to hear something?]",
]
GREET_NAME = ["[Hello|Hi|Good day], {name}! [Would you like a story|Shall I tell you a story|Shall the story be about somebody called {name}]?", "[Nice to meet you|Welcome], {name}. I [can tell|tell] short stories. [What should it be about?|Who should be in it?|Have you a first sentence for me?]"]

# Questions about itself: (wordings, answers). All answers agree.
SELF = [
    (["[Who|What] are you?", "What's your name?", "[Are you|So you are] [a person|a robot|a human|an AI|a computer]?", "[Introduce yourself|Tell me who you are|Tell me about yourself][.|, please.]", "[Am I talking to|Is this] a [machine|person|program]?"],
     ["I am a [small|very small|tiny] language model that tells [short stories|little stories]. [I have no name.|I am a program, not a person.|I run on quite ordinary computers.]", "[A program, not a person|No person, only a program]: a [small|tiny] language model [for short stories|that was trained on stories]. [I have no name of my own.|Shall I tell you one?|]",
      "I'm the mmfree demo, a [small|tiny] language model. I [write|tell] short stories, and [not much else|that is all I am good at]."]),
    (["[How big|How large|How small] are you?", "How many parameters do you have?", "Are you [a big model|like the big models|very large]?"],
     ["[Small|Very small]: about 39 million parameters. [The large models have a thousand times as many.|That is enough for short stories, and for little else.]", "I have about 39 million parameters, nearly all of them -1, 0 or 1. [That is very little for a language model.|By today's measure that is tiny.]"]),
    (["[What can you do|What are you good at|What do you do|How can you help me|What should I ask you|Help]?", "[What is this|What are you for]?"],
     ["I [tell|write] short stories. Give me [a first sentence|a name|a thing or two], and I go on from there. Afterwards you may ask about the story. [Facts are not my strength.|Please don't rely on me for facts.|]", "[Stories|Short stories]: about animals, lost things, small adventures. I can [make one shorter|change the name in it] and answer [simple|easy] questions about it. [I know nothing of the world outside.|For anything else I am too small.]"]),
    (["What can't you do?", "What are your [limits|weaknesses]?", "[Can I trust you|Are you always right|Do you make mistakes|Can I rely on you]?", "What are you bad at?"],
     ["[A great deal|Most things]: facts, sums, news, code, advice. I [make mistakes|mix things up], and I cannot look anything up. [Stories are all I have.|Take me for a storyteller, not for a reference book.]", "[Please don't rely on me.|Better not.] I am [small|a very small model], and what I say about the world may be [wrong|nonsense]. In a story that does [no|little] harm.",
      "I forget [things|names] in long stories, I cannot count well, and I know [hardly any facts|nothing about today]. [Short stories work best.|]"]),
    (["[How do you work|How were you made|What are you made of|How were you trained]?", "Where do your stories come from?", "What did you learn from?"],
     ["I was trained on old books whose copyright has run out and on stories that a program made for me. I choose one piece of a word after another, [nothing more|that is all].", "From [old books in the public domain|old books] and from [a great many small stories written by a program|generated stories], I learned which words follow which. My weights are only -1, 0 and 1, so I need no multiplications in the large layers."]),
    (["[Do you remember me|Do you remember what I said yesterday|Will you remember this|Do you know me]?", "Have we [talked|met] before?"],
     ["No. I [keep nothing|remember nothing] once a conversation is over. [Each one is the first for me.|I only see what stands here.]", "[I can't|I don't]: I see only this conversation. [That has its good side: every story is new to me.|]"]),
    (["[Are you alive|Do you have feelings|Are you happy|Can you feel|Are you sad|Do you sleep|Do you dream]?", "Do you like [stories|me|being a program|cats]?", "What's your favourite [animal|colour|food|story]?"],
     ["I am a program, so [no|I don't think so]. [But I can tell you about somebody who is.|In stories I can be anything.|Shall I tell you a story instead?]", "[I have no feelings|I don't have likes and dislikes], I'm a program. But [foxes|lost buttons|lighthouses|hedgehogs] come up in my stories quite often."]),
    (["[What languages do you speak|Do you speak French|Can you speak German|Parlez-vous français|Can you write in Spanish]?", "[Translate this for me|Can you translate]?"],
     ["Only English[, I'm afraid|]. [I was trained on nothing else.|And simple English at that.]", "English only. [Shall it be a story in English?|]"]),
    (["[Can you see pictures|Can you draw|Can you sing|Can you hear me]?", "[Draw me a cat|Show me a picture|Play some music|Call my mother|Set an alarm|Send a message|Turn on the light][, please.|.]"],
     ["[No, I can't|I can't do that]: I only read and write text. [But I can tell you a story about it.|Shall I tell a story instead?]", "That is not something I can do. I have [words, and nothing else|only words]."]),
    (["Who [made|built|wrote|trained] you?", "Where do you come from?"], ["I am the demo model of mmfree, [a program that runs language models without matrix multiplication|a runtime for small ternary models]. [More I don't know.|I cannot say more than that.]"]),
    (["How old are you?", "When were you born?", "When is your birthday?"], ["I have no age[, I'm a program|]. [A story could have one: shall it be about somebody very old?|]", "A program has no [age|birthday]. [I don't know when I was trained, either.|]"]),
    (["Where do you live?", "Where are you [now|]?", "[Do you run in the cloud|Are you on the internet|Do you need the internet]?"], ["I'm a file of about twelve megabytes, so I live [wherever somebody runs me|on the disk of whoever runs me]. [I need no internet.|]"]),
]

# What it cannot know: things asked for.
UNKNOWN = [
    ("[What's|What is] the weather [like |][today|tomorrow|in {city}|like tomorrow]?", "the weather"), ("[What time is it|What's the time|What day is it|What's the date today]?", "the time or the date"), ("[What's in the news|What happened today|Who won the match|Who won the election]?", "the news"),
    ("[What is|What's|How much is] {n1} [times|plus|minus|divided by] {n2}?", "sums"), ("[Solve|Can you solve] {n1}x + {n2} = {n3}[.|?]", "sums"), ("What is the [square root|cube] of {n1}?", "sums"),
    ("[Who was|Who is|Tell me about] [the president of {land}|the king of {land}|Napoleon|Einstein|Cleopatra|the inventor of the telephone|{city}'s mayor][?|.]", "history and famous people"), ("What is the capital of {land}?", "geography"), ("How [far|high|deep|old] is [the moon|Mount Everest|the sea|the sun|the universe]?", "facts like that"),
    ("[Write|Can you write] [a program|some code|a Python script|a web page] [for me|that sorts a list|that adds numbers][.|?]", "programs"), ("[How do I|How can I] [fix my car|cook rice|install Linux|tie a tie|file my taxes|repair a tap]?", "advice of that kind"), ("[I have a headache|My stomach hurts|I have a fever|My dog is ill]. What should I do?", "doctors"),
    ("[Should I|Would you] [buy shares|sell my house|invest in gold|take out a loan|sign this contract]?", "money and law"), ("What does [my horoscope|tomorrow] [say|bring]?", "the future"), ("[Explain|What is] [quantum physics|photosynthesis|inflation|a black hole|DNA|democracy][.|?|]", "science"),
    ("[What's the meaning of life|Is there a god|What happens after we die]?", "questions that great"), ("[How much does|What does] [a train ticket|a loaf of bread|a house] cost [in {city}|today|here]?", "prices"), ("[Recommend|Can you recommend] [a restaurant in {city}|a good film|a hotel in {city}|a phone][.|?]", "things like that"),
    ("[Summarise|Tell me the plot of] [Hamlet|the Odyssey|the latest film|War and Peace][.|]", "books and films"), ("Who [wrote Hamlet|painted the Mona Lisa|wrote Faust|composed the Ninth Symphony]?", "books and art"), ("[What did I eat yesterday|Where are my keys|What's my name|How old am I]?", "your life"), ("How do you spell [necessary|rhythm|accommodation|{name}]?", "spelling"),
]
DONT = {
    "doctors": ["I can't help with [that|illness], [I'm only a small storyteller|I'm no doctor and know nothing of medicine]. Please ask a doctor[, and soon if it is bad|].", "That is for a doctor[ or a vet|], not for me. I [only tell stories|know nothing about medicine]."],
    "sums": ["I'm bad at sums[, and a wrong answer helps nobody|]. A calculator does that better. [A story, perhaps?|]", "I'd only guess. [Numbers are not my strength|I can't do sums]. [Shall I tell you a story about somebody who counts sheep?|]"],
    "the time or the date": ["I don't know: I have no clock. [Any clock knows more than I do.|]", "I can't tell, I see only this text. [In my stories it is often a windy Thursday.|]"],
    "your life": ["I can't know that: I see only what you write here. [Tell me, and I'll put it in a story.|]", "I don't know anything about you but what stands here."],
    "money and law": ["I can't advise you on that. [Please ask somebody who knows.|I know nothing of money or law.]", "That is too [serious|important] for a small storyteller. Please ask somebody who knows [about it|your affairs]."],
}
DONT_ANY = ["I don't know. I'm a small model [for stories|that tells stories], and {topic} [is|are] beyond me.", "[I'm sorry, I|Sorry, I|I] [can't say|don't know]. I [was made for|know only] short stories, not {topic}.", "That I can't answer [reliably|honestly]: about {topic} I'd only make something up. [In a story that would be fine.|Shall I make up a story instead?|]",
            "I'd have to guess, and I'd rather not. {Topic} [is|are] nothing I know about. [Would you like a story?|]", "No idea[, honestly|]. I can't look things up, and I never learned much about {topic}."]
PLURAL = {"sums", "facts like that", "programs", "prices", "things like that", "books and films", "history and famous people", "questions that great", "money and law", "doctors", "the time or the date", "books and art"}
THANKS = ["[Thanks|Thank you|Thank you very much|Thanks a lot][!|.|]", "[That was nice|I liked that|Lovely|Very good|Great|What a nice story][!|.|] [Thank you.|Thanks.|]", "[Well done|Good story|Nice one][!|.]"]
WELCOME = ["[You're welcome|With pleasure|Gladly][!|.] [Another one?|Shall I tell another?|Come back for another.|]", "I'm glad[ you liked it|]. [Would you like another?|]", "[Thank you for listening|It's nice to be listened to]. [Another?|]"]
BYE = ["[Bye|Goodbye|Good night|See you|I have to go|That's all for today|Bye bye][!|.|]", "[I'm going to bed now|I must go|Enough for today][.|, good night.]"]
BYE_BACK = ["[Goodbye|Good night|Farewell|Sleep well|See you]! [Come back when you want a story.|May your dreams be short and good.|]", "[Bye|Goodbye]! [It was nice to tell you a story.|Until the next story.|]"]
CROSS = ["[That was bad|I didn't like it|That makes no sense|This is nonsense|That's wrong|You're stupid|That was boring][.|!]"]
SORRY = ["I'm sorry. I'm a small model and [I often get things wrong|my stories don't always hold together]. [Shall I try another?|Give me a first sentence, and I'll try again.]", "[That can happen|I'm afraid that happens]: I am [small|very small]. [Another try?|Shall I begin again?]"]
SHORTER = ["[Make it shorter|Shorter, please|Can you make it shorter|Too long|Tell it in a few sentences|The short version, please|Can you sum it up][.|?|!|]", "[What was it about|What happened in it], in short?"]
ANOTHER = ["[Another one|Another|One more|Tell me another one|Another story][, please.|!|.|]", "[Can I have|Could I have|Do you have] [another|one more]?"]
ENDS = ["[How did it end|How does it end|What happened in the end]?", "[Did it end well|Was there a happy ending]?"]
WHO = ["[What was|What's] [{his} name|the hero's name|the name of the {kind}]?", "[Who|Whom] [was the story about|is it about]?", "What was the {kind} called?", "Who was the [hero|main character]?"]
NOTOLD = ["[What was|What's] the name of [{his} teacher|the village|{his} best enemy|the king]?", "How old was {his} [grandmother|teacher|dog]?", "What [colour were {his} eyes|did {he} have for breakfast]?", "[In what year|On what date] did it happen?", "What did {he} [become|do] [later|when {he} grew up]?"]
NOTOLD_BACK = ["[The story doesn't say|That isn't told].", "The story doesn't say[, and I'd only be making it up|]. [What do you think?|]", "[It isn't told|I didn't say], so nobody knows. [You may choose.|]"]
RENAME = ["[Can you call {him} {new}|Call {him} {new} instead|I'd rather {he} was called {new}|Tell it again with {new}][.|?|, please.]", "[The hero should be called|Change the name to|Please change {his} name to] {new}[.|]"]
CITIES = "Paris Lagos Rome Oslo Lima Tokyo Cairo Delhi Boston Prague Madrid Nairobi".split()
LANDS = "France Peru Norway Japan Kenya Italy India Canada Egypt Spain Poland Brazil".split()


class Talk:
    """A conversation in the making."""

    def __init__(self, seed, number):
        self.r = random.Random(f"chat/{seed}/{number}")
        self.seed, self.number, self.told = seed, number, 0
        self.out = []
        self.story = None
        self.asked = set()

    def p(self, chance):
        return self.r.random() < chance

    def say(self, forms, **values):
        """One of the forms with its choices made and its values put in."""
        text = plots.Tale(self.r).settle(self.r.choice(forms))
        for key, value in values.items():
            text = text.replace("{%s}" % key, value)
        return finish(text)


    def turn(self, user, answer):
        self.out += [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]

    def new_story(self):
        self.told += 1
        self.story = stories.tale(f"chat-{self.seed}", self.number * 8 + self.told)
        return self.story

    # -- turns -----------------------------------------------------------------------------------------------------------
    def greeting(self):
        name = self.r.choice(w.GIRLS + w.BOYS)
        ask = self.say(GREET, name=name)
        self.turn(ask, self.say(GREET_NAME if name in ask else GREET_BACK, name=name))

    def itself(self):
        asks, answers = self.r.choice(SELF)
        self.turn(self.say(asks), self.say(answers))

    def unknown(self):
        form, topic = self.r.choice(UNKNOWN)
        n = [str(self.r.randint(2, 999)) for _ in range(3)]
        ask = self.say([form], city=self.r.choice(CITIES), land=self.r.choice(LANDS), n1=n[0], n2=n[1], n3=n[2], name=self.r.choice(w.GIRLS))
        answer = self.say(DONT.get(topic) or [a.replace("[is|are]", "are" if topic in PLURAL else "is") for a in DONT_ANY], topic=topic, Topic=topic[:1].upper() + topic[1:])
        self.turn(ask, answer)

    def tell(self, ask=None):
        story = self.new_story()
        ask = ask or (asking.begins(story) if self.p(0.2) else asking.request(story))
        self.turn(ask, stories.text(story))

    def hero(self):
        hero = self.story.env.get("h")
        name = self.story.env.get("name0") or hero.names[0]
        g = getattr(hero, "real", hero.g)
        return hero, name, {"m": ("he", "his", "him"), "f": ("she", "her", "her")}.get(g, ("it", "its", "it"))

    def follow(self):
        """Something that comes after a story."""
        hero, name, (he, his, him) = self.hero()
        draw = self.r.random()
        kind = sum(draw >= limit for limit in (0.3, 0.42, 0.56, 0.66, 0.76, 0.9))
        if (self.told, kind) in self.asked:
            return
        self.asked.add((self.told, kind))
        if draw < 0.3:
            for ask, answer in asking.questions(self.story):
                self.turn(ask, answer)
        elif draw < 0.42:
            kind = hero.kind
            who = f"{name} the {kind}" if hero.animal and not name.startswith("the ") else name
            if name.startswith("the "):
                answer = self.say(["{^He} has no name in the story. {^He} is only called {name}.".replace("{^He}", he.capitalize()), "The story only says {name}."], name=name)
                ask = self.say(WHO[:1] + WHO[3:], his=his, kind=kind)
            else:
                ask, answer = self.say(WHO, his=his, kind=kind), self.say(["{who}.", "It was {who}.", "The story is about {who}.", "{who}."] if not hero.animal else ["{who}.", "It was {who}.", "The story is about {who}."], who=who, kind=kind)
            self.turn(ask, answer)
        elif draw < 0.56:
            self.turn(self.say(SHORTER), shorter(self.story))
        elif draw < 0.66:
            self.turn(self.say(NOTOLD, he=he, his=his), self.say(NOTOLD_BACK))
        elif draw < 0.76:
            self.turn(self.say(ENDS), self.story.out[-1])
        elif draw < 0.9 and not name.startswith("the ") and not self.story.env.get("name0"):
            new = self.r.choice(w.GIRLS if he == "she" else w.BOYS)
            body = stories.text(self.story)
            if new not in body and " " not in name:
                changed = re.sub(r"\b%s\b" % re.escape(name), new, body)
                self.turn(self.say(RENAME, he=he, his=his, him=him, new=new), changed)
                self.story.out = changed.split("\n")
                hero.names = [n.replace(name, new) for n in hero.names]
                self.story.qa = [(q.replace(name, new), a.replace(name, new)) for q, a in self.story.qa]
        else:
            self.tell(self.say(ANOTHER))

    def talk(self):
        if self.p(0.2):
            self.greeting()
        draw = self.r.random()
        if draw < 0.66:
            self.tell()
            for _ in range(self.r.choice([0, 1, 1, 2, 2, 3])):
                self.follow()
            if self.p(0.12):
                self.turn(self.say(CROSS), self.say(SORRY))
            elif self.p(0.25):
                self.turn(self.say(THANKS), self.say(WELCOME))
        elif draw < 0.84:
            for _ in range(self.r.choice([1, 1, 2, 3])):
                self.itself()
            if self.p(0.3):
                self.unknown()
        else:
            for _ in range(self.r.choice([1, 1, 2])):
                self.unknown()
            if self.p(0.3):
                self.itself()
            if self.p(0.3):
                self.tell()
        if self.p(0.1):
            self.turn(self.say(BYE), self.say(BYE_BACK))
        return {"messages": self.out}


def sentences(text):
    """Sentences, speech and its tag kept together."""
    parts = re.split(r'(?<=[.!?]) (?=[A-Z])|(?<=[.!?]") (?=[A-Z"])|(?<=[a-z][.!?]) (?=")', text)
    out = []
    for part in parts:
        if out and out[-1].count('"') % 2:
            out[-1] += " " + part
        else:
            out.append(part)
    return out


def shorter(story):
    """The beginning, and what helped: two or three sentences of each."""
    first = " ".join(sentences(story.out[0])[:3])
    middle = story.out[-2] if len(story.out) > 2 else ""
    return first + " " + " ".join(sentences(middle)[:4])


def _batch(job):
    seed, start, count = job
    return [json.dumps(Talk(seed, n).talk(), ensure_ascii=False) for n in range(start, start + count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20000, help="conversations (20000)")
    parser.add_argument("--jobs", type=int, help="processes (one for each core)")
    parser.add_argument("--out", help="a file instead of the standard output")
    args = parser.parse_args()
    if args.count < 1:
        parser.error(f"--count {args.count}: at least 1")
    work = [(args.seed, start, min(BATCH, args.count - start)) for start in range(0, args.count, BATCH)]
    file = sys.stdout if not args.out else lzma.open(args.out, "wt", encoding="utf-8") if args.out.endswith(".xz") else open(args.out, "w", encoding="utf-8")
    jobs = min(args.jobs or os.cpu_count() or 1, len(work))
    with file, multiprocessing.Pool(jobs) as pool:
        for batch in pool.imap(_batch, work):
            file.writelines(line + "\n" for line in batch)


if __name__ == "__main__":
    main()
