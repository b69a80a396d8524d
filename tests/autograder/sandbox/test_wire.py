"""The message format: what goes through comes back the same, and hostile bytes are one error."""

import pickle
import struct

import msgpack
import numpy as np
import pytest
import torch
from safetensors.torch import save

from autograder.sandbox import wire


def through(value):
    """Encode and decode a value; objects of other types are kept in a list, by number."""
    kept = []

    def keep(item):
        kept.append(item)
        return len(kept)

    return wire.decode(*wire.encode(value, keep))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -(1 << 63),
        (1 << 64) - 1,
        1.5,
        float("inf"),
        "text α",
        "a lone \ud800 surrogate",
        b"\x00\xff",
        [],
        (),
        {},
        [1, [2.0, ("three", None)]],
        {"a": (1, 2), 3: [4], None: "n", (1, 2): "tuple"},
        {1, 2, 3},
        ((), [], {}),
    ],
    ids=repr,
)
def test_plain_data_comes_back_with_its_types(value):
    came = through(value)
    assert came == value
    assert type(came) is type(value)


def test_true_does_not_become_one():
    assert [type(item) for item in through([True, 1, 1.0])] == [bool, int, float]


def test_nan_comes_back_as_nan():
    assert np.isnan(through(float("nan")))


@pytest.mark.parametrize("dtype", sorted(wire.DTYPES, key=str), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)], ids=str)
def test_tensors_come_back_equal(dtype, shape):
    tensor = torch.arange(24)[: torch.Size(shape).numel()].reshape(shape).to(dtype)
    came = through({"t": [tensor]})["t"][0]
    assert type(came) is torch.Tensor
    assert came.dtype == dtype and came.shape == tensor.shape
    assert torch.equal(came, tensor)


def test_tensors_are_copies_whatever_they_were():
    base = torch.arange(12.0).reshape(3, 4)
    parameter = torch.nn.Parameter(base.clone())
    for tensor in (base.T, base[:, ::2], base.expand(2, 3, 4), parameter, parameter * 2):
        came = through(tensor)
        assert type(came) is torch.Tensor and not came.requires_grad
        assert torch.equal(came, tensor.detach())


def test_one_tensor_twice_is_two_tensors():
    tensor = torch.ones(3)
    one, other = through([tensor, tensor])
    one += 1
    assert torch.equal(other, tensor)


def test_numpy_arrives_as_tensors_and_numbers():
    assert torch.equal(through(np.arange(3)), torch.arange(3))
    assert torch.equal(
        through(np.arange(6.0)[::2]), torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64)
    )
    assert type(through(np.float32(0.5))) is float
    assert through(np.bool_(True)) is True
    assert through([np.int64(3)]) == [3]


def test_objects_stay_behind_as_keys():
    came = through([object(), {"f": len}])
    assert [type(came[0]), type(came[1]["f"])] == [wire.Key, wire.Key]
    assert came[0] != came[1]["f"]


class Liar(torch.Tensor):
    def __eq__(self, other):
        return True

    __hash__ = torch.Tensor.__hash__


def test_a_tensor_subclass_arrives_as_a_tensor():
    came = through(torch.zeros(2).as_subclass(Liar))
    assert type(came) is torch.Tensor
    assert not torch.equal(came, torch.ones(2))


@pytest.mark.parametrize("base", [int, float, str, list, dict, tuple])
def test_a_subclass_of_plain_data_keeps_no_lying_equality(base):
    liar = type("Equal", (base,), {"__eq__": lambda self, other: True, "__hash__": lambda self: 0})
    came = through(liar())
    assert type(came) in (base, wire.Key)


def cyclic():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        1 << 64,
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(2, device="meta"),
        [torch.zeros(1)] * (wire.MAX_TENSOR_COUNT + 1),
        "x" * (wire.MAX_PLAIN + 1),
        cyclic(),
    ],
    ids=["huge int", "complex", "sparse", "meta", "many tensors", "long text", "cycle"],
)
def test_what_cannot_be_compared_is_refused_by_name(value):
    with pytest.raises(wire.WireError) as caught:
        wire.encode(value, lambda item: 1)
    assert str(caught.value)


def ext(code, body):
    return msgpack.packb(msgpack.ExtType(code, body))


