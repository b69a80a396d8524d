"""Where a submission's code runs: its cells in an IPython shell, then calls from the grader.

The same `Executor` answers in the sandbox, fed by a socket (`serve`), and in a learner's own
notebook, fed directly: a check sees copies in both and cannot tell which.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import io
import os
import pdb
import pickle
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import torch

from autograder.sandbox import frames, wire
from autograder.sandbox.settings import Settings

MAX_TEXT, MAX_NAME, MAX_QUALIFIED = 2_000, 100, 50
"""Characters of an exception's text, of a name, and of a function's in its place, that travel."""


CHECK = "<check>"
"""The file of a check's code where it runs beside a submission's."""
_LIBRARIES = str(Path(os.__file__).parent), str(Path(torch.__file__).parents[1])
_BINDING = (
    ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
    ast.Assign, ast.AnnAssign, ast.AugAssign, ast.If, ast.Try,
)  # fmt: skip
"""Statements that run though one before them in their cell has failed."""


_BUILTINS = dict(vars(builtins))
"""As they are before a cell has run."""


class Missing(Exception):
    """A name that the submission does not define."""


class Executor:
    """Answers requests on the objects of one submission.

    A request is a pickled ``(operation, target, args, kwargs)``. The target is a name, the number
    of an object that stayed here, or a function, which may be pickled by itself. The reply is
    ``{"value": …}`` or ``{"error": {"type", "text", "where", "own", "bases"}}``, encoded by
    `wire.encode`.
    """

    def __init__(
        self,
        namespace: dict[str, Any],
        locate: Callable[[str], str | None],
        run_cell: Callable[[int, str], None] | None = None,
    ) -> None:
        """Serve `namespace`.

        Args:
            namespace: the submission's names.
            locate: names the cell that a code object's file name stands for.
            run_cell: runs a cell; absent where the notebook's own kernel has run them.
        """
        self._namespace = namespace
        self._locate = locate
        self._run_cell = run_cell
        self._settings = Settings()
        self._objects: dict[int, object] = {}
        self._count = 0

    def answer(self, request: bytes) -> tuple[bytes, bytes]:
        """Do what a request asks, and encode what came of it."""
        try:
            operation, target, args, kwargs = _Unpickler(request, self._objects).load()
            if type(target) is int:
                target = self._objects[target]
            elif type(target) is bytes:
                target = pickle.loads(target)
            return self._reply({"value": self._do(operation, target, args, kwargs)})
        except BaseException as error:  # noqa: BLE001 - a submission may raise anything at all
            return self._reply({"error": self._describe(error)})

    def _do(
        self, operation: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        match operation:
            case "name":
                if target not in self._namespace:
                    raise Missing(target)
                return self._namespace[target]
            case "attribute":
                return getattr(target, args[0])
            case "call":
                return target(*args, **kwargs)
            case "settle":
                return self._settings.put_back()
            case "cell" if self._run_cell is not None:
                return self._run_cell(*args)
        raise wire.WireError(f"an unknown operation: {operation}")

    def _reply(self, message: dict[str, Any]) -> tuple[bytes, bytes]:
        return wire.encode(message, self._keep)

    def _keep(self, item: object) -> int:
        self._count += 1
        self._objects[self._count] = item
        return self._count

    def _describe(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, Missing):
            return {"type": "Missing", "text": str(error), "where": "", "bases": []}
        own = _is_own(error)
        return {
            "type": _name(type(error)),
            "text": _text(error) if own else _lack(error) or _text(error),
            "where": self._where(error),
            "own": own,
            "bases": [_name(base) for base in type(error).__mro__[:20]],
        }

    def _where(self, error: BaseException) -> str:
        """Name the last frame in the student's own cells: never one of a check or a library."""
        where = ""
        for frame, line in traceback.walk_tb(error.__traceback__):
            cell = self._locate(frame.f_code.co_filename)
            if cell is not None:
                name = frame.f_code.co_qualname[:MAX_QUALIFIED]
                where = f"{name}, {cell}, line {line}".removeprefix("<module>, ")
        return where


class _Unpickler(pickle.Unpickler):
    """Reads a request; handles in it become the objects that they stand for."""

    def __init__(self, request: bytes, objects: dict[int, object]) -> None:
        super().__init__(io.BytesIO(request))
        self._objects = objects

    def persistent_load(self, pid: int) -> object:
        return self._objects[pid]


def _name(kind: type) -> str:
    """A class's name: with its module where it is that of a builtin which the class is not."""
    name = kind.__name__
    if _BUILTINS.get(name, kind) is not kind:
        name = f"{kind.__module__}.{name}"
    return name[:MAX_NAME]


def _is_own(error: BaseException) -> bool:
    """Whether any code but that of a check, of a library and of this module was on the way."""
    here = _is_own.__code__.co_filename  # where it was compiled, if not where it lies now
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return not all(file.startswith((CHECK, here, *_LIBRARIES)) for file in files)


