"""Grades the generated mutants of every reference: which wrong answers do the checks let through?

``make mutants``, or ``python -m scripts.mutants --lesson lora --task lora_linear --jobs 2``. Each
mutant (`scripts/mutation.py`) is the reference's notebook with one place of one task changed. It is
graded as a submission is, in the sandbox: by the visible checks of its task, and while it keeps all
points by the hidden ones, and by the other tasks. It is killed when it loses any point.
What cannot lose one, because it does the same or breaks no promise of the docstring, is recorded
with the reason in ``tests/submissions/LESSON/equivalents.toml``:

    [[lora_linear]]
    where = "LoRALinear.__init__"
    change = '''
    -        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
    +        nn.init.kaiming_uniform_(self.lora_A)
    '''
    reason = "Any distribution of A will do."

Exit code 0: every mutant is killed or recorded; 1: some survive, and are printed as they would be
recorded, or a record is out of date: its mutant is killed, or no longer made; 2: nothing was run;
130: interrupted, with the table of the tasks that were finished.
"""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from autograder.catalogue import lessons, reference, sources
from autograder.cli import console
from autograder.cli.exits import BELOW, INTERRUPTED, OK, interruptible, told
from autograder.grading.pool import Pool
from autograder.grading.score_submission import Options
from autograder.sandbox import launch
from autograder.scores import Score
from scripts import mutation
from scripts.mutation import Mutant
from tests.conftest import Borrowed, write_notebook

LESSONS = [source.stem[3:] for source in sources.sources()]
BANK = lessons.ROOT / "tests" / "submissions"
Key = tuple[str, str, int]


def key(mutant: Mutant) -> Key:
    """Return what a mutant of a task is known by, over changes of other lines."""
    return mutant.where, mutant.change, mutant.nth


def tasks_of(lesson: str, only: str | None) -> Iterator[str]:
    """Yield the tasks of a lesson that a machine grades, or the one asked for."""
    for task in lessons.lesson_named(lesson).tasks:
        if not task.manual and only in (None, task.name):
            yield task.name


def recorded(lesson: str) -> dict[str, dict[Key, str]]:
    """Return the equivalent mutants of a lesson's tasks, with the reasons.

    Raises:
        click.ClickException: the file is no such table, or a reason is missing.
    """
    path = BANK / lesson / "equivalents.toml"
    if not path.is_file():
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        found = {
            task: {(e["where"], e["change"].strip("\n"), e.get("nth", 1)): e["reason"] for e in its}
            for task, its in tables.items()
        }
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise click.ClickException(f"{path}: {type(error).__name__}: {error}") from None
    if unknown := found.keys() - set(tasks_of(lesson, None)):
        raise click.ClickException(f"{path}: no task {', '.join(sorted(unknown))}")
    if unexplained := [task for task, its in found.items() if not all(its.values())]:
        raise click.ClickException(f"{path}: a reason is missing in {', '.join(unexplained)}")
    return found


def as_record(task: str, mutant: Mutant) -> str:
    """Return a mutant as the file of equivalents has it, the reason left to write."""
    nth = f"nth = {mutant.nth}\n" if mutant.nth > 1 else ""
    change = f"change = '''\n{mutant.change}\n'''\n"
    return f'[[{task}]]\nwhere = "{mutant.where}"\n{nth}{change}reason = ""\n'


@dataclass
class Outcome:
    """What became of a task's mutants."""

    lesson: str
    task: str
    mutants: int
    kills: tuple[int, int, int]
    """by the task's visible checks, its hidden ones, and by other tasks"""
    equivalent: int
    survivors: Sequence[Mutant]
    stale: Sequence[str]
    """what is wrong with the record"""

    @property
    def score(self) -> float:
        """The share of those that are not equivalent that are killed."""
        return sum(self.kills) / max(1, self.mutants - self.equivalent)


def is_killed(score: Score) -> bool:
    """Whether a mutant has lost a point: one that hangs has, one that was not graded has not."""
    return score.status == "timeout" or score.points < score.max_points


