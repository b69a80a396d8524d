"""A large class, honest and hostile, with kills at random: nobody's score changes, nothing is left.

``python benchmarks/soak.py [--submissions 500]`` grades a mixture of the example submissions, of
attacks and of broken files with two workers, while another process kills grading processes,
submissions and warm processes at random moments. It ends in one line of JSON, and with exit code 1
if a promise was broken:

- ``differing``: submissions whose score is not the one that the same notebook gets alone;
- ``left``: processes, mounts, files in /tmp and /dev/shm, and shared memory segments that are there
  afterwards and were not before;
- ``memory_growth_mb``: of the grading process, from a tenth of the class to its end.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import psutil

from autograder.catalogue.lessons import lesson_named
from autograder.cli import console
from autograder.grading.pool import Pool
from autograder.grading.score_submission import Options
from autograder.sandbox import launch
from autograder.scores import Score

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.conftest import write_notebook  # noqa: E402
from tests.submissions.hostile import broken  # noqa: E402
from tests.test_hostile import ALL, untouched_cells  # noqa: E402

SEED = 11
EXAMPLES = ROOT / "examples" / "submissions"
SLOW = ("endless-loop",)
HONEST_SHARE = 0.7
BETWEEN_KILLS = 25.0
"""Seconds at least, so that none is hit twice: its second try would be the last, and reported."""
MOST_SECONDS = 8.0
"""A hostile kind that takes longer alone is left out of the class, for the same reason."""
MOST_GROWTH = 50  # MB
OPTIONS = Options(
    SEED,
    timeout=60,
    task_timeout=20,
    lesson="lora",
    # all but the task whose check trains for three seconds: what is tried here is the engine
    tasks=tuple(t.name for t in lesson_named("lora").tasks if t.name != "adapt_with_lora"),
)


def kinds(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write one notebook of each kind; return the honest and the hostile ones."""
    honest = [path for path in sorted(EXAMPLES.glob("*.ipynb")) if path.stem not in SLOW]
    stubs, hostile = untouched_cells(), []
    for attack in ALL:
        if not attack.task:
            path = folder / attack.family / f"{attack.name}.ipynb"
            hostile.append(write_notebook(path, [*stubs, attack.source]))
    (folder / "broken").mkdir()
    reported = [make(folder / "broken") for make in broken.MAKERS["reported"].values()]
    return honest, hostile + [path for path in reported if path.is_file()]


def sandbox() -> launch.Sandbox:
    """Start what `grade` would."""
    return launch.start((ROOT,))


def outcome(score: Score) -> tuple[str, float, tuple[tuple[str, float], ...]]:
    """What a score is compared by: what it says in words may name a time or a place."""
    return score.status, score.points, tuple((task.task, task.points) for task in score.tasks)


def described(score: Score, alone: tuple[object, ...]) -> list[object]:
    """Say how a score differs, for whoever has to find out why."""
    lost = [c.name for task in score.tasks for c in task.checks if c.outcome != "passed"]
    return [score.submission, score.status, score.points, alone[:2], score.problems[:3], lost[:5]]


class Killer:
    """A process that kills another at random moments, until it is left; a context manager."""

    def __init__(self, seed: int) -> None:
        """Get ready; the moments come from `seed`."""
        fork = multiprocessing.get_context("fork")
        self._killed = fork.Array("i", 3)
        self._process = fork.Process(target=self._run, args=(os.getpid(), seed), daemon=True)

    def _run(self, grader: int, seed: int) -> None:
        chance = random.Random(seed)
        while True:
            time.sleep(BETWEEN_KILLS + chance.expovariate(0.1))
            kind = chance.randrange(3)
            with contextlib.suppress(psutil.Error):  # it has just ended by itself
                if found := _targets(grader, os.getpid())[kind]:
                    chance.choice(found).send_signal(signal.SIGKILL)
                    self._killed[kind] += 1

    @property
    def killed(self) -> dict[str, int]:
        """How many of each kind it has killed."""
        return dict(zip(("grading", "submissions", "warm"), self._killed, strict=True))

    def __enter__(self) -> Killer:
        """Begin."""
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._process.kill()
        self._process.join()


