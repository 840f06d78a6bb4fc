"""What transformers' `apply_chat_template` makes of the templates in this folder: writes `expected.json`.

    python make.py [--check]

The templates are of this project, and use the constructs that published ones use. With `--check` nothing is written:
exits with 1 where the file says something else. Needs transformers 4.42.4 and jinja2.
"""

import json
import sys
from pathlib import Path

from transformers import PreTrainedTokenizerBase

HERE = Path(__file__).resolve().parent
CALL = {"type": "function", "function": {"name": "find", "arguments": {"what": "it's <a>", "n": 2, "deep": {"é": [True, None, 1.5]}}}}
CONVERSATIONS = {
    "one": {"messages": [{"role": "user", "content": " Hello, wörld! \n"}]},
    "turns": {
        "messages": [
            {"role": "user", "content": "Be quick"},
            {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes & \"so\"."},
            {"role": "user", "content": "It's\nover <b>two</b> lines"},
        ]
    },
    "system": {
        "messages": [
            {"role": "system", "content": "Be brief!"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Ho"},
        ],
        "add_generation_prompt": False,
    },
    "tools": {
        "messages": [
            {"role": "user", "content": "Find it"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "found", "name": "find"},
            {"role": "tool", "content": "{\"x\": 1}"},
            {"role": "assistant", "content": "There."},
        ],
        "chat_template_kwargs": {"enable_thinking": False, "date": "2 Feb"},
    },
}


def rendered(source, conversation):
    tokenizer = PreTrainedTokenizerBase(bos_token="<s>", eos_token="</s>")
    options = conversation.get("chat_template_kwargs", {})
    prompt = conversation.get("add_generation_prompt", True)
    try:
        return {
            "text": tokenizer.apply_chat_template(
                conversation["messages"], chat_template=source, tokenize=False, add_generation_prompt=prompt, **options
            )
        }
    except Exception:
        return {"error": True}


def main():
    cases = [
        {"template": path.stem, "conversation": name, "body": json.dumps(body, ensure_ascii=False), **rendered(path.read_text(encoding="utf-8"), body)}
        for path in sorted(HERE.glob("*.jinja"))
        for name, body in CONVERSATIONS.items()
    ]
    text = json.dumps(cases, ensure_ascii=False, indent=1) + "\n"
    out = HERE / "expected.json"
    if sys.argv[1:] == ["--check"]:
        if out.read_text(encoding="utf-8") != text:
            sys.exit(f"{out}: transformers renders something else now")
        print(f"chat templates: {len(cases)} cases as transformers renders them")
    else:
        out.write_text(text, encoding="utf-8")


main()
