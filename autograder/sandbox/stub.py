"""What `import autograder` finds inside the sandbox: names that a notebook calls, doing nothing."""


def check(task: str) -> float:
    """Return 0.0: the verdict is the grader's."""
    return 0.0


def progress() -> None:
    """Show nothing: no record is here."""


def show_reference(task: str) -> None:
    """Show nothing: no reference is here."""