def _lack(error: BaseException) -> str:
    """Say of what came which attribute it lacks."""
    if not isinstance(error, AttributeError) or type(error.name) is not str:
        return ""
    kind = wire.kind_of(error.obj)
    what = "None" if error.obj is None else wire.with_article(kind)
    return f"{what} has no `{error.name[:MAX_NAME]}`"


def _text(error: BaseException) -> str:
    try:
        text = str(error)
        return text[:MAX_TEXT] if type(text) is str else "(no text)"
    except BaseException:  # noqa: BLE001 - a student's __str__ may raise anything
        return "(its text could not be read)"


def _show_nothing(*_: object, **__: object) -> None:
    """Stand where a shell would show an error."""


def nowhere() -> TextIO:
    """Open what drops all that is written to it."""
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - os.devnull is no path


@contextlib.contextmanager
def printing_to(stream: TextIO) -> Iterator[None]:
    """Let what a call prints go to `stream`: it could print the hidden inputs.

    A debugger, whose questions nobody would see, is an error.
    """
    hook, sys.breakpointhook = sys.breakpointhook, _no_debugger
    try:
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield
    finally:
        sys.breakpointhook = hook


class WaitsForDebugger(Exception):
    """A call of `breakpoint()` or `pdb.set_trace()`, where nobody is there to answer."""


def _no_debugger(*_: object, **__: object) -> None:
    raise WaitsForDebugger


class Cells:
    """An IPython shell that runs a submission's cells and remembers which file name is which."""

    def __init__(self) -> None:
        """Start a shell without history, prompt or display."""
        from IPython.core.compilerop import CachingCompiler
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        cells = self

        class Compiler(CachingCompiler):
            def get_code_name(self, raw_code: str, code: str, number: int) -> str:
                return f"<cell {cells.number}>"

        self.number = 0
        config = Config()
        config.HistoryManager.enabled = False
        self.shell = InteractiveShell.instance(config=config, compiler_class=Compiler)
        # nobody reads a traceback here, and one of a deep recursion takes seconds to word
        self.shell.showtraceback = _show_nothing  # type: ignore[method-assign]
        builtins.input = lambda prompt="": ""  # nobody is there to answer
        pdb.set_trace = _no_debugger

    def start_here(self) -> None:
        """Take this folder for the one in which the shell was started."""
        here = Path.cwd()
        self.shell.starting_dir, self.shell.user_ns["_dh"][:] = str(here), [here]

    def run(self, number: int, source: str) -> None:
        """Run one cell, statement by statement; what the first to fail raises comes out at the end.

        Behind it only imports, definitions and assignments run: one line that does not work here
        must not take the rest of its cell along.

        Args:
            number: the cell's place in the notebook, from 1, as messages name it.
            source: its text, magics allowed.
        """
        self.number = number
        shell = self.shell
        code = shell.transform_cell(source)
        name = shell.compile.cache(code, number, raw_code=source)
        with shell.builtin_trap:
            tree = shell.transform_ast(shell.compile.ast_parse(code, name))
            failed: BaseException | None = None
            for statement in tree.body:
                if failed is None or isinstance(statement, _BINDING):
                    try:
                        self._execute(statement, name)
                    except BaseException as error:  # noqa: BLE001 - a cell may raise anything
                        failed = failed or error
        if failed is not None:
            raise failed

    def _execute(self, statement: ast.stmt, name: str) -> None:
        compiler = self.shell.compile  # it keeps what `from __future__` has asked for
        with compiler.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
            compiled = compiler(ast.Module([statement], []), name, "exec")  # type: ignore[arg-type]
        came = eval(compiled, self.shell.user_global_ns, self.shell.user_ns)
        if compiled.co_flags & inspect.CO_COROUTINE:
            self.shell.loop_runner(came)

    def locate(self, file_name: str) -> str | None:
        """Return the cell that a code object's file name stands for."""
        return file_name.strip("<>") if file_name.startswith("<cell ") else None


def serve(sock: socket.socket, cells: Cells) -> None:
    """Answer the grader's requests until it hangs up: in a closed-off process only.

    Args:
        sock: the channel.
        cells: a shell that has run nothing yet.
    """
    cells.start_here()
    stream = nowhere()
    executor = Executor(cells.shell.user_ns, cells.locate, cells.run)
    while True:
        try:
            nonce, request, _ = frames.receive(sock, (wire.MAX_REQUEST, 0))
        except EOFError:
            return
        if stream.closed:  # by a submission
            stream = nowhere()
        with printing_to(stream):
            reply = executor.answer(request)
        frames.send(sock, nonce, *reply)


def kernel_locator() -> Callable[[str], str | None]:
    """Return the locator for the notebook in whose kernel this runs."""
    names: dict[str, Any] = getattr(
        sys.modules["IPython"].get_ipython().compile, "_filename_map", {}
    )
    return lambda file_name: f"In [{names[file_name]}]" if file_name in names else None
