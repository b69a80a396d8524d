# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# Attacks on the run itself: time, memory, processes, files, output, the machinery. Each is bounded
# by itself too, so that a defence that fails costs the machine little.

# %%
# ruff: noqa: B007, B018, B023, BLE001, E402, E501, F401, F811, RUF059, SIM105, SIM115
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH108, PTH110, PTH111, PTH113, PTH120, PTH123, PTH208, PTH211

# %% attack="endless_cell" seen="Cell [0-9]+: Your code ran for more than"
"""Loops for ever in a cell; the cell is left out and the rest goes on."""

while True:
    pass

# %% attack="endless_call" task="lora_forward" seen="Your code ran for more than 3 s"
"""Loops for ever in a call, catching whatever would end it; two such calls end the task."""


def lora_forward(*args, **kwargs):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


# %% attack="backtracking" seen="Cell [0-9]+: Your code ran for more than"
"""Loops within the C of a regular expression, where no signal handler of Python's runs."""
import re

re.match("(a|a)*(a|a)*$", "a" * 60 + "b")

# %% attack="big_powers" seen="Cell [0-9]+: Your code ran for more than"
"""Computes a power of a hundred million digits, in C, holding the interpreter's lock."""
x = 7 ** (10**8 + 1) % 10

# %% attack="sleeps_deaf" seen="Cell [0-9]+: Your code ran for more than"
"""Ignores and blocks every signal, then sleeps; it is ended by one that none can block."""
import signal
import time

for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
time.sleep(60)

# %% attack="blocked_pipe" task="lora_forward" seen="Your code ran for more than 3 s"
"""Waits in a call for a pipe in which nobody writes; the clock is the grader's."""
import os


def lora_forward(*args, **kwargs):
    reading, writing = os.pipe()
    return os.read(reading, 1)


# %% attack="slow_answer" task="lora_forward" seen="(ran for more than|a reply|channel)"
"""Answers on the channel itself, a byte at a time, so that each byte comes before any deadline."""
import os
import socket
import struct
import time


def lora_forward(*args, **kwargs):
    sockets = [
        n for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}") or True
    ]
    for number in map(int, sockets):
        try:
            sock = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        sock.send(struct.pack("!QII", 0, 4 << 20, 0))
        for _ in range(200):
            sock.send(b"\x90")
            time.sleep(0.2)


# %% attack="huge_answer" task="lora_forward" seen="(items, which cannot be graded|of memory|MemoryError|more than 3 s)"
"""Answers with more than a reply may hold, as a list, which costs most on the grader's side."""


def lora_forward(*args, **kwargs):
    return [0] * 20_000_000


# %% attack="huge_message" seen="raised ValueError: made made"
"""Raises an exception with a text of 50 MB, notes and causes; a few words of it are kept."""
error = ValueError("made " * (10 << 20))
error.__cause__ = ValueError("x" * (20 << 20))
raise error

# %% attack="fork_bomb" seen="(made: [0-9]+ processes|ran for more than)"
"""Forks, and every fork forks, at most 300 times in all; the limit of processes ends it."""
import mmap
import os
import time

counter = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE)
log = os.open("/tmp/forks", os.O_RDWR | os.O_CREAT | os.O_APPEND)
parent = os.getpid()
for _ in range(9):
    try:
        if os.fstat(log).st_size < 300 and os.fork() == 0:
            os.write(log, b"x")
    except OSError:
        pass
if os.getpid() != parent:
    time.sleep(8)
    os._exit(0)
time.sleep(1)
if os.fstat(log).st_size >= 128:
    raise RuntimeError(f"LOOT {os.fstat(log).st_size} processes")
raise RuntimeError(f"made: {os.fstat(log).st_size} processes")

# %% attack="zombies" seen="(made: [0-9]+ dead|ran for more than)"
"""Leaves hundreds of dead children that nobody waits for; they count as processes."""
import os

made = 0
try:
    for made in range(300):
        if os.fork() == 0:
            os._exit(0)
    raise RuntimeError(f"LOOT {made} dead")
except OSError:
    raise RuntimeError(f"made: {made} dead") from None

# %% attack="many_threads" seen="made: [0-9]+ threads"
"""Starts threads until none starts, at most 300; they count as processes."""
import threading
import time

