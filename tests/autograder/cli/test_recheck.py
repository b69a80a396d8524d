"""`check --watch`: what is saved, however it is saved, has its verdict; what is stale has none."""

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder.checking import check_files
from autograder.cli import main, recheck
from autograder.grading.pool import Pool
from autograder.grading.score_submission import Options
from tests.autograder.cli.test_run import RIGHT
from tests.conftest import ROOT, busy, settles

BUDGET = "def rank_for_budget(*args): return {}"
LOOP = "while True: pass"
TASKS = ("--task", "rank_for_budget", "--task", "lora_linear")


def text(*sources, title="Notes"):
    made = [new_markdown_cell(title), *map(new_code_cell, sources)]
    for number, cell in enumerate(made):
        cell["id"] = f"c{number}"
    return nbformat.writes(new_notebook(cells=made))


def raising(said):
    return f"def rank_for_budget(*args): raise KeyError('{said}')"


def replaced(path, data):
    """Save as most editors do: a new file takes the old one's place."""
    beside = path.with_name("beside")
    beside.write_text(data)
    beside.replace(path)


class Watching:
    """The command, in a process of its own; its output is read line by line, with a deadline."""

    def __init__(self, path, *options, data):
        self.path = path
        command = [sys.executable, "-m", "autograder.cli", "check", "--watch", path, *options]
        environment = {**os.environ, "AUTOGRADER_DATA": str(data), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
            start_new_session=True,
        )  # fmt: skip
        self._seen = b""

    def line(self, seconds=10.0):
        """The next line of stdout, or None if there is none within some seconds."""
        until = time.monotonic() + seconds
        while b"\n" not in self._seen:
            if not select.select([self.process.stdout], [], [], until - time.monotonic())[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            assert more, self.ended()
            self._seen += more
        line, _, self._seen = self._seen.partition(b"\n")
        return line.decode()

    def verdict(self, seconds=10.0):
        """The next verdict, of --json."""
        line = self.line(seconds)
        return line and json.loads(line)

    def descendants(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def busy(self):
        return busy(self.process.pid)

    def ended(self):
        code = self.process.wait(20)
        said = self.process.stderr.read().decode()
        return code, said


def lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def points(verdict):
    assert verdict["status"] == "graded", verdict
    return {task["task"]: task["points"] for task in verdict["tasks"]}["rank_for_budget"]


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learner")
    path = folder / "lora.ipynb"
    path.write_text(text(BUDGET.format(0)))
    watching = Watching(path, "--json", *TASKS, data=folder / "data")
    watching.first = watching.verdict(60)
    yield watching
    if watching.process.poll() is None:
        watching.process.kill()
        watching.process.wait()


@pytest.fixture
def watching(module):
    """The command, with nothing left to tell of what the tests before have saved."""
    mark = f"at {time.monotonic()}"
    module.path.write_text(text(raising(mark)))
    while mark not in json.dumps(module.verdict()):
        pass
    return module


def test_the_first_verdict_is_of_what_is_there(module):
    assert module.first["schema"] == 1
    assert points(module.first) == 0
    assert {task["task"] for task in module.first["tasks"]} == {"rank_for_budget", "lora_linear"}


def test_a_save_has_its_verdict_and_is_recorded(watching):
    watching.path.write_text(text(raising("of the second")))
    [task] = [t for t in watching.verdict()["tasks"] if t["task"] == "rank_for_budget"]
    assert "of the second" in task["checks"][0]["message"]
    kept = json.loads((watching.path.parent / "data" / "progress.json").read_text())
    before = kept["entries"]["rank_for_budget"]["attempts"]
    watching.path.write_text(text(BUDGET.format(5)))
    assert watching.verdict()
    kept = json.loads((watching.path.parent / "data" / "progress.json").read_text())
    assert kept["entries"]["rank_for_budget"]["attempts"] >= before


def test_a_save_by_renaming_is_seen_each_time(watching):
    for number in range(3):
        replaced(watching.path, text(raising(f"no. {number}")))
        assert f"no. {number}" in json.dumps(watching.verdict())


def test_a_save_in_several_steps_has_one_verdict(watching):
    whole = text(raising("whole"))
    with watching.path.open("w") as file:
        for start in range(0, len(whole), len(whole) // 4):
            file.write(whole[start : start + len(whole) // 4])
            file.flush()
            time.sleep(0.2)
    assert "whole" in json.dumps(watching.verdict())
    assert watching.verdict(1.0) is None


def test_what_is_no_notebook_is_said_once_and_mended(watching):
    good = watching.path.read_text()
    watching.path.write_text(good[:100])
    said = watching.verdict()
    assert (said["status"], said["points"]) == ("unreadable", 0)
    assert "it ends half way" in said["problems"][0]
    assert watching.verdict(1.0) is None
    watching.path.write_text(good)
    assert watching.verdict()["status"] == "graded"


def test_a_file_that_is_deleted_is_waited_for(watching):
    good = watching.path.read_text()
    watching.path.unlink()
    assert "No such file" in watching.verdict()["problems"][0]
    watching.path.write_text(good)
    assert watching.verdict()["status"] == "graded"


def test_a_save_without_a_change_of_the_code_has_no_verdict(watching):
    """As Jupyter saves by itself every other minute."""
    made = nbformat.read(watching.path, as_version=4)
    for title in ("Notes", "Other notes"):
        made.cells[0].source = title
        made.cells[1].execution_count = len(title)
        nbformat.write(made, watching.path)
        assert watching.verdict(1.0) is None


def test_a_save_cancels_the_check_of_an_endless_loop(watching):
    watching.path.write_text(text(BUDGET.format(0), LOOP))
    assert settles(watching.busy, 10)
    watching.path.write_text(text(raising("mended")))
    began = time.monotonic()
    assert "mended" in json.dumps(watching.verdict())
    assert time.monotonic() - began < 5
    assert settles(lambda: not watching.busy()), "the loop outlived its check"
    assert watching.verdict(0.5) is None


def test_saves_one_after_another_end_with_the_newest(watching):
    for number in range(8):
        watching.path.write_text(text(raising(f"no. {number}")))
        time.sleep(0.15)
    said = []
    while verdict := watching.verdict(2.0):
        said.append(json.dumps(verdict))
    assert "no. 7" in said[-1]
    assert len(said) <= 8


def test_ctrl_c_ends_it_and_all_below_it_with_130(watching):
    """Last: it ends the process that the others share, in the midst of an endless loop."""
    watching.path.write_text(text(BUDGET.format(0), LOOP))
    assert settles(watching.busy, 10)
    below = watching.descendants()
    watching.process.send_signal(signal.SIGINT)
    code, said = watching.ended()
    assert (code, said) == (130, "")
    assert settles(lambda: not any(map(lives, below)))


# ---------------------------------------------------------------------------- what is on the screen


class Screen:
    """The command in a terminal."""

    def __init__(self, path, data):
        self.master, inside = pty.openpty()
        command = [sys.executable, "-m", "autograder.cli", "check", "--watch", path, *TASKS]
        environment = {**os.environ, "AUTOGRADER_DATA": str(data), "PYTHONPATH": str(ROOT)}
        environment["TERM"] = "xterm"
        self.process = subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=inside, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(inside)

    def shows(self, wanted, seconds=30):
        """What is shown until `wanted` is."""
        seen = b""
        until = time.monotonic() + seconds
        while wanted.encode() not in seen:
            left = until - time.monotonic()
            assert left > 0 and select.select([self.master], [], [], left)[0], seen
            seen += os.read(self.master, 1 << 16)
        return seen.decode()


def test_on_a_terminal_the_newest_verdict_takes_the_place_of_the_one_before(tmp_path):
    path = tmp_path / "lora.ipynb"
    path.write_text(text(BUDGET.format("None")))
    screen = Screen(path, tmp_path / "data")
    shown = screen.shows("Not begun: lora_linear", 60)
    assert "visible points" in shown and "rank_for_budget" in shown
    assert "importing torch …" in shown  # said while it lasted
    for change in ("", "\nLoRALinear.forward = None"):
        path.write_text(text(BUDGET.format("None"), RIGHT + change))
        shown = screen.shows("adds the low-rank update to its base")
        assert "\x1b[2J" in shown  # the screen was cleared
        assert shown.index("visible points") < shown.index("Since the last check")
        assert shown.index("Since the last check") < shown.index("lora_linear: The layer adds")
    path.write_text(text(BUDGET.format("None"), RIGHT + change, "x = 1"))
    screen.shows("No check has passed or failed anew")
    path.write_text("half of it")
    assert "cannot be checked" in screen.shows("not a notebook")
    screen.process.send_signal(signal.SIGINT)
    assert screen.process.wait(20) == 130
    os.close(screen.master)


# ----------------------------------------------------------------------------- in this very process


@pytest.fixture
def checks(tmp_path, monkeypatch):
    """A copy of one lesson's visible checks that may be edited."""
    made = tmp_path / "checks"
    (made / "visible").mkdir(parents=True)
    shutil.copy(check_files.CHECKS / "visible" / "test_lora.py", made / "visible")
    monkeypatch.setattr(check_files, "CHECKS", made)
    return made / "visible" / "test_lora.py"


def test_an_edit_of_a_check_is_seen(unboxed, checks, tmp_path, capsys):
    path = tmp_path / "lora.ipynb"
    path.write_text(text(BUDGET.format(0)))
    options = Options(hidden=False, tasks=("rank_for_budget",))

    def requirements():
        until = time.monotonic() + 20
        while time.monotonic() < until:
            patience = follower.look()
            for score in pool.ended(min(patience, 0.1)):
                follower.take(score)
                [said] = capsys.readouterr().out.splitlines()
                return [
                    each["requirement"] for t in json.loads(said)["tasks"] for each in t["checks"]
                ]
        raise AssertionError("no verdict")

    with Pool(lambda: unboxed, options, 1, reread=True) as pool:
        follower = recheck.Follower(path, pool, as_json=True)
        first = requirements()
        source = checks.read_text()
        assert first[0] in source
        checks.write_text(source.replace(first[0], "It has been edited."))
        assert requirements() == ["It has been edited.", *first[1:]]


def test_what_cannot_be_watched_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "link.ipynb").symlink_to(tmp_path / "lora.ipynb")
    (tmp_path / "lora.ipynb").write_text(text("x = 1"))
    for path, why in (
        (tmp_path / "none.ipynb", "No such file"),
        (tmp_path / "link.ipynb", "symbolic link"),
        (tmp_path, "Name the notebook itself"),
    ):
        ended = CliRunner().invoke(main, ["check", "--watch", str(path)])
        assert ended.exit_code == 2, ended.output
        assert why in " ".join(ended.output.split()) and "Traceback" not in ended.output
