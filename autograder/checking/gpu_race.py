"""The GPU path of speed checks: each side alone on a device that nobody else of ours uses.

A stopped process's queued kernels go on, so no two sides may live at the same time: first the
reference, then the student, then the reference again, each in a new process, the first to touch
CUDA there, and gone before the next begins. The first half of the pairs has the reference's time of
before, the second half that of after, so that a device that grows warm favours neither. What a
block's process was unlucky in all its pairs share: so a failure by a little is measured again.

A call ends with the bytes of its result on this side: what is left on another stream is not in
them, and they are verified. Its inputs are made on the device from a seed that comes with the call.
A check's data are larger than a device's caches (tens of megabytes), so that none is to be flushed.
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

from autograder.checking.handle import Student
from autograder.checking.race import LEAD, Arguments, Prepare, Tally, Timing, Verify, reference_runs
from autograder.notebook import Cell
from autograder.sandbox.errors import SandboxError, StudentError
from autograder.sandbox.launch import Sandbox
from autograder.sandbox.session import Session
from autograder.sandbox.warm_process import Limits, Zygote

NODES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
"""What CUDA opens in /dev beside the device itself."""
WARM_UP = 3
CALLS = 2 * LEAD
"""Timed calls of each side: as many pairs, of which the verdict takes the first that decide."""
NONE_HERE = "Not counted: there is no GPU here."
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

    def close(self) -> None:
        """End the warm process."""
        self.sandbox.close()


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

    def _reference_block(
        self, prepare: Prepare, given: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, float]]:
        with reference_runs():
            try:
                return self._block("reference", prepare, given)
            except StudentError as error:
                if error.type_name == "OutOfMemoryError":
                    raise NotCounted(TOO_SMALL) from None
                raise

    def _block(
        self, side: str, prepare: Prepare, given: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, float]]:
        """Return results and seconds of calls in a process of their own, which then ends."""
        limit = self._seconds * len(given)
        with Session(self._arena.sandbox, self._cells[side], self._limits, limit) as session:
            session.prepare()
            call = prepare(Student(session, self._seconds))
            return [_timed(session, call, arguments) for arguments in given]


def _timed(
    session: Session, call: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[Any, float]:
    value, took = session.timed(lambda: call(*arguments))
    return value, took.wall