made = 0
try:
    for made in range(300):
        threading.Thread(target=time.sleep, args=(6,), daemon=True).start()
    raise SystemError(f"LOOT {made} threads")
except RuntimeError:
    raise ValueError(f"made: {made} threads") from None

# %% attack="hogs_of_the_processor" seen="(made: [0-9]+ hogs|ran for more than)"
"""Lets 60 processes compute without end, to make honest submissions late."""
import os

made = 0
try:
    for made in range(60):
        if os.fork() == 0:
            while True:
                pass
except OSError:
    pass
raise RuntimeError(f"made: {made} hogs")

# %% attack="daemons" seen="made: daemons"
"""Starts daemons that leave group and session and heed no signal, to outlive the submission."""
import os
import signal
import time

for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        for number in range(1, 32):
            if number not in (9, 19):
                signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            os.closerange(0, 1024)
            time.sleep(60)
        os._exit(0)
raise RuntimeError("made: daemons")

# %% attack="memory_plain" seen="(of memory|made: refused)"
"""Takes 1.5 GB of ordinary memory, in small pieces."""
import time

held = []
try:
    for _ in range(1500):
        held.append(b"x" * (1 << 20))
except MemoryError:
    held.clear()
    raise RuntimeError("made: refused") from None
time.sleep(1)
raise RuntimeError("LOOT 1.5 GB")

# %% attack="memory_of_threads" seen="(of memory|made: refused|start new thread)"
"""Takes 1.5 GB by eight threads at a time, faster than a watch looks."""
import threading
import time

held = []


def take():
    try:
        for _ in range(12):
            held.append(bytearray(b"x") * (16 << 20))
    except MemoryError:
        held.append(None)


threads = [threading.Thread(target=take) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
if None in held:
    held.clear()
    raise RuntimeError("made: refused")
time.sleep(1)
raise RuntimeError("LOOT 1.5 GB")

# %% attack="memory_of_arrays" seen="(of memory|made: refused)"
"""Takes large arrays, which the allocator maps one by one, by numpy and by torch."""
import time

import numpy as np
import torch

held = []
try:
    for _ in range(8):
        held.append(np.ones(12 << 20))
        held.append(torch.ones(24 << 20))
except (MemoryError, RuntimeError):
    held.clear()
    raise RuntimeError("made: refused") from None
time.sleep(1)
raise RuntimeError("LOOT 1.5 GB")

# %% attack="memory_shared_and_dropped" seen="(of memory|made: refused)"
"""Writes shared memory, then drops its pages from this process: resident nowhere, held all the same."""
import mmap
import time

held = []
try:
    for _ in range(60):
        held.append(mmap.mmap(-1, 20 << 20))
        for offset in range(0, 20 << 20, 4 << 20):
            held[-1][offset : offset + (4 << 20)] = bytes(4 << 20)
            held[-1].madvise(mmap.MADV_DONTNEED)
except OSError:
    raise RuntimeError("made: refused") from None
time.sleep(1)
raise RuntimeError("LOOT 1.2 GB")

# %% attack="memory_of_dev_zero" seen="(of memory|made: refused)"
"""Takes shared memory by mapping /dev/zero, which is another way to the same kind of pages."""
import mmap
import os
import time

held = []
try:
    zero = os.open("/dev/zero", os.O_RDWR)
    for _ in range(60):
        held.append(mmap.mmap(zero, 20 << 20))
        for offset in range(0, 20 << 20, 4 << 20):
            held[-1][offset : offset + (4 << 20)] = bytes(4 << 20)
            held[-1].madvise(mmap.MADV_DONTNEED)
except OSError:
    raise RuntimeError("made: refused") from None
time.sleep(1)
raise RuntimeError("LOOT 1.2 GB")

# %% attack="memory_by_name" seen="made: refused 5"
"""Asks for memory with a name, by memfd, secret memory, SysV segments, POSIX queues and huge pages."""
import ctypes
import mmap

libc, refused = ctypes.CDLL(None, use_errno=True), 0
for call in (
    lambda: libc.memfd_create(b"hidden", 0),
    lambda: libc.syscall(447, 0),
    lambda: libc.shmget(0, 64 << 20, 0o1600),
    lambda: libc.syscall(240, b"left", 0o102, 0o600, None),
):
    if call() >= 0:
        raise RuntimeError("LOOT memory that none counts")
    refused += 1
try:
    mmap.mmap(-1, 2 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)[0] = 1
    raise RuntimeError("LOOT a huge page")
except OSError:
    refused += 1
raise RuntimeError(f"made: refused {refused}")

# %% attack="memory_of_files" seen="made: [0-9]+ MB of files"
"""Fills the file systems in memory, with names and without, up to 1 GB; each is small."""
import os

held, written = [], 0
for folder in ("/tmp", "/dev/shm", "/dev", "/run", "/sandbox", "/var/tmp"):
    for number in range(60):
        try:
            file = open(f"{folder}/filled-{number}", "wb", buffering=0)
            held.append(file)
            if number % 2:
                os.unlink(file.name)
            for _ in range(8):
                written += file.write(bytes(2 << 20))
        except OSError:
            continue
if written > 200 << 20:
    raise RuntimeError(f"LOOT {written >> 20} MB of files")
raise RuntimeError(f"made: {written >> 20} MB of files")

# %% attack="memory_of_files_and_pages" seen="of memory"
"""Takes just under the limit in pages, then the rest in unlinked files; both count together."""
import os
import time

held, files = [b"x" * (1 << 20) for _ in range(440)], []
for folder in ("/tmp", "/dev/shm"):
    file = open(f"{folder}/rest", "wb", buffering=0)
    os.unlink(file.name)
    files.append(file)
    for _ in range(60):
        file.write(bytes(1 << 20))
time.sleep(1)
raise RuntimeError("LOOT 560 MB")

# %% attack="memory_of_page_tables" seen="(of memory|made: refused)"
"""Touches one page in every 2 MB of a vast mapping, so that the tables of pages take 1 GB."""
import ctypes
import time

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
for _ in range(8):
    start = libc.mmap(None, 64 << 30, 1, 0x4022, -1, 0)  # PROT_READ; private, anonymous, no reserve
    if start in (None, 2**64 - 1):
        raise RuntimeError("made: refused")
    libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(64 << 30), 15)
    for address in range(start, start + (64 << 30), 2 << 20):
        ctypes.c_char.from_address(address).value
