"""More clients against the server, for releases: LangChain, LiteLLM, what Node has of such, and the requests of programs that
are too large to install here, as their sources make them.

    python more_clients.py PROGRAMS MODULES

PROGRAMS is the folder with `mmfree-serve` and `mmfree-infer`: what the clients get must be what `mmfree-infer` says.
Needs Python's packages langchain-openai, litellm and httpx, and in the folder MODULES Node's @langchain/openai, ai and
@ai-sdk/openai-compatible. Exits with 1 at the first difference.
"""

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import httpx

import served
from served import check

# It would ask the network for a list of prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402
from langchain_openai import ChatOpenAI, OpenAI  # noqa: E402

PROGRAMS = Path(sys.argv[1]).resolve()
MODULES = Path(sys.argv[2]).resolve()
PROMPT = "Once upon a time there was a"
ASKED = "Tell me a tale"
SEED = 11
# What `--chat-template plain` makes of one message; the BOS is put in front by mmfree-infer itself.
CHAT = f"user: {ASKED}\nassistant:"
infer = partial(served.infer, PROGRAMS)


def told(prompt, tokens, *options):
    """What follows a prompt, and how many tokens it and the prompt have."""
    answer = infer("-n", str(tokens), "--seed", str(SEED), *options, prompt)
    return answer["text"], len(answer["prompt_ids"]), len(answer["ids"])


def with_langchain(base):
    expected, prompt_tokens, tokens = told(CHAT, 24)
    common = {"base_url": f"{base}/v1", "api_key": "none", "model": "demo", "seed": SEED, "max_retries": 0}
    chat = ChatOpenAI(**common, max_tokens=24, logprobs=True, top_logprobs=3, stream_usage=True)
    message = chat.invoke(ASKED)
    check(message.content == expected, f"LangChain's chat: {message.content!r}, not {expected!r}")
    usage = message.usage_metadata
    check((usage["input_tokens"], usage["output_tokens"]) == (prompt_tokens, tokens), f"its usage: {usage}")
    scores = message.response_metadata["logprobs"]["content"]
    check("".join(score["token"] for score in scores) == expected, "its log-probabilities' tokens")
    check(all(len(score["top_logprobs"]) == 3 and score["logprob"] <= 0 for score in scores), "its likeliest")
    whole = None
    for chunk in chat.stream(ASKED):
        whole = chunk if whole is None else whole + chunk
    check(whole.content == expected, "LangChain's stream")
    check(whole.usage_metadata["output_tokens"] == tokens, f"a stream's usage: {whole.usage_metadata}")
    check([m.content for m in chat.batch([ASKED] * 3)] == [expected] * 3, "LangChain's batch")

    schema = {"title": "pet", "type": "object", "required": ["name", "legs"], "additionalProperties": False,
              "properties": {"name": {"type": "string", "maxLength": 8}, "legs": {"enum": [2, 4]}}}
    plain = ChatOpenAI(**common, max_tokens=200)
    pet = plain.with_structured_output(schema, method="json_schema").invoke(ASKED)
    check(set(pet) == {"name", "legs"} and pet["legs"] in (2, 4), f"LangChain's structured output: {pet}")

    # It sends a temperature and a top-p of its own.
    text = OpenAI(**common, max_tokens=24).invoke(PROMPT)
    check(text == told(PROMPT, 24, "--temp", "0.7", "--top-p", "1")[0], f"LangChain's completion: {text!r}")


def with_litellm(base):
    expected, prompt_tokens, tokens = told(CHAT, 24)
    common = {"api_base": f"{base}/v1", "api_key": "none", "seed": SEED, "max_tokens": 24, "num_retries": 0}
    messages = [{"role": "user", "content": ASKED}]
    # As OpenAI's own, and as the server of some other make that it is.
    for model in ["openai/demo", "hosted_vllm/demo"]:
        answer = litellm.completion(model=model, messages=messages, logprobs=True, top_logprobs=2, **common)
        check(answer.choices[0].message.content == expected, f"LiteLLM's chat as {model}")
        check(answer.choices[0].finish_reason in ("stop", "length"), "its end")
        check((answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt_tokens, tokens), f"{answer.usage}")
        check(len(answer.choices[0].logprobs.content) == tokens, "its log-probabilities")
        options = {"include_usage": True}
        chunks = list(litellm.completion(model=model, messages=messages, stream=True, stream_options=options, **common))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        check(text == expected, f"LiteLLM's stream as {model}: {text!r}")
        usage = [c.usage for c in chunks if getattr(c, "usage", None)]
        check(usage and usage[-1].completion_tokens == tokens, f"a stream's usage: {usage}")
    answer = litellm.text_completion(model="text-completion-openai/demo", prompt=PROMPT, **common)
    check(answer.choices[0].text == told(PROMPT, 24)[0], "LiteLLM's completion")
    try:
        litellm.completion(model="openai/other", messages=messages, **common)
        check(False, "a model that is not there is an error")
    except litellm.NotFoundError as error:
        check("demo" in str(error), "the error names what there is")


