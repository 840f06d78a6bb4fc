"""Short stories from a simulated small world, as training text for the demo model.

    python stories.py --seed 1 --count 100000 --out stories.txt                     stories, some as requests, some with questions
    python stories.py --seed 2 --count 20000 --format messages --out chat.jsonl     requests, stories and questions as messages

Documents of the plain format are apart by a line "<|>"; a file whose name ends in .xz is compressed. The text depends on the seed
and the count alone, not on the number of processes.
"""

import argparse
import json
import lzma
import multiprocessing
import os
import random
import sys

from tales import asking, plots

APART = "<|>"
BATCH = 500
# Shares of the plain format: the story alone, its opening sentence given, a request, questions afterwards.
ALONE, GIVEN, REQUEST = 0.66, 0.06, 0.16


def tale(seed, number):
    """The story of that number, with its questions and what it is about."""
    for attempt in range(6):
        story = plots.Tale(random.Random(f"{seed}/{number}/{attempt}"))
        plots.tell(story)
        if 80 <= sum(len(p.split()) for p in story.out) <= 420:
            break
    return story


def text(story):
    return "\n".join(story.out)


def document(seed, number):
    """A document of the plain format."""
    story = tale(seed, number)
    draw = story.r.random()
    if draw < ALONE:
        return text(story)
    if draw < ALONE + GIVEN:
        return asking.begins(story) + "\n" + text(story)
    if draw < ALONE + GIVEN + REQUEST:
        return asking.request(story) + "\n" + text(story)
    lines = [text(story)]
    for question, answer in asking.questions(story):
        lines += [f"Question: {question}", f"Answer: {answer}"]
    return "\n".join(lines)


def messages(seed, number):
    """A conversation: a request, the story, and now and then questions about it."""
    story = tale(seed, number)
    draw = story.r.random()
    ask = asking.begins(story) if draw < 0.2 else asking.request(story)
    talk = [{"role": "user", "content": ask}, {"role": "assistant", "content": text(story)}]
    if story.r.random() < 0.6:
        for question, answer in asking.questions(story):
            talk += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": talk}, ensure_ascii=False)


MAKERS = {"plain": document, "messages": messages, "story": lambda seed, number: text(tale(seed, number))}


def _batch(job):
    kind, seed, start, count = job
    return [MAKERS[kind](seed, n) for n in range(start, start + count)]


def generate(kind, seed, count, jobs=None):
    """Documents of a kind, in order, made by several processes."""
    work = [(kind, seed, start, min(BATCH, count - start)) for start in range(0, count, BATCH)]
    jobs = min(jobs or os.cpu_count() or 1, max(1, len(work)))
    if jobs == 1:
        for job in work:
            yield from _batch(job)
        return
    with multiprocessing.Pool(jobs) as pool:
        for batch in pool.imap(_batch, work):
            yield from batch


def texts(seed, count, jobs=None):
    """The stories alone."""
    return generate("story", seed, count, jobs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000, help="documents (1000)")
    parser.add_argument("--format", choices=sorted(MAKERS), default="plain")
    parser.add_argument("--jobs", type=int, help="processes (one for each core)")
    parser.add_argument("--out", help="a file instead of the standard output")
    args = parser.parse_args()
    if args.count < 1:
        parser.error(f"--count {args.count}: at least 1")
    file = sys.stdout if not args.out else lzma.open(args.out, "wt", encoding="utf-8") if args.out.endswith(".xz") else open(args.out, "w", encoding="utf-8")
    size = 0
    with file:
        for number, item in enumerate(generate(args.format, args.seed, args.count, args.jobs)):
            part = item + "\n" if args.format == "messages" else (f"{APART}\n" if number else "") + item + "\n"
            size += len(part.encode())
            file.write(part)
    print(f"{args.count} documents, {size} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