time.sleep(1)
size = next(line for line in open("/proc/self/status") if line.startswith("VmPTE"))
raise RuntimeError(f"LOOT {size.strip()}" if int(size.split()[1]) > 700_000 else "made: refused")

# %% attack="memory_of_forced_writes" seen="(of memory|made: refused)"
"""Writes read-only pages by /proc/self/mem, past the limit that counts what may be written."""
import ctypes
import time

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
start = libc.mmap(None, 1200 << 20, 1, 0x4022, -1, 0)
try:
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        for offset in range(0, 1200 << 20, 4 << 20):
            memory.seek(start + offset)
            memory.write(b"x" * (4 << 20))
except OSError:
    raise RuntimeError("made: refused") from None
time.sleep(1)
raise RuntimeError("LOOT 1.2 GB")

# %% attack="memory_of_sockets" seen="(of memory|made: )"
"""Fills the buffers of unix sockets, which are no process's memory, with up to 1.2 GB."""
import os
import socket
import time

held, filled = [], 0
try:
    while filled < 1200 << 20:
        pair = socket.socketpair()
        held.append(pair)
        for end in pair:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 20)
            end.setblocking(False)
            try:
                while filled < 1200 << 20:
                    filled += end.send(bytes(1 << 20))
            except BlockingIOError:
                pass
except OSError:
    pass
time.sleep(1)
raise RuntimeError(f"{'LOOT' if filled > 600 << 20 else 'made:'} {filled >> 20} MB in sockets")

# %% attack="memory_of_sockets_in_flight" seen="(of memory|made: )"
"""Sends sockets with full buffers through a socket and closes them, so that no table lists them."""
import socket
import time

filled, (ours, theirs) = 0, socket.socketpair()
try:
    for _ in range(100):
        pair = socket.socketpair()
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 << 20)
        pair[0].setblocking(False)
        try:
            while filled < 900 << 20:
                filled += pair[0].send(bytes(1 << 20))
        except BlockingIOError:
            pass
        socket.send_fds(ours, [b"x"], [pair[1].fileno()])
        pair[1].close()
        pair[0].close()
except OSError:
    pass
