"""Outputs, widget state and attachments are dropped before anything is parsed, in any pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autograder.notebook import lean
from autograder.notebook.lean import TooMuch

KEYS = st.sampled_from(["outputs", "attachments", "widgets", "a", 'b"', "\\"])
TEXTS = st.sampled_from(["", '"', "\\", '\\"', '"outputs": [', "[", "}", "ä\n", "x" * 100])
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=15,
)


def dropped(value):
    """What is to be left of a value."""
    if isinstance(value, list):
        return [dropped(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: type(each)()
        if key in ("outputs", "attachments", "widgets") and isinstance(each, (list, dict))
        else dropped(each)
        for key, each in value.items()
    }


def kept(data, size):
    return lean.lean(data[start : start + size] for start in range(0, len(data), size))


@given(value=VALUES, size=st.sampled_from([1, 2, 3, 7, 64, 10_000]), indent=st.none() | st.just(1))
def test_what_is_left_is_the_same_in_whatever_pieces_it_comes(value, size, indent):
    data = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    found = kept(data, size)
    assert json.loads(found) == dropped(value)
    assert found.count(b"\n") == data.count(b"\n"), "errors name the lines of the file"


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_what_is_no_json_is_left_as_it_is(size):
    for data in (b"", b'"', b"\\", b'{"a', b'"outputs"', b'{"outputs": ', b"\xff\xfe[", b"}]"):
        assert kept(data, size) == data
    assert kept(b'{"outputs": [1, {"a": "b', size) == b'{"outputs": ['


@pytest.mark.parametrize(
    "data",
    [b'{"outputs": ' + b"[[]," * 20_000, b'{"outputs": ' + b"[" * 20_000,
     b"{" + b'"outputs": [],' * 20_000],
    ids=["wide", "deep", "many"],
)  # fmt: skip
def test_what_is_passed_over_is_bounded(monkeypatch, data):
    monkeypatch.setattr(lean, "MAX_NESTED", 10_000)
    with pytest.raises(TooMuch, match="10,000 lists and objects"):
        kept(data, 1000)


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(lean, "MAX_KEPT", 1 << 20)
    picture = b'{"outputs": ["' + b"A" * (5 << 20) + b'"]}'
    assert kept(picture, 1 << 16) == b'{"outputs": []}'
    with pytest.raises(TooMuch, match="1 MB without its outputs"):
        kept(picture.replace(b"outputs", b"source"), 1 << 16)
