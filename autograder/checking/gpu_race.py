"""The GPU path of speed checks: each side alone on a device that nobody else of ours uses.

A stopped process's queued kernels go on, so no two sides may live at the same time: first the
reference, then the student, then the reference again, each in a new process, the first to touch
CUDA there, and gone before the next begins. The first half of the pairs has the reference's time of
before, the second half that of after, so that a device that grows warm favours neither. What a
block's process was unlucky in all its pairs share: so a failure by a little is measured again.

A call ends with the bytes of its result on this side: what is left on another stream is not in
them, and they are verified. Its inputs are made on the device from a seed that comes with the call.
A check's data are larger than a device's caches (tens of megabytes), so that none is to be flushed.

Memory is what a side's process holds of the device after a forward, while its graph is held: as a
process of ours sees it, in which nothing of the submission runs.
Nothing here initialises CUDA: a process that has, must not fork.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from autograder.checking.expect import fail
from autograder.checking.handle import Student
from autograder.checking.race import LEAD, Arguments, Prepare, Tally, Timing, Verify, reference_runs
from autograder.notebook import Cell
from autograder.sandbox.errors import SandboxError, StudentError
from autograder.sandbox.launch import Sandbox
from autograder.sandbox.session import Session
from autograder.sandbox.warm_process import Limits, Zygote
from autograder.scores import Figure

Scales = Callable[[int | None], int]
"""Says how many bytes of the device are in use; given is whose process is looked at, if any."""
PrepareTwo = Callable[[Student], tuple[Callable[[], Any], Callable[[], Any]]]
"""Makes, on one side, a forward and the backward that belongs to it."""

NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
"""What CUDA opens in /dev beside the device itself."""
WARM_UP = 3
SCALES_SECONDS = 300.0
CALLS = 2 * LEAD
"""Timed calls of each side: as many pairs, of which the verdict takes the first that decide."""
NONE_HERE = "Not counted: there is no GPU here."
ON_GPU = "Counts only on a GPU."
"""Said of a check that has not run."""
TOO_SMALL = "Not counted: the memory of this GPU is too small for the reference."


class NotCounted(Exception):
    """A check that this machine cannot decide; the text says why."""


@dataclass(frozen=True)
class Arena:
    """A device, and the warm process, without CUDA, whose children may use it."""

    device: str
    """as torch names it inside the sandbox"""
    lock: Path
    """locked while it is timed: the device's own node, which every user's runs share"""
    sandbox: Sandbox

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Have the device for ourselves; wait until it is free."""
        with open(self.lock, "rb", buffering=0) as node:  # noqa: PTH123 - no Path method is unbuffered
            fcntl.flock(node, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def scales(self) -> Iterator[Scales]:
        """Yield what says how many bytes of the device are in use, by whomever."""
        with Session(self.sandbox, [], Limits(), SCALES_SECONDS) as ours:
            ours.prepare()
            trusted = Student(ours, SCALES_SECONDS)
            yield lambda pid: int(trusted.run(_in_use, self.device))

    def close(self) -> None:
        """End the warm process."""
        self.sandbox.close()


class Rehearsal(Arena):
    """The CPU in the GPU's place, to try the path where there is none; it says nothing of a GPU."""

    @contextlib.contextmanager
    def scales(self) -> Iterator[Scales]:
        """Yield what says how many bytes a process holds that are its own."""
        yield lambda pid: psutil.Process(pid).memory_full_info().uss if pid is not None else 0


def nodes(folder: Path = Path("/dev")) -> list[Path]:
    """Return the device files of the first NVIDIA GPU that may be used, or none; its own first."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    own = folder / f"nvidia{visible}"
    if sys.platform != "linux" or not own.exists():
        return []
    return [own, *(folder / name for name in NODES if (folder / name).exists())]


@dataclass(frozen=True)
class Nowhere:
    """Stands for an arena, and for its races, where there is no GPU."""

    reason: str = NONE_HERE
    figure: None = None

    @property
    def device(self) -> str:
        """Return no device.

        Raises:
            NotCounted: there is none.
        """
        raise NotCounted(self.reason)

    def time(self, *_: object) -> None:
        """Decide nothing.

        Raises:
            NotCounted: there is no GPU.
        """
        raise NotCounted(self.reason)

    weigh = time

    def close(self) -> None:
        """Do nothing."""


def open_arena(hide: tuple[Path, ...] = ()) -> Arena | Nowhere:
    """Start a warm process for the GPU, having tried a product on it.

    Args:
        hide: folders that a submission must not see.

    Raises:
        SandboxError: there is a GPU, but it does not work in the sandbox.
    """
    devices = nodes()
    if not devices:
        return Nowhere()
    arena = Arena("cuda", devices[0], Zygote("nested", hide, devices=tuple(devices)))
    try:
        with arena.alone(), Session(arena.sandbox, [], Limits(), 120) as session:
            session.prepare()
            Student(session, 60).run(_product, arena.device)
    except (StudentError, SandboxError) as error:
        arena.close()
        raise SandboxError(f"the GPU does not work in the sandbox: {error}") from None
    return arena


def _in_use(device: str) -> int:
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return total - free


def _product(device: str) -> float:
    import torch

    return float(torch.ones(64, 64, device=device).matmul(torch.ones(64, 64, device=device)).sum())


class Race(Timing):
    """Measures one student beside the reference on a GPU; what a GPU-only check calls.

    Attributes:
        device: where the check's inputs and models go, as torch names it.
    """

    def __init__(
        self,
        arena: Arena,
        student: Sequence[Cell],
        reference: Sequence[Cell],
        limits: Limits,
        bound: float,
        seconds: float,
    ) -> None:
        """Get ready.

        Args:
            arena: where.
            student: the submission's cells.
            reference: the reference's.
            limits: what either may use of the machine's memory and processes.
            bound: the least ratio of the reference's time to the student's.
            seconds: the deadline of a call.
        """
        super().__init__(bound)
        self.device = arena.device
        self._arena, self._limits, self._seconds = arena, limits, seconds
        self._cells = {"student": student, "reference": reference}

    def _measure(self, prepare: Prepare, inputs: Arguments, verify: Verify, again: bool) -> Tally:
        """Time a block of each side's calls, each block in a new process, `again` or not.

        Raises:
            NotCounted: the GPU's memory does not hold what the reference needs.
        """
        given = [inputs() for _ in range(WARM_UP + CALLS)]
        half = WARM_UP + CALLS // 2
        with self._arena.alone():
            before = self._reference_block(prepare, given[:half])
            came = self._block("student", prepare, given)
            after = self._reference_block(prepare, given[:WARM_UP] + given[half:])
        its = [*before, *after[WARM_UP:]]
        tally = Tally(self._bound)
        for (_, seconds), (_, its_seconds) in zip(came[WARM_UP:], its[WARM_UP:], strict=True):
            if not tally.decided:
                tally.add(seconds, its_seconds)
        for (value, _), (expected, _), arguments in zip(came, its, given, strict=True):
            verify(value, expected, *arguments)
        return tally

    def weigh(self, prepare: PrepareTwo, plain: PrepareTwo, verify: Callable[..., None]) -> None:
        """Fail if after its forward the student holds more than the bound's share of the plain way.

        Args:
            prepare: makes a forward and its backward, without arguments, on each side.
            plain: likewise, of the way that is to be beaten; it runs on the reference's side.
            verify: called with what the student's backward returns and what the plain one's does;
                raises `CheckFailed`.

        Raises:
            CheckFailed: too much, or a wrong result.
            StudentError: a call raised.
            NotCounted: the GPU's memory does not hold what the plain way needs.
        """
        with self._arena.alone():
            with reference_runs(), _room():
                expected, whole = self._held("reference", plain)
                _, its = self._held("reference", prepare)
            came, held = self._held("student", prepare)
        verify(came, expected)
        most = self._bound * whole
        self.figure = Figure("memory", held, its, most)
        if held > most:
            fail(
                f"After the forward the GPU holds {held / whole:.0%} of what plain blocks hold: "
                f"more than {self._bound:.0%}."
            )

    def _held(self, side: str, prepare: PrepareTwo) -> tuple[Any, int]:
        """Return what a side's backward returns, and the bytes held after its forward, in all.

        From before the process began: what it has held and let go of cannot be set off.
        """
        cells = self._cells[side]
        with self._arena.scales() as in_use:
            before = in_use(None)
            with Session(self._arena.sandbox, cells, self._limits, 4 * self._seconds) as session:
                session.prepare()
                forward, backward = prepare(Student(session, self._seconds))
                forward()
                held = in_use(session.pid) - before
                return backward(), held

    def _reference_block(
        self, prepare: Prepare, given: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, float]]:
        with reference_runs(), _room():
            return self._block("reference", prepare, given)

    def _block(
        self, side: str, prepare: Prepare, given: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, float]]:
        """Return results and seconds of calls in a process of their own, which then ends."""
        limit = self._seconds * len(given)
        with Session(self._arena.sandbox, self._cells[side], self._limits, limit) as session:
            session.prepare()
            call = prepare(Student(session, self._seconds))
            return [_timed(session, call, arguments) for arguments in given]


@contextlib.contextmanager
def _room() -> Iterator[None]:
    """Say that nothing is counted where what is ours does not fit into the GPU's memory."""
    try:
        yield
    except StudentError as error:
        if error.type_name == "OutOfMemoryError":
            raise NotCounted(TOO_SMALL) from None
        raise


def _timed(
    session: Session, call: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[Any, float]:
    value, took = session.timed(lambda: call(*arguments))
    return value, took.wall