time.sleep(1)
raise RuntimeError(f"{'LOOT' if filled > 600 << 20 else 'made:'} {filled >> 20} MB in flight")

# %% attack="memory_of_pipes" seen="(of memory|made: )"
"""Makes pipes as large as they may be and fills them, in several processes."""
import fcntl
import os
import time

log = os.open("/tmp/pipes", os.O_RDWR | os.O_CREAT | os.O_APPEND)
for _ in range(8):
    if os.fork() == 0:
        try:
            for _ in range(110):
                reading, writing = os.pipe()
                os.set_blocking(writing, False)
                try:
                    fcntl.fcntl(writing, 1031, 1 << 20)  # F_SETPIPE_SZ
                except OSError:
                    pass
                os.write(log, b"x" * (os.write(writing, bytes(1 << 20)) >> 12))
        except OSError:
            pass
        time.sleep(3)
        os._exit(0)
time.sleep(2)
filled = os.fstat(log).st_size >> 8
raise RuntimeError(f"{'LOOT' if filled > 600 else 'made:'} {filled} MB in pipes")

# %% attack="memory_given_to_pipes" seen="(of memory|made: )"
"""Gives a small part of each of many huge pages to a pipe and unmaps the rest: the pipe holds it all."""
import ctypes
import mmap
import os
import time

libc, given, held = ctypes.CDLL(None, use_errno=True), 0, []
for _ in range(40):
    reading, writing = os.pipe()
    held.append((reading, writing))
    for _ in range(15):
        area = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.madvise(14)  # MADV_HUGEPAGE
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        place = ((start + (2 << 20) - 1) & ~((2 << 20) - 1)) - start
        area[place : place + 4096] = b"x" * 4096
        vector = (ctypes.c_void_p * 2)(start + place, 4096)
        given += libc.vmsplice(writing, vector, 1, 8 | 2) > 0  # SPLICE_F_GIFT, no wait
        del vector
        try:
            area.close()
        except BufferError:
            libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(4 << 20))
        if given >= 450:
            break
time.sleep(1)
raise RuntimeError(f"{'LOOT' if given > 300 else 'made:'} {given} huge pages in pipes")

# %% attack="memory_of_orphans" seen="of memory"
"""Lets a dozen orphans hold 100 MB each, deaf and unreadable, while the first process is small."""
import ctypes
import os
import time

for _ in range(12):
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # not dumpable: its figures are hidden
            held = bytearray(b"x") * (100 << 20)
            time.sleep(10)
        os._exit(0)
time.sleep(4)
raise RuntimeError("LOOT 1.2 GB")

# %% attack="memory_after_the_call" seen="of memory"
"""Takes memory some time after the cell has ended, in two processes, so that a later task pays."""
import os
import threading
import time


def later():
    time.sleep(0.2)
    os.fork()  # neither of them has more than one may have
    globals()["held"] = [bytearray(b"x") * (1 << 20) for _ in range(400)]
    time.sleep(20)


thread = threading.Thread(target=later, daemon=True)
thread.start()


def rank_for_budget(*args, **kwargs):
    thread.join(2.5)


# %% attack="descriptors" seen="made: [0-9]+ descriptors"
"""Opens files until none opens, at most 5,000."""
import os

held = []
try:
    for _ in range(5000):
        held.append(os.open("/dev/null", os.O_RDONLY))
    raise RuntimeError(f"LOOT {len(held)} descriptors")
except OSError:
    count = len(held)
    [os.close(number) for number in held]
    raise RuntimeError(f"made: {count} descriptors") from None

# %% attack="descriptors_in_flight" seen="made: [0-9]+ in flight"
"""Keeps descriptors in flight, which the kernel counts per user, so that no other child can be born."""
import os
import socket
import time

pairs, sent, null = [], 0, os.open("/dev/null", os.O_RDONLY)
for _ in range(60):
    pairs.append(socket.socketpair())
    pairs[-1][0].setblocking(False)
    try:
        for _ in range(40):
            socket.send_fds(pairs[-1][0], [b"x"], [null] * 100)
            sent += 100
    except OSError:
        pass
time.sleep(3)
if sent > 5000:
    raise RuntimeError(f"LOOT {sent} in flight")
raise RuntimeError(f"made: {sent} in flight")

