"""Requests for a story and questions about it, in many wordings."""

import re

from .engine import finish

ABOUT = [
    "[Tell|Read] me a [|short |little |good |nice |new ]story about {about}[.|, please.|!|]", "[Can|Could|Would] you [please |]tell me a [|short |bedtime |little ]story about {about}?", "[Please write|Write] a [|short |little |children's ]story about {about}[.|]",
    "I [want|would like|'d like|'d love] [to hear |]a [|short |bedtime ]story about {about}[.|, please.]", "Do you know a [|good |short ]story about {about}?", "[A|One] [|short |bedtime |quick ]story about {about}[, please.|, please|.|!]", "Story: {about}[.|]", "[Make up|Invent|Think of] a story about {about}[.|, please.|!]",
    "[Let's have|Let's hear] a story about {about}[.|!]", "[Once more, a|How about a|What about a] story about {about}?", "My [son|daughter|grandson|niece|little brother|class|grandmother] wants a story about {about}. [Can you write one?|Please write one.|Can you help?]",
    "[Tell|Write] me something about {about}[.|, a short story.|.]", "[Tell|Write] [me |]a story in which there is {about}[.|]", "Tell me about {about}[.|!|, please.]", "[Hello|Hi|Good evening]! [Tell|Please tell] me a story about {about}[.|]",
    "I can't sleep. [Tell|Read] me a story about {about}[.|, please.]", "It's [raining|boring here|late]. Tell me a story about {about}[.|!]",
]
NAMED = [
    "[Tell|Write] me a [|short |little ]story about [a {kind} [called|named]|] {name}[.|, please.|!]", "[Write|Tell] a [|short ]story [with|about|for] {name}[.|, please.]", "[Can|Could] you tell me a story about {name}?", "A story about {name}[, please.|.|!]",
    "[The hero should be called|The main character is called|Please call the hero] {name}. [Tell|Write] me a story[.|!]", "[Tell|Write] me a story [whose hero is called|in which the hero is called|about somebody called] {name}[.|]",
]
HAPPENS = [
    "[Write|Tell|Make up] a [|short |little ]story [about a {kind} called|about a {kind} named|with a {kind} called] {name} {does}.", "[Tell|Write] me a [|short ]story about {name}, a {kind} {does}.", "[Can|Could] you tell me a story about a {kind} called {name} {does}?",
    "A story about a {kind} called {name} {does}[, please.|.|]", "[Write|Tell] a [|short ]story in which a {kind} called {name} {does_in}.", "[I'd like|I want] a story in which a {kind} named {name} {does_in}[.|, please.]",
]
OPEN = ["Tell me a [|short |little |bedtime |nice |funny ]story[.|, please.|!]", "[Please |]write a [|short ]story[.|]", "[Can|Could|Would] you tell me a [|bedtime ]story?", "I'd like a story[.|, please.]", "[A story|One story], please[.|]", "Tell me something[.|, anything.]", "Do you know any [|good ]stories?", "[Surprise me with|Make up] a story[.|!]"]
BEGINS = [
    '[Write|Tell|Continue] a [|short ]story that [begins|starts] [with|like this]: "{first}"', 'Here is [the first|a first|my first] sentence: "{first}" [Go on|Continue|Please go on|Write the rest][.|!|]', 'My story begins: "{first}" [How does it go on?|What happens next?|Please continue it.]',
    '[Go on|Continue] from here: {first}', '"{first}" [Go on!|How does it go on?|Write the story.]', 'Begin with this sentence: "{first}"', 'Use this as the [first sentence|beginning]: {first}',
]


def lower(text):
    return text[:1].lower() + text[1:] if text.split(" ")[0] in ("A", "An", "Somebody", "Something", "Two", "The") else text


def request(story):
    """A request that this story answers: what happens in it, to whom, or any story."""
    hero = story.env.get("h")
    draw = story.r.random()
    name = (story.env.get("name0") or hero.names[0]) if hero is not None else ""
    named = bool(name) and not name.startswith("the ") and (hero.g != "i" or story.env["name0"] in "".join(story.out))
    values = {"about": story.about}
    does = re.match(r"(?:a|an) (?:boy|girl) (who .+)", story.about)
    if named and does and draw < 0.45:
        values = {"name": name, "kind": hero.kind, "does": does[1]}
        return _fill(story, story.pick(HAPPENS), values)
    if draw < 0.7 and story.about:
        forms = ABOUT
    elif draw < 0.9 and named:
        values, forms = {"name": name, "kind": hero.kind}, NAMED
    else:
        forms = OPEN
    return _fill(story, story.pick(forms), values)


def begins(story):
    """A request that gives the story's first sentence."""
    first = re.match(r'.+?[.!?]"?(?= |$)', story.out[0])[0]
    if len(first.split()) < 4 or first.startswith('"'):
        return request(story)
    form = story.pick(BEGINS)
    if '"' in first and '"{first}"' in form:
        first = first.replace('"', "'")
    return _fill(story, form, {"first": first})


def questions(story):
    """One to three of the story's questions with their answers."""
    pairs = list(dict(story.qa).items())
    if len(pairs) > 1 and story.p(0.5):
        story.r.shuffle(pairs)
    return pairs[: story.pick([1, 2, 2, 3])]


def _fill(story, form, values):
    text = story.settle(form)
    if "does" in values:
        values["does_in"] = values["does"].removeprefix("who ")
    for key, value in values.items():
        text = text.replace("{%s}" % key, value)
    text = text.replace(" 'd ", "'d ").replace("I 'd", "I'd")
    return finish(text) if "first" not in values else " ".join(text.split())
