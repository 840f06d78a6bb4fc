"""What checks of the server with other programs share: a server of the demo model, and `mmfree-infer` to compare with."""

import contextlib
import json
import subprocess
import sys

count = 0


class Failed(Exception):
    """Something is not as it must be."""


def check(good, what):
    """Ends the program, with one line, at the first thing that is not so."""
    global count
    count += 1
    if not good:
        raise Failed(what)


def end(kind, error, trace):
    print(f"FAILED: {error}", file=sys.stderr) if kind is Failed else sys.__excepthook__(kind, error, trace)


sys.excepthook = end


@contextlib.contextmanager
def server(programs, *args):
    """A running server, which must end well: its address and its process."""
    command = [programs / "mmfree-serve", "--port", "0", "--threads", "1", "--log", "warn", *args]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip(), process
        process.terminate()
        check(process.wait(60) == 0, "the server ends well")
    finally:
        process.kill()


def infer(programs, *args):
    """What `mmfree-infer` says in JSON."""
    command = [programs / "mmfree-infer", "--json", "--quiet", "--threads", "1", *args]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