# %% attack="inodes" seen="made: [0-9]+ files"
"""Makes empty files, folders and links until no more can be made, at most 60,000."""
import os

made = 0
for folder in ("/tmp", "/dev/shm"):
    os.makedirs(f"{folder}/crowd", exist_ok=True)
    try:
        for number in range(30_000):
            os.symlink("nowhere", f"{folder}/crowd/{number}")
            made += 1
    except OSError:
        pass
raise RuntimeError(f"{'LOOT' if made > 25_000 else 'made:'} {made} files")

# %% attack="vast_files" seen="made: refused [0-9]"
"""Makes sparse files of a terabyte and reserves space, on every file system; none is made."""
import os

refused = 0
for folder in ("/tmp", "/dev/shm"):
    for make in (lambda n: os.ftruncate(n, 1 << 40), lambda n: os.posix_fallocate(n, 0, 1 << 30)):
        number = os.open(f"{folder}/vast", os.O_RDWR | os.O_CREAT)
        try:
            make(number)
            raise RuntimeError("LOOT a vast file")
        except OSError:
            refused += 1
        os.close(number)
raise RuntimeError(f"made: refused {refused}")

# %% attack="output" seen="made: printed 500 MB"
"""Prints 500 MB, by Python's streams and by the descriptors; nobody reads it, nobody keeps it."""
import os
import sys

for _ in range(125):
    sys.stdout.write("x" * (1 << 20))
    sys.__stderr__.write("x" * (1 << 20))
    os.write(1, b"x" * (1 << 20))
    os.write(2, b"x" * (1 << 20))
raise RuntimeError("made: printed 500 MB")

# %% attack="display" seen="made: displayed"
"""Displays large pages, figures and results without end in sight; none is kept."""
from IPython.display import HTML, Javascript, display

for _ in range(20):
    display(HTML("<script>alert(1)</script>" * 200_000), Javascript("while (true) {}"))
    display({"text/plain": "x" * (4 << 20)}, raw=True)
raise RuntimeError("made: displayed")

# %% attack="mounts_anew" seen="made: refused [0-9]+"
"""Mounts, remounts and unmounts, to have a larger /tmp or the machine's files; all is refused."""
import ctypes
import os

libc, refused = ctypes.CDLL(None, use_errno=True), 0
for target in (b"/tmp", b"/dev/shm", b"/proc", b"/proc/sys", b"/", b"/sandbox/autograder", b"/dev"):
    for result in (
        libc.mount(b"none", target, b"tmpfs", 0, b"size=1g"),
        libc.mount(b"none", target, None, 32 | 4096, None),
        libc.mount(b"/", target, None, 4096 | 16384, None),
        libc.umount2(target, 2),
        libc.umount2(target, 0),
    ):
        if result == 0:
            raise RuntimeError(f"LOOT a mount at {target}")
        refused += 1
raise RuntimeError(f"made: refused {refused}")

# %% attack="namespaces" seen="made: refused [0-9]+"
"""Makes namespaces of its own, by every call and flag, to have rights again; all is refused."""
import ctypes
import os

