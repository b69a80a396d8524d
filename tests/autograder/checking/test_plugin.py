"""The pytest plugin: outcomes, points, messages, and checks that are broken."""

import itertools
import textwrap

import pytest
import torch

from autograder.catalogue.lessons import LessonError
from autograder.checking import check_files, disclosure, plugin
from autograder.checking.expect import CheckFailed
from autograder.checking.handle import InProcess, Student
from tests.conftest import lora, reference_cells

HEAD = """
import pytest
from autograder.checking.expect import award, expect, expect_equal
"""


@pytest.fixture
def write(tmp_path):
    """Write a check file; returns the paths to run."""

    def written(text, name="test_lora.py"):
        path = tmp_path / name
        path.write_text(HEAD + textwrap.dedent(text))
        return [path]

    return written


def run(paths, seed=0, tasks=None, **names):
    return plugin.run(plugin.Plugin(Student(InProcess(names)), seed, tasks), paths)


OUTCOMES = """
@pytest.mark.task("a", points=2)
def test_right(student):
    '''The   answer is
    42.'''
    expect_equal(student.answer, 42, "It is not.")

@pytest.mark.task("a", points=1.5)
def test_wrong(student):
    expect_equal(student.answer, 43, "It is not.")

@pytest.mark.task("b", points=4)
def test_partial(student):
    award(0.25, "A quarter.")

@pytest.mark.task("b", points=1)
def test_missing(student):
    expect_equal(student.absent, 1, "unused")

@pytest.mark.task("b", points=1)
def test_broken(student):
    secret = "the answer is 42"
    raise ValueError(secret)

@pytest.mark.task("b", points=1)
def test_bare(student):
    secret = 42
    assert secret == 43

@pytest.mark.task("b", points=1)
def test_said(student):
    assert False, "Said."
"""


def test_outcomes_points_and_messages(write):
    results = {result.name: result for result in run(write(OUTCOMES), answer=42)}
    seen = {
        name: (result.task, result.outcome, result.points, result.max_points)
        for name, result in results.items()
    }
    assert seen == {
        "test_right": ("a", "passed", 2.0, 2.0),
        "test_wrong": ("a", "failed", 0.0, 1.5),
        "test_partial": ("b", "failed", 1.0, 4.0),
        "test_missing": ("b", "failed", 0.0, 1.0),
        "test_broken": ("b", "error", 0.0, 1.0),
        "test_bare": ("b", "failed", 0.0, 1.0),
        "test_said": ("b", "failed", 0.0, 1.0),
    }
    assert results["test_right"].requirement == "The answer is 42."
    assert results["test_right"].message == ""
    assert results["test_wrong"].message == "It is not. (got 42)"
    assert results["test_partial"].message == "A quarter."
    assert results["test_said"].message == "Said."
    assert "absent" in results["test_missing"].message


def test_messages_reveal_no_source_and_no_introspection(write):
    text = "".join(result.message for result in run(write(OUTCOMES), answer=0))
    for hidden in ("the answer is 42", "secret", "assert", "43", "test_lora.py", "Traceback"):
        assert hidden not in text


def test_results_come_in_the_file_s_order(write):
    names = [result.name for result in run(write(OUTCOMES), answer=42)]
    assert names == [part.split("(")[0] for part in OUTCOMES.split("def ")[1:]]


def test_visible_checks_run_before_any_that_is_hidden():
    """What a process has seen of hidden inputs it could say in a visible check's message."""
    results = plugin.census(check_files.files("lora", hidden=True))
    hidden = [result.hidden for result in results]
    assert hidden == sorted(hidden) and 0 < sum(hidden) < len(hidden)
    tasks = [result.task for result in results if result.hidden]
    assert list(dict.fromkeys(tasks)) == [task for task, _ in itertools.groupby(tasks)]


def test_only_the_chosen_tasks_run(write):
    assert {result.task for result in run(write(OUTCOMES), tasks=("a",), answer=42)} == {"a"}
    assert run(write(OUTCOMES), tasks=("none such",), answer=42) == []


def test_a_check_of_the_instructor_s_own_counts_as_hidden(write):
    assert all(result.hidden for result in run(write(OUTCOMES), answer=42))
    visible = plugin.census(check_files.files("lora", hidden=False))
    assert visible and not any(check.hidden for check in visible)


def test_a_census_runs_nothing(write, tmp_path):
    path = write(f"""
    @pytest.mark.task("a", points=2)
    def test_mark(student):
        open({str(tmp_path / "ran")!r}, "w")
    """)
    [check] = plugin.census(path)
    assert (check.task, check.max_points, check.outcome) == ("a", 2.0, "not_counted")
    assert not (tmp_path / "ran").exists()


RANDOM = """
@pytest.mark.task("a", points=1)
def test_one(student, rng):
    student.note("one", rng.normal(3).tolist())

@pytest.mark.task("b", points=1)
def test_two(student, rng):
    student.note("two", rng.normal(3).tolist())
"""


def noted(write, **options):
    seen = {}
    run(write(RANDOM), note=seen.__setitem__, **options)
    return seen


