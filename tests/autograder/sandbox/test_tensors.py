"""Tensors travel into the sandbox as their bytes, where nothing is lost by that."""

import pickle

import cloudpickle
import pytest
import torch

from autograder.checking.requests import pickled
from autograder.sandbox import tensors
from autograder.sandbox.wire import DTYPES

SHAPES = [(), (0,), (3,), (2, 0, 4), (2, 3, 4)]


@pytest.mark.parametrize("dtype", sorted(DTYPES, key=str), ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bytes_give_the_tensor_back(dtype, shape):
    tensor = (torch.randn(shape) * 3).to(dtype)
    assert tensors.is_simple(tensor)
    parts = pickle.loads(pickle.dumps(tensors.as_bytes(tensor)))
    back = tensors.from_bytes(*parts)
    assert back.dtype == dtype and back.shape == tensor.shape
    assert torch.equal(back, tensor) and not back.requires_grad


def test_requires_grad_is_kept_and_memory_is_not_shared():
    tensor = torch.ones(3, requires_grad=True)
    back = tensors.from_bytes(*tensors.as_bytes(tensor))
    assert back.requires_grad and back.is_leaf
    with torch.no_grad():
        back.add_(1)
    assert tensor.tolist() == [1, 1, 1]


def test_a_parameter_stays_one():
    back = tensors.from_bytes(*tensors.as_bytes(torch.nn.Parameter(torch.ones(3), False)))
    assert type(back) is torch.nn.Parameter and not back.requires_grad


def test_a_module_arrives_whole_though_only_what_is_in_it_travels(submit):
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).eval()
    net[1].register_buffer("extra", torch.zeros(1), persistent=False)
    sent = pickled("call", "f", (net,), {})
    assert len(sent) < len(cloudpickle.dumps(net)) / 3
    source = "def f(m): return [[*vars(p)] for p in m.modules()], [p.training for p in m.modules()]"
    with submit(source + "\ndef g(m): return m.state_dict(), m") as student:
        names, training = student.f(net)
        state, there = student.g(net)
        assert [set(each) for each in names] == [set(vars(part)) for part in net.modules()]
        assert training == [False] * 3
        assert state.keys() == net.state_dict().keys()
        x = torch.randn(2, 1, 5, 5)
        assert torch.equal(there(x), net(x))


def test_hooks_and_a_class_s_own_way_to_be_pickled_are_kept(either):
    class Own(torch.nn.Linear):
        def __getstate__(self):
            return vars(self) | {"from_state": True}

    hooked = torch.nn.Linear(2, 2)
    hooked.register_forward_hook(lambda *_: torch.full((1,), 7.0))
    student = either("def f(m, x): return m(x)\ndef g(m): return m.from_state")
    assert student.f(hooked, torch.ones(2)).tolist() == [7.0]
    assert student.g(Own(2, 2)) is True
    assert not tensors.is_plain(Own(2, 2)) and tensors.is_plain(hooked)


def test_what_would_lose_something_is_left_to_torch():
    base, named = torch.randn(4, 6), torch.randn(3)
    named.label = "kept"
    odd = {
        "a part of another": base[1:],
        "a transposed one": base.T,
        "an expanded one": torch.ones(1).expand(5),
        "a parameter of a part": torch.nn.Parameter(base[1:]),
        "a sparse one": base.to_sparse(),
        "one without data": base.to("meta"),
        "a complex one": base.to(torch.complex64),
        "one with attributes": named,
        "one that was computed": (base.requires_grad_() * 2),
    }
    assert [name for name, tensor in odd.items() if tensors.is_simple(tensor)] == []


def test_structure_survives_a_request(submit):
    source = "def look(a, b): return a is b, a.t().is_contiguous(), b.requires_grad"
    with submit(source) as student:
        tensor = torch.randn(4, 6)
        assert student.look(tensor, tensor) == (True, False, False)
        assert student.look(tensor.T, tensor) == (False, True, False)
