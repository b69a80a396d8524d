"""Any bytes are plain data or one error, in bounded memory; what is plain data comes back."""

import contextlib
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time

import msgpack
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from autograder.sandbox import frames, wire
from tests.autograder.sandbox.test_wire import through
from tests.fuzz import TEXT, mutated, within

SECONDS = 10.0
"""More than any reply may take to decode; the machine may be busy."""
MOST_MEMORY = 128 * wire.MAX_PLAIN
"""Bytes that decoding any reply may take, beside three times its tensors: a byte of msgpack makes
a list or a dict, of some 60 bytes where it is empty, and a dict or a set of one item is 250."""
TENSOR, TUPLE, SET, HANDLE = 1, 2, 3, 4
SCALARS = (type(None), bool, int, float, str, bytes, wire.Key)


def decode_or_refuse(plain, blob):
    """The value that these bytes are, or None where they are refused."""
    try:
        with within(SECONDS):
            value = wire.decode(plain, blob)
    except wire.WireError as error:
        assert str(error)
        return None
    check_is_plain(value, 0)
    return value


def check_is_plain(value, depth):
    assert depth <= wire.MAX_DEPTH
    if type(value) is dict:
        value = [*value, *value.values()]
    if type(value) in (list, tuple, set):
        for part in value:
            check_is_plain(part, depth + 1)
    elif type(value) is torch.Tensor:
        assert value.dtype in wire.DTYPES and value.layout == torch.strided
        assert value.device.type == "cpu" and not value.requires_grad
        value.clone()  # reads all that it claims to hold
    else:
        assert type(value) in SCALARS


def packed(value):
    return msgpack.packb(value, unicode_errors="surrogatepass")


def extension(code, body):
    return msgpack.ExtType(code, body)


# ----------------------------------------------------------------------------------- what is drawn

INTEGERS = st.integers(-(1 << 63), (1 << 64) - 1)
PLAIN_SCALARS = st.none() | st.booleans() | INTEGERS | st.floats() | TEXT | st.binary(max_size=20)
HASHABLE = st.recursive(
    PLAIN_SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4
)


@st.composite
def tensors(draw):
    """A tensor of any allowed dtype and of any bits, NaN's included."""
    dtype = draw(st.sampled_from(sorted(wire.DTYPES, key=str)))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    size = dtype.itemsize * torch.Size(shape).numel()
    data = bytearray(draw(st.binary(min_size=size, max_size=size)))
    if dtype == torch.bool:
        data = bytearray(byte & 1 for byte in data)
    flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return flat.reshape(shape)


VALUES = st.recursive(
    PLAIN_SCALARS | tensors(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(HASHABLE, inner, max_size=4)
        | st.sets(HASHABLE, max_size=4)
    ),
    max_leaves=15,
)
MESSAGES = st.recursive(
    PLAIN_SCALARS
    | st.datetimes().map(lambda when: msgpack.Timestamp(when.toordinal()))
    | st.builds(extension, st.integers(0, 5) | st.just(127), st.binary(max_size=9))
    | st.sampled_from([extension(TENSOR, b"0"), extension(HANDLE, bytes(8))]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(HASHABLE | st.just(extension(TENSOR, b"0")), inner, max_size=4)
        | st.builds(extension, st.integers(1, 4), inner.map(packed))
        | st.builds(extension, st.integers(2, 3), st.lists(inner, max_size=4).map(packed))
    ),
    max_leaves=15,
)
"""What msgpack can say, of which `encode` says a part."""
ONE_TENSOR = save({"0": torch.ones(2)})

SIZES = st.integers(0, 3) | st.integers(-2, 1 << 64) | st.sampled_from([1 << 31, 1 << 62, 1 << 63])
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["BOOL", "U8", "I8", "I64", "U64", "F16", "F32", "F8_E4M3", "F4"])
        | st.sampled_from(["C64", "X", None]),
        "shape": st.lists(SIZES, max_size=4) | st.lists(st.just(1), max_size=100) | TEXT,
        "data_offsets": st.lists(SIZES, min_size=2, max_size=2) | st.lists(SIZES, max_size=3),
        "more": st.none(),
    },
)
HEADER = st.dictionaries(
    st.sampled_from(["0", "1", "__metadata__"]) | TEXT,
    ENTRY | st.dictionaries(TEXT, TEXT, max_size=2) | SIZES,
    max_size=4,
)


