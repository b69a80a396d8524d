"""What a grader types: grade, report, gradescope, doctor."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import click

from autograder.cli.exits import BELOW, INTERRUPTED, OK, Told, interruptible, told
from autograder.text import one_line, sentence

PATH = click.Path(path_type=Path)
DAY = 86_400.0


class _Seconds(click.FloatRange):
    """From a second to a day."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=1, max=DAY)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if math.isnan(seconds := super().convert(value, param, ctx)):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


@click.command()
@click.argument("paths", nargs=-1, required=True, type=PATH)
@click.option("--out", required=True, type=PATH, help="Folder for the results; made anew.")
@click.option("--workers", type=click.IntRange(min=1), help="Submissions at a time [cores].")
@click.option("--timeout", type=_Seconds(), help="Seconds for one submission [120].")
@click.option("--task-timeout", type=_Seconds(), help="Seconds for one task [60].")
@click.option("--memory", type=click.IntRange(min=128), help="MB for one submission [2048].")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the checks' inputs [random].")
@click.option("--lesson", help="The lesson that all of them answer [told from each notebook].")
@click.option("--checks", type=PATH, help="Folder with further checks, test_LESSON.py.")
@click.option(
    "--gradebook",
    is_flag=False,
    flag_value="",
    metavar="[URL]",
    help="Fill nbgrader's gradebook too: the one of the course here, or at a database's URL.",
)
@click.option("--watch", is_flag=True, help="PATHS is one folder: grade what arrives there.")
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
    gradebook: str | None,
    watch: bool,
    resume: bool,
    force: bool,
    container: bool,
    no_sandbox: bool,
) -> None:
    """Grade notebooks: PATHS are files (.ipynb, or .py in percent form) and folders of them.

    In a folder every file is graded that is a notebook by its content, a zip with one included;
    what else lies there is named. Leaves results.jsonl, scores.csv, class.png and feedback/ in
    --out. With --gradebook, notebooks from elsewhere are copied into the course,
    class/submitted/STUDENT/LESSON/. Exit code: 0 when every file was graded, whatever its score; 1
    when some could not be, or were left out; 2 when nothing was run; 130 on Ctrl-C.

    With --watch, what is in the folder is graded, then what arrives, and again what changes there.
    Ctrl-C is how that ends: the exit code is 130 only when notebooks are there that are not graded.
    """
    from autograder.cli import console

    with console.waiting("starting"):
        from autograder import notebook
        from autograder.catalogue import lessons
        from autograder.checking import check_files, plugin
        from autograder.cli import inbox, run
        from autograder.grading.run_settings import read_run
        from autograder.grading.score_submission import TASK_TIMEOUT, TIMEOUT, Options
        from autograder.sandbox.warm_process import Limits

    if watch and (len(paths) > 1 or not paths[0].is_dir()):
        raise click.UsageError("--watch takes one folder, which is there, and nothing else")
    if watch and gradebook is not None:
        raise click.UsageError("--gradebook is for a run that ends: leave --watch out")
    if watch and container:
        raise click.UsageError("--container is for one submission, and --watch for many")
    handed_in = notebook.Found() if watch else notebook.find(paths)
    found, left_out = handed_in.notebooks, handed_in.left_out
    if container and (no_sandbox or len(found) > 1):
        raise click.UsageError("--container is for one submission, and excludes --no-sandbox")
    wanted = [lessons.lesson_named(lesson)] if lesson is not None else lessons.catalogue()
    if checks is not None and not checks.is_dir():
        raise click.BadParameter(f"{checks} is not a folder", param_hint="--checks")
    names = [f"test_{each.name}.py" for each in wanted]
    if checks is not None and not any((checks / name).is_file() for name in names):
        raise click.BadParameter(f"{checks} holds no {' or '.join(names)}", param_hint="--checks")
    if resume:
        own = (seed, timeout, task_timeout, memory, lesson, checks)
        if force or any(setting is not None for setting in own):
            raise click.UsageError("--resume takes the run's own settings: give no others with it")
        options = read_run(out)
    else:
        run.refuse_folder(out, force)
        options = Options(
            seed=plugin.drawn_seed() if seed is None else seed,
            timeout=timeout or TIMEOUT,
            task_timeout=task_timeout or TASK_TIMEOUT,
            limits=Limits() if memory is None else Limits(memory=memory << 20),
            checks=checks,
            lesson=lesson,
            by_version=watch,
        )
    if not check_files.has_hidden():
        console.warn(
            "The class edition has no hidden checks: what follows are points of the visible checks"
            f"{' and of --checks' if options.checks else ''}, not a grade."
        )
    if no_sandbox:
        console.warn(
            "--no-sandbox: the notebooks' code runs with your rights, and can read and change "
            "your files, the checks and the scores. Use it for notebooks of your own only."
        )
    isolation = "none" if no_sandbox else "container" if container else ""
    course, left = None, 0
    if gradebook is not None:
        from autograder.lms.gradebook import Course

        course = Course(gradebook)
        entries = course.enter(found, options.lesson, force)
        found = [entry.path if entry else path for path, entry in entries.items()]
    with interruptible():
        if watch:
            scores, left = inbox.grade_arrivals(out, paths[0], options, workers, isolation, resume)
            left_out = notebook.within(paths[0]).left_out
        else:
            scores = run.grade_into(out, found, options, workers, isolation, resume)
        if scores:
            console.show_class(scores, out, options.seed)
        else:
            click.echo("Nothing was graded.")
        console.show_left_out(left_out)
        if left:
            text = f"{left} notebooks are not graded. The same command with --resume goes on."
            raise Told(text, INTERRUPTED)
        well = not left_out and all(score.status == "graded" for score in scores)
        if course is not None:
            well &= console.filled(course.fill(out, [e for e in entries.values() if e]), entries)
    sys.exit(OK if well else BELOW)


