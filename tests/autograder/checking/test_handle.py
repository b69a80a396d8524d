"""The handle on a submission: copies in both directions, by either transport the same."""

import pytest
import torch
from torch import nn

from autograder.checking.handle import Handle, InProcess, Student
from autograder.sandbox.errors import StudentError
from autograder.sandbox.wire import WireError


def test_plain_names_are_values(either):
    student = either("count = 12_288\nanswers = {'a': True, 'b': (1, 2.5, None)}\ntext = 'α'")
    assert student.count == 12_288
    assert student.answers == {"a": True, "b": (1, 2.5, None)}
    assert student.text == "α"


def test_a_function_is_asked_for_once_a_check_and_data_each_time(either):
    student = either(
        """
        count = 0
        def f(): return 1
        def rebind():
            global f, count
            count, f = count + 1, lambda: 2
        """
    )
    assert student.f() == 1
    student.rebind()
    assert student.count == 1
    student.rebind()
    assert student.count == 2
    assert student.f() == 1
    student._begin_check(5.0, None)
    assert student.f() == 2


def test_a_call_takes_and_gives_tensors(either):
    student = either("def f(x, *, scale=1.0): return {'y': [scale * x, x.shape[0]]}")
    came = student.f(torch.ones(2, 3), scale=2.0)
    assert torch.equal(came["y"][0], torch.full((2, 3), 2.0))
    assert came["y"][1] == 2


def test_arguments_are_copies(either):
    student = either("def spoil(x, items):\n    x.zero_(); items.append(1)\n    return x")
    x, items = torch.ones(3), []
    student.spoil(x, items)
    assert torch.equal(x, torch.ones(3))
    assert items == []


def test_results_are_copies(either):
    student = either("import torch\nkept = torch.zeros(3)\ndef give(): return kept")
    student.give().add_(1)
    assert torch.equal(student.give(), torch.zeros(3))


def test_modules_travel_in_as_copies(either):
    student = either("def freeze(m):\n    m.weight.requires_grad_(False).zero_()\n    return m")
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    student.freeze(layer)
    assert layer.weight.requires_grad
    assert torch.equal(layer.weight, before)


def test_parameters_and_subclasses_arrive_as_plain_tensors(either):
    student = either(
        """
        import torch
        class Liar(torch.Tensor):
            __eq__ = lambda self, other: True
            __hash__ = torch.Tensor.__hash__
            def allclose(self, *args): return True
        def give(): return [torch.nn.Parameter(torch.ones(2)), torch.zeros(2).as_subclass(Liar)]
        """
    )
    for tensor in student.give():
        assert type(tensor) is torch.Tensor
        assert not tensor.requires_grad
    assert not bool((student.give()[1] == torch.ones(2)).any())


LAYER = """
from torch import nn
class Scale(nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = factor
        self.inner = nn.Identity()
    def forward(self, x): return self.factor * x
    @property
    def broken(self): raise KeyError("no such thing")
def make(factor): return Scale(factor)
def use(layer, x): return layer(x)
def pair(): return [Scale(1.0), {"two": Scale(2.0)}]
"""


def test_other_objects_stay_and_come_back_as_handles(either):
    student = either(LAYER)
    layer = student.make(3.0)
    assert type(layer) is Handle
    assert layer.factor == 3.0
    assert torch.equal(layer(torch.ones(2)), torch.full((2,), 3.0))
    assert torch.equal(layer.forward(torch.ones(2)), torch.full((2,), 3.0))
    assert type(layer.inner) is Handle


def test_handles_are_arguments_again(either):
    student = either(LAYER)
    layer = student.make(3.0)
    assert torch.equal(student.use(layer, torch.ones(1)), torch.tensor([3.0]))
    assert student.run(lambda layers: layers["a"][0].factor, {"a": [layer]}) == 3.0


def test_handles_come_inside_of_containers(either):
    one, two = either(LAYER).pair()
    assert (one.factor, two["two"].factor) == (1.0, 2.0)


def test_an_attribute_that_raises_is_the_student_s_error(either):
    layer = either(LAYER).make(1.0)
    with pytest.raises(StudentError, match="KeyError"):
        _ = layer.broken
    with pytest.raises(StudentError, match="cannot be used here: a Scale has no `rank`"):
        _ = layer.rank


def test_a_handle_reveals_nothing_of_the_object(either):
    layer = either(
        "class A:\n    def __repr__(self): raise SystemExit\ndef make(): return A()"
    ).make()
    assert "object" in repr(layer)