@st.composite
def plausible_blobs(draw):
    """A safetensors part whose offsets follow each other, of dtypes, shapes and bytes at will."""
    header, end = {}, 0
    for number in range(draw(st.integers(1, 4))):
        length = draw(st.integers(0, 16))
        shape = draw(
            st.sampled_from([[length], [length // 4], [length // 8], []]) | st.just([0, 9])
        )
        dtype = draw(st.sampled_from(["BOOL", "U8", "I64", "F32", "BF16", "F8_E4M3", "F4", "C64"]))
        offsets = [end, end + length]
        header[str(number)] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        end += length
    return blob_of(json.dumps(header).encode(), draw(st.binary(min_size=end, max_size=end)))


def blob_of(header, data=b"", length=None):
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header) if length is None else length) + header + data


# --------------------------------------------------------------------------------- hostile replies


@given(plain=st.binary(), blob=st.binary() | st.just(b""))
def test_any_bytes(plain, blob):
    decode_or_refuse(plain, blob)


@given(message=MESSAGES)
def test_any_message(message):
    decode_or_refuse(packed(message), ONE_TENSOR)


@given(data=st.data(), value=VALUES, spoil_plain=st.booleans(), spoil_blob=st.booleans())
def test_an_honest_reply_damaged(data, value, spoil_plain, spoil_blob):
    plain, blob = wire.encode(value, lambda item: 1)
    plain = data.draw(mutated(plain)) if spoil_plain else plain
    blob = data.draw(mutated(blob)) if spoil_blob else blob
    decode_or_refuse(plain, blob)


ALL_TENSORS = packed([extension(TENSOR, b"0"), extension(TENSOR, b"1")])
ONLY_TENSOR = packed(extension(TENSOR, b"0"))


@given(
    header=HEADER.map(lambda header: json.dumps(header).encode()) | st.binary(max_size=40),
    data=st.binary(max_size=32),
    length=st.none() | SIZES.map(lambda size: size % (1 << 64)),
    plain=st.sampled_from([ALL_TENSORS, ONLY_TENSOR]),
)
def test_any_header_of_the_tensors(header, data, length, plain):
    decode_or_refuse(plain, blob_of(header, data, length))


@given(blob=plausible_blobs(), plain=st.sampled_from([ALL_TENSORS, ONLY_TENSOR]))
def test_a_plausible_header_of_the_tensors(blob, plain):
    decode_or_refuse(plain, blob)


# ----------------------------------------------------------------------------- what comes back


def exactly(value):
    """A value in a form whose equality sees types, bits and order."""
    kind = type(value).__name__
    if isinstance(value, torch.Tensor):
        data = value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        return kind, str(value.dtype), tuple(value.shape), data
    if isinstance(value, float):
        return kind, struct.pack("!d", value)
    if isinstance(value, (list, tuple)):
        return kind, tuple(exactly(part) for part in value)
    if isinstance(value, (set, frozenset)):
        return "set", frozenset(exactly(part) for part in value)
    if isinstance(value, dict):
        return kind, tuple((exactly(key), exactly(part)) for key, part in value.items())
    return kind, value


@given(value=VALUES)
def test_plain_data_comes_back_exactly(value):
    assert exactly(through(value)) == exactly(value)


FROZEN = st.frozensets(st.integers(0, 9), max_size=2)
WITH_FROZEN = FROZEN | st.tuples(INTEGERS, FROZEN)


@given(
    value=st.sets(WITH_FROZEN, min_size=1, max_size=3)
    | st.dictionaries(WITH_FROZEN, INTEGERS, min_size=1, max_size=3)
)
def test_sets_as_keys_are_refused_in_words_before_they_are_sent(value):
    with pytest.raises(wire.WireError, match="whose keys are sets"):
        through(value)


@given(numbers=st.sets(st.integers(0, 4), max_size=4))
def test_objects_are_not_confused_with_the_numbers_they_go_by(numbers):
    mixed = [*numbers, object(), object()]
    assert len(through(set(mixed))) == len(mixed)
    assert len(through(dict.fromkeys(mixed))) == len(mixed)


@given(tensor=tensors())
def test_arrays_arrive_as_tensors_of_their_shape(tensor):
    if tensor.dtype != torch.bfloat16:  # which numpy has not
        assert exactly(through(tensor.numpy())) == exactly(tensor)


# --------------------------------------------------------------------------------------- frames

LIMITS = (64, 64)
FRAMES = st.builds(
    lambda nonce, lengths, body: frames.HEADER.pack(nonce, *lengths) + body,
    st.integers(0, (1 << 64) - 1),
    st.tuples(*2 * [st.integers(0, 64) | st.integers(0, (1 << 32) - 1)]),
    st.binary(max_size=140),
)


@given(stream=st.binary() | FRAMES, closes=st.booleans(), unread=st.booleans())
def test_any_stream_ends_in_a_frame_or_a_known_error(stream, closes, unread):
    """`unread`: the other side closes without having read our request."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if unread:
            ours.sendall(b"a request")
        theirs.sendall(stream)
        if closes:
            theirs.close()
        start = time.monotonic()
        try:
            with within(SECONDS):
                nonce, plain, blob = frames.receive(ours, LIMITS, start + 0.02)
        except (EOFError, wire.WireError):
            return
        except TimeoutError:
            assert time.monotonic() - start >= 0.02
            return
        assert len(plain) <= LIMITS[0] and len(blob) <= LIMITS[1]
        frame = frames.HEADER.pack(nonce, len(plain), len(blob)) + plain + blob
        assert stream.startswith(frame)


# --------------------------------------------------------------------------- memory and time


def many(piece, room=wire.MAX_PLAIN):
    """A list of as many equal items as a reply has room for."""
    count = (room - 5) // len(piece)
    return b"\xdd" + struct.pack("!I", count) + piece * count


def nested_bytes():
    """Tuples in tuples around bytes: each level is a copy of all below."""
    body = packed([bytes(wire.MAX_PLAIN - 16 * wire.MAX_DEPTH)])
    for _ in range(wire.MAX_DEPTH - 1):
        body = packed([extension(TUPLE, body)])
    return body


def colliding(prefix, room):
    """Sets of 1,000 tuples that differ, and have one hash: each is compared with all before."""
    mask, inverse = (1 << 64) - 1, lambda number: pow(number, -1, 1 << 64)
    first, second, start = 11400714785074694791, 14029467366897019727, 2870177450012600261

    def turned(number, bits):
        return ((number << bits) | (number >> (64 - bits))) & mask

    def step(state, lane):  # CPython's hash of a tuple, an item at a time
        return turned((state + lane * second) & mask, 31) * first & mask

    state = start
    for _ in range(prefix):
        state = step(state, 1)
    before_last = turned((7 - (prefix + 2)) * inverse(first) & mask, 33)
    pieces, number = [], 0
    while len(pieces) < 1000:
        number += 1
        last = (before_last - step(state, number)) * inverse(second) & mask
        last -= (last >> 63) << 64
        if abs(last) < (1 << 61) - 1 and last != -1:
            pieces.append(packed(extension(TUPLE, packed([1] * prefix + [number, last]))))
    members = b"\xdc" + struct.pack("!H", len(pieces)) + b"".join(pieces)
    return many(packed(extension(SET, members)), room)


def empty_tensors(room):
    """As many tensors without data as the room for a header allows."""
    entry = '"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    entries = [entry % number for number in range(room // 60)]
    return blob_of(("{" + ",".join(entries) + "}").encode())


def worst():
    """Names, and the two parts of the replies that cost the most for their size."""
    nothing = packed(None)
    yield "empty lists", many(b"\x90"), b""
    yield "empty dicts", many(b"\x80"), b""
    yield "dicts in dicts", many(b"\x81\x01" * (wire.MAX_DEPTH - 2) + b"\x80"), b""
    yield "small sets", many(packed(extension(SET, packed([1, 2, 3, 4, 5])))), b""
    yield "handles", many(packed(extension(HANDLE, bytes(8)))), b""
    yield "short texts", many(packed("Ā")), b""
    yield "tuples in tuples around bytes", nested_bytes(), b""
    yield "colliding tuples", colliding(0, wire.MAX_PLAIN), b""
    yield "colliding long tuples", colliding(wire.MAX_PLAIN // 1050, wire.MAX_PLAIN), b""
    yield "one large tensor", ONLY_TENSOR, save({"0": torch.zeros(wire.MAX_TENSORS // 4 - 8 >> 2)})
    yield "tensors without data", nothing, empty_tensors(wire.MAX_TENSOR_HEADER)
    metadata = {"__metadata__": {str(n): "" for n in range(wire.MAX_TENSOR_HEADER // 20)}}
    yield "metadata", nothing, blob_of(json.dumps(metadata).encode())


def measure():
    """Print for each its name, the bytes it takes, those of its tensors, and its seconds."""
    torch.set_num_threads(1)
    for name, plain, blob in worst():
        assert len(plain) <= wire.MAX_PLAIN and len(blob) <= wire.MAX_TENSORS
        if os.fork() == 0:  # its memory is counted from here
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            start = time.process_time()
            with contextlib.suppress(wire.WireError):
                wire.decode(plain, blob)
            seconds = time.process_time() - start
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before << 10
            print(json.dumps([name, grown, len(blob), seconds]), flush=True)
            os._exit(0)
        assert os.wait()[1] == 0, name


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory as Linux tells it")
def test_the_worst_replies_take_bounded_memory_and_time(pytestconfig):
    code = f"from {__name__} import measure; measure()"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    print(ended.stdout)
    measured = [json.loads(line) for line in ended.stdout.splitlines()]
    assert measured
    over = [row for row in measured if row[1] > MOST_MEMORY + 3 * row[2] or row[3] > SECONDS]
    assert not over
