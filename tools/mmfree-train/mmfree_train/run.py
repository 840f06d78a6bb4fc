"""`mmfree-train run`: the loop of training, from scratch, from a checkpoint, or from where a run stopped."""

import contextlib
import dataclasses
import math
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from . import checkpoint, evaluate, export, state
from .config import Config
from .data import IGNORED, Data, Plan, parse_mixes
from .errors import Failure
from .files import make_folder, remove_unfinished
from .log import Log
from .model import HGRNBit
from .settings import PASSES, Settings, rate_at

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Weight of a new loss in the mean that is shown.
SMOOTHING = 0.02


@dataclasses.dataclass
class Options:
    """What changes no number of a run, and so may differ when it goes on."""

    output: Path
    device: str
    compile: str
    minutes: float | None
    save_minutes: float
    log_every: int
    weights: str
    dtype: str
    keep: str


class _Loss(torch.nn.Module):
    """The model as something that gives a loss, for DistributedDataParallel."""

    def __init__(self, model: HGRNBit):
        super().__init__()
        self.model = model

    def forward(self, ids, targets, dtype):
        return self.model.loss(ids, targets, dtype)


class Processes:
    """This process among those that torchrun started, or alone."""

    def __init__(self, device: str):
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise Failure(f"--device {device}: there is no GPU that this torch can use")
        try:
            self.device = torch.device("cuda", local) if device == "cuda" else torch.device(device)
            torch.empty(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise Failure(f"--device {device}: {str(error).splitlines()[0]}") from None
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.count > 1:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def first(self) -> bool:
        return self.rank == 0

    def say(self, text: str):
        """A line of the first process."""
        if self.first:
            print(text, flush=True)

    def note(self, text: str):
        """A line of the first process on stderr."""
        if self.first:
            print(f"note: {text}", file=sys.stderr, flush=True)

    def agree(self, value: float) -> float:
        """The first process's value, for all of them."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared.item())

    def wait(self):
        if self.count > 1:
            dist.barrier()

    def end(self):
        if self.count > 1:
            dist.destroy_process_group()


class Interrupt:
    """Hears the signals that ask a program to end."""

    def __init__(self):
        self.signal = None
        self.before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}

    def _hear(self, number, _frame):
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    def restore(self):
        for number, handler in self.before.items():
            signal.signal(number, handler)


def optimizer_of(model: HGRNBit, settings: Settings, device: torch.device) -> torch.optim.AdamW:
    """AdamW, with weight decay on the ternary matrices alone: not on norms, bounds, convolutions or the embedding."""
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        (decayed if checkpoint.is_matrix(name) else others).append(parameter)
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=(settings.beta1, settings.beta2), eps=1e-8, fused=device.type == "cuda"
    )


class Run:
    """A run of training."""

    def __init__(self, data: Data, config: Config, settings: Settings, options: Options, processes: Processes):
        self.data, self.config, self.settings, self.options, self.processes = data, config, settings, options, processes
        self.device = processes.device
        self.dtype = DTYPES[settings.precision]
        self.folder = options.output / state.FOLDER
        mixes = parse_mixes(settings.mix, data)
        self.plan = Plan(data, mixes, settings.steps, settings.rows, settings.context, settings.seed, settings.aligned)
        if settings.rows % (processes.count * settings.accumulate):
            raise Failure(
                f"{settings.rows} sequences a step cannot be shared by {processes.count} processes in {settings.accumulate} parts each:"
                " change --rows or --accumulate"
            )
        self.progress = state.Progress()
        self.model = HGRNBit(config)
        self.saved_at = 0.0
        self.warned: set[str] = set()

    def begin(self, weights: checkpoint.Checkpoint | None):
        """From scratch, or from the weights of a checkpoint."""
        self.model = weights.model() if weights is not None else self.model.initialize(self.settings.seed)
        self._place()

    def resume(self, saved: state.Saved):
        """From where a run stopped."""
        self._place()
        saved.restore(self.model, self.optimizer)
        self.progress = saved.progress

    def _place(self):
        self.model.to(self.device)
        self.optimizer = optimizer_of(self.model, self.settings, self.device)
        self.compiled = self.options.compile == "on" or (self.options.compile == "auto" and self.device.type == "cuda")
        if self.compiled:
            self.model.compile()
        loss: torch.nn.Module = _Loss(self.model)
        if self.processes.count > 1:
            # Bounds of a single layer bound nothing, and have no gradient.
            loss = torch.nn.parallel.DistributedDataParallel(loss, find_unused_parameters=self.config.num_hidden_layers == 1)
        self.loss = loss

    # One step ---------------------------------------------------------------------------------------------------------------

    def batches(self, step: int):
        """This process's parts of a step, on its device, and how many targets all processes' parts have."""
        ids, targets = self.plan.batch(step)
        count = max(1, int((targets != IGNORED).sum()))
        ids, targets = ids[self.processes.rank :: self.processes.count], targets[self.processes.rank :: self.processes.count]
        parts = []
        for k in range(self.settings.accumulate):
            pair = []
            for array in (ids, targets):
                tensor = torch.from_numpy(array[k :: self.settings.accumulate].copy())
                if self.device.type == "cuda":
                    tensor = tensor.pin_memory()
                pair.append(tensor.to(self.device, non_blocking=True))
            parts.append(tuple(pair))
        return parts, count

    def gradients(self, step: int) -> torch.Tensor:
        """Puts the gradients of a step into the parameters. Gives this process's part of the mean loss."""
        parts, count = self.batches(step)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for n, (ids, targets) in enumerate(parts):
            last = n == len(parts) - 1
            with contextlib.nullcontext() if last or self.processes.count == 1 else self.loss.no_sync():
                # DistributedDataParallel takes the mean of the processes' gradients: here they add up.
                loss = self.loss(ids, targets, self.dtype) / count
                (loss * self.processes.count).backward()
            total += loss.detach()
        return total

    def step(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One step: loss and norm of the gradient. Weights stay as they were where that is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(step, self.settings)
        loss = self._first_step(step) if self.compiled and not self.warm else self.gradients(step)
        self.warm = True
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        if self.device.type == "cuda":
            # The fused optimizer does nothing where this is 1, and nobody has to wait for the GPU to know.
            self.optimizer.found_inf = (~torch.isfinite(norm)).float()
            self.optimizer.step()
        elif torch.isfinite(norm):
            self.optimizer.step()
        return loss, norm

    warm = False

    def _first_step(self, step: int) -> torch.Tensor:
        """Compiles; what torch.compile cannot do here is done without it."""
        start = time.monotonic()
        try:
            loss = self.gradients(step)
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            self.processes.say(f"compiled in {time.monotonic() - start:.1f} s")
            return loss
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if self.options.compile == "on" or self.processes.count > 1:
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            self.processes.note(f"torch.compile does not work here, goes on without it, slower: {reason}")
            self.compiled = False
            for layer in self.model.model.layers:
                layer._compiled_call_impl = None
            self.model._head_loss = self.model.head_loss
            return self.gradients(step)

    # The loop ---------------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Trains to the end, or until a signal or the time ends it. Gives the exit code."""
        settings, progress = self.settings, self.progress
        if self.processes.first:
            make_folder(self.folder)
            remove_unfinished(self.folder)
        names = [held.name for held in self.data.held_out]
        self.log = Log(self.folder / "log.csv", names, progress.step)
        interrupt = Interrupt()
        began = self.saved_at = time.monotonic()
        try:
            stopped = self._loop(interrupt, began)
        except torch.OutOfMemoryError:
            raise Failure(
                f"out of GPU memory with {settings.rows // settings.accumulate // self.processes.count} sequences at a time: raise"
                " --accumulate, or lower --rows"
            ) from None
        finally:
            interrupt.restore()
        if stopped:
            self.save()
            self.write_model()
            self.processes.say(f"stopped {stopped} after step {progress.step} of {settings.steps}; --resume goes on from there")
            return 128 + interrupt.signal if interrupt.signal else 0
        self.save()
        self.write_model()
        self.processes.say(f"done: {self.options.output}")
        return 0

    def _loop(self, interrupt: Interrupt, began: float) -> str | None:
        settings, progress, options = self.settings, self.progress, self.options
        step_tokens = settings.rows * settings.context
        before = progress.seconds
        mark_time, mark_step = None, progress.step
        mean = None if progress.mean_loss is None else torch.tensor(progress.mean_loss, device=self.device)

        def count():
            progress.seconds = before + time.monotonic() - began
            progress.mean_loss = None if mean is None else mean.item()

        # The first step whose gradient is not finite; checked when there is something to report.
        bad = torch.full((), math.inf, device=self.device)
        while progress.step < settings.steps:
            stop = 0.0
            if interrupt.signal is not None:
                stop = 1.0
            elif options.minutes is not None and time.monotonic() - began >= 60 * options.minutes:
                stop = 2.0
            stop = self.processes.agree(stop)
            if stop:
                self._check(bad)
                count()
                return "by a signal" if stop == 1.0 else "as the time is over"
            loss, norm = self.step(progress.step)
            bad = torch.minimum(bad, torch.where(torch.isfinite(norm), math.inf, float(progress.step)))
            if self.processes.count > 1:
                dist.all_reduce(loss)
            mean = loss if mean is None else torch.lerp(mean, loss, SMOOTHING)
            progress.step += 1
            progress.tokens += step_tokens
            if mark_time is None:
                # What compiling took is no speed of training.
                self._wait()
                mark_time, mark_step = time.monotonic(), progress.step
            due = settings.eval_every and progress.step % settings.eval_every == 0
            last = progress.step == settings.steps
            if progress.step % options.log_every == 0 or last or due:
                self._wait()
                self._check(bad)
                count()
                speed = (progress.step - mark_step) * step_tokens / max(time.monotonic() - mark_time, 1e-9)
                self._report(speed, norm.item())
                held = self._evaluate() if due or last else {}
                self._record(held, speed, norm.item())
                mark_time, mark_step = time.monotonic(), progress.step
            elif self.device.type == "cpu":
                self._check(bad)
            late = time.monotonic() - self.saved_at >= 60 * options.save_minutes
            if not last and self.processes.agree(float(late)):
                self._check(bad)
                count()
                self.save()
        return None

    def _wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _report(self, speed: float, norm: float):
        progress, settings = self.progress, self.settings
        passes = self.plan.passes(progress.step)
        shown = " ".join(f"{name} {count:.2f}" for name, count in passes.items())
        # The first step has no speed: it compiles.
        rest = (settings.steps - progress.step) * settings.rows * settings.context
        pace = f"{speed / 1000:,.1f}k tokens/s  {_time(rest / speed)} left" if speed > 0 else "? tokens/s"
        self.processes.say(
            f"step {progress.step}/{settings.steps}  loss {progress.mean_loss:.4f}  lr {rate_at(progress.step - 1, settings):.2e}"
            f"  norm {norm:.2f}  passes {shown}  {pace}"
        )
        for name, count in passes.items():
            if count > PASSES and name not in self.warned:
                self.warned.add(name)
                self.processes.note(f"source {name} is in its pass {math.ceil(count)}: more than {PASSES} make a model worse on other texts")

    def _evaluate(self) -> dict[str, float]:
        if not self.data.held_out:
            return {}
        held: dict[str, float] = {}
        if self.processes.first:
            start = time.monotonic()
            self.model.eval()
            for what in self.data.held_out:
                held[what.name] = evaluate.held_out(self.model, self.data.tokenizer, what).bits_per_byte
            self.model.train()
            shown = "  ".join(f"{name} {value:.4f}" for name, value in held.items())
            value = self._judge(held)
            better = self.progress.best is None or value < self.progress.best
            self.processes.say(
                f"held out, bits per byte: {shown}{'  (the best so far)' if better else ''}  {time.monotonic() - start:.1f} s"
            )
            if better:
                self.progress.best, self.progress.best_step = value, self.progress.step
                state.save_best(self.folder, self.model, self.config, self.progress)
        self.processes.wait()
        return held

    def _judge(self, held: dict[str, float]) -> float:
        if self.settings.best == "mean":
            return sum(held.values()) / len(held)
        return held[self.settings.best]

    def _record(self, held: dict[str, float], speed: float, norm: float):
        if not self.processes.first:
            return
        progress = self.progress
        self.log.add(
            step=progress.step,
            tokens=progress.tokens,
            seconds=round(progress.seconds, 2),
            loss=progress.mean_loss,
            learning_rate=rate_at(progress.step - 1, self.settings),
            gradient_norm=norm,
            tokens_per_second=round(speed),
            **{f"bits_per_byte:{name}": value for name, value in held.items()},
        )
        if held:
            self.log.plot(self.folder / "curve.svg", str(self.options.output))

    def _check(self, bad: torch.Tensor):
        """Ends the run where a gradient was not finite, and says where that came from."""
        first = bad.item()
        if math.isinf(first):
            return
        step = int(first)
        place = find_not_finite(self.model, self.batches(step)[0], self.dtype)
        kept = self.folder / state.LATEST
        kept = f"the last good checkpoint is {kept}" if kept.is_file() else "there is no checkpoint yet"
        raise Failure(f"step {step + 1}: the loss or its gradient is not finite, first in {place}; {kept}")

    def save(self):
        """The checkpoint to go on from."""
        if self.processes.first:
            state.save(self.folder, self.model, self.optimizer, self.config, self.settings, self.progress)
        self.saved_at = time.monotonic()
        self.processes.wait()

    def write_model(self):
        """The checkpoint folder, and what it does with the held-out texts."""
        if self.processes.first:
            export.from_run(self.options.output, self.data, self.options.weights, self.options.dtype, self.options.keep, self.device)
        self.processes.wait()


def find_not_finite(model: HGRNBit, parts, dtype) -> str:
    """Where a value that is not finite first comes up: in a parameter, in a layer's output, or in a gradient."""
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"the parameter {name}"
    seen: list[str] = []

    def hook(name):
        def look(_module, _inputs, output):
            if not seen and isinstance(output, torch.Tensor) and not torch.isfinite(output).all():
                seen.append(name)

        return look

    hooks = [module.register_forward_hook(hook(name)) for name, module in model.named_modules() if name and not name.endswith("norm")]
    try:
        for ids, targets in parts:
            model.zero_grad(set_to_none=True)
            x = model.body(ids, dtype)
            # Layers are run around their hooks.
            loss = model.head_loss(x, targets, dtype)
            if seen:
                return f"the output of {seen[0]}"
            if not torch.isfinite(loss):
                return "the loss"
            loss.backward()
            # Backward goes from the last layer to the first.
            for name, parameter in reversed(list(model.named_parameters())):
                if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                    return f"the gradient of {name}"
    finally:
        for handle in hooks:
            handle.remove()
    return "a step that does not do so again"


def _time(seconds: float) -> str:
    seconds = int(seconds)
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