def judged(
    lesson: str, task: str, sandbox: Borrowed, jobs: int, seed: int, folder: Path
) -> Outcome:
    """Grade the mutants of one task."""
    cells = reference.reference_cells(lesson)
    found = mutation.mutants(dict(cells)[task])
    paths = {
        str(write_notebook(folder / f"{number:04d}.ipynb", [
            "\n\n".join(mutant.source if its == task else text for its, text in cells)
        ])): mutant
        for number, mutant in enumerate(found)
    }  # fmt: skip
    record = recorded(lesson).get(task, {})
    others = tuple(other for other in tasks_of(lesson, None) if other != task)
    killed, kills = set[Key](), []
    for tasks, hidden in (((task,), False), ((task,), True), (others, True)):
        known = killed | record.keys() if tasks == others else killed
        left = [Path(path) for path, mutant in paths.items() if key(mutant) not in known]
        options = Options(seed=seed, lesson=lesson, tasks=tasks, hidden=hidden)
        before = len(killed)
        with (
            Pool(lambda: sandbox, options, jobs) as pool,
            console.progress(len(left), done=0) as advance,
        ):
            for score in pool.grade(left):
                advance(score)
                if is_killed(score):
                    killed.add(key(paths[score.submission]))
        kills.append(len(killed) - before)
    made = {key(mutant) for mutant in found}
    stale = [
        f"{task}: recorded as equivalent, but {said}: {where}\n{change}"
        for where, change, nth in record
        for is_so, said in (
            ((where, change, nth) in killed, "it loses points"),
            ((where, change, nth) not in made, "no such mutant is made"),
        )
        if is_so
    ]
    survivors = [m for m in found if key(m) not in killed and key(m) not in record]
    equivalent = len(made & record.keys() - killed)
    return Outcome(lesson, task, len(found), tuple(kills), equivalent, survivors, stale)


def show(outcomes: Sequence[Outcome]) -> None:
    """Print the mutation score by task and lesson, and which checks killed how many."""
    table = Table(title="Mutation score", title_justify="left", box=None, padding=(0, 0, 0, 1))
    table.add_column("task", no_wrap=True)
    for name in ("mutants", "visible", "hidden", "others", "equal", "left", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    for lesson in dict.fromkeys(each.lesson for each in outcomes):
        its = [each for each in outcomes if each.lesson == lesson]
        whole = Outcome(
            lesson, lesson, sum(each.mutants for each in its),
            tuple(map(sum, zip(*(each.kills for each in its), strict=True))),
            sum(each.equivalent for each in its), [m for each in its for m in each.survivors], (),
        )  # fmt: skip
        for each in (*its, whole):
            counts = (each.mutants, *each.kills, each.equivalent, len(each.survivors))
            row = (each.task, *map(str, counts), f"{each.score:.1%}")
            table.add_row(*row)
    Console().print(table)


@click.command(help=str(__doc__).replace("\n\n", "\n\n\b\n").replace("``", ""))
@click.option("--lesson", "only", type=click.Choice(LESSONS))
@click.option("--task", help="One task, by its name.")
@click.option("--jobs", default=os.cpu_count(), show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=1, show_default=True, help="Of the checks' random inputs.")
@told
def main(only: str | None, task: str | None, jobs: int, seed: int) -> None:  # noqa: D103 - the module's
    names = [only] if only else LESSONS
    chosen = [(lesson, its) for lesson in names for its in tasks_of(lesson, task)]
    if not chosen:
        raise click.UsageError(f"No lesson of {', '.join(names)} has a graded task {task!r}.")
    outcomes: list[Outcome] = []
    interrupted = False
    with (
        interruptible(),
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        closing(launch.start((lessons.ROOT,))) as sandbox,
    ):
        try:
            for lesson, name in chosen:
                click.echo(f"{lesson}: {name}", err=True)
                place = Path(folder) / name
                outcome = judged(lesson, name, Borrowed(sandbox), jobs, seed, place)
                outcomes.append(outcome)
                for text in (
                    *(as_record(name, each) for each in outcome.survivors),
                    *outcome.stale,
                ):
                    click.echo(text)
        except KeyboardInterrupt:
            interrupted = True
    show(outcomes)
    if interrupted:
        click.echo("Interrupted: the tasks above are all that were finished.", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(BELOW if any(each.survivors or each.stale for each in outcomes) else OK)


if __name__ == "__main__":
    main()
