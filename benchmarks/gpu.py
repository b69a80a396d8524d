"""The GPU path of speed and memory checks, all of it, on a machine with a CUDA device.

``python benchmarks/gpu.py [--verdicts 8] [--minutes 10] [--rehearse]`` ends in one line of JSON:

- ``graded``: what came of the reference's check of the GPU when a notebook was graded;
- ``checks``: for each check, what it said of the reference, of the naive answer, of right ones
  written otherwise, and of the naive answer behind each way to look fast (all of them on
  `lora_forward`, on the others those that only a GPU has);
- ``verdicts``: for true ratios of 0.5 and 1.0 of the reference at a threshold of 0.8, how many
  verdicts there were, how many were false, and the median seconds to one;
- ``left_out``: what was not begun when the time was up; ``seconds``: what all of it took.

``--rehearse`` runs it with the CPU in the GPU's place, on small data, which shows that the path
runs, and nothing about a GPU. Exit code 0: all as it should be; 1: not; 2: no GPU here.
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
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from autograder.catalogue import lessons, sources  # noqa: E402
from autograder.checking import gpu_race  # noqa: E402
from autograder.checking.expect import CheckFailed, Inputs, expect_close  # noqa: E402
from autograder.checking.gpu_race import Arena, NotCounted, Nowhere, Rehearsal  # noqa: E402
from autograder.grading import score_submission  # noqa: E402
from autograder.notebook import Cell  # noqa: E402
from autograder.sandbox import launch  # noqa: E402
from autograder.sandbox.errors import SandboxError, StudentError  # noqa: E402
from autograder.sandbox.warm_process import Limits  # noqa: E402
from tests import gpu  # noqa: E402

AT_LEAST, UNITS = 0.8, 12
GRADED = "lora_forward"


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


def passes(arena: Arena, times: int) -> bool:
    """Judge a kernel repeated so many times beside one of `UNITS`."""
    size, rng = (4096 if arena.device == "cuda" else 384), Inputs([time.time_ns()])

    def verify(came: object, expected: torch.Tensor, seed: int) -> None:
        expect_close(came, expected, "A timed output is not right.", rtol=1e-3)

    cells = [Cell(1, repeated(times))], [Cell(1, repeated(UNITS))]
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


def graded(arena: Arena) -> str:
    """Return what came of a check of the GPU when the reference's notebook was graded."""
    lesson, name, _ = gpu.CHECKS[GRADED]
    options = score_submission.Options(seed=1, tasks=(GRADED,))
    with launch.start((lessons.ROOT,)) as sandbox:
        score = score_submission.grade(sources.source_of(lesson), sandbox, options, arena=arena)
    [result] = [result for result in score.tasks[0].checks if result.name == name]
    return f"{result.outcome} {result.message}".strip()


def said(task: str, source: str, arena: Arena) -> str:
    """Return a check's verdict on an answer, in a word or with its message."""
    try:
        verdict = gpu.judge(task, source, arena)
    except NotCounted as reason:
        return str(reason)
    return "passed" if verdict.passed else f"failed: {verdict.message}"


class Trial:
    """All that is tried, in the order of what matters most, until the time is up."""

    def __init__(self, arena: Arena, minutes: float) -> None:
        """Begin now."""
        self._arena = arena
        self._began, self._seconds = time.monotonic(), 60 * minutes
        self.checks: dict[str, dict[str, str]] = {task: {} for task in gpu.CHECKS}
        self.verdicts: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self.right = True

    @property
    def seconds(self) -> float:
        """The time since it began."""
        return time.monotonic() - self._began

    def _begins(self, name: str) -> bool:
        if self.seconds > self._seconds:
            self.left_out.append(name)
            return False
        click.echo(f"{self.seconds:4.0f} s  {name}", err=True)
        return True

    def answer(self, task: str, name: str, source: str, right: bool) -> None:
        """Try one answer, which should pass, or should not."""
        if self._begins(f"{task}: {name}"):
            came = self.checks[task][name] = said(task, source, self._arena)
            self.right &= came.startswith("passed" if right else "failed")

    def ratio(self, ratio: float, count: int) -> None:
        """Judge a kernel of this true ratio `count` times."""
        took, false = [], 0
        for number in range(count):
            if self._begins(f"true ratio {ratio}, {number + 1} of {count}"):
                began = time.monotonic()
                came = passes(self._arena, round(UNITS / ratio))
                false += came != (ratio >= AT_LEAST)
                took.append(time.monotonic() - began)
        if took:
            median = round(statistics.median(took), 2)
            line = {"ratio": ratio, "verdicts": len(took), "false": false}
            self.verdicts.append(line | {"median_seconds": median})
            self.right &= not false or isinstance(self._arena, Rehearsal)


def everything(trial: Trial, count: int, only: tuple[str, ...]) -> None:
    """Try answers first, then true ratios, then the ways to look fast."""
    for task in only:
        for name, source in gpu.answers(task).items():
            trial.answer(task, name, source, right=name != "naive")
    for ratio in (0.5, 1.0):
        trial.ratio(ratio, count)
    for task in only:
        for name, source in gpu.cheats(task, every=task == GRADED).items():
            trial.answer(task, name, source, right=False)


@contextlib.contextmanager
def opened(rehearse: bool) -> Iterator[Arena | Nowhere]:
    """Yield the arena: the GPU's, or the CPU's in its place."""
    if not rehearse:
        arena = gpu_race.open_arena((lessons.ROOT,))
        yield arena
        arena.close()
        return
    with tempfile.NamedTemporaryFile() as lock, launch.start((lessons.ROOT,)) as sandbox:
        yield Rehearsal("cpu", Path(lock.name), sandbox)


@click.command()
@click.option("--verdicts", "count", default=8, show_default=True, type=click.IntRange(min=0))
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(min=0.1))
@click.option("--only", multiple=True, type=click.Choice(tuple(gpu.CHECKS)), help="[default: all]")
@click.option("--rehearse", is_flag=True, help="On the CPU, in the GPU's place.")
def main(count: int, minutes: float, only: tuple[str, ...], rehearse: bool) -> None:
    """Run the GPU path of speed and memory checks."""
    torch.set_num_threads(1)  # a process that has run threads must not fork
    try:
        with opened(rehearse) as arena:
            if isinstance(arena, Nowhere):
                click.echo(arena.reason, err=True)
                sys.exit(2)
            trial = Trial(arena, minutes)
            came = graded(arena)
            everything(trial, count, only or tuple(gpu.CHECKS))
    except SandboxError as error:
        click.echo(error, err=True)
        sys.exit(1)
    found = {"graded": came, "checks": trial.checks, "verdicts": trial.verdicts}
    found |= {"left_out": trial.left_out, "seconds": round(trial.seconds)}
    click.echo(json.dumps(found))
    sys.exit(0 if trial.right and came == "passed" and not trial.left_out else 1)


if __name__ == "__main__":
    main()
