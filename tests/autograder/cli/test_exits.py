"""How a command ends: in words that no name of a submission's turns into something else."""

import click
import pytest
from click.testing import CliRunner

from autograder.cli import main
from autograder.cli.exits import Commands, Told, told
from autograder.notebook import NotebookError
from autograder.sandbox.errors import SandboxError

ODD = "a\nError: all is well\x1b[2J\x1b]0;title\x07\r\u202e\ud800"


@pytest.mark.parametrize(
    "error",
    [
        NotebookError(f"{ODD} is there twice"), SandboxError(ODD), Told(ODD),
        FileNotFoundError(2, "No such file", ODD), click.UsageError(ODD),
        click.BadParameter(ODD, param_hint="--out"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_ends_a_command_is_fit_for_a_terminal(error):
    @click.group(cls=Commands)
    def group():
        """A command line like ours."""

    @group.command()
    @told
    def ends():
        raise error

    ended = CliRunner().invoke(group, ["ends"])
    assert ended.exit_code == 2
    assert not set(ended.output) & set("\x1b\x07\r\u202e\ud800")
    assert "all is well" in ended.output
    assert "\nError: all" not in ended.output


def test_click_s_own_words_are_too(tmp_path):
    for command in (["check", "a.ipynb", ODD], [ODD], ["check", f"--{ODD}"]):
        ended = CliRunner().invoke(main, command)
        assert ended.exit_code == 2
        assert not set(ended.output) & set("\x1b\x07\r\u202e"), ended.output
