"""Tensors travel into the sandbox as their bytes, where nothing is lost by that."""

import pickle

import pytest
import torch

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


def test_what_would_lose_something_is_left_to_torch():
    base, named = torch.randn(4, 6), torch.randn(3)
    named.label = "kept"
    odd = {
        "a part of another": base[1:],
        "a transposed one": base.T,
        "an expanded one": torch.ones(1).expand(5),
        "a parameter": torch.nn.Parameter(base),
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