@click.command()
@click.argument("folder", metavar="DIR", type=PATH)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "json", "csv", "canvas", "gradescope"]),
    default="html",
    show_default=True,
    help="A page; figures for programs; a row a check; grades for Canvas, or for Gradescope.",
)
@click.option("--out", type=PATH, help="File, or for gradescope folder, to write [in DIR].")
@told
def report(folder: Path, form: str, out: Path | None) -> None:
    """Say how a class did, from the results in DIR, which `grade --out DIR` made.

    It is for instructors: it names the requirements of hidden checks.

    \b
    html        DIR/report.html: one page, with pictures, for screen, phone and paper
    json        DIR/report.json: the same figures (schema 1)
    csv         DIR/checks.csv: a row for each submission and check
    canvas      DIR/canvas.csv: what Canvas's gradebook imports
    gradescope  DIR/gradescope/NAME/results.json: a submission each
    """
    from autograder.cli import console
    from autograder.reporting import report as reporting

    with console.waiting("reading the results"):
        place = reporting.write(folder, form, out, console.warn)
    click.echo(one_line(str(place)))


@click.command()
@click.option("--lesson", required=True, help="The lesson that it grades.")
@click.option("--out", required=True, type=PATH, metavar="FILE.zip", help="The zip to write.")
@click.option("--checks", type=PATH, help="Folder with further checks, test_LESSON.py.")
@click.option("--force", is_flag=True, help="Replace --out.")
@told
def gradescope(lesson: str, out: Path, checks: Path | None, force: bool) -> None:
    """Make the autograder.zip that grades a lesson on Gradescope.

    It holds the lesson's hidden checks and its solution: give it to Gradescope and to nobody else.
    """
    from autograder.lms import gradescope as archive

    if out.suffix != ".zip":
        raise click.BadParameter(f"{out}: Gradescope takes FILE.zip", param_hint="--out")
    if out.exists() and not force:
        raise Told(f"{out} exists. Choose another --out, or add --force to replace it.")
    click.echo(sentence(archive.build(out, lesson, checks)))


@click.command()
@click.argument("folders", nargs=-1, type=PATH)
@click.option("--sandbox", is_flag=True, help="See what of the project and FOLDERS is seen inside.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@told
def doctor(folders: tuple[Path, ...], sandbox: bool, as_json: bool) -> None:
    """Say what works on this machine, and how to mend what does not.

    With --sandbox, only try from inside it to see the files of this project and of FOLDERS: those
    of --checks, --out, a class, an inbox, wherever they lie.

    Exit code: 0 when strangers' notebooks can be graded here, in the class edition when the lessons
    can be worked through; 1 when not.
    """
    from autograder.cli import console
    from autograder.cli import doctor as examination

    if folders and not sandbox:
        raise click.UsageError("FOLDERS are for --sandbox")
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        raise click.UsageError(f"{missing[0]}: no such folder")
    with console.waiting("looking"):
        findings = examination.look_from_inside(folders) if sandbox else examination.examine()
    if as_json:
        click.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        console.show_findings(findings)
    sys.exit(OK if all(finding.good for finding in findings if finding.needed) else BELOW)
