"""The pool that grades many submissions.

Each is graded by a forked process of the grader, which holds the checks and speaks to a child of
the sandbox's warm process: what goes wrong with one costs no other.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import math
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from autograder.catalogue import reference, sources
from autograder.checking import check_files, plugin
from autograder.checking.gpu_race import Arena, Nowhere
from autograder.grading.preparation import needs
from autograder.grading.score_submission import NOWHERE, Options, graded
from autograder.sandbox import inner_wall, launch, zygote
from autograder.sandbox.deadlines import PATIENCE
from autograder.sandbox.errors import SandboxError
from autograder.sandbox.launch import Ahead, Sandbox
from autograder.sandbox.session import SPARE_SECONDS
from autograder.scores import Score
from autograder.text import one_line

TRIES = 3
"""How often a submission is begun whose grading ended through no fault that is known of its own."""
GRACE = 30.0
"""Seconds over the timeout after which a grading process itself is ended."""
ENDING = 30.0
"""Seconds that a grading process has, once its score is known, to end what runs in the sandbox."""

GROWTH = 4 << 30
"""Bytes that a grading process may need beyond those it begins with: what comes of a submission is
bounded, but not what a check makes of it."""


class Unfinished(Exception):
    """A run that ended before all were graded; the text says how to go on."""

    def __init__(self, text: str, interrupted: bool) -> None:
        """Keep whether it was the user's wish."""
        super().__init__(text)
        self.interrupted = interrupted


@dataclass
class _Judge:
    process: BaseProcess
    pipe: Connection
    path: Path = Path()
    deadline: float = math.inf
    tries: int = 0

    def end(self, patience: float = 0.0) -> None:
        """End its process, after so many seconds: what it had in the sandbox ends with it."""
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        self.pipe.close()


def pool_for(
    paths: Sequence[Path],
    options: Options,
    workers: int,
    hidden: tuple[Path, ...],
    isolation: str = "",
    arena: Arena | Nowhere = NOWHERE,
) -> Pool:
    """Return a pool that is ready for these notebooks.

    Args:
        paths: the notebooks, or none where they are not known yet.
        options: how to grade.
        workers: how many submissions at a time.
        hidden: folders that no submission may see.
        isolation: as for `launch.start`.
        arena: where checks that need a GPU run; the pool closes it.

    Raises:
        SandboxError: no sandbox works here; nothing was run.
        BrokenChecks: the checks cannot be collected.
    """
    needed = needs(paths, options)
    start = functools.partial(launch.start, hidden, isolation, needed.modules)
    return Pool(start, options, workers, arena, lessons=needed.lessons)


