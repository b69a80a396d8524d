"""What a learner reads: what came and what should have, whose it was, and in one sentence."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autograder.catalogue import lessons, questions, reference
from autograder.checking import check_files, plugin, race
from autograder.checking.handle import InProcess, Student
from autograder.reporting import feedback
from autograder.scores import CALL


@pytest.fixture(autouse=True)
def no_races(monkeypatch):
    """Measure nothing: it takes seconds, and messages of it are another test's."""

    def skip(*_args, **_settings):
        pytest.skip("not measured")

    monkeypatch.setattr(race.Race, "time", skip)
    monkeypatch.setattr(race.Race, "weigh", skip)


def checked(lesson, task, hidden=True, without=(), **names):
    """What the checks of a task make of the reference with other names."""
    names = {**vars(reference.reference(lesson)), **names}
    names = {name: value for name, value in names.items() if name not in without}
    made = plugin.Plugin(Student(InProcess(names)), 1, (task,))
    return plugin.run(made, check_files.files(lesson, hidden))


def failed(results):
    return [result for result in results if result.outcome not in ("passed", "not_counted")]


class MatricesAsLayers(nn.Module):
    """A right idea, as peft keeps its matrices."""

    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__()
        self.base, self.rank, self.lora_alpha = base.requires_grad_(False), rank, lora_alpha
        self.lora_A = nn.Linear(base.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x):
        return self.base(x) + self.lora_B(self.lora_A(x)) * (self.lora_alpha / self.rank)


def test_matrices_that_are_layers_are_told_what_they_should_be():
    messages = [
        result.message for result in checked("lora", "lora_linear", LoRALinear=MatricesAsLayers)
    ]
    said = "lora_A should be an nn.Parameter of shape (2, 8); it is an nn.Linear."
    assert messages[0].startswith(said)
    assert messages[1].startswith("lora_A should be a tensor of shape (3, 7), but is an nn.Linear.")
    assert sum("it is an nn.Linear" in message for message in messages) >= 6
    assert not any("has no attribute 'shape'" in message for message in messages)


def nan_of_the_other_term(student_logits, teacher_logits, labels, temperature, alpha):
    student, teacher = student_logits / temperature, teacher_logits / temperature
    soft = F.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="batchmean")
    return alpha * soft * temperature**2 + (1 - alpha) * F.cross_entropy(student_logits, labels)


def test_the_term_that_is_nan_is_named():
    results = checked("distillation", "distillation_loss", distillation_loss=nan_of_the_other_term)
    told = [result for result in results if "NaN" in result.message]
    assert {result.hidden for result in told} == {True, False}
    for result in told:
        assert "Every label here is -100, so the cross-entropy" in result.message
        assert "leave that term out" in result.message


CODING = [
    (lesson.name, task.name)
    for lesson in lessons.catalogue()
    for task in lesson.tasks
    if not task.manual and not task.name.endswith(questions.KINDS)
]
ODD = {"None": None, "a tuple": (1, None), "a layer": nn.Linear(2, 3)}


def _returning(value):
    return lambda *_, **__: value


@pytest.mark.parametrize("lesson, task", CODING, ids=[name for _, name in CODING])
def test_an_answer_of_another_type_is_no_error_of_the_learner_s_or_the_check_s(lesson, task):
    names = next(t.names for t in lessons.lesson_named(lesson).tasks if t.name == task)
    kept = vars(reference.reference(lesson))
    for what, value in ODD.items():
        odd = {name: _returning(value) for name in names if callable(kept[name])}
        for result in failed(checked(lesson, task, False, **odd)):
            assert result.outcome == "failed", (what, result)
            assert "Your code raised" not in result.message, (what, result)


@pytest.mark.parametrize("lesson, task", CODING, ids=[name for _, name in CODING])
def test_a_missing_name_is_said_once(lesson, task):
    names = next(t.names for t in lessons.lesson_named(lesson).tasks if t.name == task)
    results = checked(lesson, task, False, without=names)
    causes, rest = feedback.one_cause(failed(results))
    assert [each.requirement for each in rest] == [each.requirement for each in failed(results)]
    said = [*causes, *(each.message for each in rest if each.message)]
    assert len(said) == len(set(said)) and any("is not defined" in each for each in said)


def test_a_class_that_is_not_written_is_one_sentence_in_verdict_and_page():
    def unwritten(self, *_args, **_settings):
        raise NotImplementedError

    layer = type("LoRALinear", (nn.Module,), {"__init__": unwritten})
    results = checked("lora", "lora_linear", LoRALinear=layer)
    worth = next(t.worth for t in lessons.lesson_named("lora").tasks if t.name == "lora_linear")
    made = feedback.verdict("lora_linear", results, worth)
    for text in made.values():
        assert text.count("is not written yet") == 1
        assert f"{len(failed(results))} requirements fail for one reason" in text


def test_a_visible_check_shows_the_call_what_was_expected_and_what_came():
    wrong = lambda x, weight, A, B, alpha, bias=None: F.linear(x, weight) + x @ A.T @ B.T  # noqa: E731
    results = failed(checked("lora", "lora_forward", lora_forward=wrong))
    visible = [result for result in results if not result.hidden]
    assert visible and len(visible) < len(results)
    for result in visible:
        said, _, line = result.message.partition(CALL)
        assert "expected" in said and "got" in said
        came = eval(line, {"torch": torch, "lora_forward": wrong})
        at, got = said.split(", at [")[1].split("]")[0], float(said.split("got ")[1].rstrip(")"))
        assert abs(came[tuple(map(int, at.split(", ")))].item() - got) < 0.01 * abs(got) + 0.01
    for result in (result for result in results if result.hidden):
        assert CALL not in result.message and ", got" not in result.message


def test_what_cannot_be_called_as_asked_is_told_so():
    for result in checked("lora", "lora_forward", False, lora_forward=lambda x: x)[:3]:
        assert result.message.startswith("Your code cannot be called as the task says: ")
        assert "takes 1 positional argument but" in result.message or "'bias'" in result.message
    for result in checked("lora", "lora_forward", False, lora_forward=3.5)[:3]:
        assert result.message.startswith("`lora_forward` should give what can be called; it is 3.5")
