"""What a submission can see, reach and use up, from inside the sandbox."""

import os
import uuid
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from autograder.cli import main
from autograder.sandbox import launch, outer_wall
from autograder.sandbox.errors import SandboxError, StudentError
from autograder.sandbox.warm_process import Limits
from autograder.sandbox.zygote import BASE
from tests.conftest import LIMITS, ROOT, descendants, running, settles, write_notebook

# of this run alone: one that was killed may have left its own
LEFT = f"left-behind-{uuid.uuid4().hex}"

SPY = """
import os, socket, stat
from pathlib import Path

def read(path):
    return Path(path).read_bytes()

def listed(path):
    return sorted(os.listdir(path))

def environment():
    return {**os.environ, **{k.decode(): v.decode() for k, v in os.environb.items()}}

def started_with():
    return Path("/proc/self/environ").read_bytes()

def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(1)
        sock.connect(address)

def interfaces():
    return Path("/proc/net/dev").read_text()

def findings(names):
    "Every path below / whose name is one of these."
    found = []
    for folder, folders, files in os.walk("/"):
        if folder == "/":
            folders.remove("proc")
        found += [os.path.join(folder, name) for name in folders + files if name in names]
    return found

def writable(name):
    "Leave a file everywhere that one can be left."
    left = []
    lines = Path("/proc/self/mounts").read_text().splitlines()
    points = {line.split()[1] for line in lines if "ro" not in line.split()[3].split(",")}
    places = {os.getcwd(), os.path.expanduser("~"), "/", "/var/tmp", "/run", "/dev", *points}
    for point in list(points):
        if os.path.isdir(point) and not point.startswith("/proc"):
            places |= {folder for folder, _, _ in os.walk(point)}
    for place in places:
        try:
            path = os.path.join(place, name)
            with open(path, "w") as file:
                file.write("secret")
            left.append(path)
        except OSError:
            pass
    return sorted(set(left))

def opened_for_writing(top):
    opened = []
    for folder, folders, files in os.walk(top):
        if folder == "/proc":
            skipped = ("self", "thread-self", "pressure")  # its own; what anybody may watch
            folders[:] = [name for name in folders if not name.isdigit() and name not in skipped]
        for name in files:
            path = os.path.join(folder, name)
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                opened.append(path)
            except OSError:
                pass
    return opened
"""

DOORS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)

def attempt(name, *args):
    result = getattr(libc, name)(*args)
    return result, ctypes.get_errno()

def system_call(*args):
    result = libc.syscall(*[ctypes.c_long(a) for a in args])
    return result, ctypes.get_errno()