def with_node(base):
    script = Path(__file__).with_name("more_clients.mjs")
    command = ["node", script, MODULES, f"{base}/v1", ASKED, str(SEED)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    check(run.returncode == 0, f"node: {run.stderr}")
    expected, prompt_tokens, tokens = told(CHAT, 24)
    answers = json.loads(run.stdout)
    check(len(answers) == 4, f"node: {answers}")
    for what, answer in answers.items():
        check(answer["text"] == expected, f"{what}: {answer['text']!r}, not {expected!r}")
        check((answer["input"], answer["output"]) == (prompt_tokens, tokens), f"{what}: {answer}")


def events(response):
    """The objects of a stream, which ends with [DONE]."""
    check(response.status_code == 200, response.read().decode())
    check(response.headers["content-type"] == "text/event-stream", "a stream's type")
    found = []
    for line in response.iter_lines():
        if line.startswith("data: "):
            found.append(line.removeprefix("data: "))
    check(found.pop() == "[DONE]", "a stream's end")
    return [json.loads(event) for event in found]


def with_open_webui(http):
    """Its connection's check and list of models, a conversation, and what it asks besides: titles and tags
    (backend/open_webui/routers/openai.py and tasks.py)."""
    models = http.get("/v1/models", headers={"content-type": "application/json"}).json()
    check(all(model["id"] and model["name"] for model in models["data"]), "Open WebUI's list of models")
    model = models["data"][0]["id"]
    expected, prompt_tokens, tokens = told(CHAT, 24)
    body = {"stream": True, "model": model, "messages": [{"role": "user", "content": ASKED}], "seed": SEED,
            "max_tokens": 24, "stream_options": {"include_usage": True}}
    headers = {"x-openwebui-user-name": "A", "x-openwebui-chat-id": "1", "http-referer": "https://openwebui.com/",
               "x-title": "Open WebUI"}
    with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        chunks = events(response)
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    check(text == expected, f"Open WebUI's conversation: {text!r}")
    check(chunks[-1]["usage"]["completion_tokens"] == tokens, "its usage")
    task = f"### Task:\nGenerate a concise, 3-5 word title.\n### Chat History:\n<chat_history>\nUSER: {ASKED}\n</chat_history>"
    body = {"model": model, "messages": [{"role": "user", "content": task}], "stream": False,
            "max_completion_tokens": 1000, "seed": SEED}
    answer = http.post("/v1/chat/completions", json=body).json()
    expected = told(f"user: {task}\nassistant:", 1000)
    check(answer["choices"][0]["message"]["content"] == expected[0], "Open WebUI's title")
    check(answer["usage"]["completion_tokens"] == expected[2], "a title's usage")


def with_guidellm(http):
    """Its validation, and streamed benchmarks of both kinds (src/guidellm/backends/openai)."""
    check(http.get("/health").status_code == 200, "guidellm's validation")
    model = http.get("/v1/models").json()["data"][0]["id"]
    common = {"model": model, "stream": True, "stop": None, "ignore_eos": True, "seed": SEED,
              "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    texts = {
        "/v1/completions": ({"max_tokens": 40, "prompt": PROMPT}, PROMPT),
        "/v1/chat/completions": ({"max_completion_tokens": 40,
                                  "messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]}, CHAT),
    }
    for path, (body, prompt) in texts.items():
        expected, prompt_tokens, tokens = told(prompt, 40, "--ignore-eos")
        with http.stream("POST", path, json={**common, **body}) as response:
            chunks = events(response)
        check(all(chunk["usage"] for chunk in chunks), "every chunk has the usage")
        text = ""
        for chunk in chunks:
            for choice in chunk["choices"]:
                text += choice.get("text") or choice.get("delta", {}).get("content") or ""
        check(text == expected, f"guidellm's {path}: {text!r}, not {expected!r}")
        usage = chunks[-1]["usage"]
        check((usage["prompt_tokens"], usage["completion_tokens"]) == (prompt_tokens, tokens) and tokens == 40,
              f"guidellm's usage: {usage}")


def with_vllm_bench(http):
    """`vllm bench serve` with backends openai and openai-chat (vllm/benchmarks/lib/endpoint_request_func.py): it counts a
    token for each chunk with a choice, those of empty text too."""
    common = {"model": "demo", "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True, "seed": SEED}
    expected, prompt_tokens, tokens = told(PROMPT, 48, "--ignore-eos")
    ids = infer("-n", "0", PROMPT)["prompt_ids"]
    for prompt in [PROMPT, ids]:
        body = {**common, "prompt": prompt, "repetition_penalty": 1.0, "max_tokens": 48, "logprobs": None}
        with http.stream("POST", "/v1/completions", json=body, headers={"x-request-id": "bench-1"}) as response:
            check(response.headers["x-request-id"] == "bench-1", "the request's id comes back")
            chunks = events(response)
        counted = [c for c in chunks if c["choices"]]
        check(len(counted) == 48, f"vLLM's bench counts {len(counted)} tokens of 48")
        check("".join(c["choices"][0]["text"] for c in counted) == expected, "vLLM's completion")
        check(chunks[-1]["usage"]["completion_tokens"] == tokens and not chunks[-1]["choices"], "its usage")
    expected = told(CHAT, 48, "--ignore-eos")[0]
    body = {**common, "max_completion_tokens": 48,
            "messages": [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]}
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        chunks = events(response)
    counted = [c for c in chunks if c["choices"]]
    # One before the first token has the role.
    check(len(counted) == 49, f"vLLM's chat counts {len(counted)} chunks")
    check("".join(c["choices"][0]["delta"].get("content") or "" for c in counted) == expected, "vLLM's chat")


with tempfile.TemporaryDirectory() as folder:
    os.environ["HOME"] = folder
    with served.server(PROGRAMS, "--chat-template", "plain") as (base, _):
        with_langchain(base)
        with_litellm(base)
        with_node(base)
        with httpx.Client(base_url=base, timeout=120) as http:
            with_open_webui(http)
            with_guidellm(http)
            with_vllm_bench(http)
print(f"more clients: {served.count} checks passed")
