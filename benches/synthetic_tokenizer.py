"""A tokenizer of the published checkpoints' kind and size, for synthesized models, which have none."""

import json
import random
import struct


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
