"""The GPU path of speed checks, all of it, on a machine with a CUDA device, in under ten minutes.

``python benchmarks/gpu.py [--verdicts 12] [--rehearse]`` ends in one line of JSON:

- ``check``: what came of the course's GPU-only check on the reference;
- ``cheats``: for each way to look fast, on a slow answer, whether it was stopped;
- ``verdicts``: for true ratios of 0.5 and 1.0 of the reference at a threshold of 0.8, how many
  verdicts there were, how many were false, and the median seconds to one.

``--rehearse`` runs the cheats and verdicts with the CPU in the GPU's place, which shows that the
path runs, and nothing about a GPU. Exit code 0: all as it should be; 1: not; 2: no GPU here.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import jupytext
import torch
from rich.console import Console
from rich.progress import track

from autograder.catalogue import lessons, sources
from autograder.checking import gpu_race
from autograder.checking.expect import CheckFailed, Inputs, expect_close
from autograder.checking.gpu_race import Arena, Nowhere
from autograder.grading import score_submission
from autograder.notebook import Cell
from autograder.sandbox import launch
from autograder.sandbox.errors import SandboxError, StudentError
from autograder.sandbox.warm_process import Limits

AT_LEAST, UNITS = 0.8, 12
TASK, CHECK = "lora_forward", "test_speed_on_a_gpu"
CHEATS = Path(__file__).parent.parent / "tests" / "submissions" / "timing" / "cheats.py"
ON_GPUS = {
    "left_on_another_stream": """
def cheat(function):
    import torch
    if not torch.cuda.is_available():
        return lambda *args: torch.zeros(args[0].shape[0], args[1].shape[0], device=args[0].device)
    other = torch.cuda.Stream()
    def fast(*args):
        result = torch.empty(args[0].shape[0], args[1].shape[0], device=args[0].device)
        with torch.cuda.stream(other):
            result.copy_(function(*args))
        return result
    return fast
""",
    "synchronize_does_nothing": """
def cheat(function):
    import torch
    torch.cuda.synchronize = lambda *args: None
    torch.cuda.Event.elapsed_time = lambda *args: 0.0
    return function
""",
}


def repeated(times: int) -> str:
    """Return a cell whose `forward` makes its product so many times."""
    return f"""
def forward(x, weight):
    for _ in range({times}):
        y = x @ weight.T
    return y
"""


def on_device(function: Callable[..., Any], device: str, size: int) -> Callable[[int], Any]:
    """Return a function of a seed: four forwards of inputs made on the device; runs inside."""
    import torch

    def many(seed: int) -> Any:
        generator.manual_seed(seed)
        rows = [torch.randn(16, size, generator=generator, device=device) for _ in range(4)]
        return torch.stack([function(x, weight) for x in rows])  # (4, 16, size)

    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(size, size, generator=generator, device=device)
    return many


def passes(arena: Arena, student: str, times: int = UNITS) -> bool:
    """Judge one submission beside the kernel repeated so many times."""
    size, rng = (4096 if arena.device == "cuda" else 384), Inputs([time.time_ns()])

    def verify(came: object, expected: torch.Tensor, seed: int) -> None:
        expect_close(came, expected, "A timed output is not right.", rtol=1e-3)

    cells = [Cell(1, student)], [Cell(1, repeated(times))]
    race = gpu_race.Race(arena, *cells, Limits(), AT_LEAST, 60)
    try:
        race.time(
            lambda side: side.run(on_device, side.forward, arena.device, size),
            lambda: (rng.seed(),),
            verify,
        )
    except (CheckFailed, StudentError):
        return False
    return True


def cheats() -> dict[str, str]:
    """Return each cheat's cell by name: those of the CPU, and those that only a GPU has."""
    cells = jupytext.read(CHEATS, fmt="py:percent").cells
    return {c.metadata["cheat"]: c.source for c in cells if "cheat" in c.metadata} | ON_GPUS


def verdicts(arena: Arena, ratio: float, count: int) -> dict[str, Any]:
    """Judge a submission of this true ratio `count` times."""
    seconds, passed = [], 0
    for _ in track(range(count), f"true ratio {ratio}", console=Console(stderr=True)):
        began = time.monotonic()
        passed += passes(arena, repeated(round(UNITS / ratio)))
        seconds.append(time.monotonic() - began)
    false = passed if ratio < AT_LEAST else count - passed
    median = round(statistics.median(seconds), 2)
    return {"ratio": ratio, "verdicts": count, "false": false, "median_seconds": median}


def check(arena: Arena) -> str:
    """Return what came of the course's GPU-only check on the reference."""
    options = score_submission.Options(seed=1, tasks=(TASK,))
    with launch.start((lessons.ROOT,)) as sandbox:
        score = score_submission.grade(sources.source_of("lora"), sandbox, options, arena=arena)
    results = [result for task in score.tasks for result in task.checks if result.name == CHECK]
    return f"{results[0].outcome} {results[0].message}".strip()


@contextlib.contextmanager
def opened(rehearse: bool) -> Iterator[Arena | Nowhere]:
    """Yield the arena: the GPU's, or the CPU's in its place."""
    if not rehearse:
        arena = gpu_race.open_arena((lessons.ROOT,))
        yield arena
        arena.close()
        return
    with tempfile.NamedTemporaryFile() as lock, launch.start((lessons.ROOT,)) as sandbox:
        yield Arena("cpu", Path(lock.name), sandbox)


@click.command()
@click.option("--verdicts", "count", default=12, show_default=True, type=click.IntRange(min=1))
@click.option("--rehearse", is_flag=True, help="On the CPU, in the GPU's place.")
def main(count: int, rehearse: bool) -> None:
    """Run the GPU path of speed checks."""
    torch.set_num_threads(1)  # a process that has run threads must not fork
    try:
        with opened(rehearse) as arena:
            if isinstance(arena, Nowhere):
                click.echo(arena.reason, err=True)
                sys.exit(2)
            came = "not rehearsed" if rehearse else check(arena)
            slow = repeated(8 * UNITS)
            stopped = {
                name: not passes(arena, f"{slow}\n\n{source}\n\nforward = cheat(forward)")
                for name, source in track(cheats().items(), "cheats", console=Console(stderr=True))
            }
            judged = [verdicts(arena, ratio, count) for ratio in (0.5, 1.0)]
    except SandboxError as error:
        click.echo(error, err=True)
        sys.exit(1)
    click.echo(json.dumps({"check": came, "cheats": stopped, "verdicts": judged}))
    right = rehearse or came == "passed"
    fair = rehearse or all(row["false"] == 0 for row in judged)
    sys.exit(0 if right and fair and all(stopped.values()) else 1)


if __name__ == "__main__":
    main()
