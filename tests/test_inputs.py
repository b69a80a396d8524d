"""What hidden checks ask of a submission: no answer can be a table, none can ignore an argument.

Each lesson's reference is checked in this process, under two seeds, and what it is asked is kept.
"""

from __future__ import annotations

import collections
import functools
import inspect
import types
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from autograder.catalogue import sources
from autograder.checking import check_files, plugin
from autograder.checking.handle import Handle, InProcess, Student
from tests.conftest import reference_cells

LESSONS = [source.stem[3:] for source in sources.sources()]
each_lesson = pytest.mark.parametrize("lesson", LESSONS)


class Asked(Student):
    """A submission that keeps what it is asked: check → calls, and argument → values."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        super().__init__(InProcess(namespace))
        self._check = ""
        self._calls: dict[str, list[tuple[bool, str]]] = collections.defaultdict(list)
        self._values: dict[str, set[object]] = collections.defaultdict(set)
        for name, value in list(namespace.items()):
            if getattr(value, "__module__", "") != namespace["__name__"]:
                continue
            if isinstance(value, types.FunctionType):
                namespace[name] = self._kept(name, value)
            elif isinstance(value, type):
                value.__init__ = self._kept(name, value.__init__)

    def _ask(self, operation: str, target: Any, args: Any, kwargs: Any) -> Any:
        value = super()._ask(operation, target, args, kwargs)
        if operation == "call":
            given = [_plain(each) for each in (target, *args, *kwargs.items())]
            is_own = any(each in (target, *args) for each in self._named.values())
            self._calls[self._check].append((is_own, repr(given)))
        return value

    def _kept(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that keeps the settings that it takes; else the arguments' types."""
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            came = function(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for argument, value in bound.arguments.items():
                is_setting = isinstance(value, bool | int | float | str | None)
                self._values[f"{name}.{argument}"].add(value if is_setting else type(value))
            return came

        return call


def _plain(value: Any) -> Any:
    """Return what of an argument is the same in equal ones, of any type."""
    if isinstance(value, torch.Tensor):
        data = value.detach()
        return str(data.dtype), tuple(data.shape), "" if data.is_meta else data.tolist()
    if isinstance(value, torch.nn.Module):
        return type(value).__name__, _plain(dict(value.state_dict()))
    if isinstance(value, dict):
        return [(_plain(key), _plain(each)) for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Handle):
        return "handle"
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)


class Named(plugin.Plugin):
    """Tells the submission which check asks."""

    def student(self, node: pytest.Item) -> Student:
        """Provide the submission."""
        student = super().student(node)
        student._check = node.name
        return student


@cache
def asked(lesson: str, seed: int) -> Asked:
    """What the hidden checks ask of a lesson's reference."""
    namespace: dict[str, Any] = {"__name__": lesson}
    for cell in reference_cells(lesson):
        exec(compile(cell, f"<{lesson}>", "exec"), namespace)
    student = Asked(namespace)
    hidden = [path for path in check_files.files(lesson, True) if check_files.is_hidden(path)]
    plugin.run(Named(student, seed), hidden)
    return student


@each_lesson
def test_what_a_check_asks_is_drawn_anew_in_each_run(lesson):
    one, other = asked(lesson, 1), asked(lesson, 2)
    alike = {
        check
        for check, calls in one._calls.items()
        if any(is_own for is_own, _ in calls) and calls == other._calls[check]
    }
    assert alike == set()


@each_lesson
def test_each_setting_has_several_values(lesson):
    one, other = asked(lesson, 1)._values, asked(lesson, 2)._values
    values = {name: seen | other[name] for name, seen in one.items()}
    constant = {
        name for name, seen in values.items() if len(seen) == 1 and not isinstance(*seen, type)
    }
    assert constant == set()
