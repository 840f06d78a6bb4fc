"""The command line: `mmfree-train prepare | run | export | eval`."""

import argparse
import json
import sys
from pathlib import Path

from . import __version__
from .errors import Failure, UsageFailure


class _Parser(argparse.ArgumentParser):
    """Errors are one line."""

    def error(self, message):
        raise UsageFailure(f"{message}; see {self.prog} --help")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults are shown where there are some."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


def _number(kind, least, most=None, above=False):
    """A type of option: a number from `least`, or above it, up to `most`."""

    def parse(text):
        bounds = f"{'above' if above else 'from'} {least}" + ("" if most is None else f" to {most}")
        what = f"a {'whole ' if kind is int else ''}number {bounds}"
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        # Written so that not-a-number fails.
        if not (value > least or (value == least and not above)) or not (most is None or value <= most) or value == float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mmfree-train", description="Trains MatMul-free language models (HGRN-Bit) for mmfree.")
    parser.add_argument("--version", action="version", version=f"mmfree-train {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    _prepare_parser(commands)
    _run_parser(commands)
    _export_parser(commands)
    _eval_parser(commands)
    return parser


def _prepare_parser(commands):
    p = commands.add_parser("prepare", help="texts to a tokenizer and packed ids", formatter_class=_Help)
    p.set_defaults(run=_prepare)
    p.add_argument("files", nargs="*", type=Path, metavar="FILE", help="texts, plain or .jsonl, also .gz and .xz: one source, named text")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="the folder to make, or to go on with")
    p.add_argument("--source", nargs="+", action="append", default=[], metavar=("NAME[:WEIGHT[:SPLIT]]", "FILE"), help="a source of several: its share in a batch, and --split for it alone")
    p.add_argument("--held-out", action="append", default=[], metavar="NAME=FILE", help="a text to evaluate on, never to train on")
    p.add_argument("--held-out-share", type=_number(float, 0, 0.5), default=0.005, metavar="SHARE", help="of each source, what is held out")
    p.add_argument("--held-out-bytes", type=_number(int, 0), default=100_000, metavar="BYTES", help="of each source, the most that is held out")
    p.add_argument("--vocab", type=_number(int, 1, 1 << 24), metavar="SIZE", help="entries of the tokenizer that is learned")
    p.add_argument("--tokenizer-type", choices=("byte-level", "llama"), default="byte-level", help="BPE of bytes, or of characters with bytes for unknown ones")
    p.add_argument("--tokenizer-bytes", type=_number(int, 1), default=50_000_000, metavar="BYTES", help="text that the tokenizer is learned from")
    p.add_argument("--tokenizer", type=Path, metavar="CHECKPOINT", help="take this tokenizer: a checkpoint folder, a .mmfree file, a tokenizer.json")
    p.add_argument("--split", default="file", help="what a document is: file, blank (between empty lines), line, or any other text: between lines of it")
    p.add_argument("--keep-duplicates", action="store_true", help="keep documents that were there before")