def test_an_object_that_equals_everything_is_a_handle_that_does_not(either):
    student = either(
        """
        class Equal:
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __bool__(self): return True
            def __float__(self): return 1.0
            def __array__(self, *args): return 1.0
            __hash__ = None
        def f(*args, **kwargs): return Equal()
        """
    )
    came = student.f()
    assert type(came) is Handle
    assert came != 1.0 and came != torch.ones(1)


def probe_scale(layer, value):
    import torch

    with torch.no_grad():
        layer.factor = value
    return [layer.factor, helper(value)]


def helper(value):
    return value + 1


def test_a_probe_runs_beside_the_objects_with_its_module_s_helpers(either):
    student = either(LAYER)
    layer = student.make(1.0)
    assert student.run(probe_scale, layer, 5.0) == [5.0, 6.0]
    assert layer.factor == 5.0


ERRORS = """
def value(): raise ValueError("rank must be positive")
def unwritten(): raise NotImplementedError()
def leave(): raise SystemExit(3)
def deep(): return deep()
def ungradable(): return 1 << 100
def complex_tensor():
    import torch
    return torch.zeros(1, dtype=torch.complex64)
class Unprintable(Exception):
    def __str__(self): raise RuntimeError
def unprintable(): raise Unprintable
"""


@pytest.mark.parametrize(
    "name, type_name, sentence",
    [
        ("value", "ValueError", "Your code raised ValueError: rank must be positive"),
        ("unwritten", "NotImplementedError", "is not written yet."),
        ("leave", "SystemExit", "Your code raised SystemExit"),
        ("deep", "RecursionError", "Your code raised RecursionError"),
        ("ungradable", "WireError", "cannot be graded"),
        ("complex_tensor", "WireError", "cannot be graded"),
        ("unprintable", "Unprintable", "Your code raised Unprintable"),
        ("absent", "Missing", "`absent` is not defined"),
    ],
)
def test_errors_are_told_alike(either, name, type_name, sentence):
    student = either(ERRORS)
    with pytest.raises(StudentError) as caught:
        getattr(student, name)()
    assert caught.value.type_name == type_name
    assert sentence in str(caught.value)


def test_wrong_arguments_are_the_student_s_error(either):
    with pytest.raises(StudentError, match="cannot be called as the task says: f") as caught:
        either("def f(x): return x").f(1, 2)
    assert caught.value.type_name == "TypeError" and not caught.value.own


def shape_of(give):
    return give().shape


def test_what_a_probe_cannot_do_with_an_object_is_not_what_the_code_raised(either):
    student = either("def give(): return None\ndef deep(): return give().weight")
    with pytest.raises(StudentError, match="cannot be used here: None has no `shape`"):
        student.run(shape_of, student.give)
    with pytest.raises(StudentError, match="Your code raised AttributeError: 'NoneType'"):
        student.deep()


def test_calling_what_is_no_function(either):
    student = either("f = 3")
    assert student.f == 3
    with pytest.raises(TypeError):
        student.f()


def test_prints_of_a_call_are_dropped(either, capfd):
    student = either("import sys\ndef f(x):\n    print(x); print(x, file=sys.stderr)\n    return x")
    assert student.f("hidden input") == "hidden input"
    assert "hidden" not in "".join(capfd.readouterr())


def test_names_of_the_handle_itself_are_not_the_student_s(either):
    student = either("_private = 1")
    with pytest.raises(AttributeError):
        _ = student._private


def test_patched_libraries_do_not_reach_the_checks(submit):
    cell = """
    import builtins, torch
    torch.allclose = torch.equal = torch.isfinite = lambda *a, **k: True
    torch.Tensor.__eq__ = lambda self, other: torch.ones(1, dtype=torch.bool)
    builtins.abs = lambda x: 0
    def f(x): return torch.zeros_like(x)
    """
    with submit(cell) as student:
        came = student.f(torch.ones(3))
    assert not torch.allclose(came, torch.ones(3))


def test_a_learner_s_own_interrupt_is_an_interrupt():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Student(InProcess({"stop": stop})).stop()


def test_an_interrupt_raised_in_the_sandbox_is_an_error_like_others(submit):
    with (
        submit("def stop(): raise KeyboardInterrupt") as student,
        pytest.raises(StudentError) as caught,
    ):
        student.stop()
    assert caught.value.type_name == "KeyboardInterrupt"


@pytest.mark.parametrize("plain", [b"", b"\xc0", b"\x80", b"\x81\xa5value"], ids=repr)
def test_replies_out_of_form_are_errors_of_the_wire(plain, monkeypatch):
    transport = InProcess({})
    monkeypatch.setattr(transport._executor, "answer", lambda request: (plain, b""))
    with pytest.raises(WireError):
        _ = Student(transport).anything
