"""What the scores of a class say, in figures."""

import pytest

from autograder.catalogue import lessons
from autograder.reporting import summary
from tests.classes import check, score, timed, unreadable, varied


def lora(*scores):
    [found] = summary.summarise(scores)
    return found


def test_the_points_are_ranked_binned_and_averaged():
    found = lora(*(score(f"{n}", [[1.0] * n + [0.0] * (4 - n)]) for n in (0, 4, 2, 1)))
    assert found.percents == [0.0, 25.0, 50.0, 100.0]
    assert found.quartiles == (18.75, 37.5, 62.5)
    assert (found.mean, found.full) == (43.75, 1)
    assert found.bins == [1, 0, 1, 0, 0, 1, 0, 0, 0, 1]


def test_a_class_of_one_has_quartiles_too():
    assert lora(score("a", [[1.0, 0.0]])).quartiles == (50.0, 50.0, 50.0)


def test_a_task_says_who_earned_all_some_and_none():
    [first, second] = lora(
        score("a", [[1.0, 1.0], [0.0]]), score("b", [[1.0, 0.0], [0.0]]), score("c", [[0.0], [1.0]])
    ).tasks
    assert (first.full, first.part, first.nothing) == (1, 1, ("c",))
    assert first.earned == pytest.approx(0.5)
    assert (second.full, second.part, second.nothing) == (1, 0, ("a", "b"))
    assert first.title == lessons.lesson_named("lora").tasks[0].title


def test_a_check_counts_who_passed_missed_and_was_not_counted():
    scores = [score(str(n), [[share]]) for n, share in enumerate([1.0, 1.0, 0.5, 0.0, None])]
    [tally] = lora(*scores).tasks[0].checks
    assert (tally.passed, tally.partly, tally.failed, tally.not_counted) == (2, 1, 1, 1)
    assert (tally.counted, tally.missed, tally.earned) == (4, 2, 0.625)


def test_a_task_of_which_nothing_is_counted_is_nobody_s_fault():
    [task] = lora(score("a", [[None]])).tasks
    assert (task.full, task.part, task.nothing, task.earned) == (0, 0, (), 0.0)


def test_the_checks_that_most_missed_come_first():
    found = lora(score("a", [[1.0, 0.0, 0.5]]), score("b", [[1.0, 0.0, 1.0]]))
    assert [tally.name for tally in found.checks] == ["test_2", "test_3", "test_1"]


def test_a_check_that_broke_is_named():
    broken = check(1, 0.0)
    broken = type(broken)(**{**vars(broken), "outcome": "error"})
    [tally] = lora(score("a", [[broken, 1.0]])).broken
    assert (tally.name, tally.errors) == ("test_1", 1)


def test_what_was_measured_is_in_times_what_is_required():
    found = lora(*(score(str(r), [[timed(r), timed(r, "memory")]]) for r in (1.6, 0.4, 0.8)))
    speed, memory = found.timed
    assert [timing.margin for timing in speed.timings] == pytest.approx([0.5, 1.0, 2.0])
    assert [timing.passed for timing in speed.timings] == [False, True, True]
    assert [timing.submission for timing in speed.timings] == ["0.4", "0.8", "1.6"]
    assert speed.timings[0].low == pytest.approx(0.45)
    assert [timing.margin for timing in memory.timings] == pytest.approx([0.4, 0.8, 1.6])
    assert (speed.kind, memory.kind) == ("speed", "memory")


def test_nothing_measured_is_no_division_by_zero():
    still = timed(1.0, "memory")
    figure = type(still.figure)(**{**vars(still.figure), "student": 0.0})
    still = type(still)(**{**vars(still), "figure": figure})
    [memory] = lora(score("a", [[still]])).timed
    assert memory.timings[0].margin > 1


def test_an_answer_that_nobody_wrote_is_blank():
    released = next(
        text for task, (_, _, text) in summary._released("lora").items() if task == "explain_lora"
    )
    texts = ["My own words.", "", " \n", released]
    scores = [
        score(str(n), [[1.0]], pending=({"task": "explain_lora", "text": text},))
        for n, text in enumerate(texts)
    ]
    [waiting] = lora(*scores).waiting
    assert (waiting.answered, waiting.blank, waiting.points) == (1, ("1", "2", "3"), 10.0)


def test_lessons_come_in_the_course_s_order_and_the_unreadable_in_none():
    scores = [score("b", [[1.0]], "lora"), unreadable("x"), score("a", [[1.0]], "sft")]
    assert [found.lesson for found in summary.summarise(scores)] == ["sft", "lora"]
    assert summary.summarise([unreadable("x")]) == []


def test_a_lesson_of_another_version_has_its_figures_all_the_same():
    [found] = summary.summarise([score("a", [[1.0, 0.0]], lesson="lora", pending=())])
    older = type(found.scores[0])(**{**vars(found.scores[0]), "lesson": "older"})
    [found] = summary.summarise([older])
    assert (found.lesson, found.title, found.mean) == ("older", "older", 50.0)


def test_a_class_of_five_hundred_is_summed_up_at_once():
    found = lora(*varied(500)[:-1])
    assert len(found.scores) == 500 == sum(found.bins)
    for task in found.tasks:
        assert task.full + task.part + len(task.nothing) == 500
