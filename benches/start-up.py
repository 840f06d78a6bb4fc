#!/usr/bin/env python3
"""Time from the start of the program to its first token, and memory of its own.

    mmfree-convert synthesize --size 2.7b
    benches/start-up.py target/release/mmfree-infer synthetic-2.7b.mmfree

The model file is read into the page cache first. The time is that from the start of the process until its first byte of
output can be read, less that of the same prompt's forward pass in a process that has run it before (`bench -p 16`): what
starting costs. With `--tokenizer` a copy of the file is given a byte-level-fallback BPE tokenizer of 32000 tokens and
all their merges, as the published checkpoints have, and the prompt is a text of 16 tokens. With `--small-pages` a copy of
the file is written 4 kB at a time, so that the page cache holds it in small pages: the slowest case there is.

Python's standard library alone; Linux.
"""

import argparse, json, os, random, statistics, struct, subprocess, tempfile, time

IDS = ",".join(str(i) for i in range(1, 17))


def tokenizer_json(size=32000):
    """A tokenizer of the published ones' kind and size, its words made up; the number of its merges."""
    rng = random.Random(7)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["\u2581"] + [chr(c) for c in range(33, 127)] + [chr(c) for c in range(0xC0, 0x17F)]
    words, seen = list(letters), set(letters)

    def add(word):
        if word not in seen and len(word) <= 12 and "\u2581" not in word[1:]:
            seen.add(word)
            words.append(word)

    # Some with all of their parts, which makes many merges; the others of two parts.
    while len(words) < 12500:
        word = "".join(rng.choices(letters[:60], k=6))
        for length in range(2, 7):
            for at in range(7 - length):
                add(word[at : at + length])
    while len(tokens) + len(words) < size:
        add("".join(words[int(len(words) * rng.random() ** 3)] for _ in range(2)))
    merges = [[w[:i], w[i:]] for w in words for i in range(1, len(w)) if w[:i] in seen and w[i:] in seen]
    vocab = {token: i for i, token in enumerate(tokens + words)}
    count = len(merges)
    added = [
        {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, t in enumerate(tokens[:3])
    ]
    template = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        ]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": template, "pair": template, "special_tokens": {
            "<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": vocab, "merges": merges},
    }, ensure_ascii=False).encode(), count


def with_tokenizer(source, target, text):
    """Copies a model file, the tokenizer behind its last tensor."""
    with open(source, "rb") as file, open(target, "wb") as out:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        if "tokenizer.json" in header:
            raise SystemExit(f"{source}: has a tokenizer already; give a synthesized model")
        end = max(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
        header["tokenizer.json"] = {"dtype": "U8", "shape": [len(text)], "data_offsets": [end, end + len(text)]}
        config = json.loads(header["__metadata__"]["mmfree.config"])
        config["bos_token_id"] = 1
        header["__metadata__"]["mmfree.config"] = json.dumps(config)
        encoded = json.dumps(header).encode()
        encoded += b" " * (-(8 + len(encoded)) % 64)
        out.write(struct.pack("<Q", len(encoded)) + encoded)
        while block := file.read(1 << 22):
            out.write(block)
        out.write(text)


def copy_in_small_pages(source, target):
    with open(source, "rb") as file, open(target, "wb", buffering=0) as out:
        while block := file.read(4096):
            out.write(block)


def first_output(command):
    """Milliseconds until a program's first byte of output."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.read(process.stdout.fileno(), 1)
    elapsed = time.perf_counter() - start
    process.stdout.read()
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return 1e3 * elapsed


def output_json(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("infer")
    parser.add_argument("model")
    parser.add_argument("--tokenizer", action="store_true")
    parser.add_argument("--small-pages", action="store_true")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", default="2")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = args.model
        prompt = ["--ids", IDS]
        if args.tokenizer:
            text, merges = tokenizer_json()
            model = os.path.join(folder, "tokenizer.mmfree")
            with_tokenizer(args.model, model, text)
            print(f"tokenizer.json: 32000 tokens, {merges} merges, {len(text)} bytes")
        if args.small_pages:
            small = os.path.join(folder, "small.mmfree")
            copy_in_small_pages(model, small)
            model = small
        with open(model, "rb") as file:
            while file.read(1 << 22):
                pass
        base = [args.infer, "-m", model, "-t", args.threads]
        if args.tokenizer:
            # With a BOS and the mark of a word, 16 tokens: no merge joins these letters.
            prompt = ["-p", "\u0158" * 15]
        options = ["-n", "1", "--greedy", "--ignore-eos", "--quiet"]
        summary = output_json(base + prompt + options + ["--json"])
        bench = [args.infer, "bench", "-m", model, "-t", args.threads, "-p", str(len(summary["prompt_ids"])), "-n", "0", "--json"]
        # Both in turn, so that they see the same minutes.
        times, prefills = [], []
        for _ in range(args.runs):
            times.append(first_output(base + prompt + options))
            row = output_json(bench + ["-r", "3"])[0]
            prefills.append(1e3 * len(summary["prompt_ids"]) / row["tokens_per_second"])
        decode = output_json(base + ["--ids", "1", "-n", "32", "--greedy", "--ignore-eos", "--quiet", "--json"])
        first, prefill = statistics.median(times), statistics.median(prefills)
        beyond = statistics.median(t - p for t, p in zip(times, prefills))
        print(f"prompt of {len(summary['prompt_ids'])} tokens, {args.threads} threads, medians of {args.runs}")
        print(f"start to first token   {first:8.1f} ms")
        print(f"prefill, warm          {prefill:8.1f} ms")
        print(f"beyond the prefill     {beyond:8.1f} ms")
        print(f"anonymous memory, 32 tokens decoded: {decode['memory']['anonymous'] / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
