"""`grade --watch`: what arrives is graded once, whole, and again only when it has changed."""

import csv
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest

from autograder.cli import console, inbox, main, run
from autograder.cli.filewatch import Changes
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError
from autograder.sandbox import launch
from tests.conftest import LIMITS, ROOT, busy, descendants, settles, write_notebook

QUICK = Options(seed=5, limits=LIMITS, tasks=("lora_linear",), hidden=False)
WRONG = "class LoRALinear:\n    def __init__(self, *args, **kwargs): raise KeyError('{}')"
SLOW = "import time\ntime.sleep(1)"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def said(monkeypatch):
    """The sentences to the person in front."""
    sentences = []
    monkeypatch.setattr(console, "warn", sentences.append)
    return sentences


@pytest.fixture
def at(sandbox, monkeypatch, folder, tmp_path):
    """`with at() as desk`: a run over the folder, in the session's warm sandbox."""
    monkeypatch.setattr(launch, "start", lambda *_: sandbox)
    out = tmp_path / "out"

    @contextmanager
    def opened(resume=False, workers=2):
        with (
            Changes((folder,), True, print) as changes,
            run.opened(out, (), (), QUICK, workers, "", resume) as (pool, journal),
        ):
            desk = inbox.Desk(out, folder, pool, journal, QUICK)
            desk.work_on = lambda: desk.work(changes)
            yield desk

    return opened


def works_until(desk, holds, seconds=30):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, (desk._waiting, desk._running, desk._arrivals._seen)
        desk.work_on()


