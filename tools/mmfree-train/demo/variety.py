"""How varied the stories are: the share of the word windows of some stories that occur in many others.

    python variety.py                          2 000 stories against 30 000 others, with this generator
    python variety.py --samples samples.txt    texts of a model (apart by lines "<|>") against 30 000 fresh stories
"""

import argparse
import collections
import re

import stories

WORD = re.compile(r"[A-Za-z']+")


def words(text):
    return WORD.findall(text.lower())


def windows(tokens, n):
    return [hash(tuple(tokens[i : i + n])) for i in range(len(tokens) - n + 1)]


def shares(samples, others, sizes):
    """For each window size, the share of the samples' windows that the others hold."""
    held = {n: set() for n in sizes}
    for text in others:
        tokens = words(text)
        for n in sizes:
            held[n].update(windows(tokens, n))
    out = {}
    for n in sizes:
        hits = total = 0
        for text in samples:
            found = [w in held[n] for w in windows(words(text), n)]
            hits += sum(found)
            total += len(found)
        out[n] = hits / max(1, total)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", help="texts of a model, apart by lines <|>")
    parser.add_argument("--stories", type=int, default=2000)
    parser.add_argument("--others", type=int, default=30000)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--common", type=int, default=0, help="print so many of the commonest 12-word windows")
    parser.add_argument("--jobs", type=int, default=None)
    args = parser.parse_args()
    others = list(stories.texts(args.seed + 1, args.others, args.jobs))
    if args.samples:
        with open(args.samples, encoding="utf-8") as file:
            samples = [t.strip() for t in file.read().split("<|>") if t.strip()]
    else:
        samples = list(stories.texts(args.seed, args.stories, args.jobs))
    rows = [("texts judged / others", f"{len(samples)} / {len(others)}")]
    for n, share in shares(samples, others, (8, 12, 16)).items():
        rows.append((f"{n}-word windows that occur in the others", f"{100 * share:.1f} %"))
    opening = collections.Counter(" ".join(words(t)[:8]) for t in others)
    rows.append(("distinct openings (8 words) of the others", f"{100 * len(opening) / len(others):.1f} %"))
    lengths = sorted(len(words(t)) for t in others)
    rows.append(("words a text: 5 %, median, 95 %", " ".join(str(lengths[int(len(lengths) * q)]) for q in (0.05, 0.5, 0.95))))
    tokens = [w for t in others for w in words(t)]
    rows.append(("words, distinct words", f"{len(tokens)}, {len(set(tokens))}"))
    sentences = collections.Counter(s.strip() for t in others for s in re.split(r'(?<=[.!?]["”]) |(?<=[.!?]) |\n', t) if len(s.split()) >= 6)
    rows.append(("sentences of 6 words or more that are unique", f"{100 * sum(1 for c in sentences.values() if c == 1) / max(1, sum(sentences.values())):.1f} %"))
    for name, value in rows:
        print(f"| {name} | {value} |")
    if args.common:
        count = collections.Counter()
        for t in others:
            tokens = words(t)
            count.update({" ".join(tokens[i : i + 12]) for i in range(0, len(tokens) - 11, 3)})
        for text, number in count.most_common(args.common):
            print(number, text)


if __name__ == "__main__":
    main()
