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

import argparse, json, os, statistics, subprocess, tempfile, time

from synthetic_tokenizer import tokenizer_json, with_tokenizer

IDS = ",".join(str(i) for i in range(1, 17))


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
