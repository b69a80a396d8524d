"""The place below a cell where a verdict will stand, and until then what is going on."""

from __future__ import annotations

import sys
from typing import Any


class Output:
    """One output of the cell that runs; what is shown takes the place of what was."""

    def __init__(self) -> None:
        """Show nothing yet."""
        shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        self._can_be_replaced = hasattr(shell, "kernel")
        self._handle: Any = None

    def say(self, text: str) -> None:
        """Say what is going on, where the verdict can take its place: in a notebook."""
        if self._can_be_replaced:
            self.show({"text/plain": text})

    def show(self, bundle: dict[str, str]) -> None:
        """Show a display bundle."""
        from IPython.display import display

        if self._handle is not None:
            self._handle.update(bundle, raw=True)
        else:
            self._handle = display(bundle, raw=True, display_id=self._can_be_replaced or None)
