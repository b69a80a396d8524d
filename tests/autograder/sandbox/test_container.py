"""Where no user namespace can be made: `grade` refuses, or grades one submission as another uid."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from autograder.cli import main
from autograder.sandbox import container, outer_wall
from tests.conftest import ROOT, lora, settles, write_notebook

# of this run alone: one that was killed may have left its own
LEFT = f"left-behind-{uuid.uuid4().hex}"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="this isolation is root's: run it as root")


@pytest.fixture
def image():
    """The project in a folder that anybody can reach, as a container's image may have it."""
    with tempfile.TemporaryDirectory(prefix="image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("autograder", "course", "solutions"):
            shutil.copytree(ROOT / part, folder / part)
        yield folder


def grade(image, notebook, *options):
    """Run `grade` there without user namespaces; return how it ended and where its results are."""
    restricted = [sys.executable, "-m", "tests.without_namespaces", "env", f"--chdir={image}"]
    command = ["autograder.cli", "grade", str(notebook), "--out", str(image / "out"), *options]
    ended = subprocess.run(
        [*restricted, sys.executable, "-m", *command],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    return ended, image / "out"


def submissions():
    """The processes in this isolation: each has its warm process's command line."""
    wanted, lines = container.command()[1:], psutil.process_iter(["cmdline"])
    return [p.pid for p in lines if (p.info["cmdline"] or [])[1 : len(wanted) + 1] == wanted]


@pytest.fixture
def nothing_left():
    """Nothing of a submission's is there afterwards."""
    yield
    assert settles(lambda: submissions() == [])
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        assert not Path(folder, LEFT).exists()


def score_in(out):
    return json.loads((out / "results.jsonl").read_text())


def test_grade_refuses_where_no_namespace_can_be_made(image):
    ran = image / "ran"
    notebook = write_notebook(image / "lora.ipynb", [f"open({str(ran)!r}, 'w')"])
    ended, out = grade(image, notebook, "--lesson", "lora")
    assert ended.returncode == 2, ended.stderr
    assert "no sandbox works here" in ended.stderr and "user namespaces" in ended.stderr.lower()
    assert "sysctl -w user.max_user_namespaces" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not ran.exists() and not out.exists()


def test_a_container_is_for_one_submission(tmp_path):
    for name in "ab":
        write_notebook(tmp_path / f"{name}.ipynb", ["x = 1"])
    command = ["grade", str(tmp_path), "--out", str(tmp_path / "out"), "--container"]
    ended = CliRunner().invoke(main, command)
    assert ended.exit_code == 2 and "one submission" in ended.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may: see the tests below")
def test_a_container_needs_root(image):
    notebook = write_notebook(image / "lora.ipynb", ["x = 1"])
    ended, out = grade(image, notebook, "--lesson", "lora", "--container")
    assert ended.returncode == 2 and "needs root" in ended.stderr
    assert not out.exists()


@as_root
def test_nothing_is_run_while_the_checks_can_be_read(image):
    notebook = write_notebook(image / "class" / "lora.ipynb", ["x = 1"])
    ended, out = grade(image, notebook, "--lesson", "lora", "--container")
    assert ended.returncode == 2, ended.stderr
    said = " ".join(ended.stderr.split())
    assert f"chmod -R go= {image}/autograder {image}/class" in said, said
    assert not out.exists()


@as_root
@pytest.mark.usefixtures("nothing_left")
def test_the_reference_gets_full_marks_in_a_container(image):
    notebook = shutil.copy(ROOT / "solutions/04_lora.py", image / "solutions" / "lora.py")
    image.chmod(0o700)
    ended, out = grade(image, notebook, "--container")
    assert ended.returncode == 0, ended.stderr
    score = score_in(out)
    assert (score["isolation"], score["status"]) == ("container", "graded")
    assert score["points"] == score["max_points"] > 0.9 * lora().worth.graded, score["problems"]


ATTACK = """
import ctypes, glob, os, signal, socket, time

loot = []

def tried(what, action):
    try:
        found = action()
    except (OSError, ValueError) as error:
        return
    loot.append(f"LOOT {what}: {str(found)[:80]}")

libc = ctypes.CDLL(None, use_errno=True)

def system_call(name, *args):
    if getattr(libc, name)(*args) != 0:
        raise OSError(ctypes.get_errno(), name)

IMAGE = "@IMAGE@"
for path in ("autograder/checks/hidden/test_lora.py", "solutions/04_lora.py", "class/lora.ipynb"):
    tried(path, lambda: open(f"{IMAGE}/{path}").read())
tried("the results", lambda: os.listdir(f"{IMAGE}/out"))
tried("shadow", lambda: open("/etc/shadow").read())
for process in os.listdir("/proc"):
    if process.isdigit() and os.stat(f"/proc/{process}").st_uid != os.getuid():
        tried(f"environ of {process}", lambda: open(f"/proc/{process}/environ", "rb").read())
        tried(f"descriptors of {process}", lambda: os.listdir(f"/proc/{process}/fd"))
        tried(f"killing {process}", lambda: os.kill(int(process), 0))
for folder in ("/", "/etc", "/usr", "/root", "/home", os.path.dirname(os.__file__), "/sandbox"):
    tried(f"writing to {folder}", lambda: open(f"{folder}/@LEFT@", "w"))
tried("core pattern", lambda: open("/proc/sys/kernel/core_pattern", "w"))
tried("network", lambda: socket.create_connection(("127.0.0.1", 22), timeout=1))
tried("a socket", lambda: socket.socket(socket.AF_UNIX))
tried("becoming root", lambda: os.setuid(0))
tried("mount", lambda: system_call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
tried("unshare", lambda: system_call("unshare", 0x10000000))
tried("memfd", lambda: os.memfd_create("hidden"))
tried("the limit", lambda: __import__("resource").setrlimit(7, (4096, 4096)))
for folder in ("/tmp", "/var/tmp", "/dev/shm"):
    open(f"{folder}/@LEFT@", "w").write("by a submission")
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
raise RuntimeError("made: " + "; ".join(loot))
"""


@as_root
@pytest.mark.usefixtures("nothing_left")
def test_nothing_is_read_changed_or_left_in_a_container(image):
    source = ATTACK.replace("@IMAGE@", str(image)).replace("@LEFT@", LEFT)
    bomb = "def lora_forward(*args):\n    return [bytearray(1 << 24) for _ in range(100)]"
    notebook = write_notebook(image / "class" / "lora.ipynb", [source, bomb])
    image.chmod(0o700)
    ended, out = grade(image, notebook, "--lesson", "lora", "--container", "--memory", "512")
    assert ended.returncode == 0, ended.stderr
    score = score_in(out)
    assert score["points"] == 0
    assert any("made: " in problem for problem in score["problems"]), score["problems"]
    assert "LOOT" not in json.dumps(score), score["problems"]
    assert "MemoryError" in json.dumps(score)


@as_root
def test_what_a_submission_leaves_ends_however_deep_and_odd_it_is(tmp_path, monkeypatch):
    """As its uid: folders deeper than any path may be, without rights, links out, odd names."""
    uid = outer_wall.unused_uid(container.UIDS)
    top = tmp_path / "tmp"
    (top / "somebody").mkdir(parents=True)
    (top / "somebody" / "else").write_text("stays")
    (tmp_path / "outside").write_text("stays")
    at = os.open(top, os.O_RDONLY)
    for number in range(60):
        name = f"{number % 7}" * 200
        os.mkdir(name, dir_fd=at)
        os.chown(name, uid, uid, dir_fd=at)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        os.chown("file", uid, uid, dir_fd=at)
        at, before = os.open(name, os.O_RDONLY, dir_fd=at), at
        os.close(before)
    os.close(at)
    for name in ("shut", "a\nb", "\udcff"):
        (top / name).mkdir()
        (top / name / "link").symlink_to(tmp_path)
        (top / name / "other").symlink_to(tmp_path / "outside")
        for path in (top / name / "link", top / name / "other", top / name):
            os.lchown(path, uid, uid)
        (top / name).chmod(0)
    os.mkfifo(top / "somebody" / "fifo")
    os.chown(top / "somebody" / "fifo", uid, uid)
    monkeypatch.setattr(container, "_WRITABLE", (str(top), str(tmp_path / "nowhere")))
    container.end(uid)
    assert [path.name for path in top.rglob("*")] == ["somebody", "else"]
    assert (tmp_path / "outside").read_text() == "stays"
