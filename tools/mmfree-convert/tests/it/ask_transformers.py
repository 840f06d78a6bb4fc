"""Runs tokenizers of transformers 4.42.4 on what stdin asks for, as JSON, and answers on stdout.

{"folders": {name: folder}, "texts": [text], "ids": {name: [[id]]}} gives
{name: {"class": .., "encoded": [[id]], "decoded": [text]}}, decoded being the encoded and then the
ids; {name: {"error": ..}} where a tokenizer does not load; and under "rebuilds" the names of the
files of which the source sets a post-processor.
"""

import json
import logging
import os
import re
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
logging.disable(logging.WARNING)

import transformers
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast

assert transformers.__version__ == "4.42.4", f"transformers {transformers.__version__}, not 4.42.4"


class HgrnBitConfig(PretrainedConfig):
    model_type = "hgrn_bit"


AutoConfig.register("hgrn_bit", HgrnBitConfig)


def tokenizer(folder):
    try:
        return AutoTokenizer.from_pretrained(folder)
    except KeyError:
        # No class is named, and none goes with the model: AutoTokenizer has none to choose.
        return PreTrainedTokenizerFast.from_pretrained(folder)


def run(folder, texts, ids):
    try:
        tok = tokenizer(folder)
        encoded = [tok(text)["input_ids"] for text in texts]
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    # Cleaning up spaces is for tokenizers that lose them.
    plain = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    decoded = [tok.decode(some, **plain) for some in encoded + ids]
    return {"class": type(tok).__name__, "encoded": encoded, "decoded": decoded}


def rebuilds():
    models = Path(transformers.__file__).parent / "models"
    sets = re.compile(r"tokenizer\.post_processor = ")
    files = models.glob("*/tokenization_*_fast.py")
    return sorted(file.parent.name for file in files if sets.search(file.read_text("utf-8")))


asked = json.load(sys.stdin)
answer = {
    name: run(folder, asked["texts"], asked["ids"].get(name, []))
    for name, folder in asked["folders"].items()
}
answer["rebuilds"] = rebuilds()
json.dump(answer, sys.stdout)