def test_inputs_depend_on_the_seed_and_the_check_s_name_alone(write):
    both = noted(write, seed=1)
    assert both == noted(write, seed=1)
    assert both["one"] != both["two"]
    assert noted(write, seed=1, tasks=("b",)) == {"two": both["two"]}
    assert noted(write, seed=2)["one"] != both["one"]


VALUES = """
from autograder.checking.expect import expect_close, expect_tensor
import torch

@pytest.mark.task("a", points=1)
def test_text(student):
    expect_equal(student.text, 1, "It is not 1.")

@pytest.mark.task("a", points=1)
def test_number(student):
    expect_tensor(student.number, (2,), "It")

@pytest.mark.task("a", points=1)
def test_shape(student):
    expect_close(student.shaped, torch.ones(2), "It is not right.")
"""


def test_what_is_told_of_values_is_counted_in_hidden_checks_alone(write, monkeypatch):
    monkeypatch.setattr(disclosure, "A_SUBMISSION", 45)
    values = {"text": "A" * 30, "number": 10**18, "shaped": torch.ones(0, 1234, 5678)}
    messages = [result.message for result in run(write(VALUES), **values)]
    assert "A" * 30 in messages[0] and "1" + "0" * 12 + "…" in messages[1]
    assert messages[2].endswith("shape (2,), but has ….")
    with monkeypatch.context() as patch:
        patch.setattr(check_files, "is_hidden", lambda path: False)
        messages = [result.message for result in run(write(VALUES), **values)]
    assert str(10**18) in messages[1] and "(0, 1234, 5678)" in messages[2]


def test_what_runs_before_a_check_can_refuse_it(write):
    def before(task):
        if task == "a":
            raise CheckFailed("Not run.")

    checks = plugin.Plugin(Student(InProcess({"answer": 42})), 0, None, before)
    results = plugin.run(checks, write(OUTCOMES))
    assert {r.message for r in results if r.task == "a"} == {"Not run."}
    assert {r.outcome for r in results if r.task == "a"} == {"failed"}


@pytest.mark.parametrize(
    "text",
    [
        "def test_broken(:",
        "import no_such_module_at_all",
        "raise SystemExit(0)",
        "def test_without_a_mark(student): pass",
        "@pytest.mark.task\ndef test_with_an_empty_mark(student): pass",
        "@pytest.mark.task('a')\ndef test_without_points(student): pass",
        "@pytest.mark.task('a', points=1)\ndef test_with_an_unknown_fixture(nothing): pass",
    ],
)
def test_broken_checks_are_the_instructor_s_to_mend(write, text):
    """Never a wrong score: the run ends, and the text names the file or the check."""
    with pytest.raises(plugin.BrokenChecks) as caught:
        run(write(text))
    assert "test_" in str(caught.value)


def test_a_check_that_ends_itself_is_not_lost(write):
    """Whatever a check does, its points stay in the sum."""
    text = """
    @pytest.mark.task("a", points=1)
    def test_exits(student):
        raise SystemExit(0)

    @pytest.mark.task("a", points=1)
    def test_right(student):
        pass
    """
    try:
        results = run(write(text))
    except plugin.BrokenChecks:
        return
    assert [result.max_points for result in results] == [1.0, 1.0]


def test_files_are_collected_once_and_again_where_they_have_changed(write, monkeypatch):
    collected = []
    real = pytest.main
    monkeypatch.setattr(pytest, "main", lambda *a, **k: collected.append(a) or real(*a, **k))
    paths = write(OUTCOMES)
    first = run(paths, answer=42)
    assert [r.outcome for r in run(paths, answer=0)] != [r.outcome for r in first]
    assert [r.message for r in run(paths, answer=42)] == [r.message for r in first]
    assert [r.name for r in run(paths, tasks=("a",))] == [r.name for r in first if r.task == "a"]
    assert len(plugin.census(paths)) == len(first) and len(collected) == 1
    check_files.forget(paths)
    [only] = run(write("@pytest.mark.task('a', points=1)\ndef test_new(student): 'It is.'"))
    assert only.name == "test_new" and len(collected) == 2


def test_a_check_that_was_refused_runs_for_the_next_student(write):
    def before(task):
        raise CheckFailed("Not run.")

    paths = write(SPEED)
    reference = Student(InProcess({"work": work}))
    refused = plugin.Plugin(reference, 0, None, before)
    assert {r.outcome for r in plugin.run(refused, paths)[:2]} == {"failed"}
    fast = plugin.run(plugin.Plugin(reference, 0, reference=lambda: reference), paths)[0]
    assert fast.outcome == "passed" and fast.figure is not None


def test_a_skipped_check_is_not_counted_and_says_so(write):
    """As for a check that needs a GPU, on a machine without one."""
    results = run(
        write("""
    @pytest.mark.task("a", points=1)
    def test_needs_a_gpu(student):
        pytest.skip("There is no GPU here.")
    """)
    )
    assert [(r.outcome, r.points, r.message) for r in results] == [
        ("not_counted", 0.0, "There is no GPU here.")
    ]