def _run_parser(commands):
    p = commands.add_parser("run", help="train, fine-tune, or go on", formatter_class=_Help)
    p.set_defaults(run=_run)
    p.add_argument("data", type=Path, help="a folder of mmfree-train prepare")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="the checkpoint folder to make")
    p.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    p.add_argument("--from", dest="start", type=Path, metavar="CHECKPOINT", help="fine-tune: a checkpoint folder or a .mmfree file")

    g = p.add_argument_group("the model")
    g.add_argument("--hidden", type=_number(int, 1, 1 << 18), metavar="H", help="hidden size")
    g.add_argument("--layers", type=_number(int, 1, 1 << 16), metavar="L", help="number of layers")
    g.add_argument("--heads", type=_number(int, 1, 1 << 18), metavar="N", help="number of heads, which changes no number [1]")
    g.add_argument("--intermediate", type=_number(int, 1, 1 << 18), metavar="I", help="width of the channel mixing [8/3 H, up to a multiple of 256]")
    g.add_argument("--expand-ratio", type=_number(float, 0, above=True), metavar="R", help="width of the recurrence by that of the model [1]")
    g.add_argument("--no-lower-bound", action="store_true", help="forget gates without lower bounds")
    g.add_argument("--short-conv", choices=("shared", "separate"), help="a short convolution, which the original code cannot run")
    g.add_argument("--conv-size", type=_number(int, 1, 1024), metavar="K", help="its length [4]")
    g.add_argument("--tie-embeddings", action="store_true", help="the head is the embedding's matrix")

    g = p.add_argument_group("how long")
    g.add_argument("--steps", type=_number(int, 1), metavar="N", help="steps of the whole run")
    g.add_argument("--tokens", metavar="N", help="the same in tokens, as 200M [20 for each parameter, at most 5 passes]")
    g.add_argument("--minutes", type=_number(float, 0), metavar="M", help="stop after so long with a checkpoint; --resume goes on")

    g = p.add_argument_group("how")
    g.add_argument("--batch-tokens", metavar="N", help="tokens of a step [65536 on a GPU, 8192 on a CPU]")
    g.add_argument("--context", type=_number(int, 2), metavar="T", help="tokens of a sequence [512]")
    g.add_argument("--accumulate", type=_number(int, 1), metavar="N", help="parts that a step is computed in, for less memory [1]")
    g.add_argument("--mix", action="append", metavar="[SHARE=]NAME:WEIGHT,..", help="weights of the sources, from a share of the run on")
    g.add_argument("--aligned", type=_number(float, 0, 1), metavar="SHARE", help="sequences that begin where a document near them does [0.5]")
    g.add_argument("--lr", type=_number(float, 0, above=True), metavar="RATE", help="peak learning rate [by size; a tenth of it with --from]")
    g.add_argument("--lr-floor", type=_number(float, 0, 1), metavar="SHARE", help="of it, what is left at the end [0.02]")
    g.add_argument("--warmup", type=_number(int, 0), metavar="N", help="steps of warm-up [150, at most a tenth of the run]")
    g.add_argument("--weight-decay", type=_number(float, 0), metavar="W", help="of ternary matrices [0.1]")
    g.add_argument("--clip", type=_number(float, 0, above=True), metavar="NORM", help="largest norm of the gradient [1]")
    g.add_argument("--seed", type=_number(int, 0, 2**63 - 1), metavar="N", help="the same seed repeats a run on one device [0]")
    g.add_argument("--precision", choices=("bfloat16", "float32"), help="of products in training [bfloat16 on a GPU, float32 on a CPU]")
    g.add_argument("--eval-every", type=_number(int, 0), metavar="N", help="steps between evaluations, 0 for the last alone [a tenth of the run]")
    g.add_argument("--best", metavar="NAME", help="the held-out text that decides what is best, or mean [mean]")

    g = p.add_argument_group("where, and what is written")
    g.add_argument("--device", default="auto", help="cuda, cuda:1, cpu")
    g.add_argument("--compile", choices=("auto", "on", "off"), default="auto", help="torch.compile; auto: on a GPU")
    g.add_argument("--threads", type=_number(int, 1), metavar="N", help="threads on a CPU")
    g.add_argument("--log-every", type=_number(int, 1), default=20, metavar="N", help="steps between lines of progress")
    g.add_argument("--save-minutes", type=_number(float, 0, above=True), default=5.0, metavar="M", help="minutes between checkpoints")
    _weights(g)


def _weights(g):
    g.add_argument("--weights", choices=("latent", "snapped"), default="latent", help="write what was trained, or trits alone, which compress well")
    g.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="type of what is written; trits are kept in each")
    g.add_argument("--keep", choices=("best", "last"), default="best", help="which weights of the run are written")


def _export_parser(commands):
    p = commands.add_parser("export", help="write the checkpoint folder of a run again", formatter_class=_Help)
    p.set_defaults(run=_export)
    p.add_argument("model", type=Path, help="the output folder of mmfree-train run")
    p.add_argument("--data", type=Path, metavar="FOLDER", help="its data, to evaluate what was written")
    p.add_argument("--device", default="auto", help="cuda, cuda:1, cpu")
    _weights(p)


def _eval_parser(commands):
    p = commands.add_parser("eval", help="how well a model predicts texts, as mmfree-infer perplexity", formatter_class=_Help)
    p.set_defaults(run=_eval)
    p.add_argument("model", type=Path, help="a checkpoint folder or a .mmfree file")
    p.add_argument("files", nargs="+", type=Path, metavar="FILE", help="texts, or .jsonl of conversations")
    p.add_argument("--context", type=_number(int, 2), metavar="N", help="windows of so many tokens, not one sequence")
    p.add_argument("--json", action="store_true", help="one JSON object a line")
    p.add_argument("--device", default="auto", help="cuda, cuda:1, cpu")
    p.add_argument("--threads", type=_number(int, 1), metavar="N", help="threads on a CPU")


