"""scripts/setup, with stand-ins that note how python, pip and uv are called."""

import os
import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")
PYTHON = """#!/bin/sh
case "$*" in
  *version_info*) [ "$NEW" = yes ] || [ "${*#*>=}" != "$*" ] ;;
  --version) echo Python 3.x ;;
  "-m venv --clear "*) rm -rf "$4" && mkdir -p "$4/bin" &&
    cp "$0" "$4/bin/python" && cp "$UV" "$4/bin/uv" ;;
esac
"""
UV = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in *--require-hashes*) [ -z "$BROKEN" ] || exit 130 ;; esac
case "$*" in *--editable*) echo > .venv/bin/autograder && chmod +x .venv/bin/autograder ;; esac
"""


class Clone:
    """The files that set-up reads, in a folder of their own."""

    def __init__(self, folder):
        self.folder, self.log = folder, folder / "log"
        for name in ("scripts/setup", "pyproject.toml", *LOCKS):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for name, text in (("python", PYTHON), ("uv", UV), ("uname", "#!/bin/sh\necho $SYSTEM\n")):
            (folder / "bin").mkdir(exist_ok=True)
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)

    def set_up(self, *words, code=0, **settings):
        """What set-up says, and with which words uv was called."""
        self.log.write_text("")
        tools = self.folder / "bin"
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}", "PYTHON": str(tools / "python"), "NEW": "yes",
            "UV": str(tools / "uv"), "LOG": str(self.log), "SYSTEM": "Linux", **settings,
        }  # fmt: skip
        ended = subprocess.run(
            ["sh", "scripts/setup", *words],
            cwd=self.folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode == code, ended.stderr
        return ended.stdout + ended.stderr, self.log.read_text().splitlines()


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def test_it_installs_by_hash_what_grading_needs_and_says_how_much(clone):
    said, (libraries, itself) = clone.set_up()
    assert "with CUDA" in said and "7 GB" in said and "TORCH=cpu" in said
    assert libraries.endswith("--require-hashes -r requirements.lock")
    assert "--compile-bytecode" in libraries and "--group" not in libraries
    assert "--no-deps" in itself and "--editable ." in itself


def test_development_is_added_to_it(clone):
    clone.set_up()
    said, (libraries, _) = clone.set_up("dev")
    assert "the tests" in said and "TORCH=cpu" not in said
    assert libraries.endswith("--require-hashes -r requirements-dev.lock")


def test_the_cpu_build_has_the_lock_s_versions_and_stays(clone):
    said, (libraries, _) = clone.set_up(TORCH="cpu")
    assert "CPU build" in said and "2 GB" in said and "CUDA it is" not in said
    assert "--torch-backend cpu" in libraries and "--require-hashes" not in libraries
    _, (added, _) = clone.set_up("dev")
    assert "--torch-backend cpu" in added and "--group dev" in added
    constraints = (clone.folder / "build" / "constraints.txt").read_text()
    pinned = r"^([A-Za-z0-9._-]+==[^ \n]+)"
    assert re.findall(pinned, constraints, re.M) == re.findall(
        pinned, (ROOT / LOCKS[1]).read_text(), re.M
    )
    assert "--hash" not in constraints and "\\\n" not in constraints


def test_one_environment_has_one_build(clone):
    clone.set_up()
    said, called = clone.set_up(TORCH="cpu", code=1)
    assert "rm -rf .venv" in said and called == []


def test_what_was_broken_off_is_begun_anew_with_any_build(clone):
    """As the hint says: stop this, then take the other build."""
    clone.set_up(BROKEN="yes", code=130)
    (clone.folder / ".venv" / "half").touch()
    _, (libraries, _) = clone.set_up(TORCH="cpu")
    assert "--torch-backend cpu" in libraries
    assert not (clone.folder / ".venv" / "half").exists()


def test_macos_has_one_build_and_it_is_small(clone):
    said, (libraries, _) = clone.set_up(SYSTEM="Darwin")
    assert "2 GB" in said and "TORCH=cpu" not in said
    assert libraries.endswith("-r requirements.lock")


@pytest.mark.parametrize(
    "settings, reason",
    [
        ({"PYTHON": "no-such-python"}, "is not installed"),
        ({"NEW": "no"}, "too old"),
        ({"TORCH": "gpu"}, "TORCH=gpu is unknown"),
    ],
)
def test_it_stops_with_the_way_out(clone, settings, reason):
    said, called = clone.set_up(code=1, **settings)
    assert said.startswith("set-up: ") and reason in said and called == []


def test_an_edition_without_the_tests_has_nothing_to_add(clone):
    (clone.folder / LOCKS[1]).unlink()
    said, called = clone.set_up("dev", code=1)
    assert "not in this edition" in said and called == []
