"""The books of the training text: those of sources.tsv, cleaned, marked, and without the held-out texts.

    python prose.py FOLDER --heldout FILE... --out prose.txt.xz

FOLDER has prose-children.txt.xz and prose-adults.txt.xz: documents (chapters, tales) apart by an empty line, a paragraph a line,
the books one after another without a mark between them. sources.tsv says for each book that is kept where in its file it begins,
how many documents it has and how many characters; the characters are checked, so that a changed file cannot go by unnoticed.

The output has the documents apart by lines "<|>", and each begins with the line "[prose]", which no story has: a text that begins
without it is a story.
"""

import argparse
import csv
import lzma
import re
import sys
from pathlib import Path

MARK = "[prose]"
APART = "<|>"
PACKS = ("prose-children", "prose-adults")
WINDOW = 10

# Lines that are no prose: what an edition says of itself, headings, lists, notes.
FRONT = re.compile(
    r"project gutenberg|gutenberg|copyright|all rights reserved|http|www\.|\bISBN\b|transcriber|e-?text|public domain|^produced by|^published (in )?\d{4}|^first published|^translated (from|by)|^by [A-Z][\w.]+( [A-Z][\w.]+){0,3}$"
    r"|^contents\b|^illustrat(ed|ions)\b|^(to|dedicated to) [A-Z .]+$|^preface$|^introduction$|^notes?\b.{0,8}[.:]|^footnotes?\b|^(note|see|cf\.|vide) \d|^\[|^(the )?end\.?$|^chapter\b.{0,40}$|printed (by|in)|^london:|^new york:",
    re.I,
)
SLUR = re.compile(r"\b(nigger|niggah|darkey|darkie|pickaninn|coolie)\w*", re.I)
WORD = re.compile(r"[a-z']+")


def words(text):
    return WORD.findall(text.lower())


def grams(tokens):
    return (" ".join(tokens[i : i + WINDOW]) for i in range(len(tokens) - WINDOW + 1))


def is_prose(line):
    """Whether a line is a paragraph of prose: letters mostly, not in capitals, no list of names."""
    letters = sum(c.isalpha() for c in line)
    if letters < 2 or letters < 0.55 * len(line):
        return False
    capitals = sum(c.isupper() for c in line)
    if capitals > 0.4 * letters and letters > 12:
        return False
    foreign = sum(ord(c) > 591 for c in line)
    return foreign < 3 and not FRONT.search(line)


def clean(document, held, dropped):
    """The parts of a document that stay; a paragraph that the held-out texts have, or with a slur, parts it in two."""
    parts, part = [], []
    for line in document.split("\n"):
        line = " ".join(line.split())
        if not is_prose(line):
            dropped["front matter, headings, notes"] += len(line)
            continue
        cause = "held out" if held and any(g in held for g in grams(words(line))) else "slurs" if SLUR.search(line) else None
        if cause:
            dropped[cause] += len(line)
            parts.append(part)
            part = []
        else:
            part.append(line)
    parts.append(part)
    return ["\n".join(p) for p in parts if sum(map(len, p)) >= 400]


def read(folder, pack):
    path = Path(folder) / f"{pack}.txt.xz"
    try:
        with lzma.open(path, "rt", encoding="utf-8") as file:
            return file.read().rstrip("\n").split("\n\n")
    except OSError as error:
        sys.exit(f"prose.py: cannot read {path}: {error.strerror or error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="where prose-children.txt.xz and prose-adults.txt.xz are")
    parser.add_argument("--heldout", nargs="*", default=[], help="texts of which nothing may be trained on")
    parser.add_argument("--sources", default=Path(__file__).with_name("sources.tsv"))
    parser.add_argument("--only", choices=PACKS, help="the books of one file only")
    parser.add_argument("--out", required=True, help="the text; compressed if it ends in .xz")
    args = parser.parse_args()
    held = set()
    for name in args.heldout:
        tokens = words(Path(name).read_text(encoding="utf-8"))
        held.update(grams(tokens))
    with open(args.sources, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    dropped = {"front matter, headings, notes": 0, "held out": 0, "slurs": 0, "seen before": 0}
    seen, out, before = set(), [], 0
    for pack in PACKS:
        if args.only not in (None, pack):
            continue
        documents = read(args.folder, pack)
        for row in rows:
            if row["file"] != pack:
                continue
            start = int(row["first document"])
            book = documents[start : start + int(row["documents"])]
            size = sum(map(len, book))
            if size != int(row["characters"]):
                sys.exit(f"prose.py: {row['title']}: {size} characters in {pack}.txt.xz, {row['characters']} in {args.sources}: the file is another one")
            before += size
            for document in book:
                for part in clean(document, held, dropped):
                    key = part[:200]
                    if key in seen:
                        dropped["seen before"] += len(part)
                        continue
                    seen.add(key)
                    out.append(f"{MARK}\n{part}")
    text = f"\n{APART}\n".join(out) + "\n"
    opener = lzma.open if args.out.endswith(".xz") else open
    with opener(args.out, "wt", encoding="utf-8") as file:
        file.write(text)
    print(f"{sum(args.only in (None, r['file']) for r in rows)} books, {before} characters; written: {len(out)} documents, {len(text.encode())} bytes")
    for cause, size in dropped.items():
        print(f"left out, {cause}: {size} characters")


if __name__ == "__main__":
    main()