def _targets(grader: int, killer: int) -> tuple[list[psutil.Process], ...]:
    """Return the grading processes, the submissions' and the warm ones, of a grader."""
    judges, submissions, warm = [], [], []
    for process in psutil.Process(grader).children():
        below = process.children(recursive=True)
        if "zygote" in " ".join(process.cmdline()):
            warm.append(process)
            submissions += [child for child in below if not child.children()]
        elif process.pid != killer:
            judges.append(process)
    return judges, submissions, warm


def census() -> dict[str, set[str]]:
    """What there is on the machine that a submission might leave."""
    segments = Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]
    return {
        "processes": {str(process.pid) for process in psutil.Process().children(recursive=True)},
        "mounts": set(Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()),
        "files": {str(path) for top in ("/tmp", "/dev/shm") for path in Path(top).iterdir()},
        "segments": {line.split()[1] for line in segments},
    }


def shown(scores: Iterator[Score], total: int) -> Iterator[Score]:
    """Pass scores on, with progress on the terminal."""
    with console.progress(total, done=0) as advance:
        for score in scores:
            advance(score)
            yield score


@click.command()
@click.option("--submissions", default=500, show_default=True, type=click.IntRange(min=20))
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=SEED, show_default=True, help="Of the mixture and of the kills.")
def main(submissions: int, workers: int, seed: int) -> None:
    """Grade a large class, with kills at random, and look at what changed."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        honest, hostile = kinds(folder / "kinds")
        hostile = chance.sample(hostile, min(len(hostile), max(5, submissions // 8)))
        click.echo(f"{len(honest)} honest and {len(hostile)} hostile kinds, each alone:")
        with Pool(sandbox, OPTIONS, workers=1) as pool:
            everyone = [*honest, *hostile]
            scores = list(shown(pool.grade(everyone), len(everyone)))
        alone = {score.submission: outcome(score) for score in scores}
        quick = {score.submission for score in scores if score.seconds < MOST_SECONDS}
        hostile = [path for path in hostile if str(path) in quick]
        original: dict[str, str] = {}
        for number in range(submissions):
            kind = chance.choice(honest if chance.random() < HONEST_SHARE else hostile)
            path = folder / "class" / f"{number:04d}" / kind.name
            path.parent.mkdir(parents=True)
            shutil.copy(kind, path)
            original[str(path)] = str(kind)
        click.echo(f"{submissions} of them, {workers} at a time, with kills at random:")
        before, began = census(), time.monotonic()
        grader, memory, differing = psutil.Process(), [], []
        with Pool(sandbox, OPTIONS, workers) as pool, Killer(seed) as killer:
            for score in shown(pool.grade([Path(path) for path in original]), submissions):
                kind = original[score.submission]
                if outcome(score) != alone[kind]:
                    differing.append(described(score, alone[kind]))
                memory.append(grader.memory_info().rss)
            killed = killer.killed
        seconds = time.monotonic() - began
        after = census()
    more = {what: sorted(after[what] - before[what]) for what in before}
    left = {what: names for what, names in more.items() if names}
    tenth = submissions // 10
    is_honest = {str(path) for path in honest}
    figures = {
        "submissions": submissions,
        "honest": sum(kind in is_honest for kind in original.values()),
        "seconds_per_submission": round(seconds / submissions, 2),
        "killed": killed,
        "differing": differing,
        "left": left,
        "memory_growth_mb": round((max(memory[tenth:]) - memory[tenth]) / 1e6, 1),
    }
    click.echo(json.dumps(figures))
    sys.exit(1 if differing or left or figures["memory_growth_mb"] >= MOST_GROWTH else 0)


if __name__ == "__main__":
    main()