class Pool:
    """Grades submissions, some at a time; a context manager."""

    def __init__(
        self,
        start: Callable[[], Sandbox],
        options: Options,
        workers: int,
        arena: Arena | Nowhere = NOWHERE,
        reread: bool = False,
        lessons: Sequence[str] | None = None,
    ) -> None:
        """Get ready: what could refuse the whole run does so here.

        Args:
            start: starts a sandbox; called again where its warm process has ended.
            options: how to grade.
            workers: how many submissions at a time.
            arena: where checks that need a GPU run; the pool closes it.
            reread: whether the check files are read anew for each submission, edits and all.
            lessons: those whose checks are imported beforehand [the one of `options`, or all].

        Raises:
            SandboxError: a warm process cannot be started.
            BrokenChecks: the checks cannot be collected.
        """
        torch.set_num_threads(1)  # a process that has run threads must not fork
        for lesson in needs((), options).lessons if lessons is None else lessons:
            # imports and reads once, for all forks
            which = lesson, options.hidden, options.checks
            plugin.census(check_files.files(*which))
            if zygote.TRAINING in zygote.named(check_files.texts(*which)):
                importlib.import_module(zygote.TRAINING)
            if sources.sources():
                reference.reference_cells(lesson)
        self._start, self._options, self._workers = start, options, workers
        self._arena, self._reread = arena, reread
        self._running: list[_Judge] = []
        self._ready: _Judge | None = None
        self._warm = start()
        gc.collect()
        gc.freeze()

    def __enter__(self) -> Pool:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        for judge in self._running:
            judge.end()
        self._discard()
        self._warm.close()
        self._arena.close()
        gc.unfreeze()

    def grade(self, paths: Sequence[Path]) -> Iterator[Score]:
        """Grade `paths` and yield each score as it comes.

        Raises:
            SandboxError: the warm process ended, and another cannot be started.
        """
        waiting = list(reversed(paths))
        while waiting or self._running:
            while waiting and self.has_room:
                self.begin(waiting.pop())
            yield from self.ended()

    @property
    def has_room(self) -> bool:
        """Whether another submission can begin."""
        return len(self._running) < self._workers

    def begin(self, path: Path, tries: int = 0) -> None:
        """Begin to grade one submission, which has been begun `tries` times before.

        Raises:
            SandboxError: the warm process ended, and another cannot be started.
        """
        if not self._warm.alive:
            self._warm.close()
            self._warm = self._start()
            self._discard()
        judge = self._ready or self._forked(ahead=0)
        self._running.append(judge)  # first of all: it is ended whatever comes between
        self._ready = None
        judge.path, judge.tries = path, tries + 1
        judge.deadline = time.monotonic() + PATIENCE * self._options.timeout + SPARE_SECONDS + GRACE
        with contextlib.suppress(OSError):  # it has been killed: its end will tell
            judge.pipe.send((path, tries))

    def stand_by(self) -> None:
        """Fork now what the next submission needs, so that it is judged sooner."""
        if self._ready is None and self._warm.alive:
            self._ready = self._forked(ahead=2)

    def _discard(self) -> None:
        if self._ready is not None:
            self._ready.end()
            self._ready = None

    def _forked(self, ahead: int) -> _Judge:
        context = multiprocessing.get_context("fork")
        ours, its = context.Pipe()
        process = context.Process(
            target=_judge, args=(self._warm, ahead, self._options, self._arena, self._reread, its)
        )
        process.start()
        its.close()
        return _Judge(process, ours)

    def ended(self, seconds: float = 0.1, also: Sequence[Connection] = ()) -> Iterator[Score]:
        """Wait, and yield the scores of what has ended; what was killed from outside begins again.

        Args:
            seconds: how long to wait for the first of them; less while something runs.
            also: what ends the waiting, too, once it can be read.

        Raises:
            SandboxError: the warm process ended, and another cannot be started.
        """
        for judge in _ended(self._running, seconds, also):
            self._running.remove(judge)
            try:
                score = _outcome(judge, self._warm.isolation)
                if score is not None:
                    yield score  # nobody need wait until its processes have ended
            finally:
                judge.end(ENDING)
            if score is None:
                self.begin(judge.path, judge.tries)

    def cancel(self, path: Path) -> None:
        """End the grading of a submission, if it is being graded: no score comes of it."""
        for judge in [judge for judge in self._running if judge.path == path]:
            self._running.remove(judge)
            judge.end()


def _ended(running: list[_Judge], seconds: float, also: Sequence[Connection]) -> list[_Judge]:
    # while something runs it may be late
    timeout = min(seconds, 0.1) if running else seconds
    ready = wait([*(judge.pipe for judge in running), *also], timeout)
    late = [judge for judge in running if time.monotonic() > judge.deadline]
    return [judge for judge in running if judge.pipe in ready or judge in late]


def _outcome(judge: _Judge, isolation: str) -> Score | None:
    """Return a judge's score, or None where it is to be tried again; one that is late is killed."""
    try:
        in_time = judge.pipe.poll()
        if not in_time:
            judge.process.kill()
        answer = judge.pipe.recv() if in_time else "it did not end in time"
    except (EOFError, ConnectionError):
        answer = "its grading process was ended from outside"
    if isinstance(answer, Score):
        return answer
    if in_time and judge.tries < TRIES:
        return None
    tried = f" Tried {judge.tries} times." if judge.tries > 1 else ""
    problem = f"{one_line(str(judge.path))}: could not be graded ({answer}).{tried}"
    status = "crashed" if in_time else "timeout"
    return Score(str(judge.path), "", status, isolation, 0.0, (problem,))


def _judge(
    sandbox: Sandbox,
    ahead: int,
    options: Options,
    arena: Arena | Nowhere,
    reread: bool,
    pipe: Connection,
) -> None:
    """Grade one submission in a process of its own, and send what came of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pool to act on
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    inner_wall.die_with_parent()
    if isinstance(arena, Nowhere):  # what a GPU's driver maps has no bound
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (inner_wall.grown_by(GROWTH), most))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        with contextlib.ExitStack() as stack:
            if ahead:
                sandbox = stack.enter_context(Ahead(sandbox, options.limits, ahead))
            path, tries = pipe.recv()
            if reread:
                check_files.forget(list(check_files.CHECKS.glob("visible/*.py")))
            with graded(path, sandbox, options, tries > 0, arena) as score:
                pipe.send(score)
    except (SandboxError, plugin.BrokenChecks) as error:
        pipe.send(str(error))
    except Exception as error:  # noqa: BLE001 - reported, with the submission's name, as crashed
        pipe.send(f"{type(error).__name__}: {error}")
    pipe.close()
