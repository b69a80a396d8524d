"""What a warm submission costs over its own checks, and how that grows with their number.

``python benchmarks/throughput.py [--submissions 20]`` grades copies of the lora solution notebook
in the sandbox, 5 of them and then all, in one run with one worker, and ends in one line of JSON:

- ``seconds_per_submission``: wall time of a submission, warm-up not counted;
- ``checks_seconds``: what its checks took themselves, calls into the sandbox included;
- ``overhead_seconds``: the difference: reading, forking, closing off, running the cells, pytest;
- ``growth``: the cost per submission of the large batch over that of the small one.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import click
import nbformat

from autograder import lessons
from autograder.grade import Options
from autograder.pool import Pool
from autograder.sandbox import launch


def batch(paths: list[Path], sandbox: launch.Sandbox) -> dict[str, float]:
    with Pool(lambda: _Kept(sandbox), Options(seed=1), workers=1) as pool:
        start = time.perf_counter()
        scores = list(pool.grade(paths))
        seconds = (time.perf_counter() - start) / len(paths)
    assert all(score.points == score.max_points for score in scores), "the reference lost points"
    checks = statistics.mean(
        sum(check.seconds for task in score.tasks for check in task.checks) for score in scores
    )
    return {"seconds": seconds, "checks": checks, "overhead": seconds - checks}


class _Kept:
    """A sandbox that survives a batch: the warm-up is paid once, before the clock starts."""

    def __init__(self, sandbox: launch.Sandbox) -> None:
        self.isolation, self.fork = sandbox.isolation, sandbox.fork
        self._sandbox = sandbox

    alive = property(lambda self: self._sandbox.alive)

    def close(self) -> None:
        """Stay."""


@click.command()
@click.option("--submissions", default=20, show_default=True, type=click.IntRange(min=6))
@click.option("--small", default=5, show_default=True, type=click.IntRange(min=1))
def main(submissions: int, small: int) -> None:
    """Measure the cost of a warm submission."""
    source = next(path for path in lessons.sources() if path.stem.endswith("lora"))
    with tempfile.TemporaryDirectory() as folder, launch.start() as sandbox:
        paths = [Path(folder, f"s{number:03d}.ipynb") for number in range(submissions)]
        for path in paths:
            nbformat.write(lessons.solution_notebook(source), path)
        batch(paths[:1], sandbox)
        few, many = batch(paths[:small], sandbox), batch(paths, sandbox)
    figures = {
        "submissions": submissions,
        "isolation": sandbox.isolation,
        "seconds_per_submission": round(many["seconds"], 3),
        "checks_seconds": round(many["checks"], 3),
        "overhead_seconds": round(many["overhead"], 3),
        f"overhead_seconds_at_{small}": round(few["overhead"], 3),
        "growth": round(many["seconds"] / few["seconds"], 3),
    }
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
