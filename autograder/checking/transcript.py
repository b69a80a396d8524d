"""What a check has asked of a submission, as code: for messages, and to be pasted into a cell."""

from __future__ import annotations

import inspect
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

MAX_NUMBERS, MAX_LINE, MAX_STEPS = 64, 1_500, 8
"""Numbers of a tensor that are written out, characters of a line, and steps in it."""
DRAWN = "  # what is large, and weights of layers, are drawn anew here"


@dataclass(frozen=True)
class Step:
    """A request, and the value that came back."""

    operation: str
    """``name``, ``attribute`` or ``call``"""
    target: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    value: Any

    @property
    def is_probe(self) -> bool:
        """Whether a function of the check was run, and none of the submission's."""
        return self.operation == "call" and inspect.isroutine(self.target)


class _Unwritable(Exception):
    """A value for which no short code stands."""


def named(steps: Sequence[Step], value: object) -> str:
    """Return how the last value that came, and is this one, was asked for: ``LoRALinear(…)``."""
    for number in range(len(steps) - 1, -1, -1):
        if steps[number].value is value:
            return _short(steps[:number], steps[number])
    return ""


def _short(before: Sequence[Step], step: Step) -> str:
    if step.operation == "name":
        return str(step.target)
    if step.is_probe:
        return "model" if step.target.__name__ == "hold" else "…"
    made = [number for number, each in enumerate(before) if each.value is step.target]
    source = _short(before[: made[-1]], before[made[-1]]) if made else "…"
    return f"{source}.{step.args[0]}" if step.operation == "attribute" else f"{source}(…)"


def pasted(asked: Iterable[Step]) -> str:
    """Return the steps as one line of code, or nothing where no short one stands for them."""
    writer, steps = _Writer(), list(asked)
    try:
        parts = [writer.statement(step, steps) for step in steps]
    except _Unwritable:
        return ""
    parts = list(filter(None, parts)) or [
        step.target for step in steps[-1:] if step.value is not None
    ]
    imports = [f"from {module} import {name}" for module, name in writer.imports]
    line = "; ".join([*imports, *parts])
    fits = len(line) <= MAX_LINE and 0 < len(parts) <= MAX_STEPS
    return line + DRAWN * writer.drawn if fits else ""


class _Writer:
    """Writes steps; knows what the objects that came are called, and what must be imported."""

    def __init__(self) -> None:
        self.imports: dict[tuple[str, str], None] = {}
        self.drawn = False
        self._names: list[tuple[Any, str]] = []

    def statement(self, step: Step, steps: Sequence[Step]) -> str:
        """Return the code of a step; what came of it has a name where it is used later."""
        if step.operation == "name":
            self._names.append((step.value, step.target))
            return ""
        code = self._code(step)
        later = steps[next(i for i, each in enumerate(steps) if each is step) + 1 :]
        used = any(_mentions(each, step.value) for each in later)
        if not used or step.value is None or isinstance(step.value, (bool, int, float, str)):
            return code
        if step.operation == "attribute":  # read again where it is used
            self._names.append((step.value, code))
            return ""
        name = f"it{sum(known.startswith('it') for _, known in self._names) or ''}"
        self._names.append((step.value, name))
        return f"{name} = {code}"

    def _code(self, step: Step) -> str:
        if step.operation == "attribute":
            return f"{self.value(step.target)}.{step.args[0]}"
        given = [self.value(arg) for arg in step.args]
        given += [f"{name}={self.value(arg)}" for name, arg in step.kwargs.items()]
        if step.is_probe and step.target.__name__ == "hold":
            return given[0]
        return f"{self.value(step.target)}({', '.join(given)})"

    def value(self, value: Any) -> str:
        """Return code for a value.

        Raises:
            _Unwritable: there is no short one.
        """
        for known, name in self._names:
            if known is value:
                return name
        if value is None or type(value) in (bool, int, str):
            return repr(value)
        if type(value) is float:
            return repr(value) if math.isfinite(value) else f'float("{value}")'
        if isinstance(value, torch.dtype):
            return str(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if type(value) in (list, tuple) and len(value) <= MAX_NUMBERS:
            inside = ", ".join(map(self.value, value))
            if type(value) is list:
                return f"[{inside}]"
            return f"({inside},)" if len(value) == 1 else f"({inside})"
        if type(value) is dict and len(value) <= MAX_NUMBERS:
            pairs = (f"{self.value(key)}: {self.value(each)}" for key, each in value.items())
            return "{" + ", ".join(pairs) + "}"
        if inspect.isroutine(value) or inspect.isclass(value):
            return self._imported(value)
        raise _Unwritable

    def _imported(self, thing: Any) -> str:
        module, name = getattr(thing, "__module__", ""), thing.__name__
        if thing.__qualname__ != name or not name.isidentifier() or not module:
            raise _Unwritable
        self.imports[module, name] = None
        return str(name)

    def _tensor(self, tensor: torch.Tensor) -> str:
        kind = str(tensor.dtype)
        if tensor.numel() <= MAX_NUMBERS and bool(torch.isfinite(tensor).all()):
            written = _numbers(tensor.detach())
            plain = tensor.dtype in (torch.float32, torch.int64, torch.bool)
            code = f"torch.tensor({written}{'' if plain else f', dtype={kind}'})"
            return code if tensor.numel() else f"torch.empty({tuple(tensor.shape)}, dtype={kind})"
        self.drawn = True
        if tensor.is_floating_point():
            return f"torch.randn({tuple(tensor.shape)}, dtype={kind})"
        low, high = int(tensor.min()), int(tensor.max()) + 1
        return f"torch.randint({low}, {high}, {tuple(tensor.shape)}, dtype={kind})"

    def _module(self, module: nn.Module) -> str:
        parameter = next(module.parameters(), None)
        doubled = parameter is not None and parameter.dtype == torch.float64
        end = ".double()" * doubled + ".eval()" * (not module.training)
        return self._bare(module) + end

    def _bare(self, module: nn.Module) -> str:
        children = dict(module.named_children())
        if type(module) is nn.Sequential:
            if list(children) == list(map(str, range(len(children)))):
                return f"nn.Sequential({', '.join(map(self._bare, children.values()))})"
            self.imports["collections", OrderedDict.__name__] = None
            pairs = (f"{name}={self._bare(child)}" for name, child in children.items())
            return f"nn.Sequential(OrderedDict({', '.join(pairs)}))"
        self.drawn = self.drawn or next(module.parameters(), None) is not None
        if type(module).__module__.startswith("torch.nn.") and not children:
            return f"nn.{module!r}".replace(", bias=True", "")
        needed = [
            each
            for each in inspect.signature(type(module)).parameters.values()
            if each.default is each.empty
        ]
        if needed:
            raise _Unwritable
        return f"{self._imported(type(module))}()"


def _mentions(step: Step, value: object) -> bool:
    return any(part is value for part in (step.target, *step.args, *step.kwargs.values()))


def _numbers(tensor: torch.Tensor) -> str:
    """Return a tensor's numbers as nested lists, to four digits."""
    if tensor.dim():
        return f"[{', '.join(map(_numbers, tensor))}]"
    if not tensor.is_floating_point():
        return repr(tensor.item())
    return f"{tensor.item():.4g}" if tensor.item() != int(tensor.item()) else f"{tensor.item():.1f}"
