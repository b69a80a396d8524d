"""What is typed: commands, the tables they print, a run with its progress, watching, doctor."""

import click

from autograder.cli import author, grader, learner
from autograder.cli.exits import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fine-tuning-interviews", prog_name="autograder")
def main() -> None:
    """Check and grade notebooks of the course Fine-Tuning Interviews."""


for command in (
    learner.check, learner.progress, learner.cards, grader.grade, grader.report, grader.gradescope,
    grader.doctor, author.lessons, author.build, author.release, author.new,
):  # fmt: skip
    main.add_command(command)
