"""The warm process in the sandbox: imports what submissions import, then forks a child for each.

Started by `launch` as ``python -m autograder.sandbox.zygote MODE MODULE…`` with a SOCK_SEQPACKET
control socket on descriptor `CONTROL`. One message there,
carrying two descriptors, is one child:

- the *channel*, on which the child answers requests (`child.serve`);
- the *birth* socket, on which the child's parent reports its pidfd, the number of the next process
  beside it whenever it is asked, and how it ended. The child ends when the grader's side of it
  closes: nothing outlasts the process that grades it.

MODE is ``nested`` (each child in its own namespaces), ``single`` (one child, then the end, in the
namespaces that bubblewrap made), ``container`` (one child, as another uid than the grader's, in no
namespace of its own) or ``none`` (one's own notebooks: no isolation at all).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import random
import re
import select
import selectors
import signal
import socket
import sys
import tempfile
from collections.abc import Iterable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import msgpack

from autograder.sandbox import child, inner_wall, tensors

CONTROL = 3
NEXT = b"next "
"""Before the number of the next process, on the birth socket."""
BASE = ("torch", "IPython.core.interactiveshell")
"""What every child needs."""
TRAINING = "torch._dynamo"
"""What torch imports when the first optimizer is made: it takes seconds."""
LIBRARIES = (
    "torchvision",
    "transformers.models.bert.modeling_bert",
    "peft",
    "sklearn.metrics",
    "scipy.stats",
    "matplotlib.pyplot",
    "tqdm.auto",
)
WARM = (*BASE, TRAINING, *LIBRARIES)
_IMPORTED = re.compile(r"^[ \t]*(?:import|from)\s+(\w+)", re.M)


def named(texts: Iterable[str]) -> tuple[str, ...]:
    """Return what of `WARM` is worth importing for code that is known beforehand."""
    text = "\n".join(texts)
    names = set(_IMPORTED.findall(text))
    trains = (TRAINING,) if "optim" in text else ()
    return (*BASE, *trains, *(name for name in LIBRARIES if name.partition(".")[0] in names))


def main() -> None:
    """Warm up, tell what is imported and seen from inside, then fork a child per message."""
    mode = sys.argv[1]
    control = socket.socket(fileno=CONTROL)
    if mode == "container":
        inner_wall.die_with_parent()
    for name in sys.argv[2:]:
        control.send(msgpack.packb({"importing": name}))
        importlib.import_module(name)
    if sys.platform == "linux":
        # as before Python 3.14: a worker that imports all anew takes seconds and much memory
        contexts: Any = multiprocessing.context
        contexts._default_context._default_context = contexts._concrete_contexts["fork"]
    # the filter refuses the other kind, whose watches are memory that nobody counts
    vars(selectors)["DefaultSelector"] = selectors.PollSelector
    cells = child.Cells()  # once for all children: it takes 0.04 s
    torch = sys.modules["torch"]
    torch.set_num_threads(1)
    _send_tensors_by_value()
    # the same start for every submission: one that draws at random gets one score, not several
    random.seed(0)
    sys.modules["numpy"].random.seed(0)
    torch.default_generator.manual_seed(0)
    if mode in ("single", "container"):
        inner_wall.hide_from_siblings()
    if mode == "none":
        _silence_the_package()
    gc.collect()
    gc.freeze()
    report = {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "uid": os.getuid(),
        "autograder": sorted(path.name for path in Path(child.__file__).parent.parent.iterdir()),
    }
    control.send(msgpack.packb(report))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 2)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            del control  # a submission can walk to this frame
            _parent(mode, cells, msgpack.unpackb(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _send_tensors_by_value() -> None:
    """Let a data loader's workers send what tensors hold, instead of files that hold it.

    The kernel has only so many open files on their way for a user, and all submissions are one.
    """
    sharing = sys.modules["torch"].multiprocessing.reductions.reduce_tensor

    def reduced(tensor: Any) -> tuple[Any, ...]:
        if tensors.has_bytes(tensor):
            return tensors.from_bytes, tensors.as_bytes(tensor)
        return tuple(sharing(tensor))

    ForkingPickler.register(sys.modules["torch"].Tensor, reduced)


def _silence_the_package() -> None:
    """Let a notebook's own `check(…)` do nothing here either: the verdict is the grader's."""
    from autograder.sandbox import stub

    face = sys.modules["autograder"]
    for name in face.__all__:
        setattr(face, name, getattr(stub, name))


def _parent(
    mode: str, cells: child.Cells, limits: dict[str, Any], channel: int, birth: int
) -> None:
    """Fork the child, report its pidfd and its end; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    report = socket.socket(fileno=birth)
    code = 1
    try:
        if mode != "none":
            inner_wall.die_with_parent()
        if mode == "nested":
            inner_wall.own_namespaces()
        pid = os.fork()
        if pid == 0:
            report.close()
            _child(mode, cells, limits, channel)
        os.close(channel)
        pidfd = os.pidfd_open(pid)
        socket.send_fds(report, [b"born"], [pidfd])
        _outlast(pidfd, report)
        _, status = os.waitpid(pid, 0)
        report.send(str(os.waitstatus_to_exitcode(status)).encode())
        code = 0
    except OSError as error:
        with contextlib.suppress(OSError):
            report.send(f"refused: {error}".encode())
    finally:
        os._exit(code)


def _outlast(pidfd: int, report: socket.socket) -> None:
    """Wait for the child's end; where the grader's comes first, bring it about.

    Until then each message on `report` asks for the number of the next process beside the child.
    """
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(report, select.POLLIN)
    while all(descriptor != pidfd for descriptor, _ in poll.poll()):
        if not report.recv(1):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            return
        report.send(NEXT + str(inner_wall.next_number()).encode())


def _child(mode: str, cells: child.Cells, limits: dict[str, Any], channel: int) -> None:
    """Close this process off, then serve; never returns."""
    code = 1
    try:
        os.setsid()
        inner_wall.die_with_parent()
        if mode == "nested":
            inner_wall.own_mounts(limits["scratch"])
        if mode in ("single", "container"):
            inner_wall.adopt_orphans()
        if mode in ("container", "none"):
            os.chdir(tempfile.mkdtemp(prefix="autograder-"))
        else:
            os.chdir(inner_wall.SCRATCH)
        inner_wall.close_descriptors(channel)
        processes = limits["processes"] if mode != "none" else None
        inner_wall.limit(limits["memory"], processes, limits["files"], limits["scratch"])
        if mode == "nested":
            inner_wall.seal_proc()
        if mode != "none":
            inner_wall.drop_capabilities(bounding=mode == "nested")
            inner_wall.filter_system_calls(limits["filter"])
        sock = socket.socket(fileno=channel)
        sock.sendall(b"+")
        child.serve(sock, cells)
        code = 0
    except BaseException as error:  # noqa: BLE001 - told to the grader, which runs nothing then
        with contextlib.suppress(OSError):
            os.write(channel, f"-{type(error).__name__}: {error}".encode()[:500])
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
