"""Whether a prompt of the judging is the opening of a template: for each, the most words from its beginning that a story has at its
own beginning, and that a story has anywhere. A prompt is refused if a story begins with all of it or with six of its words.

    python prompts.py [--count 30000]
"""

import argparse
import sys
from pathlib import Path

import stories
from variety import words


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=30000)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--prompts", default=Path(__file__).with_name("prompts.txt"))
    parser.add_argument("--jobs", type=int)
    args = parser.parse_args()
    prompts = Path(args.prompts).read_text(encoding="utf-8").splitlines()
    begin, inside = [0] * len(prompts), [0] * len(prompts)
    tokens = [words(p) for p in prompts]
    parts = [[" ".join(t[: n + 1]) for n in range(len(t))] for t in tokens]
    for text in stories.texts(args.seed, args.count, args.jobs):
        first = words(text)
        body = " ".join(first)
        for i, t in enumerate(tokens):
            n = 0
            while n < len(t) and n < len(first) and t[n] == first[n]:
                n += 1
            begin[i] = max(begin[i], n)
            while inside[i] < len(t) and parts[i][inside[i]] in body:
                inside[i] += 1
    bad = 0
    for prompt, t, b, n in zip(prompts, tokens, begin, inside):
        refused = b >= min(len(t), 6) and len(t) > 4
        bad += refused
        print(f"{b:3} {n:3} of {len(t):2} words{' REFUSED' if refused else ''}  {prompt}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