def works_for(desk, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        desk.work_on()


def journal(desk):
    """submission's path below the folder → its line; each has one."""
    lines = [json.loads(line) for line in (desk._out / "results.jsonl").read_text().splitlines()]
    made = {os.path.relpath(line["submission"], desk._folder): line for line in lines}
    assert len(made) == len(lines)
    return made


def seen(line):
    return json.dumps(line["tasks"])


def test_what_is_no_notebook_is_said_once_and_what_becomes_one_is_graded(at, folder, said):
    write_notebook(folder / "anna.ipynb", [WRONG.format("anna")])
    (folder / "notes.json").write_text("{}")
    (folder / ".DS_Store").write_text("")
    with at() as desk:
        works_until(desk, lambda: desk.scores and said)
        works_for(desk, 1.5)
        assert said == [f"{folder / 'notes.json'}: left out: no notebook."]
        write_notebook(folder / "bert.ipynb", [WRONG.format("bert")])
        (folder / "bert.ipynb").replace(folder / "notes.json")
        works_until(desk, lambda: len(desk.scores) == 2)
    assert [score.name for score in desk.scores] == ["anna", "notes"] and len(said) == 1


def test_what_is_there_and_what_arrives_is_graded_by_all_workers(at, folder):
    write_notebook(folder / "anna" / "lora.ipynb", [WRONG.format("anna")])
    at_once = 0
    with at() as desk:
        works_until(desk, lambda: len(desk.scores) == 1)
        for name in ("bert", "carl", "dora"):
            write_notebook(folder / name / "lora.ipynb", [SLOW, WRONG.format(name)])

        def done():
            nonlocal at_once
            at_once = max(at_once, len(desk._running))
            return len(desk.scores) == 4

        works_until(desk, done)
        desk.draw()
        made = journal(desk)
        assert desk.left() == 0
    assert at_once == 2
    for name in ("anna", "bert", "carl", "dora"):
        assert f"KeyError: '{name}'" in seen(made[f"{name}/lora.ipynb"])
    with (desk._out / "scores.csv").open(newline="") as file:
        assert [row["submission"] for row in csv.DictReader(file)] == [
            str(folder / path) for path in made
        ]
    pages = sorted(page.name for page in (desk._out / "feedback").iterdir())
    assert pages == ["anna.html", "bert.html", "carl.html", "dora.html"]
    assert (desk._out / "class.png").stat().st_size > 1000


def test_a_newer_version_takes_the_older_one_s_place(at, folder):
    path = write_notebook(folder / "lora.ipynb", [WRONG.format("first")])
    with at() as desk:
        works_until(desk, lambda: len(desk.scores) == 1)
        write_notebook(path, [WRONG.format("version two")])
        works_until(desk, lambda: "version two" in seen(journal(desk)["lora.ipynb"]))
        assert "version two" in (desk._out / "feedback" / "lora.html").read_text()
        assert [page.name for page in (desk._out / "feedback").iterdir()] == ["lora.html"]


def test_a_version_that_arrives_meanwhile_is_the_one_that_counts(at, folder):
    endless = "while True: pass"
    path = write_notebook(folder / "lora.ipynb", [WRONG.format("first"), endless])
    with at() as desk:
        works_until(desk, lambda: desk._running)
        works_for(desk, 0.5)
        write_notebook(path, [WRONG.format("version two")])
        began = time.monotonic()
        works_until(desk, lambda: desk.scores)
        assert time.monotonic() - began < 10
        assert "version two" in seen(journal(desk)["lora.ipynb"])


def test_half_a_notebook_waits_for_the_rest(at, folder):
    whole = write_notebook(folder / ".whole", [WRONG.format("whole")]).read_bytes()
    parts = [
        whole[start : start + len(whole) // 4] for start in range(0, len(whole), len(whole) // 4)
    ]
    with at() as desk, (folder / "lora.ipynb").open("wb") as file:
        for part in parts:
            file.write(part)
            file.flush()
            works_for(desk, 0.6)
            assert not desk._running and not desk.scores
        works_until(desk, lambda: desk.scores)
        assert journal(desk)["lora.ipynb"]["status"] == "graded"


def test_a_file_that_is_written_again_unchanged_is_not_graded_again(at, folder):
    path = write_notebook(folder / "lora.ipynb", [WRONG.format("first")])
    with at() as desk:
        works_until(desk, lambda: desk.scores)
        line = (desk._out / "results.jsonl").read_bytes()
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        works_for(desk, 2 * inbox.SETTLE)
        assert not desk._waiting and not desk._running
        assert (desk._out / "results.jsonl").read_bytes() == line


def test_what_is_gone_keeps_its_score_and_is_said(at, folder, said):
    paths = [write_notebook(folder / f"{n}.ipynb", [WRONG.format(n)]) for n in range(2)]
    with at() as desk:
        works_until(desk, lambda: len(desk.scores) == 2)
        paths[0].unlink()
        works_until(desk, lambda: said)
        assert said == [f"{paths[0]} is gone: its score stays."]
        assert journal(desk).keys() == {"0.ipynb", "1.ipynb"}
    with at(resume=True) as desk:
        works_until(desk, lambda: len(said) == 2)
        works_for(desk, inbox.SETTLE)
        assert len(desk.scores) == 2 and desk.left() == 0


def test_resume_grades_what_is_new_or_changed_and_nothing_else(at, folder):
    paths = [write_notebook(folder / f"{n}.ipynb", [WRONG.format(n)]) for n in range(3)]
    with at() as desk:
        works_until(desk, lambda: len(desk.scores) == 3)
        lines = journal(desk)
    write_notebook(paths[1], [WRONG.format("newer")])
    os.utime(paths[2])
    write_notebook(folder / "3.ipynb", [WRONG.format("new")])
    with at(resume=True) as desk:
        assert desk.left() == 2
        works_until(desk, lambda: desk.left() == 0)
        works_for(desk, inbox.SETTLE)
        made = journal(desk)
    assert made["0.ipynb"] == lines["0.ipynb"] and made["2.ipynb"] == lines["2.ipynb"]
    assert "newer" in seen(made["1.ipynb"]) and "new" in seen(made["3.ipynb"])


def test_resume_refuses_another_folder(at, folder, tmp_path):
    write_notebook(folder / "lora.ipynb", [WRONG.format("first")])
    with at() as desk:
        works_until(desk, lambda: desk.scores)
        with pytest.raises(NotebookError, match="which is not in"):
            inbox.Desk(desk._out, tmp_path / "other", desk._pool, desk._journal, QUICK)


def test_odd_files_and_names_end_nothing(at, folder, tmp_path):
    good = write_notebook(folder / "good.ipynb", [WRONG.format("good")])
    write_notebook(folder / ".ipynb_checkpoints" / "good.ipynb", ["x = 1"])
    write_notebook(folder / ".hidden.ipynb", ["x = 1"])
    (folder / "notes.txt").write_text("no notebook")
    (folder / "link.ipynb").symlink_to(good)
    (folder / "folder.ipynb").mkdir()
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "text.ipynb").write_text("This is what I think.")
    hostile = folder / "<script>alert(1)<b> [bold]\x1b[2J.ipynb"
    write_notebook(tmp_path / "hostile", [WRONG.format("hostile")]).replace(hostile)
    odd = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.ipynb")
    write_notebook(tmp_path / "odd", [WRONG.format("odd")]).replace(odd)
    with at() as desk:
        works_until(desk, lambda: len(desk.scores) == 7)
        works_for(desk, inbox.SETTLE)
        desk.draw()
        made = journal(desk)
    status = {name: line["status"] for name, line in made.items()}
    assert status.pop("link.ipynb") == status.pop("pipe.ipynb") == "unreadable"
    assert status.pop("text.ipynb") == status.pop("folder.ipynb") == "unreadable"
    assert status.keys() == {"good.ipynb", hostile.name, os.path.basename(odd)}  # noqa: PTH119
    assert set(status.values()) == {"graded"}
    with at(resume=True) as desk:
        assert desk.left() == 0


# ------------------------------------------------------------------------------------ the command


def command(folder, out, *options):
    line = [sys.executable, "-m", "autograder.cli", "grade", "--watch", folder, "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    return subprocess.Popen(
        [*line, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as in the background
    )  # fmt: skip


def reads(process, wanted, seconds=180):
    seen, until = b"", time.monotonic() + seconds
    while wanted.encode() not in seen:
        left = until - time.monotonic()
        assert left > 0 and select.select([process.stdout], [], [], left)[0], seen
        more = os.read(process.stdout.fileno(), 1 << 16)
        assert more, (seen, process.stderr.read())
        seen += more
    return seen.decode()


def test_the_command_ends_at_a_signal_with_the_class_and_no_process_left(folder, tmp_path):
    """As a user runs it, twice: stopped when all is done, and stopped in the midst of the work.

    By Ctrl-C, and as systems and supervisors do it.
    """
    before, out = descendants(), tmp_path / "out"
    write_notebook(folder / "anna.ipynb", [WRONG.format("anna")])
    process = command(folder, out)
    reads(process, "Watching")
    assert "anna" in reads(process, " s\n")
    below = psutil.Process(process.pid).children(recursive=True)
    assert below
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert b"Class" in said and b"isolation: nested" in said
    assert (out / "class.png").exists()
    assert settles(lambda: descendants() <= before)

    write_notebook(folder / "loop.ipynb", [WRONG.format("loop"), "while True: pass"])
    process = command(folder, out, "--resume")
    reads(process, "1 graded before")
    assert settles(lambda: busy(process.pid), 30)
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"anna" in said and b"--resume" in errors
    assert settles(lambda: descendants() <= before)


def test_what_makes_no_sense_is_refused_in_words(folder, tmp_path):
    from click.testing import CliRunner

    path = write_notebook(folder / "lora.ipynb", ["x = 1"])
    for args, why in (
        ([folder, tmp_path], "one folder"),
        ([path], "one folder"),
        ([tmp_path / "none"], "one folder"),
        ([folder, "--container"], "--container"),
        ([folder, "--resume", "--seed", "3"], "--resume"),
        ([folder, "--out", folder], "--force"),
    ):
        args = ["grade", "--watch", "--out", tmp_path / "out", *args]
        ended = CliRunner().invoke(main, [str(arg) for arg in args])
        assert ended.exit_code == 2, ended.output
        assert why in ended.output and "Traceback" not in ended.output
    assert not (tmp_path / "out").exists()


def test_without_a_sandbox_nothing_is_run(folder, tmp_path):
    """bwrap is there, but may do nothing."""
    write_notebook(folder / "lora.ipynb", [f"open({str(tmp_path / 'ran')!r}, 'w')"])
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (fake / "bwrap").chmod(0o755)
    line = [sys.executable, "-m", "autograder.cli", "grade", "--watch", folder]
    environment = {**os.environ, "PATH": f"{fake}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*line, "--out", tmp_path / "out"], env=environment, capture_output=True, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert b"no sandbox works here" in ended.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "ran").exists()
