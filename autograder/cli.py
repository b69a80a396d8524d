"""The command line: click commands, nothing else."""

from __future__ import annotations

import functools
import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

OK, BELOW, USAGE, INTERRUPTED = 0, 1, 2, 130
PATH = click.Path(path_type=Path)


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors that have a sentence for the user into that sentence and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        from autograder.lessons import LessonError
        from autograder.notebook import NotebookError
        from autograder.plugin import BrokenChecks
        from autograder.pool import Unfinished
        from autograder.sandbox.bubblewrap import SandboxError

        try:
            command(*args, **kwargs)
        except (LessonError, NotebookError, BrokenChecks, SandboxError) as error:
            raise _Told(str(error)) from None
        except OSError as error:
            raise _Told(f"{error.filename or 'file'}: {error.strerror or error}") from None
        except Unfinished as end:
            raise _Told(str(end), INTERRUPTED if end.interrupted else BELOW) from None
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    return wrapped


class _Told(click.ClickException):
    exit_code: int  # type: ignore[misc]  # click has it per class

    def __init__(self, text: str, exit_code: int = USAGE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fine-tuning-interviews", prog_name="autograder")
def main() -> None:
    """Check and grade notebooks of the course Fine-Tuning Interviews."""


@main.command()
@click.argument("notebook", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON (schema 1).")
@click.option("--task", "tasks", multiple=True, help="Check this task only; may be repeated.")
@told
def check(notebook: Path, as_json: bool, tasks: tuple[str, ...]) -> None:
    """Run the visible checks on your own NOTEBOOK, without a sandbox.

    Exit code: 0 when every visible point is earned, 1 below that, 2 when the notebook cannot be
    checked.
    """
    from autograder import console, grade, lessons, results
    from autograder.sandbox.launch import Zygote

    for task in tasks:
        lessons.task_lesson(task)
    options = grade.Options(secrets.randbits(32), hidden=False, tasks=tasks or None)
    with console.waiting("warming up"), Zygote("none") as zygote:
        score = grade.grade(notebook, zygote, options)
    if as_json:
        click.echo(json.dumps(results.record(score), indent=2))
    else:
        console.show_score(score)
    if score.status == "unreadable":
        sys.exit(USAGE)
    sys.exit(OK if score.points == score.max_points and score.status == "graded" else BELOW)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=PATH)
@click.option("--out", required=True, type=PATH, help="Folder for the results; made anew.")
@click.option("--workers", type=click.IntRange(min=1), help="Submissions at a time [cores].")
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds for one submission [120].")
@click.option("--task-timeout", type=click.FloatRange(min=1), help="Seconds for one task [60].")
@click.option("--memory", type=click.IntRange(min=128), help="MB for one submission [2048].")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the checks' inputs [random].")
@click.option("--lesson", help="The lesson that all of them answer [told from each notebook].")
@click.option("--checks", type=PATH, help="Folder with further checks, test_LESSON.py.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, with its settings.")
@click.option("--force", is_flag=True, help="Replace the results in --out.")
@click.option(
    "--container", is_flag=True, help="One submission, in a throwaway container, as root."
)
@click.option("--no-sandbox", is_flag=True, help="For your own notebooks only: no isolation.")
@told
def grade(
    paths: tuple[Path, ...],
    out: Path,
    workers: int | None,
    timeout: float | None,
    task_timeout: float | None,
    memory: int | None,
    seed: int | None,
    lesson: str | None,
    checks: Path | None,
    resume: bool,
    force: bool,
    container: bool,
    no_sandbox: bool,
) -> None:
    """Grade notebooks: PATHS are files (.ipynb, or .py in percent form) and folders of them.

    Leaves results.jsonl, scores.csv, class.png and feedback/ in --out. Exit code: 0 when every
    submission was graded, whatever its score; 1 when some could not be; 2 when nothing was run;
    130 on Ctrl-C.
    """
    from autograder import console, lessons, notebook, results, run
    from autograder.grade import TASK_TIMEOUT, TIMEOUT, Options
    from autograder.sandbox.launch import Limits

    found = notebook.find(paths)
    if container and (no_sandbox or len(found) > 1):
        raise click.UsageError("--container is for one submission, and excludes --no-sandbox")
    if lesson is not None:
        lessons.lesson_named(lesson)
    if checks is not None and not checks.is_dir():
        raise click.BadParameter(f"{checks} is not a folder", param_hint="--checks")
    if resume:
        own = (seed, timeout, task_timeout, memory, lesson, checks)
        if force or any(setting is not None for setting in own):
            raise click.UsageError("--resume takes the run's own settings: give no others with it")
        options = results.read_run(out)
    else:
        run.refuse_folder(out, force)
        options = Options(
            seed=secrets.randbits(32) if seed is None else seed,
            timeout=timeout or TIMEOUT,
            task_timeout=task_timeout or TASK_TIMEOUT,
            limits=Limits() if memory is None else Limits(memory=memory << 20),
            checks=checks,
            lesson=lesson,
        )
    if no_sandbox:
        console.warn(
            "--no-sandbox: the notebooks' code runs with your rights, and can read and change "
            "your files, the checks and the scores. Use it for notebooks of your own only."
        )
    isolation = "none" if no_sandbox else "container" if container else ""
    scores = run.grade_into(out, found, options, workers, isolation, resume)
    console.show_class(scores, out, options.seed)
    sys.exit(OK if all(score.status == "graded" for score in scores) else BELOW)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the catalogue as JSON.")
@told
def lessons(as_json: bool) -> None:
    """List the lessons, their tasks, points and checks."""
    from autograder import console, plugin
    from autograder.lessons import catalogue

    entries = []
    for lesson in catalogue():
        checks = plugin.census(plugin.files(lesson.name, hidden=True))
        tasks = [
            {
                "task": task.name,
                "title": task.title,
                "points": task.points,
                "graded_by": "person" if task.manual else "checks",
                "visible_checks": sum(c.task == task.name and not c.hidden for c in checks),
                "hidden_checks": sum(c.task == task.name and c.hidden for c in checks),
            }
            for task in lesson.tasks
        ]
        entries.append({"lesson": lesson.name, "title": lesson.title, "tasks": tasks})
    if as_json:
        click.echo(json.dumps(entries, indent=2))
    else:
        console.show_catalogue(entries)


@main.command()
@click.option("--check", "only_check", is_flag=True, help="Change nothing; say what differs.")
@click.option("--solutions", is_flag=True, help="Write the solution notebooks to build/source/.")
@told
def build(only_check: bool, solutions: bool) -> None:
    """Make course/ from solutions/.

    Exit code with --check: 0 when course/ is what would be built, 1 when it is not.
    """
    from autograder import lessons

    if solutions:
        written = lessons.build_solutions()
    elif only_check:
        differing = lessons.outdated()
        for path in differing:
            click.echo(f"{path} is not what `autograder build` makes of its source", err=True)
        sys.exit(BELOW if differing else OK)
    else:
        written = lessons.build()
    for path in written:
        click.echo(path)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@told
def doctor(as_json: bool) -> None:
    """Say what works on this machine, and how to mend what does not.

    Exit code: 0 when strangers' notebooks can be graded here, 1 when not.
    """
    from autograder import console
    from autograder import doctor as examination

    with console.waiting("looking"):
        findings = examination.examine()
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        console.show_findings(findings)
    sys.exit(OK if all(finding.good for finding in findings if finding.needed) else BELOW)


if __name__ == "__main__":
    main()