def test_no_files_are_no_checks():
    assert run([]) == []
    assert check_files.files("no_such_lesson", hidden=True) == []


def test_the_environment_of_the_grader_adds_nothing(write, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    (tmp_path / "conftest.py").write_text("raise SystemExit('a conftest was read')")
    assert len(run(write(OUTCOMES), answer=42)) == 7


def test_the_lesson_s_checks_keep_no_module_state():
    """Twice in one process, in one seed: the same outcomes, points and messages."""
    namespace = {"__name__": "__main__"}
    for source in reference_cells():
        exec(compile(source, "<cell>", "exec"), namespace)
    files = check_files.files("lora", hidden=True)
    fast = tuple(task.name for task in lora().tasks if task.name != "adapt_with_lora")
    runs = [
        [
            (r.task, r.name, r.outcome, r.points, r.message)
            for r in plugin.run(plugin.Plugin(Student(InProcess(namespace)), 5, fast), files)
        ]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) == len(set(runs[0]))


def test_a_model_of_a_class_of_the_check_s_own_goes_in(write, submit):
    """The submission's side cannot import the check file: what goes in goes in whole."""
    paths = write(
        """
        import torch

        class Twice(torch.nn.Module):
            def forward(self, x):
                return doubled(x)

        def doubled(x):
            return 2 * x

        @pytest.mark.task("a", points=1)
        def test_model(student):
            expect_equal(student.call(Twice(), 3), 6, "It is not.")
        """
    )
    with submit("def call(model, x): return model(x)") as student:
        [result] = plugin.run(plugin.Plugin(student, 0), paths)
    assert result.outcome == "passed", result.message


SPEED = """
@pytest.mark.task("a", points=1)
@pytest.mark.speed(at_least=0.1)
def test_fast(race):
    race.time(lambda side: side.work, lambda: (3,), lambda came, its, x: expect(came == its, "No."))

@pytest.mark.task("a", points=1)
@pytest.mark.memory(at_most=1 << 40)
def test_small(race):
    race.weigh(lambda side: lambda: side.work(3), lambda came: expect(came == 3, "No."))

@pytest.mark.task("a", points=1)
@pytest.mark.speed(at_least=0.1)
def test_on_a_gpu(gpu_race):
    gpu_race.time(None, None, None)
"""


def work(x):
    return sum(range(100_000)) and x


def test_speed_and_memory_leave_a_figure_and_a_gpu_check_is_not_counted(write):
    reference = Student(InProcess({"work": work}))
    checks = plugin.Plugin(Student(InProcess({"work": work})), 0, reference=lambda: reference)
    fast, small, on_a_gpu = plugin.run(checks, write(SPEED))
    assert (fast.outcome, small.outcome) == ("passed", "passed"), (fast, small)
    assert fast.figure.kind == "speed" and fast.figure.bound == 0.1
    assert small.figure.kind == "memory"
    assert (on_a_gpu.outcome, on_a_gpu.points, on_a_gpu.figure) == ("not_counted", 0.0, None)
    assert "no GPU" in on_a_gpu.message


def test_a_gpu_check_that_is_not_run_is_not_counted_either(write):
    def before(task):
        raise CheckFailed("Not run.")

    checks = plugin.Plugin(Student(InProcess({"work": work})), 0, None, before)
    fast, _, on_a_gpu = plugin.run(checks, write(SPEED))
    assert (fast.outcome, on_a_gpu.outcome) == ("failed", "not_counted")


def test_without_a_reference_speed_is_decided_at_grading(write):
    fast, small, _ = run(write(SPEED), work=work)
    assert (fast.outcome, fast.message) == ("not_counted", plugin.NO_REFERENCE)
    assert small.outcome == "not_counted"


def test_a_reference_that_breaks_is_told_to_the_grader(write):
    broken = Student(InProcess({"work": lambda x: 1 / 0}))
    checks = plugin.Plugin(Student(InProcess({"work": work})), 0, reference=lambda: broken)
    plugin.run(checks, write(SPEED))
    assert "the reference could not be run" in str(checks.refused)


def test_a_race_without_a_bound_is_a_broken_check(write):
    paths = write("""
    @pytest.mark.task("a", points=1)
    def test_fast(race):
        pass
    """)
    with pytest.raises(plugin.BrokenChecks, match="at_least"):
        run(paths)


# ----------------------------------------------------------------------------------------- the seed


def test_a_seed_that_is_given_repeats_the_inputs_and_another_is_drawn(monkeypatch):
    monkeypatch.setenv("AUTOGRADER_SEED", "7")
    assert plugin.drawn_seed() == 7
    monkeypatch.delenv("AUTOGRADER_SEED")
    assert min(plugin.drawn_seed() for _ in range(9)) > 1 << 64, "too many to try them all"


def test_a_seed_that_is_no_number_is_refused_in_words(monkeypatch):
    monkeypatch.setenv("AUTOGRADER_SEED", "seven")
    with pytest.raises(LessonError, match="AUTOGRADER_SEED='seven' is no whole number"):
        plugin.drawn_seed()
