"""Reads a submitted notebook, as if the file bit, into a `Submission`."""

from autograder.notebook.finding import Found, find, within
from autograder.notebook.names import defined_names, qualified_names, statements
from autograder.notebook.opening import NotebookError, digest, opened
from autograder.notebook.reading import Cell, Submission, bare, read

__all__ = [
    "Cell",
    "Found",
    "NotebookError",
    "Submission",
    "bare",
    "defined_names",
    "digest",
    "find",
    "opened",
    "qualified_names",
    "read",
    "statements",
    "within",
]