def _prepare(a):
    from . import prepare

    sources = []
    for name, *files in a.source:
        name, _, weight = name.partition(":")
        weight, _, split = weight.partition(":")
        try:
            value = float(weight) if weight else None
        except ValueError:
            raise UsageFailure(f"--source {name}:{weight}: {weight!r} is no number") from None
        if value is not None and not 0 < value < float("inf"):
            raise UsageFailure(f"--source {name}:{weight}: a weight must be above 0")
        if not files:
            raise UsageFailure(f"--source {name} has no files")
        sources.append(prepare.SourceFiles(name, value, [Path(file) for file in files], split or None))
    if a.files:
        sources.insert(0, prepare.SourceFiles("text", None, a.files))
    if not sources:
        raise UsageFailure("needs texts: FILE.. or --source NAME FILE..")
    held = []
    for text in a.held_out:
        name, found, path = text.partition("=")
        if not found or not path:
            raise UsageFailure(f"--held-out is {text!r}, must be NAME=FILE")
        held.append((name, Path(path)))
    prepare.prepare(
        prepare.Options(
            output=a.output,
            sources=sources,
            held_out=held,
            vocab=a.vocab,
            kind=a.tokenizer_type,
            tokenizer=a.tokenizer,
            split=a.split,
            share=a.held_out_share,
            held_out_bytes=a.held_out_bytes,
            tokenizer_bytes=a.tokenizer_bytes,
            deduplicate=not a.keep_duplicates,
        )
    )
    return 0


# Options that make other numbers: those of a run that goes on are in its checkpoint.
_FIXED = (
    "start hidden layers heads intermediate expand_ratio no_lower_bound short_conv conv_size tie_embeddings steps tokens batch_tokens"
    " context accumulate mix aligned lr lr_floor warmup weight_decay clip seed precision eval_every best"
).split()


def _run(a):
    import torch

    from . import checkpoint, data, run, state

    if a.threads:
        torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision("highest")
    if a.resume:
        given = [name for name in _FIXED if getattr(a, name) not in (None, False, [])]
        if given:
            option = {"start": "from"}.get(given[0], given[0]).replace("_", "-")
            raise UsageFailure(f"--{option} with --resume: a run goes on with what it was begun with")
    elif (a.output / state.FOLDER / state.LATEST).exists() or (a.output / checkpoint.WEIGHTS).exists():
        raise UsageFailure(f"{a.output}: holds a run or a checkpoint already: --resume goes on with it; else name another folder")
    prepared = data.read(a.data)
    processes = run.Processes(a.device)
    try:
        options = run.Options(
            output=a.output,
            device=a.device,
            compile=a.compile,
            minutes=a.minutes,
            save_minutes=a.save_minutes,
            log_every=a.log_every,
            weights=a.weights,
            dtype=a.dtype,
            keep=a.keep,
        )
        if a.resume:
            saved = state.load(a.output / state.FOLDER)
            held = [what.name for what in prepared.held_out]
            if (saved.settings.sources, saved.settings.held_out) != (prepared.summary(), held):
                raise Failure(f"{prepared.path}: is not the data that the run in {a.output} was begun with")
            this = run.Run(prepared, saved.config, saved.settings, options, processes)
            this.resume(saved)
            processes.say(f"going on after step {saved.progress.step} of {saved.settings.steps}")
            return this.run()
        weights = None if a.start is None else checkpoint.read(a.start)
        config = _config(a, prepared, weights)
        settings = _settings(a, prepared, config, weights, processes)
        this = run.Run(prepared, config, settings, options, processes)
        this.begin(weights)
        return this.run()
    finally:
        processes.end()


def check_vocabulary(size: int, prepared):
    """Ids of the data must be entries of the model."""
    if prepared.vocab_size > size:
        raise Failure(
            f"{prepared.path}: its tokenizer has {prepared.vocab_size} entries, but the model has {size}: prepare the texts with"
            " --tokenizer CHECKPOINT"
        )


def _config(a, prepared, weights):
    from .config import Config

    chosen = {
        "hidden": a.hidden,
        "layers": a.layers,
        "heads": a.heads,
        "intermediate": a.intermediate,
        "expand-ratio": a.expand_ratio,
        "no-lower-bound": a.no_lower_bound or None,
        "short-conv": a.short_conv,
        "conv-size": a.conv_size,
        "tie-embeddings": a.tie_embeddings or None,
    }
    tokenizer = prepared.tokenizer
    if weights is not None:
        for name, value in chosen.items():
            if value is not None:
                raise UsageFailure(f"--{name} with --from: the model is that of the checkpoint")
        check_vocabulary(weights.config.vocab_size, prepared)
        if "tokenizer.json" in weights.files:
            from .tokenizer import TextTokenizer

            if not tokenizer.same_as(TextTokenizer(weights.files, str(weights.path))):
                raise Failure(f"{prepared.path}: has another tokenizer than {weights.path}: prepare the texts with --tokenizer {weights.path}")
        return weights.config
    if a.hidden is None or a.layers is None:
        raise UsageFailure("needs --hidden and --layers, or --from CHECKPOINT, or --resume")
    ratio = a.expand_ratio or 1
    config = Config(
        vocab_size=prepared.vocab_size,
        hidden_size=a.hidden,
        num_hidden_layers=a.layers,
        num_heads=a.heads or 1,
        expand_ratio=int(ratio) if ratio == int(ratio) else ratio,
        intermediate_size=a.intermediate,
        use_lower_bound=not a.no_lower_bound,
        use_short_conv=a.short_conv is not None,
        conv_size=a.conv_size or 4,
        share_conv_kernel=a.short_conv != "separate",
        tie_word_embeddings=a.tie_embeddings,
        bos_token_id=tokenizer.id_of("bos_token"),
        eos_token_id=tokenizer.id_of("eos_token"),
    )
    return config.check("the model")


