"""`schemathesis` against the server's /openapi.json: requests made of its schemas, sound and unsound ones, for every operation.

    python schema.py PROGRAMS [SECONDS]

No answer may be an error of the server's, each must have the type and the schema that the description gives it, and what the
schemas forbid is refused. Half of the time the description is as it is served, and most requests that it allows are refused all
the same: a model has a name, a state is no text like others. In the other half it says what this server's model can answer.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import served

PROGRAMS = Path(sys.argv[1]).resolve()
SECONDS = int(sys.argv[2]) if len(sys.argv) > 2 else 120
# Texts that end soon, however many are asked for.
MOST = {"max-tokens": 16, "max-tokens-default": 8, "max-texts": 8, "max-time": 20}
KEY = "a-key"
# One of these beside another is an error, and made up ones describe nothing.
FORMS = ["structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "json_schema", "response_format"]


def sharpened(description, model):
    """The description as it would be for this model alone: what it allows is mostly answered."""
    ids = {"type": "integer", "minimum": 0, "maximum": model["vocab_size"] - 1}
    for name in ["Completion", "Chat"]:
        fields = description["components"]["schemas"][name]["properties"]
        for field in [*FORMS, "state"]:
            del fields[field]
        fields["model"] = {"enum": [model["id"], None]}
        for field in ["max_tokens", "max_completion_tokens"]:
            if field in fields:
                fields[field]["maximum"] = MOST["max-tokens"]
        fields["n"]["maximum"] = 2
        fields["suppress_tokens"]["items"] = ids
        fields["logit_bias"]["propertyNames"] = {"enum": ["0", "1", "2", "3", str(model["vocab_size"] - 1)]}
        fields["seed"] |= {"minimum": -(1 << 53), "maximum": 1 << 53}
    del description["components"]["schemas"]["Chat"]["anyOf"], description["components"]["schemas"]["Completion"]["anyOf"]
    chat = description["components"]["schemas"]["Chat"]
    chat["required"] = ["messages"]
    chat["properties"]["messages"] |= {"minItems": 1}
    completion = description["components"]["schemas"]["Completion"]
    completion["required"] = ["prompt"]
    text, texts, one, several = completion["properties"]["prompt"]["oneOf"]
    texts["maxItems"] = several["maxItems"] = 4
    one["items"] = several["items"]["items"] = ids
    description["components"]["schemas"]["Tokens"]["properties"]["tokens"]["items"] = ids
    return description


def schemathesis(location, base, folder):
    command = [
        Path(sys.executable).with_name("schemathesis"), "run", location, "--url", base, "--checks", "all",
        "--exclude-checks", "positive_data_acceptance", "--header", f"Authorization: Bearer {KEY}",
        "--max-time", str(SECONDS // 2), "--max-examples", "200", "--seed", "1", "--request-timeout", "60",
        "--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-color", "--output-sanitize", "false",
    ]
    run = subprocess.run(command, cwd=folder)
    served.check(run.returncode == 0, "schemathesis found something")


def get(url):
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {KEY}"})
    return json.load(urllib.request.urlopen(request))


with tempfile.TemporaryDirectory() as folder:
    keys, description = Path(folder) / "keys", Path(folder) / "openapi.json"
    keys.write_text(KEY)
    limits = [f"--{name}={most}" for name, most in MOST.items()]
    with served.server(PROGRAMS, "--chat-template", "plain", "--api-key-file", keys, *limits) as (base, process):
        schemathesis(f"{base}/openapi.json", base, folder)
        model = get(f"{base}/v1/models")["data"][0]
        description.write_text(json.dumps(sharpened(get(f"{base}/openapi.json"), model)))
        schemathesis(description, base, folder)
        served.check(process.poll() is None, "the server lives")
