"""Many clients for some minutes, a third of them hanging up at random and a tenth sending rubbish: no error of the server's, the
texts and log-probabilities of all others the bits that each has alone, and memory flat.

    python soak.py PROGRAMS [--minutes 10] [--clients 64] [--seed 1]

PROGRAMS is the folder with `mmfree-serve` and `mmfree-infer`. Needs nothing but Python and Linux. Prints what was done, and the
memory over time. Exits with 1 at the first difference.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections import Counter
from pathlib import Path

import served
from served import check

TALE = "There was once a king whose wife had golden hair, and she had no equal on earth. "
PROMPTS = ["Once upon a time there was a", TALE * 12, "The wolf said to the fox", TALE * 40, "A", TALE[:60]]
TOKENS = [4, 40, 150]
# Metrics that are shown at the end.
SHOWN = ("mmfree_cache_bytes ", "mmfree_cache_evictions_total ", "mmfree_cancellations_total ", "mmfree_refusals_total ")
# Bytes by which memory may differ from one half of the time to the other: what the allocator keeps, and the state of a run.
ROOM = 24 << 20


class Job:
    """A request whose answer is known."""

    def __init__(self, path, body, text, prompt_tokens, tokens):
        self.path, self.body, self.text = path, body, text
        self.prompt_tokens, self.tokens = prompt_tokens, tokens
        # The log-probabilities of the first answer, which was alone.
        self.scores = None


def jobs(programs):
    """Requests of several kinds, with the texts that mmfree-infer gives."""
    made = []
    for n, prompt in enumerate(PROMPTS):
        for m, tokens in enumerate(TOKENS):
            seed = 100 * n + m
            options = [[], ["--temp", "1.2", "--top-k", "40"], ["--greedy"]][m]
            fields = [{}, {"temperature": 1.2, "top_k": 40}, {"temperature": 0}][m]
            chat = n % 3 == 2
            asked = f"user: {prompt}\nassistant:" if chat else prompt
            said = served.infer(programs, "-n", str(tokens), "--seed", str(seed), *options, asked)
            body = {"seed": seed, "max_tokens": tokens, **fields}
            if chat:
                path = "/v1/chat/completions"
                body |= {"messages": [{"role": "user", "content": prompt}], "logprobs": True, "top_logprobs": 2}
            else:
                path = "/v1/completions"
                body |= {"prompt": prompt if n % 2 else said["prompt_ids"], "logprobs": 3}
            made.append(Job(path, body, said["text"], len(said["prompt_ids"]), len(said["ids"])))
    return made


def rubbish(rng):
    """Bytes that are no request, or one that can't be."""
    def post(body, path="/v1/completions", kind="application/json"):
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body

    return rng.choice([
        lambda: rng.randbytes(rng.randrange(1, 3000)),
        lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(300),
        lambda: b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
        lambda: b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        lambda: post(rng.randbytes(rng.randrange(0, 5000))),
        lambda: post(b"[" * rng.randrange(1, 100_000)),
        lambda: post(b'{"prompt": "' + b"x" * rng.randrange(1, 100_000)),
        lambda: post(b'{"prompt": "a", "max_tokens": 1e300}'),
        lambda: post(b'{"prompt": [1, 2, 4294967296]}'),
        lambda: post(b'{"prompt": "a", "model": "another"}'),
        lambda: post(b'{"messages": [{"role": "user", "content": {"a": [[[[1]]]]}}]}', "/v1/chat/completions"),
        lambda: post(b'{"prompt": "a", "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 5}}}}'),
        lambda: post(b'{"prompt": "a", "guided_regex": "(a{1,1000}){1,1000}("}'),
        lambda: post(b'{"prompt": "a", "state": "AAAA"}'),
        lambda: post(b"{}", "/v1/nothing"),
        lambda: post(b"{}", kind="text/plain"),
        lambda: b"DELETE /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n",
        lambda: b"GET /health HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    ])()


async def read_head(reader):
    """The status and the headers of an answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
    return int(head[0].split(" ")[1]), headers


async def read_body(reader, headers):
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def whole(answer, streamed):
    """The text of an answer, its log-probabilities, and its usage."""
    if not streamed:
        answer = json.loads(answer)
        choice = answer["choices"][0]
        text = choice["text"] if "text" in choice else choice["message"]["content"]
        return text, choice["logprobs"], answer["usage"]
    events = [event.removeprefix("data: ") for event in answer.decode().split("\n\n") if event.startswith("data: ")]
    check(events.pop() == "[DONE]", f"a stream's end: {events[-1:]}")
    text, scores, usage = "", {}, None
    for event in map(json.loads, events):
        check("error" not in event, f"an error in a stream: {event}")
        usage = event["usage"] or usage
        for choice in event["choices"]:
            text += choice["text"] if "text" in choice else choice["delta"]["content"]
            for name, values in (choice["logprobs"] or {}).items():
                scores.setdefault(name, []).extend(values)
    return text, scores, usage


class Load:
    def __init__(self, base, known, seed):
        self.host, port = base.removeprefix("http://").rsplit(":", 1)
        self.port, self.jobs, self.counts, self.rng = int(port), known, Counter(), random.Random(seed)

    def head(self, body, path):
        return (f"POST {path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\n\r\n").encode() + body

    async def connected(self, act):
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            await act(reader, writer)
        finally:
            writer.close()

    async def answered(self, reader, writer, job, streamed):
        body = job.body | ({"stream": True, "stream_options": {"include_usage": True}} if streamed else {})
        writer.write(self.head(json.dumps(body).encode(), job.path))
        status, headers = await read_head(reader)
        answer = await read_body(reader, headers)
        check(status == 200, f"{status}: {answer[:500]}")
        text, scores, usage = whole(answer, streamed)
        check(text == job.text, f"{job.body}: {text!r}, not {job.text!r}")
        job.scores = job.scores or scores
        check(scores == job.scores, f"{job.body}: other log-probabilities than alone")
        found = (usage["prompt_tokens"], usage["completion_tokens"])
        check(found == (job.prompt_tokens, job.tokens), f"{job.body}: {usage}")
        self.counts["answers"] += 1
        self.counts["tokens"] += job.tokens

    async def whole_ones(self, reader, writer):
        """One request, or several after each other."""
        for _ in range(self.rng.choice([1, 1, 3])):
            await self.answered(reader, writer, self.rng.choice(self.jobs), self.rng.random() < 0.7)

    async def hang_up(self, reader, writer):
        """A request that is not waited for to its end."""
        rng = self.rng
        prompt = "".join(rng.choice(["king ", "wolf ", "gold ", "and ", "the "]) for _ in range(rng.randrange(1, 400)))
        body = {"prompt": prompt, "max_tokens": 2000, "ignore_eos": True, "stream": rng.random() < 0.7, "n": rng.choice([1, 1, 4])}
        request = self.head(json.dumps(body).encode(), "/v1/completions")
        # Within the request, too.
        writer.write(request if rng.random() < 0.8 else request[: rng.randrange(len(request))])
        await writer.drain()
        if rng.random() < 0.5:
            try:
                await asyncio.wait_for(reader.readexactly(rng.randrange(1, 20_000)), rng.random() * 3)
            except (asyncio.TimeoutError, asyncio.IncompleteReadError):
                pass
        else:
            await asyncio.sleep(rng.random())
        if rng.random() < 0.5:
            # With a reset.
            writer.transport.abort()
        self.counts["hang-ups"] += 1

    async def send_rubbish(self, reader, writer):
        sent = rubbish(self.rng)
        try:
            writer.write(sent)
            await writer.drain()
            status, _ = await asyncio.wait_for(read_head(reader), 1 + self.rng.random())
            check(400 <= status < 500, f"{sent[:300]} is answered by {status}")
            self.counts[f"answers of {status} to rubbish"] += 1
        except (asyncio.TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            # It waits for more, or has closed the connection.
            self.counts["rubbish without an answer"] += 1
        self.counts["rubbish"] += 1

    async def client(self, end):
        while time.monotonic() < end:
            drawn = self.rng.random()
            if drawn < 0.1:
                await self.connected(self.send_rubbish)
            elif drawn < 0.1 + 1 / 3:
                await self.connected(self.hang_up)
            else:
                await self.connected(self.whole_ones)

    async def alone(self):
        """Every job by itself: their log-probabilities, and how memory stands once each has been."""
        for job in self.jobs:
            for streamed in [False, True]:
                await self.connected(lambda r, w, job=job, streamed=streamed: self.answered(r, w, job, streamed))


def resident(pid):
    """Bytes in memory of a process and of those that it has started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    own = sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return own + sum(resident(child) for child in children)


async def watch(pid, start, found):
    while True:
        found.append((time.monotonic() - start, resident(pid)))
        await asyncio.sleep(2)


async def run(base, pid, known, args):
    load = Load(base, known, args.seed)
    await load.alone()
    start, memory = time.monotonic(), []
    watching = asyncio.create_task(watch(pid, start, memory))
    clients = [load.client(start + 60 * args.minutes) for _ in range(args.clients)]
    # The first failure ends all.
    await asyncio.gather(*clients)
    watching.cancel()
    return load.counts, memory


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=lambda path: Path(path).resolve())
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    known = jobs(args.programs)
    # A cache that is full before long.
    options = ["--chat-template", "plain", "--cache", "4M"]
    with served.server(args.programs, *options) as (base, process):
        counts, memory = asyncio.run(run(base, process.pid, known, args))
        check(process.poll() is None, "the server lives")
        asyncio.run(ended(base))
    seconds = memory[-1][0]
    print(f"soak: {args.clients} clients for {seconds:.0f} s, on {os.cpu_count()} CPUs")
    for name, n in sorted(counts.items()):
        print(f"  {name}: {n}")
    step = max(1, len(memory) // 12)
    print("  MB in memory:", ", ".join(f"{at:.0f} s {size / 1e6:.0f}" for at, size in memory[::step]))
    # The first quarter fills the cache and the allocator's free lists.
    quarter = max(1, len(memory) // 4)
    before = statistics.median(size for _, size in memory[quarter : 2 * quarter] or memory)
    after = statistics.median(size for _, size in memory[-quarter:])
    check(after <= before * 1.05 + ROOM, f"memory grows: {before / 1e6:.1f} MB, later {after / 1e6:.1f} MB")
    check(counts["answers"] and counts["hang-ups"] and counts["rubbish"], "something of each kind happened")
    print(f"soak: {before / 1e6:.1f} MB in the second quarter, {after / 1e6:.1f} MB in the last; {served.count} checks passed")


async def ended(base):
    """Nothing is left of those who have gone."""
    host, port = base.removeprefix("http://").rsplit(":", 1)
    for _ in range(100):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /metrics HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        _, headers = await read_head(reader)
        text = (await read_body(reader, headers)).decode()
        writer.close()
        gauges = ("mmfree_active_sequences ", "mmfree_waiting_requests ", "mmfree_request_memory_bytes ")
        left = [line for line in text.splitlines() if line.startswith(gauges)]
        check(len(left) == 3, "the gauges are there")
        if all(line.endswith(" 0") for line in left):
            print("\n".join(f"  {line}" for line in text.splitlines() if line.startswith(SHOWN)))
            return
        await asyncio.sleep(0.1)
    check(False, f"sequences are left: {left}")


main()