libc, refused = ctypes.CDLL(None, use_errno=True), 0
for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
    if libc.unshare(flag) == 0 or libc.unshare(flag | 0x10000000) == 0:
        raise RuntimeError(f"LOOT namespace {flag:x}")
    pid = libc.syscall(56, flag | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        raise RuntimeError(f"LOOT cloned {flag:x}")
    refused += 1
for name in os.listdir("/proc/self/ns"):
    if libc.setns(os.open(f"/proc/self/ns/{name}", os.O_RDONLY), 0) == 0:
        raise RuntimeError(f"LOOT entered {name}")
    refused += 1
raise RuntimeError(f"made: refused {refused}")

# %% attack="control_socket" tasks="all" seen="(sent a reply|sent .* (reply|value)|its process|made: )"
"""Looks for the warm process's control socket and asks it for a child without limits."""
import os
import socket

import msgpack

asked = 0
wish = msgpack.packb(
    {"memory": 8 << 30, "scratch": 1 << 30, "processes": 4096, "files": 4096, "filter": b""}
)
for number in range(3, 1024):
    try:
        sock = socket.socket(fileno=os.dup(number))
    except OSError:
        continue
    if sock.type == socket.SOCK_SEQPACKET:
        raise RuntimeError(f"LOOT the control socket is {number}")
    one, two = socket.socketpair()
    socket.send_fds(sock, [wish], [one.fileno(), two.fileno()])
    asked += 1
raise RuntimeError(f"made: {asked} asked")

# %% attack="kills_everyone" seen="(made: sent|its process was ended|its process ended)"
"""Sends every signal to every process, its parents and the first among them."""
import os
import signal

sent = 0
for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
for pid in (-1, 0, 1, os.getppid(), -os.getpgrp(), *range(2, 200)):
    for number in (19, 15, 2, 1, 9):
        try:
            if pid not in (os.getpid(),):
                os.kill(pid, number)
                sent += 1
        except OSError:
            pass
raise RuntimeError(f"made: sent {sent}")

# %% attack="stops_itself" seen="(made: |ran for more than)"
"""Stops itself and, where that is ignored, lets a child stop it again and again."""
import os
import time

if os.fork() == 0:
    for _ in range(50):
        os.kill(1, 19)
        os.kill(os.getppid() or 1, 20)
        time.sleep(0.05)
    os._exit(0)
os.kill(os.getpid(), 19)
time.sleep(1)
raise RuntimeError("made: still here")

# %% attack="hangs_up_and_goes_on" seen="Your code ended: "
"""Closes all its descriptors, the channel too, and computes on with a child that does the same."""
import os

os.fork()
os.closerange(0, 65536)
while True:
    pass

# %% attack="deep_recursion" seen="(RecursionError|SIGSEGV|of memory|MemoryError|more than)"
"""Recurses without end, the interpreter's own guard being set out of reach."""
import sys

sys.setrecursionlimit(2**31 - 1)


def deeper(n):
    return deeper(n + 1) + 1


deeper(0)

# %% attack="overflows_the_stack" seen="(SIGSEGV|RecursionError|of memory|ran for more than)"
"""Overflows the stack of C by a text that asks for itself; the process dies, nothing else."""
import sys

sys.setrecursionlimit(10**8)


class Itself:
    def __repr__(self):
        return repr(self)

    __str__ = __repr__


repr(Itself())

# %% attack="crashes" task="lora_forward" seen="(SIGSEGV|SIGABRT)"
"""Ends the process by a wild pointer, in a call; two deaths end the task and no more."""
import ctypes


def lora_forward(*args, **kwargs):
    ctypes.string_at(8)


# %% attack="ends_itself" task="lora_forward" seen="its process ended itself"
"""Leaves by the back door with a code that means success."""
import os


def lora_forward(*args, **kwargs):
    os._exit(0)


# %% attack="own_timers" seen="(made: |raised|ended)"
"""Lets timers interrupt, ever again, the code that speaks with the grader."""
import signal


def interrupt(*args):
    raise KeyboardInterrupt("by a timer")


signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.3, 0.01)
raise RuntimeError("made: a timer")

# %% attack="priorities" seen="made: refused [0-9]+"
"""Asks for the processor before all others, by niceness, real time and affinity."""
import ctypes
import os

refused = 0
for take in (
    lambda: os.nice(-5),
    lambda: os.setpriority(os.PRIO_PROCESS, 0, -20),
    lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)),
    lambda: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1)),
):
    try:
        take()
        raise RuntimeError("LOOT a priority")
    except OSError:
        refused += 1
if ctypes.CDLL(None).syscall(251, 1, 0, 1 << 13) == 0:  # ioprio_set: real time
    raise RuntimeError("LOOT the disk's priority")
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
raise RuntimeError(f"made: refused {refused}")

# %% attack="kernel_objects" seen="made: "
"""Takes what the kernel counts for the whole machine or per user: queues of events and watches."""
import ctypes
import select

libc, taken = ctypes.CDLL(None, use_errno=True), {"aio": 0, "inotify": 0, "epoll": 0}
contexts = []
for _ in range(60):
    context = ctypes.c_ulong(0)
    if libc.syscall(206, 500, ctypes.byref(context)) != 0:
        break
    contexts.append(context)
    taken["aio"] += 500
for _ in range(100):
    watch = libc.inotify_init1(0)
    if watch < 0:
        break
    taken["inotify"] += 1
try:
    held = [select.epoll() for _ in range(60)]
    taken["epoll"] = len(held)
