"""Real clients against the server: `openai` and `lm-eval`, unmodified, on the demo model.

    python clients.py PROGRAMS MODULES

PROGRAMS is the folder with `mmfree-serve` and `mmfree-infer`: what the clients get must be what `mmfree-infer` says.
Needs Python's packages openai and lm-eval[api], and in the folder MODULES (`npm install --prefix FOLDER openai`) Node's
openai. Exits with 1 at the first difference.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import openai
from safetensors.numpy import load_file

import served
from served import check

PROGRAMS = Path(sys.argv[1]).resolve()
MODULES = Path(sys.argv[2]).resolve()
TASKS = Path(__file__).resolve().parent / "tasks"
PROMPT = "Once upon a time there was a"
infer = partial(served.infer, PROGRAMS)


def with_openai(base):
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
    model = client.models.list().data[0].id
    check(client.models.retrieve(model).id == model, "models")

    for seed in range(3):
        expected = infer("-n", "40", "--seed", str(seed), PROMPT)["text"]
        whole = client.completions.create(model=model, prompt=PROMPT, max_tokens=40, seed=seed)
        check(whole.choices[0].text == expected, f"the text of seed {seed}")
        check(whole.usage.completion_tokens == 40, "usage")
        chunks = client.completions.create(
            model=model, prompt=PROMPT, max_tokens=40, seed=seed, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(chunks)
        check("".join(c.choices[0].text for c in chunks if c.choices) == expected, "the streamed text")
        check(chunks[-1].usage.total_tokens == whole.usage.total_tokens and not chunks[-1].choices, "streamed usage")

    expected = infer("-n", "20", "--temp", "0.9", "--top-p", "0.8", "--seed", "18446744073709551609", PROMPT)["text"]
    answer = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=20, temperature=0.9, top_p=0.8, seed=-7, logprobs=3, extra_body={"x": 1}
    )
    check(answer.choices[0].text == expected, "sampling options and a negative seed")
    check("".join(answer.choices[0].logprobs.tokens) == expected, "the tokens of the text")

    messages = [{"role": "user", "content": "Tell me a tale"}]
    answer = client.chat.completions.create(
        model=model, messages=messages, max_completion_tokens=12, seed=1, n=2, logprobs=True, top_logprobs=2
    )
    check(len(answer.choices) == 2 and answer.choices[0].finish_reason == "length", "chat")
    check(len(answer.choices[1].logprobs.content) == 12, "chat's log-probabilities")
    texts = ["", ""]
    for chunk in client.chat.completions.create(
        model=model, messages=messages, max_completion_tokens=12, seed=1, n=2, stream=True
    ):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    check(texts == [choice.message.content for choice in answer.choices], "streamed chat")

    for error, call in [
        (openai.NotFoundError, lambda: client.completions.create(model="other", prompt="a")),
        (openai.BadRequestError, lambda: client.completions.create(model=model, prompt="a", temperature=-1)),
        (openai.NotFoundError, lambda: client.embeddings.create(model=model, input="a")),
    ]:
        try:
            call()
            check(False, f"{error} is raised")
        except error as raised:
            check(raised.body["message"], "an error has a message")


def logprobs(ids):
    """The log-probability of each id but the first, and whether it is the likeliest, by `mmfree-infer logits`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "logits.safetensors"
        command = [PROGRAMS / "mmfree-infer", "logits", "--threads", "1", "--ids", ",".join(map(str, ids)), "-o", out]
        subprocess.run(command, check=True, capture_output=True)
        logits = load_file(out)["logits"].astype("float64")
    found = []
    for row, token in zip(logits, ids[1:]):
        top = row.max()
        found.append((row[token] - top - math.log(math.fsum(math.exp(x - top) for x in row)), row[token] == top))
    return found


def with_lm_eval(base):
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_HOME"] = folder
        arguments = f"base_url={base}/v1/completions,model=demo,num_concurrent=2,max_retries=1,max_length=100000"
        command = [
            sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", arguments,
            "--tasks", "mmfree_choices,mmfree_generate,mmfree_rolling", "--include_path", ".", "--batch_size", "4",
            "--log_samples", "--output_path", folder,
        ]
        run = subprocess.run(command, cwd=TASKS, capture_output=True, text=True)
        check(run.returncode == 0, f"lm-eval: {run.stdout[-2000:]} {run.stderr[-4000:]}")
        samples = {}
        for path in Path(folder).rglob("samples_*.jsonl"):
            name = path.name.split("_")[2].split(".")[0]
            samples[name] = [json.loads(line) for line in path.read_text().splitlines()]

    def encode(text, bos):
        return infer("-n", "0", text)["prompt_ids"][0 if bos else 1 :]

    for sample in samples["choices"]:
        for arguments, response in zip(sample["arguments"].values(), sample["filtered_resps"]):
            context, continuation = arguments["arg_0"], arguments["arg_1"]
            # It puts no BOS in front.
            start = len(encode(context, False))
            scores = logprobs(encode(context + continuation, False))[start - 1 :]
            expected = sum(score for score, _ in scores)
            # lm-eval's number comes as text.
            number, greedy = float(response[0]), str(response[1]) == "True"
            check(abs(number - expected) < 1e-4 * max(1.0, -expected), f"{continuation!r}: {number}, not {expected}")
            check(greedy == all(top for _, top in scores), f"{continuation!r}: greedy")
    for sample in samples["generate"]:
        context = sample["arguments"]["gen_args_0"]["arg_0"]
        ids = ",".join(map(str, encode(context, False)))
        expected = infer("-n", "16", "--greedy", "--stop", "\\n", "--ids", ids)["text"]
        check(sample["resps"][0][0] == expected, f"the text after {context!r}")
    for sample in samples["rolling"]:
        text = sample["arguments"]["gen_args_0"]["arg_0"]
        expected = sum(score for score, _ in logprobs(encode(text, True)))
        number = float(sample["filtered_resps"][0])
        check(abs(number - expected) < 1e-4 * -expected, f"{text!r}: {number}, not {expected}")


def with_node(base):
    expected = infer("-n", "40", "--seed", "7", PROMPT)["text"]
    script = Path(__file__).with_name("openai.cjs")
    command = ["node", script, MODULES, f"{base}/v1", PROMPT]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    check(run.returncode == 0, f"node: {run.stderr}")
    for what, text in json.loads(run.stdout).items():
        check(text == expected, f"node's {what}")


with served.server(PROGRAMS, "--chat-template", "plain") as (base, _):
    with_openai(base)
    with_node(base)
    with_lm_eval(base)
print(f"clients: {served.count} checks passed")
