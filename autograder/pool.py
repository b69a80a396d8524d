"""The pool that grades many submissions.

Each is graded by a forked process of the grader, which holds the checks and speaks to a child of
the sandbox's warm process: what goes wrong with one costs no other.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from autograder import plugin
from autograder.grade import Options, Score, grade
from autograder.lessons import catalogue
from autograder.sandbox import harden
from autograder.sandbox.bubblewrap import SandboxError
from autograder.sandbox.launch import Sandbox

GRACE = 30.0
"""Seconds over the timeout after which a grading process itself is ended."""


class Unfinished(Exception):
    """A run that ended before all were graded; the text says how to go on."""

    def __init__(self, text: str, interrupted: bool) -> None:
        """Keep whether it was the user's wish."""
        super().__init__(text)
        self.interrupted = interrupted


@dataclass
class _Running:
    path: Path
    process: BaseProcess
    result: Connection
    deadline: float
    tries: int


class Pool:
    """Grades submissions, some at a time; a context manager."""

    def __init__(self, start: Callable[[], Sandbox], options: Options, workers: int) -> None:
        """Get ready: what could refuse the whole run does so here.

        Args:
            start: starts a sandbox; called again where its warm process has ended.
            options: how to grade.
            workers: how many submissions at a time.

        Raises:
            SandboxError: a warm process cannot be started.
            BrokenChecks: the checks cannot be collected.
        """
        torch.set_num_threads(1)  # a process that has run threads must not fork
        for lesson in catalogue():  # imports once, for all forks, what the checks import
            plugin.census(plugin.files(lesson.name, options.hidden, options.checks))
        self._start, self._options, self._workers = start, options, workers
        self._running: list[_Running] = []
        self._warm = start()
        gc.collect()
        gc.freeze()

    def __enter__(self) -> Pool:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        for job in self._running:
            job.process.kill()
            job.process.join()
        self._warm.close()
        gc.unfreeze()

    def grade(self, paths: Sequence[Path]) -> Iterator[Score]:
        """Grade `paths` and yield each score as it comes.

        Raises:
            SandboxError: the warm process ended, and another cannot be started.
        """
        waiting = [(path, 0) for path in reversed(paths)]
        while waiting or self._running:
            while waiting and len(self._running) < self._workers:
                self._begin(*waiting.pop())
            for job in _ended(self._running):
                self._running.remove(job)
                score = _outcome(job, self._warm.isolation)
                if score is None:
                    waiting.append((job.path, job.tries))
                else:
                    yield score

    def _begin(self, path: Path, tries: int) -> None:
        if not self._warm.alive:
            self._warm.close()
            self._warm = self._start()
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_judge, args=(path, self._warm, self._options, tries, sender)
        )
        process.start()
        sender.close()
        until = time.monotonic() + self._options.timeout + GRACE
        self._running.append(_Running(path, process, receiver, until, tries + 1))


def _ended(running: list[_Running]) -> list[_Running]:
    ready = wait([job.result for job in running], timeout=0.1)
    late = [job for job in running if time.monotonic() > job.deadline]
    return [job for job in running if job.result in ready or job in late]


def _outcome(job: _Running, isolation: str) -> Score | None:
    """Return a job's score, or None where it is to be tried again: not where it was too slow."""
    try:
        in_time = job.result.poll()
        answer = job.result.recv() if in_time else "it did not end in time"
    except EOFError:
        answer = "its grading process was ended from outside"
    job.process.kill()
    job.process.join()
    job.result.close()
    if isinstance(answer, Score):
        return answer
    if in_time and job.tries < 2:
        return None
    tried = f" Tried {job.tries} times." if job.tries > 1 else ""
    problem = f"{job.path}: could not be graded ({answer}).{tried}"
    status = "crashed" if in_time else "timeout"
    return Score(str(job.path), "", status, isolation, 0.0, (problem,))


def _judge(path: Path, sandbox: Sandbox, options: Options, tries: int, result: Connection) -> None:
    """Grade one submission in a process of its own, and send what came of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pool to act on
    harden.die_with_parent()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        result.send(grade(path, sandbox, options, again=tries > 0))
    except (SandboxError, plugin.BrokenChecks) as error:
        result.send(str(error))
    except Exception as error:  # noqa: BLE001 - reported, with the submission's name, as crashed
        result.send(f"{type(error).__name__}: {error}")
    result.close()
