"""The attacks: none earns a point that it should not, reads a thing, or costs another submission.

Each is a cell of `tests/submissions/hostile/FAMILY.py`, whose first line says what it tries and
what must happen. It goes through the real pool and the real sandbox, with honest submissions
before, between and after; `seen` is what the grader's record must hold, to show that the attack was
made. An attack that got at something says so with the word LOOT.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
import pytest

from autograder.checking import plugin
from autograder.grading.score_submission import Options
from autograder.sandbox import session
from autograder.sandbox.warm_process import Limits
from autograder.scores import Score
from tests.conftest import (
    ROOT,
    countable,
    descendants,
    lora,
    pooled,
    reference_cells,
    settles,
    write_notebook,
)
from tests.parallel import ATTACKS

FOLDER = ROOT / "tests" / "submissions" / "hostile"
FAMILIES = ("tampering", "forging", "reading", "denial")
LIMITS = Limits(memory=512 << 20)
SECONDS = 45.0
QUICK, LONG = 5.0, session.CELL_SECONDS
"""Seconds that a cell may take; who reads a whole disk, cold, needs the longer ones."""
EVERY = 40
"""An honest submission after so many attacks."""
SOME = ("lora_forward", "lora_linear", "rank_for_budget", "lora_numbers")
"""Tasks enough for attacks that are not after points: they read, or use up what others need."""
AFTER_POINTS = ("tampering", "forging")


@dataclass(frozen=True)
class Attack:
    """One attack: beside untouched stubs, or on one task beside the reference."""

    family: str
    name: str
    text: str
    seen: str
    task: str
    on_all: bool
    """whether it needs all tasks' time to be seen, or is after the points of all"""
    source: str


def attacks_of(family: str) -> list[Attack]:
    found = []
    for cell in jupytext.read(FOLDER / f"{family}.py", fmt="py:percent").cells:
        if name := cell.metadata.get("attack"):
            text = cell.source.strip().partition("\n")[0].strip('"')
            seen, task = cell.metadata.get("seen", ""), cell.metadata.get("task", "")
            on_all = family in AFTER_POINTS or cell.metadata.get("tasks") == "all"
            found.append(Attack(family, name, text, seen, task, on_all, cell.source))
    return found


ALL = [attack for family in FAMILIES for attack in attacks_of(family)]


def untouched_cells() -> list[str]:
    """The release's own code cells, with nothing written."""
    cells = nbformat.read(lora().notebook, as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


def told(score: Score, visible: bool = True) -> str:
    """All that the grader's record says in words; the inputs of visible checks are no secret."""
    checks = [check for task in score.tasks for check in task.checks]
    messages = [check.message for check in checks if check.hidden or visible]
    return "\n".join([*score.problems, *messages])


def why_not_stopped(attack: Attack, score: Score) -> str:
    """What the attack gained, or an empty string."""
    text = told(score, visible=False)
    if "LOOT" in text:
        return f"it got at something: {text[text.index('LOOT') :][:300]}"
    if score.status not in ("graded", "timeout", "memory", "crashed"):
        return f"the submission is {score.status}: {score.problems}"
    if score.status == "crashed" and any("could not be graded" in p for p in score.problems):
        return f"it ended its judge: {score.problems}"
    if attack.task and score.points >= score.max_points > 0:
        return f"full marks on {attack.task}"
    if not attack.task and score.points > 0:
        earned = [check.name for task in score.tasks for check in task.checks if check.points]
        return f"{score.points} points: {earned}"
    return ""


@pytest.fixture(scope="module")
def graded(sandbox, seed, tmp_path_factory) -> dict[tuple[str, str], Score]:
    """Every attack's score, and the honest ones', by family and name."""
    folder = tmp_path_factory.mktemp("attacks")
    stubs, reference = untouched_cells(), reference_cells()
    groups: dict[tuple[tuple[str, ...] | None, float], list[Path]] = defaultdict(list)
    for number, attack in enumerate(ALL):
        if number % EVERY == 0:
            honest = folder / "honest" / f"{number}.ipynb"
            groups[None, QUICK].append(write_notebook(honest, reference))
        before = reference if attack.task else stubs
        path = folder / attack.family / f"{attack.name}.ipynb"
        seconds = LONG if attack.family == "reading" else QUICK
        tasks = (attack.task,) if attack.task else None if attack.on_all else SOME
        groups[tasks, seconds].append(write_notebook(path, [*before, attack.source]))
    groups[None, LONG].append(write_notebook(folder / "honest" / "last.ipynb", reference))
    scores = {}
    processes = descendants()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugin, "CALL_SECONDS", 3.0)
        for (tasks, seconds), paths in groups.items():
            patch.setattr(session, "CELL_SECONDS", seconds)
            options = Options(seed, SECONDS, limits=LIMITS, lesson="lora", tasks=tasks)
            for score in pooled(paths, lambda: sandbox, options, os.cpu_count() or 1):
                path = Path(score.submission)
                scores[path.parent.name, path.stem] = score
    assert settles(lambda: descendants() <= processes), "a process is left behind"
    for attack in ALL:
        stopped = not why_not_stopped(attack, scores[attack.family, attack.name])
        ATTACKS.setdefault(attack.family, {})[attack.name] = stopped
    return scores


@pytest.mark.parametrize("attack", ALL, ids=lambda attack: f"{attack.family}:{attack.name}")
def test_an_attack_is_made_and_gains_nothing(graded, attack):
    score = graded[attack.family, attack.name]
    gained = why_not_stopped(attack, score)
    assert not gained, f"{attack.text}\n{gained}"
    assert re.search(attack.seen, told(score)), f"no sign of the attack in:\n{told(score)[:2000]}"
    assert score.seconds < SECONDS + 15, "it held the run up"


def test_honest_submissions_between_them_keep_their_scores(graded):
    honest = [score for (family, _), score in graded.items() if family == "honest"]
    assert len(honest) > len(ALL) / EVERY
    lost = [
        (check.name, check.message, check.figure)
        for score in honest
        for task in score.tasks
        for check in task.checks
        if check.outcome not in ("passed", "not_counted")
    ]
    assert lost == []
    assert {(score.status, score.points - countable(score)) for score in honest} == {("graded", 0)}
    assert [problem for score in honest for problem in score.problems] == []


def test_the_suite_is_large_and_each_attack_says_what_it_tries():
    assert len(ALL) >= 60
    assert len({(attack.family, attack.name) for attack in ALL}) == len(ALL)
    for attack in ALL:
        assert attack.source.lstrip().startswith('"""') and len(attack.text) > 20, attack.name
        assert attack.seen, f"{attack.name} does not say how one sees that it was made"