except OSError:
    pass
if taken["aio"] > 10_000 or taken["inotify"] > 60:
    raise RuntimeError(f"LOOT {taken}")
raise RuntimeError(f"made: {taken}")

# %% attack="raises_its_limits" seen="made: refused [0-9]+"
"""Raises its own limits, soft and hard, and those of the first process; all is refused."""
import resource

refused, raised = 0, []
for name in (
    "DATA",
    "NPROC",
    "NOFILE",
    "FSIZE",
    "CORE",
    "MEMLOCK",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
):
    kind = getattr(resource, f"RLIMIT_{name}", None)
    if kind is None:
        continue
    soft, hard = resource.getrlimit(kind)
    for pid in (0, 1):
        try:
            resource.prlimit(pid, kind, (hard + 1, hard + 1) if hard >= 0 else (1 << 62, -1))
            raised += [name] if hard >= 0 else []
        except (OSError, ValueError):
            refused += 1
if raised:
    raise RuntimeError(f"LOOT {raised}")
raise RuntimeError(f"made: refused {refused}")

# %% attack="changes_the_sandbox" seen="made: changed "
"""Changes rights, owners and contents of what all submissions share; only its own folder obeys."""
import os

changed = []
for path in (
    "/",
    "/sandbox",
    "/sandbox/autograder/sandbox/child.py",
    "/libraries",
    "/libraries/torch/__init__.py",
    "/usr/bin",
    "/proc",
    "/dev",
    "/dev/null",
    "/sandbox/course",
):
    for change in (
        lambda: os.chmod(path, 0o777),
        lambda: os.utime(path),
        lambda: os.chown(path, 0, 0),
        lambda: os.setxattr(path, "user.mark", b"x"),
        lambda: os.rename(path, path + "-gone"),
        lambda: (
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
            if os.path.isfile(path)
            else os.mkdir(path + "/new")
        ),
    ):
        try:
            change()
            changed.append(path)
        except OSError:
            pass
os.chmod("/tmp", 0)
os.chmod("/dev/shm", 0)
if set(changed) - {"/dev/null"}:
    raise RuntimeError(f"LOOT {changed}")
raise RuntimeError(f"made: changed {changed}")

# %% attack="lives_longer" seen="made: "
"""Asks the kernel to let it live on when its parents end, and to inherit their children."""
import ctypes
import os
import time

libc = ctypes.CDLL(None)
for option, value in ((1, 0), (36, 1), (4, 0), (4, 1), (38, 0), (22, 0)):  # death signal, reaper, …
    libc.prctl(option, value, 0, 0, 0)
if os.fork() == 0:
    os.setsid()
    libc.prctl(1, 0, 0, 0, 0)
    time.sleep(30)
    os._exit(0)
raise RuntimeError("made: asked")

# %% attack="poisons_the_start" seen="made: [0-9]+ traps"
"""Leaves start files for Python, IPython and matplotlib where the next process would read them."""
import os
import site

traps = 0
for path in (
    "~/.ipython/profile_default/startup/00-trap.py",
    "~/.config/matplotlib/matplotlibrc",
    "~/.local/lib/python3.11/site-packages/sitecustomize.py",
    "/sandbox/sitecustomize.py",
    "/libraries/usercustomize.py",
    "/tmp/matplotlib/matplotlibrc",
    "/tmp/torch.py",
    "/tmp/msgpack.py",
    "/dev/shm/trap.py",
):
    try:
        os.makedirs(os.path.dirname(os.path.expanduser(path)), exist_ok=True)
        open(os.path.expanduser(path), "w").write("raise SystemExit('a trap')\n")
        traps += 1
    except OSError:
        pass
raise RuntimeError(f"made: {traps} traps")

# %% attack="finds_the_traps" seen="made: no trap"
"""Looks for the start files that the one before left; the next process has none of them."""
import os

traps = [
    "~/.ipython/profile_default/startup/00-trap.py",
    "/tmp/torch.py",
    "/tmp/msgpack.py",
    "/dev/shm/trap.py",
    "/tmp/matplotlib/matplotlibrc",
]
if found := [path for path in traps if os.path.exists(os.path.expanduser(path))]:
    raise RuntimeError(f"LOOT {found}")
raise RuntimeError("made: no trap")