def cloned(flags):
    "clone(2) by number, as glibc's fork does, with these namespace flags."
    pid = libc.syscall(56, flags | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid, ctypes.get_errno()

def capabilities():
    lines = open("/proc/self/status").read().splitlines()
    kept = [line for line in lines if line.startswith(("Cap", "NoNew"))]
    return {line.split(":")[0]: line.split()[1] for line in kept}
"""

FORKS = """
import os, time

def forks(most):
    made = []
    try:
        for _ in range(most):
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            made.append(pid)
    except OSError:
        pass
    for pid in made:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return len(made)
"""


@pytest.fixture(scope="module")
def spy(sandbox):
    with running(sandbox, SPY, DOORS, FORKS, call_seconds=60) as (student, session):
        assert not session.problems
        yield student


# ------------------------------------------------------------------------------------- what is seen


@pytest.mark.parametrize(
    "path",
    [
        ROOT / "autograder/checks/hidden/test_lora.py",
        ROOT / "autograder/checks/visible/test_lora.py",
        ROOT / "autograder/checking/expect.py",
        ROOT / "solutions/04_lora.py",
        ROOT / "pyproject.toml",
        Path.home() / ".profile",
        Path("/etc/passwd"),
        Path("/etc/shadow"),
        Path("/proc/1/environ").resolve(),
    ],
    ids=str,
)
def test_what_is_on_the_machine_cannot_be_read(spy, path):
    if str(path) == "/proc/1/environ":  # its own process, whose environment holds nothing
        assert b"AUTOGRADER" not in spy.read(str(path))
        return
    with pytest.raises(StudentError, match=r"FileNotFound|PermissionError"):
        spy.read(str(path))


@pytest.mark.parametrize(
    "path", [Path.home(), ROOT, ROOT / "solutions", ROOT / "autograder"], ids=str
)
def test_folders_of_the_machine_cannot_be_listed(spy, path):
    with pytest.raises(StudentError, match=r"FileNotFound|PermissionError"):
        spy.listed(str(path))


def test_no_check_solution_or_lesson_source_lies_anywhere(spy):
    found = spy.findings(["04_lora.py", "test_lora.py", "test_lora.cpython-311.pyc"])
    assert found == []


def test_the_package_inside_is_a_stub(spy):
    assert spy.listed("/sandbox/autograder") == ["__init__.py", "sandbox"]
    assert "stub" not in str(spy.listed("/sandbox/autograder/sandbox"))
    assert "launch.py" not in spy.listed("/sandbox/autograder/sandbox")


def test_another_submission_cannot_be_read(sandbox, tmp_path):
    other = write_notebook(tmp_path / "other.ipynb", ["answer = 42"])
    with (
        running(sandbox, SPY) as (student, _),
        pytest.raises(StudentError, match="FileNotFound"),
    ):
        student.read(str(other))


def test_another_running_submission_is_not_there(sandbox):
    with (
        running(sandbox, "secret = 'nearby'; open('/tmp/nearby', 'w').write(secret)"),
        running(sandbox, SPY) as (student, _),
    ):
        assert student.findings(["nearby"]) == []
        assert [entry for entry in student.listed("/proc") if entry.isdigit()] == ["1"]


def test_environment_variables_do_not_come_in(tmp_path):
    """Set before the sandbox is started, as a grader's token would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADER_TOKEN", "hunter2")
        line = outer_wall.command("nested", (ROOT,))
        assert "--clearenv" in line and "hunter2" not in " ".join(line)


def test_the_environment_is_the_sandbox_s_own(spy):
    names = set(os.environ) - {"PATH", "HOME", "LANG", "PWD", "PYTHONPATH"}
    inside = {name for name in spy.environment() if not name.startswith(("OMP", "MKL", "OPENBLAS"))}
    allowed = ("MPL", "TOKENIZERS", "HF_HUB", "PYTHON", "LD_LIB", "TORCH", "KMP")
    assert not {name for name in names & inside if not name.startswith(allowed)}
    for name, value in os.environ.items():
        if len(value) > 8 and name in names:
            assert f"{name}={value}".encode() not in spy.started_with()


@pytest.mark.parametrize("family, address", [(2, ("1.1.1.1", 53)), (2, ("127.0.0.1", 22))])
def test_no_socket_to_a_network_opens(spy, family, address):
    with pytest.raises(StudentError, match=r"PermissionError|OSError"):
        spy.connect(family, address)


def test_no_network_interface_but_loopback(spy):
    lines = spy.interfaces().splitlines()[2:]
    assert all(line.strip().startswith("lo:") for line in lines)


def test_a_socket_of_the_machine_s_own_is_not_reached(spy):
    for path in ("/run/dbus/system_bus_socket", "/var/run/docker.sock", "\0/tmp/.X11-unix/X0"):
        with pytest.raises(StudentError, match=r"FileNotFound|ConnectionRefused|PermissionError"):
            spy.connect(1, path)


# ------------------------------------------------------------------------------ what can be changed


def test_a_file_left_anywhere_is_not_there_for_the_next(sandbox):
    with running(sandbox, SPY, call_seconds=60) as (student, _):
        left = student.writable(LEFT)
    assert {f"/tmp/{LEFT}", f"/dev/shm/{LEFT}"} <= set(left)
    with running(sandbox, SPY, call_seconds=60) as (student, _):
        assert student.findings([LEFT]) == []
        assert student.listed("/dev/shm") == []
        assert student.writable(LEFT) == left


def test_what_can_be_written_is_scratch_only(spy):
    left = spy.writable(LEFT)
    assert all(path.startswith(("/tmp/", "/dev/shm/")) for path in left), left


def test_nothing_of_the_machine_is_changed_by_what_is_left(spy):
    spy.writable(LEFT)
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        assert not Path(folder, LEFT).exists()


@pytest.mark.parametrize("top", ["/proc/sys", "/proc", "/sys"])
def test_no_file_of_the_kernel_opens_for_writing(spy, top):
    assert spy.opened_for_writing(top) == []


def test_no_capability_is_held_or_can_be_gained(spy):
    held = spy.capabilities()
    assert held.pop("NoNewPrivs") == "1"
    assert {int(value, 16) for value in held.values()} == {0}


@pytest.mark.parametrize(
    "name, args",
    [
        ("umount2", (b"/tmp", 2)),
        ("umount2", (b"/proc/sys", 2)),
        ("umount2", (b"/dev/shm", 0)),
        ("mount", (b"none", b"/tmp", b"tmpfs", 0, b"size=8g")),
        ("mount", (b"none", b"/proc/sys", None, 32 | 4096, None)),
        ("mount", (b"proc", b"/tmp", b"proc", 0, None)),
        ("unshare", (0x10000000,)),
        ("unshare", (0x00020000,)),
        ("unshare", (0x20000000,)),
        ("setns", (0, 0)),
        ("chroot", (b"/tmp",)),
        ("sethostname", (b"other", 5)),
        ("setuid", (0,)),
        ("ptrace", (0, 0, 0, 0)),
        ("memfd_create", (b"hidden", 0)),
        ("shmget", (0, 4096, 0o1600)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_doors_are_shut(spy, name, args):
    result, error = spy.attempt(name, *args)
    assert (result, error) in [(-1, 1), (-1, 22)], f"{name}{args} gave {result}, errno {error}"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls by x86-64 numbers")
@pytest.mark.parametrize(
    "number", [425, 428, 429, 430, 442, 321, 323, 250, 310, 272, 165, 166, 435], ids=str
)
def test_system_calls_that_no_notebook_needs_are_refused(spy, number):
    """io_uring, open_tree, move_mount, fsopen, bpf, keyctl, …, and clone3, by number."""
    result, error = spy.system_call(number, 0, 0, 0, 0, 0)
    assert result == -1
    assert error in (1, 38)  # EPERM; ENOSYS for clone3


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls by x86-64 numbers")
@pytest.mark.parametrize("flag", [0x10000000, 0x00020000, 0x20000000, 0x40000000], ids=hex)
def test_no_process_is_cloned_into_new_namespaces(spy, flag):
    assert spy.cloned(flag) == (-1, 1)


# ------------------------------------------------------------------------------ what can be used up


def test_the_process_limit_holds(sandbox):
    limits = Limits(memory=1 << 30, processes=50)
    with running(sandbox, FORKS, limits=limits, call_seconds=60) as (student, _):
        assert 10 < student.forks(200) < 50


def test_the_process_limit_is_each_submission_s_own(sandbox):
    hold = (
        "import os, time\nfor _ in range(40):\n    if os.fork() == 0: time.sleep(60); os._exit(0)"
    )
    limits = Limits(memory=1 << 30, processes=50)
    with (
        running(sandbox, hold, limits=limits),
        running(sandbox, FORKS, limits=limits, call_seconds=60) as (student, _),
    ):
        assert student.forks(40) == 40


FILL = """
def fill(folder):
    written = 0
    try:
        for number in range(1000):
            with open(f"{folder}/{number}", "wb") as file:
                written += file.write(bytes(1 << 20))
    except OSError:
        pass
    return written

def crowd(folder):
    made = 0
    try:
        for made in range(20_000):
            open(f"{folder}/empty-{made}", "w").close()
    except OSError:
        pass
    return made
"""


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
def test_scratch_space_is_bounded(submit, folder):
    with submit(FILL) as student:
        assert (8 << 20) <= student.fill(folder) <= LIMITS.scratch
    with submit(FILL) as student:
        assert student.crowd(folder) <= 10_000


def test_what_a_submission_forked_dies_with_it(sandbox):
    before = descendants()
    leave = """
    import os, signal, time
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            for number in range(1, 32):
                if number not in (9, 19):
                    signal.signal(number, signal.SIG_IGN)
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
    """
    with running(sandbox, leave):
        assert len(descendants() - before) >= 4
    assert settles(lambda: descendants() <= before), psutil.Process().children(recursive=True)


def test_descriptors_of_the_grader_are_not_inherited(sandbox, tmp_path):
    secret = (tmp_path / "secret").open("w+")
    os.set_inheritable(secret.fileno(), True)
    look = "import os\nopen_ones = [os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)]\n"
    look += "more = []\nfor n in range(3, 256):\n"
    look += "    try: more.append(os.readlink(f'/proc/self/fd/{n}'))\n    except OSError: pass\n"
    with secret, running(sandbox, look) as (student, _):
        assert student.open_ones == ["/dev/null"] * 3
        others = [name for name in student.more if name != "/dev/null"]
        assert len(others) == 1 and others[0].startswith("socket:"), others


# --------------------------------------------------------------------------------- other isolations


def test_single_isolation_holds_the_same(tmp_path):
    """One sandbox a submission, where nesting is refused: the rules do not change."""
    limits = Limits(memory=1 << 30, scratch=16 << 20, processes=50)
    with (
        launch.Fresh("single", (ROOT,), BASE) as single,
        running(single, SPY, DOORS, FORKS, FILL, limits=limits, call_seconds=60) as (student, _),
    ):
        for path in (
            ROOT / "solutions/04_lora.py",
            ROOT / "autograder/checking/expect.py",
            "/etc/passwd",
        ):
            with pytest.raises(StudentError, match=r"FileNotFound|PermissionError"):
                student.read(str(path))
        with pytest.raises(StudentError, match=r"PermissionError|OSError"):
            student.connect(2, ("1.1.1.1", 53))
        assert student.opened_for_writing("/proc/sys") == []
        assert student.attempt("umount2", b"/tmp", 2) == (-1, 1)
        assert student.attempt("mount", b"none", b"/tmp", b"tmpfs", 0, None) == (-1, 1)
        assert student.attempt("unshare", 0x10000000) == (-1, 1)
        assert student.cloned(0x10000000) == (-1, 1)
        assert 5 < student.forks(200) < 50
        held = student.capabilities()
        assert held.pop("NoNewPrivs") == "1"
        assert int(held["CapEff"], 16) == int(held["CapPrm"], 16) == 0
        assert student.fill("/tmp") <= limits.scratch
    before = descendants()
    assert settles(lambda: descendants() <= before)


# -------------------------------------------------------------------------------------- fail closed


@pytest.fixture
def without_bubblewrap(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(outer_wall.sysconfig, "get_path", lambda name: str(tmp_path / "nothing"))


def test_without_bubblewrap_nothing_starts(without_bubblewrap):
    with pytest.raises(
        SandboxError, match=r"no sandbox works here[\s\S]*apt-get install bubblewrap"
    ):
        launch.start()


def test_grade_without_a_sandbox_runs_nothing_and_says_why(without_bubblewrap, tmp_path):
    ran = tmp_path / "ran"
    path = write_notebook(tmp_path / "lora.ipynb", [f"open({str(ran)!r}, 'w')"])
    out = tmp_path / "out"
    ended = CliRunner().invoke(main, ["grade", str(path), "--lesson", "lora", "--out", str(out)])
    assert ended.exit_code == 2, ended.output
    assert "apt-get install bubblewrap" in ended.output
    assert "Traceback" not in ended.output
    assert not ran.exists()
    assert not out.exists(), "the same command, once mended, would be refused: --out exists"


def test_a_bubblewrap_that_fails_is_reported_in_words(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SandboxError) as caught:
        launch.start()
    assert "No permissions to create a namespace" in str(caught.value)
    assert "nested" in str(caught.value) and "single" in str(caught.value)


def test_a_child_that_cannot_be_closed_off_is_refused(sandbox):
    with pytest.raises(SandboxError, match="closed off"):
        sandbox.fork(Limits(scratch=-1))
    with running(sandbox, "x = 1") as (student, _):
        assert student.x == 1


def test_no_zygote_is_left_behind(without_bubblewrap):
    before = descendants()
    with pytest.raises(SandboxError):
        launch.start()
    assert descendants() <= before