def _settings(a, prepared, config, weights, processes):
    from .data import parse_mixes
    from .settings import Settings, default_steps, learning_rate, parameters_of, parse_count, rows_of

    tuning = weights is not None
    gpu = processes.device.type == "cuda"
    parameters = parameters_of(config)
    context = a.context or 512
    accumulate = a.accumulate or 1
    step_tokens = parse_count(a.batch_tokens, "--batch-tokens") if a.batch_tokens else (65536 if gpu else 8192)
    unit = accumulate * processes.count
    rows = max(unit, rows_of(context, step_tokens) // unit * unit)
    if a.steps and a.tokens:
        raise UsageFailure("--steps and --tokens exclude each other")
    why = ""
    if a.steps:
        steps = a.steps
    elif a.tokens:
        steps = max(1, round(parse_count(a.tokens, "--tokens") / (rows * context)))
    else:
        steps, why = default_steps(parameters, prepared.tokens, rows * context, tuning)
    names = [held.name for held in prepared.held_out]
    best = a.best or "mean"
    if best != "mean" and best not in names:
        raise UsageFailure(f"--best is {best!r}, must be mean or a held-out text: {', '.join(names) or 'there is none'}")
    parse_mixes(a.mix or [], prepared)
    settings = Settings(
        rows=rows,
        context=context,
        steps=steps,
        learning_rate=a.lr or learning_rate(parameters, tuning),
        floor=0.02 if a.lr_floor is None else a.lr_floor,
        warmup=min(150, steps // 10) if a.warmup is None else a.warmup,
        weight_decay=0.1 if a.weight_decay is None else a.weight_decay,
        clip=a.clip or 1.0,
        beta1=0.9,
        beta2=0.95,
        seed=a.seed or 0,
        aligned=0.5 if a.aligned is None else a.aligned,
        accumulate=accumulate,
        precision=a.precision or ("bfloat16" if gpu else "float32"),
        mix=a.mix or [],
        eval_every=max(1, steps // 10) if a.eval_every is None else a.eval_every,
        best=best,
        sources=prepared.summary(),
        held_out=names,
        started_from=str(a.start) if tuning else None,
    )
    processes.say(
        f"{parameters / 1e6:.2f} M parameters, {steps} steps of {rows} x {context} tokens: {steps * rows * context / 1e6:.1f} M"
        f"{f' ({why})' if why else ''}; peak learning rate {settings.learning_rate:.3g}, {settings.precision}, {processes.device}"
        f"{f', {processes.count} processes' if processes.count > 1 else ''}"
    )
    return settings


def _export(a):
    from . import data, export, run

    prepared = None if a.data is None else data.read(a.data)
    export.from_run(a.model, prepared, a.weights, a.dtype, a.keep, run.Processes(a.device).device)
    return 0


def _eval(a):
    import torch

    from . import checkpoint, evaluate, run
    from .data import HeldOut
    from .tokenizer import TextTokenizer

    if a.threads:
        torch.set_num_threads(a.threads)
    read = checkpoint.read(a.model)
    tokenizer = TextTokenizer(read.files, str(a.model))
    model = read.model().to(run.Processes(a.device).device).eval()
    for path in a.files:
        chat = ".jsonl" in path.suffixes[-2:]
        if chat and a.context:
            raise UsageFailure("--context is for texts, not for conversations")
        measured = evaluate.held_out(model, tokenizer, HeldOut(path.stem, path, chat), a.context)
        if a.json:
            print(json.dumps({"file": str(path), **measured.keys()}))
        else:
            print(f"{path}")
            print(f"tokens          {measured.tokens} ({measured.predicted} predicted)")
            print(f"nats per token  {measured.nats_per_token:.6f}")
            print(f"bits per byte   {measured.bits_per_byte:.6f}")
            print(f"perplexity      {measured.perplexity:.4f}", flush=True)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; gives the exit code."""
    try:
        a = _parser().parse_args(arguments)
        return a.run(a)
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        # Who reads has enough.
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
    except MemoryError:
        print("error: out of memory", file=sys.stderr)
        return 1
    except RuntimeError as error:
        # What PyTorch says where there is no memory; anything else is a fault of this program.
        if "allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        print("error: out of memory: a smaller model, a smaller --batch-tokens or a larger --accumulate takes less", file=sys.stderr)
        return 1