def nested_extension(levels):
    body = msgpack.packb([])
    for _ in range(levels):
        body = msgpack.packb([msgpack.ExtType(2, body)])
    return body


def nested_list(levels):
    return b"\x91" * levels + b"\xc0"


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a reply was unpickled",))


GOOD_TENSOR = save({"0": torch.ones(2)})
HOSTILE = {
    "nothing": (b"", b""),
    "garbage": (b"\xc1\xff\x00garbage", b""),
    "pickle": (pickle.dumps(Bomb()), b""),
    "pickle as tensors": (ext(1, b"0"), pickle.dumps(Bomb())),
    "pickle as bytes of an unknown kind": (ext(7, pickle.dumps(Bomb())), b""),
    "two values": (msgpack.packb(1) + msgpack.packb(2), b""),
    "truncated": (msgpack.packb("long text")[:-2], b""),
    "a list of 2³² items": (b"\xdd\xff\xff\xff\xff", b""),
    "a dict of 2³² items": (b"\xdf\xff\xff\xff\xff", b""),
    "a text of 4 GB": (b"\xdb\xff\xff\xff\xff", b""),
    "an unknown extension": (ext(99, b""), b""),
    "a time, which is no plain data": (msgpack.packb(msgpack.Timestamp(1)), b""),
    "a tensor that is not there": (ext(1, b"5"), GOOD_TENSOR),
    "a tensor's name that is no text": (ext(1, b"\xff"), GOOD_TENSOR),
    "a short key": (ext(4, b"\x00"), b""),
    "a tuple of no list": (ext(2, msgpack.packb({"a": 1})), b""),
    "a set of lists": (ext(3, msgpack.packb([[1]])), b""),
    "a list as a key": (b"\x81\x90\x01", b""),
    "two equal keys": (b"\x82\x01\x01\x01\x02", b""),
    "tuples nested 100 deep": (nested_extension(100), b""),
    "lists nested 400 deep": (nested_list(400), b""),
    "lists nested 100,000 deep": (nested_list(100_000), b""),
    "text that is no UTF-8": (b"\xa2\xff\xfe", b""),
    "tensors: garbage": (msgpack.packb(1), b"garbage that is no safetensors"),
    "tensors: a header of 2⁶³ bytes": (msgpack.packb(1), struct.pack("<Q", 1 << 63)),
    "tensors: truncated": (msgpack.packb(1), GOOD_TENSOR[:-4]),
    "tensors: complex": (ext(1, b"0"), save({"0": torch.ones(2, dtype=torch.complex64)})),
    "tensors: float8": (ext(1, b"0"), save({"0": torch.ones(2).to(torch.float8_e4m3fn)})),
    "tensors: a header that lies": (
        ext(1, b"0"),
        GOOD_TENSOR.replace(b'"shape":[2]', b'"shape":[9]'),
    ),
}


@pytest.mark.parametrize("parts", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_are_one_error(parts):
    with pytest.raises(wire.WireError):
        wire.decode(*parts)


@pytest.mark.parametrize("key", [torch.ones(2), (1, torch.ones(2))])
def test_tensors_as_keys_are_refused(key):
    """Dicts are compared by the text of their keys, and theirs can be gigabytes."""
    for odd in ({key}, {key: 1}):
        with pytest.raises(wire.WireError, match="whose keys are sets or tensors"):
            through(odd)


@pytest.mark.parametrize("shape", [(1, 4, 10**5, 0), (1 << 17, 0, 3)])
def test_rows_with_nothing_in_them_are_bounded(shape):
    """A list of them costs memory that a tensor of no bytes has not."""
    hollow = torch.empty(shape)
    reply = msgpack.packb(msgpack.ExtType(wire._TENSOR, b"0"))
    with pytest.raises(wire.WireError, match="65,536 empty rows"):
        through(hollow)
    with pytest.raises(wire.WireError, match="65,536 empty rows"):
        wire.decode(reply, save({"0": hollow}))


@pytest.mark.parametrize("shape", [(0, 10**6), (4, 0, 768), (1 << 17, 1)])
def test_a_few_empty_rows_come_through(shape):
    assert through(torch.empty(shape)).shape == shape
