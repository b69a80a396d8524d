"""Requests to a submission, pickled: what of a check goes to where the submission lives, and how.

Checks send the same small modules and probes a thousand times a submission, so it counts what each
of them costs.
"""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import cloudpickle
import torch
from torch import nn

from autograder.checking.bare import GLOBALS, bare_code, bare_reduced
from autograder.sandbox import tensors

_LIBRARIES = frozenset({"builtins", "collections", "torch", "cloudpickle"})
"""Their functions and classes are there too: they travel as their names."""


class Held:
    """Stands for an object in the submission's process."""

    _key: int
    """its number there"""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles a request: the check file's functions by value."""

    def reducer_override(self, obj: object) -> Any:
        kind = type(obj)
        if isinstance(obj, types.FunctionType | type):
            if _is_known(obj):
                return NotImplemented
            if isinstance(obj, types.FunctionType):
                self.globals_ref.setdefault(id(obj.__globals__), dict(GLOBALS))
        elif kind is types.CodeType:
            return self.dispatch_table[types.CodeType](bare_code(obj))
        elif kind is OrderedDict:
            if not obj and not vars(obj):
                return OrderedDict, ()  # the same as without this, sooner
        elif isinstance(obj, torch.Tensor):
            if tensors.is_simple(obj):
                return tensors.from_bytes, tensors.as_bytes(obj)
        elif isinstance(obj, nn.Module):
            if tensors.is_plain(obj):
                return tensors.empty, (kind,), tensors.as_attributes(obj)
        elif isinstance(obj, Held):
            raise _Holds
        return bare_reduced(obj, super().reducer_override(obj))


class _Holding(_Pickler):
    """Pickles a request in which there are handles: each as its number."""

    def persistent_id(self, obj: object) -> int | None:
        return obj._key if isinstance(obj, Held) else None


class _Holds(Exception):
    """There is a handle in a request: asking each object whether it is one would be slow."""


def send_by_value(module: types.ModuleType) -> None:
    """Let functions and classes of `module` go in whole: the submission's side cannot import it."""
    cloudpickle.register_pickle_by_value(module)


def pickled(operation: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Return a request as `child.Executor` answers it.

    Args:
        operation: what is to be done.
        target: on what: a name, a handle, or a function of a check.
        args: copies of these go along,
        kwargs: and of these.
    """
    if isinstance(target, Held):
        target = target._key
    elif isinstance(target, types.FunctionType) and target.__closure__ is None:
        return _by_value(target, (operation, _probe(target), args, kwargs))
    elif callable(target):
        return _by_value(target, (operation, target, args, kwargs))
    return _dumped((operation, target, args, kwargs))


@functools.lru_cache(maxsize=1024)
def _probe(function: types.FunctionType) -> bytes:
    """Return a function by value: checks send the same again and again."""
    return _by_value(function, function)


def _by_value(function: Callable[..., Any], what: object) -> bytes:
    """Pickle something, with what `function` needs of its own module by value."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    if module is None or module.__name__ in cloudpickle.list_registry_pickle_by_value():
        return _dumped(what)
    send_by_value(module)
    try:
        return _dumped(what)
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _dumped(what: object) -> bytes:
    for kind in (_Pickler, _Holding):
        buffer = io.BytesIO()
        with contextlib.suppress(_Holds):
            kind(buffer).dump(what)
            break
    return buffer.getvalue()


def _is_known(obj: types.FunctionType | type) -> bool:
    """Whether the submission's side has it too, under its name."""
    module = obj.__module__ or ""
    if module.partition(".")[0] not in _LIBRARIES and module != tensors.__name__:
        return False
    return getattr(sys.modules.get(module), obj.__qualname__, None) is obj
