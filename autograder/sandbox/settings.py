"""Settings of a whole process that code may leave changed: read, and put back between checks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_Setting = tuple[Callable[[], Any], Callable[[Any], Any]]
FOR_GOOD: dict[str, _Setting] = {
    "torch's grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (
        torch.get_default_device,
        lambda device: torch.set_default_device(None if device.type == "cpu" else device),
    ),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch's anomaly mode": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
}
"""What nobody changes for others without meaning to: a function that does has a mistake."""
_ALONG_THE_WAY: dict[str, _Setting] = {
    "torch's print options": (
        lambda: dict(vars(torch._tensor_str.PRINT_OPTS)),
        lambda options: vars(torch._tensor_str.PRINT_OPTS).update(options),
    ),
    "NumPy's print options": (np.get_printoptions, lambda options: np.set_printoptions(**options)),
    "NumPy's handling of errors": (np.geterr, lambda options: np.seterr(**options)),
    "the filters of warnings": (
        lambda: list(warnings.filters),
        lambda filters: setattr(warnings, "filters", list(filters)),
    ),
}
"""What an import may change."""
_ALL = FOR_GOOD | _ALONG_THE_WAY


class Settings:
    """The settings as they were when this was made."""

    def __init__(self) -> None:
        """Note them."""
        self._before = {name: read() for name, (read, _) in _ALL.items()}

    def put_back(self) -> list[str]:
        """Put back what has changed since; return what a function must not leave changed of it."""
        changed = [name for name, (read, _) in _ALL.items() if read() != self._before[name]]
        for name in changed:
            _ALL[name][1](self._before[name])
        return [name for name in changed if name in FOR_GOOD]
