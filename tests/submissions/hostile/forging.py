# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# Attacks on what travels: frames, values, tensors, errors and ends that are not what they should
# be. All stand behind untouched stubs.

# %%
# ruff: noqa: E402, E731, F811, PTH, RUF005, RUF012
# ruff: noqa: SIM105

# %% attack="verdict_on_the_wire" seen="neither a value nor an error|more than one reply"
"""Finds channel and nonce in the frames and sends a verdict; a reply carries values only."""

import struct
import sys

import msgpack


def lora_forward(*args, **kwargs):
    at = sys._getframe()
    while at.f_code.co_name != "serve":
        at = at.f_back
    plain = msgpack.packb({"verdict": "passed", "points": 100, "value": True})
    frame = struct.pack("!QII", at.f_locals["nonce"], len(plain), 0) + plain
    at.f_locals["sock"].sendall(frame)


# %% attack="replays_an_old_nonce" seen="a reply to another request|more than one reply"
"""Answers with the nonce of an earlier request; each reply belongs to one request."""
import struct
import sys

import msgpack

nonces = []


def lora_forward(*args, **kwargs):
    at = sys._getframe()
    while at.f_code.co_name != "serve":
        at = at.f_back
    nonces.append(at.f_locals["nonce"])
    plain = msgpack.packb({"value": 1.0})
    at.f_locals["sock"].sendall(struct.pack("!QII", nonces[0] ^ 1, len(plain), 0) + plain)


# %% attack="answers_ahead_of_time" seen="a reply to another request|more than one reply"
"""Writes answers for requests still to come onto every descriptor; their nonces are random."""
import os
import struct

import msgpack


def lora_forward(*args, **kwargs):
    plain = msgpack.packb({"value": True})
    for number in range(3, 64):
        for nonce in range(4):
            try:
                os.write(number, struct.pack("!QII", nonce, len(plain), 0) + plain)
            except OSError:
                pass


# %% attack="half_a_frame" seen="Your code ended: its process ended itself .exit code 100"
"""Announces 1,000 bytes, sends half and leaves with exit code 100; half a reply is none."""
import os
import struct
import sys


def lora_forward(*args, **kwargs):
    at = sys._getframe()
    while at.f_code.co_name != "serve":
        at = at.f_back
    at.f_locals["sock"].sendall(struct.pack("!QII", at.f_locals["nonce"], 1000, 0) + b"x" * 500)
    os._exit(100)


# %% attack="announces_gigabytes" seen="larger than a reply may be"
"""Announces 4 GB in both parts; a length must not be believed, nor allocated."""
import struct
import sys


def lora_forward(*args, **kwargs):
    at = sys._getframe()
    while at.f_code.co_name != "serve":
        at = at.f_back
    frame = struct.pack("!QII", at.f_locals["nonce"], 0xFFFFFFFF, 0xFFFFFFFF)
    at.f_locals["sock"].sendall(frame + b"x" * 1000)


# %% attack="deeply_nested_frame" seen="does not parse|nested more than"
"""Sends tuples in tuples, 60 deep, and lists 100,000 deep; no recursion may end the grader."""
import msgpack

from autograder.sandbox import child

depth = iter([60, 100_000])


def forged(self, message):
    levels = next(depth, 60)
    body = msgpack.packb([])
    if levels > 60:
        return b"\x81\xa5value" + b"\x91" * levels + b"\xc0", b""
    for _ in range(levels):
        body = msgpack.packb([msgpack.ExtType(2, body)])
    return b"\x81\xa5value" + body, b""


def lora_forward(*args, **kwargs):
    child.Executor._reply = forged


# %% attack="replies_of_other_shapes" seen="neither a value nor an error"
"""Sends a number, a list, an empty dict and errors of odd fields; each is one failed call."""
import msgpack

from autograder.sandbox import child

honest_reply = child.Executor._reply
odd = iter([1, [], {}, {"error": "text"}, {"error": {"type": 1, "text": [], "where": None}}] * 4)


def reply(self, message):
    if message.get("value") == "odd":
        return msgpack.packb(next(odd)), b""
    return honest_reply(self, message)


child.Executor._reply = reply


def lora_forward(*args, **kwargs):
    return "odd"


inject_lora = rank_for_budget = merge_lora = lora_forward


# %% attack="value_and_error" seen="raised ValueError: made|neither a value nor an error"
"""Sends a value and an error in one reply, with points in odd fields; neither may be chosen."""
import msgpack

from autograder.sandbox import child

error = {"type": "ValueError", "text": "made", "where": "", "bases": [["ValueError"], 7, None]}
error |= {"points": 100, "share": 1.0}


def lora_forward(*args, **kwargs):
    plain = msgpack.packb({"value": True, "error": error, "passed": True})
    child.Executor._reply = lambda self, message: (plain, b"")


# %% attack="two_replies_at_once" seen="a reply to another request|more than one reply"
"""Sends a reply of its own before the honest one; the next request must not read the second."""
import sys

import torch

from autograder.sandbox import frames, wire


def lora_forward(x, weight, *args, **kwargs):
    at = sys._getframe()
    while at.f_code.co_name != "serve":
        at = at.f_back
    value = {"value": torch.zeros(*x.shape[:-1], len(weight))}
    for _ in range(2):
        frames.send(at.f_locals["sock"], at.f_locals["nonce"], *wire.encode(value, id))


# %% attack="pickle_as_reply" seen="header is too long"
"""Sends a pickle that would award itself the points; a reply must never be unpickled."""
import pickle

from autograder.sandbox import child


class Award:
    def __reduce__(self):
        return eval, ("{'value': True, 'points': 100}",)


def lora_forward(*args, **kwargs):
    child.Executor._reply = lambda self, message: (pickle.dumps(Award()), pickle.dumps(Award()))


# %% attack="nothing_but_nan" seen="holds infinite values"
"""Returns NaN where comparing by "no difference is too large" holds, and infinities."""
import torch

values = iter([torch.nan, torch.inf, -torch.inf] * 100)


def lora_forward(x, weight, *args, **kwargs):
    return torch.full((*x.shape[:-1], len(weight)), next(values), dtype=x.dtype)


lora_numbers = dict.fromkeys(["trainable_768", "percent_768", "largest_rank"], float("nan"))
globals().update(lora_numbers, bert_query_value=float("inf"), conv_parameters=-float("inf"))


# %% attack="empty_and_broadcast" seen="should have shape"
"""Returns empty tensors, and shapes that broadcast: all() of nothing is true in naive graders."""
import torch

shapes = iter([(0,), (1, 0), (0, 4), (1,) * 8, ()] * 40)


def lora_forward(x, weight, *args, **kwargs):
    return torch.zeros(next(shapes), dtype=x.dtype)


# %% attack="other_dtypes" seen="should be float32, but is|cannot be graded"
"""Returns the right shape in bool, int8, bfloat16, complex and float8; the dtype is compared."""
import torch

dtypes = [torch.bool, torch.int8, torch.bfloat16, torch.complex64, torch.float8_e4m3fn]
turns = iter(dtypes * 40)


def lora_forward(x, weight, *args, **kwargs):
    return torch.zeros(*x.shape[:-1], len(weight)).to(next(turns))


# %% attack="tensors_without_values" seen="sparse, quantized or without data"
"""Returns sparse, meta, quantised and nested tensors; none of these has values to compare."""
import torch

made = [
    lambda zeros: zeros.to_sparse(),
    lambda zeros: zeros.to("meta"),
    lambda zeros: torch.quantize_per_tensor(zeros, 0.1, 0, torch.qint8),
    lambda zeros: torch.nested.nested_tensor([zeros, zeros]),
    lambda zeros: zeros[None].to_sparse_csr() if zeros.dim() == 1 else zeros.to_sparse_csr(),
]
turns = iter(made * 40)


def lora_forward(x, weight, *args, **kwargs):
    return next(turns)(torch.zeros(*x.shape[:-1], len(weight)))


# %% attack="a_terabyte_of_one_number" seen="raised RuntimeError|more than .* of memory"
"""Returns one number expanded to 2⁴⁰: no memory here, a terabyte once copied."""
import torch


def lora_forward(*args, **kwargs):
    return torch.zeros(1).expand(1 << 40)


# %% attack="overlapping_storage" seen="off by"
"""Returns a result whose rows share their memory with the arguments, changed while it is sent."""
import threading
import time

import torch


def lora_forward(x, weight, *args, **kwargs):
    shape = (*x.shape[:-1], len(weight))
    result = torch.zeros(1, dtype=x.dtype).as_strided(shape, (0,) * len(shape))
    until = time.monotonic() + 0.2

    def flicker():
        while time.monotonic() < until:
            result.view(-1)[:1].add_(1e-3) if result.numel() else None

    threading.Thread(target=flicker, daemon=True).start()
    return result


# %% attack="arrays_in_disguise" seen="should have shape|off by|should be a tensor|raised"
"""Returns masked, object, structured and negative-stride arrays; a mask must hide nothing."""
import numpy as np

turns = iter(
    [
        lambda zeros: np.ma.masked_all(zeros.shape, zeros.dtype),
        lambda zeros: zeros.astype(object),
        lambda zeros: np.zeros(zeros.shape, [("a", "f4")]),
        lambda zeros: zeros[..., ::-1],
        lambda zeros: np.matrix(zeros.reshape(-1, zeros.shape[-1])),
    ]
    * 40
)


def lora_forward(x, weight, *args, **kwargs):
    return next(turns)(np.zeros((*x.shape[:-1], len(weight)), np.float32))


# %% attack="keys_that_collide" seen="colliding keys|does not parse"
"""Sends dicts in which a key stands twice, as 1, 1.0 and True; none must hide another."""
from autograder.sandbox import child


def lora_forward(*args, **kwargs):
    plain = b"\x81\xa5value\x83\x01\xc3\xc3\xc2\xcb\x3f\xf0" + b"\0" * 6 + b"\xc0"
    child.Executor._reply = lambda self, message: (plain, b"")


# %% attack="hashes_that_collide" seen="Your code's process sent"
"""Sends a set of 4,000 pairs of one hash, built in quadratic time; the grader must refuse it."""
import sys

import msgpack

from autograder.sandbox import child

P1, P2, P5 = 11400714785074694791, 14029467366897019727, 2870177450012600261
BITS = (1 << 64) - 1


def pairs(count):
    back, found, first = pow(P2, -1, 1 << 64), [], 0
    while len(found) < count:
        first += 1
        lane = (P5 + first * P2) & BITS
        lane = ((lane << 31 | lane >> 33) & BITS) * P1 & BITS
        second = (12345 - lane) * back & BITS
        if second < sys.hash_info.modulus:
            found.append((first, second))
    assert len({hash(pair) for pair in found}) == 1
    return [msgpack.ExtType(2, msgpack.packb(pair)) for pair in found]


flood = msgpack.packb({"value": msgpack.ExtType(3, msgpack.packb(pairs(4_000)))})


def lora_forward(*args, **kwargs):
    if flood:
        child.Executor._reply = lambda self, message: (flood, b"")


# %% attack="a_million_items" seen="should be a tensor, but is .None|process sent"
"""Sends a million of nothing, in one list; reading it must stay cheap and its words short."""
import msgpack

from autograder.sandbox import child

turns = iter([msgpack.packb({"value": [None] * 1_000_000})])
honest_reply = child.Executor._reply


def reply(self, message):
    if message.get("value") == "many" and (plain := next(turns, None)):
        return plain, b""
    return honest_reply(self, message)


child.Executor._reply = reply


def lora_forward(*args, **kwargs):
    return "many"


# %% attack="too_many_tensors" seen="more than 4096 tensors"
"""Returns 5,000 tensors in one list; their number has a limit as their bytes have."""
import torch


def lora_forward(*args, **kwargs):
    return list(torch.zeros(5000))


# %% attack="a_header_of_tensors" seen="Your code's process sent"
"""Sends a tensor part of 20,000 empty tensors, past the child's own limit; it must be refused."""
import torch
from safetensors.torch import save

from autograder.sandbox import child

blob = save({str(number): torch.zeros(0) for number in range(20_000)})


def lora_forward(*args, **kwargs):
    child.Executor._reply = lambda self, message: (b"\x81\xa5value\xc3", blob)


# %% attack="a_header_that_lies" seen="header is too long"
"""Sends tensor parts with a header of 2⁶³ bytes or offsets past the end; no byte may be read."""
import json
import struct

import msgpack

from autograder.sandbox import child

entry = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
header = json.dumps({"0": entry}).encode()
turns = iter([struct.pack("<Q", 1 << 63), struct.pack("<Q", len(header)) + header + b"\0" * 16])
plain = msgpack.packb({"value": msgpack.ExtType(1, b"0")})


def lora_forward(*args, **kwargs):
    child.Executor._reply = lambda self, message: (plain, next(turns))


# %% attack="thousands_of_dimensions" seen="dimensions|has shape .*…|process sent"
"""Sends a tensor of 60,000 dimensions, whose shape would fill a page; a message must stay short."""
import json
import struct

import msgpack

from autograder.sandbox import child

entry = {"dtype": "F32", "shape": [1] * 60_000, "data_offsets": [0, 4]}
header = json.dumps({"0": entry}).encode()
blob = struct.pack("<Q", len(header)) + header + b"\0" * 4
plain = msgpack.packb({"value": msgpack.ExtType(1, b"0")})


def lora_forward(*args, **kwargs):
    child.Executor._reply = lambda self, message: (plain, blob)


# %% attack="words_for_a_terminal" seen="raised RuntimeError: made: "
"""Raises text that clears the screen, sets a title, turns text round and holds lone surrogates."""
text = "\x1b[2J\x1b]0;100 %\x07\r\b\x00\u202e\ud800\udfff</pre><script>alert(1)</script>\x9b31m"


def lora_forward(*args, **kwargs):
    raise RuntimeError(f"made: {text}")


trainable_768, judged = text, {text: True, "a": text}


# %% attack="prints_its_own_score" seen="made: printed"
"""Prints score lines, pytest's summary and JSON to every stream; output is no result."""
import json
import os
import sys

lines = "Score: 100/100\n108 passed in 0.1s\nPASSED tests.py::all\n::set-output name=grade::100\n"
lines += json.dumps({"score": 100, "status": "graded", "tests": [{"score": 100}]})
for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
    print(lines, file=stream, flush=True)
for number in (0, 1, 2):
    os.write(number, lines.encode())
raise RuntimeError("made: printed")


# %% attack="ends_as_if_all_were_well" seen="exit code 0"
"""Ends the process with exit code 0 in a call; an end without an answer earns nothing."""
import os


def lora_forward(*args, **kwargs):
    os._exit(0)


# %% attack="leaves_by_every_exit" seen="raised (SystemExit|KeyboardInterrupt|GeneratorExit|Passed)"
"""Raises SystemExit, KeyboardInterrupt, GeneratorExit and a BaseException of its own in calls."""


class Passed(BaseException):
    code, returncode, points = 0, 0, 100


kinds = iter([SystemExit, KeyboardInterrupt, GeneratorExit, Passed, StopIteration] * 40)


def lora_forward(*args, **kwargs):
    raise next(kinds)(0)


inject_lora = rank_for_budget = lora_forward


# %% attack="text_that_cannot_be_read" seen="its text could not be read|no text"
"""Raises errors whose text raises, exits, is no text, or holds the grader's own lie of one."""


class Text(str):
    def __getitem__(self, part):
        return "x" * 10_000_000


class Unreadable(Exception):
    turns = iter([1, 2, 3] * 40)

    def __str__(self):
        turn = next(self.turns)
        if turn == 1:
            raise SystemExit(0)
        return Text("short") if turn == 2 else super().__str__()[:0] + str(self.args[1])


def lora_forward(*args, **kwargs):
    raise Unreadable("made")


# %% attack="a_hundred_megabytes_of_text" seen="raised Long: aaaa"
"""Raises an error with 100 MB of text and a class name of 1 MB beside; both are cut."""


class Long(Exception):
    def __str__(self):
        return "a" * 100_000_000


Longer = type("B" * 1_000_000, (Long,), {})
kinds = iter([Long, Longer] * 100)


def lora_forward(*args, **kwargs):
    raise next(kinds)()


# %% attack="class_names_as_markup" seen="raised .*script"
"""Raises an error whose class, function and bases are named as markup and as escape codes."""
Base = type("</td></table><h1>100", (Exception,), {})
Markup = type("<script>document.title='\x1b[31m100'</script>", (Base,), {"__module__": "pytest"})


def lora_forward(*args, **kwargs):
    raise Markup("{{ 7 * 7 }} {% include 'x' %} ${7*7} [bold]")


# %% attack="named_like_the_graders_own" seen="`100` is not defined|raised (WireError|CheckFailed)"
"""Raises errors named Missing, CheckFailed, Exhausted, Death, Skipped; only a name came out."""
from autograder.sandbox.child import Missing

names = ["Missing", "CheckFailed", "Exhausted", "Death", "Skipped", "WireError", "StudentError"]
kinds = [type(name, (Exception,), {"share": 1.0, "kind": "graded"}) for name in names]
turns = iter([Missing, *kinds] * 40)


def lora_forward(*args, **kwargs):
    raise next(turns)("100")


inject_lora = rank_for_budget = LoRALinear = lora_forward


# %% attack="results_that_never_come" seen="but is a coroutine"
"""Returns generators, coroutines, futures and iterators; nothing of them may be run or awaited."""
import asyncio
import concurrent.futures


def endless():
    while True:
        yield 1.0


async def later():
    await asyncio.sleep(1e9)


turns = iter([endless, later, concurrent.futures.Future, lambda: iter(int, 1)] * 40)


def lora_forward(*args, **kwargs):
    return next(turns)()


# %% attack="numbers_that_are_all_numbers" seen="trainable_768 is not a number"
"""Answers with subclasses of int, float, str and bool-like objects that equal everything."""
equal = {name: lambda self, *args: True for name in ("__eq__", "__le__", "__ge__", "__bool__")}
equal |= {"__sub__": lambda self, other: 0, "__rsub__": lambda self, other: 0}
equal |= {"__hash__": lambda self: hash("a"), "__abs__": lambda self: 0}
AllInts, AllFloats = type("int", (int,), equal), type("float", (float,), equal)

trainable_768 = bert_query_value = conv_parameters = AllInts(1)
percent_768 = largest_rank = AllFloats(1)
loralib_conv_parameters = [1]
judged = {letter: AllInts(1) for letter in "abcdefghijklmnop"}


def rank_for_budget(*args, **kwargs):
    return AllInts(1)


# %% attack="changes_between_two_reads" seen="made: 3 different answers"
"""Puts a namespace in place that answers each read otherwise; a value read is a value compared."""
import gc


class Changing(dict):
    turn = 0

    def __getitem__(self, name):
        Changing.turn += 1
        return True if name == "judged" else self.turn * 1.5

    def __contains__(self, name):
        return True


executor = next(item for item in gc.get_objects() if type(item).__name__ == "Executor")
executor._namespace = namespace = Changing()
answers = {namespace["percent_768"] for _ in range(3)}
raise RuntimeError(f"made: {len(answers)} different answers")


# %% attack="another_ones_handle" seen="raised KeyError|should be a tensor"
"""Returns handles that it was never given, and huge ones; they are numbers of its own objects."""
import msgpack

from autograder.sandbox import child

handles = [msgpack.ExtType(4, number.to_bytes(8, "big")) for number in (0, 10**9, 2**64 - 1)]
turns = iter(handles * 40)
honest_reply = child.Executor._reply


def reply(self, message):
    if message.get("value") == "handle":
        return msgpack.packb({"value": next(turns)}), b""
    return honest_reply(self, message)


child.Executor._reply = reply


def lora_forward(*args, **kwargs):
    return "handle"


LoRALinear = LoRAConv2d = DoRALinear = lora_forward


# %% attack="hangs_up" seen="Your code ended: its process (closed the channel|ended)"
"""Shuts the channel down, or closes every descriptor; it loses the call, and no more."""
import os
import socket
import sys


def lora_forward(*args, **kwargs):
    at = sys._getframe()
    while at.f_code.co_name != "serve":
        at = at.f_back
    at.f_locals["sock"].shutdown(socket.SHUT_RDWR)


def rank_for_budget(*args, **kwargs):
    os.closerange(3, 256)


# %% attack="sends_descriptors" seen="but is True"
"""Sends open descriptors along with a reply; the grader must not take them in."""
import os
import socket
import struct
import sys

import msgpack


def lora_forward(*args, **kwargs):
    at = sys._getframe()
    while at.f_code.co_name != "serve":
        at = at.f_back
    plain = msgpack.packb({"value": True})
    frame = struct.pack("!QII", at.f_locals["nonce"], len(plain), 0) + plain
    for byte in frame:
        descriptors = [os.open("/dev/zero", os.O_RDONLY) for _ in range(4)]
        socket.send_fds(at.f_locals["sock"], [bytes([byte])], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


# %% attack="urgent_bytes" seen="Your code's process sent|more than|ended"
"""Slips out-of-band bytes into a reply, at which reading stops; the frame must not be shifted."""
import socket
import struct
import sys

import msgpack


def lora_forward(*args, **kwargs):
    at = sys._getframe()
    while at.f_code.co_name != "serve":
        at = at.f_back
    plain = msgpack.packb({"value": True})
    frame = struct.pack("!QII", at.f_locals["nonce"], len(plain), 0) + plain
    for byte in frame[:-1]:
        at.f_locals["sock"].send(bytes([byte]), socket.MSG_OOB)
    at.f_locals["sock"].shutdown(socket.SHUT_WR)


# %% attack="a_twin_answers" seen="but is True"
"""Forks a twin that answers True to all while the first sleeps; another process, the same worth."""
import os
import sys
import time

from autograder.sandbox import frames, wire


def lora_forward(*args, **kwargs):
    at = sys._getframe()
    while at.f_code.co_name != "serve":
        at = at.f_back
    sock, nonce = at.f_locals["sock"], at.f_locals["nonce"]
    if os.fork():
        time.sleep(60)
    while True:
        frames.send(sock, nonce, *wire.encode({"value": True}, id))
        nonce, _, _ = frames.receive(sock, (1 << 29, 0))


# %% attack="a_thread_answers_first" seen="neither|another request|does not parse|more than|but is"
"""Lets a thread read the nonce in the main thread's frames and answer while a call still runs."""
import sys
import threading
import time

from autograder.sandbox import frames, wire

main = threading.main_thread().ident


def answer(count=20):
    for _ in range(count):
        at = sys._current_frames().get(main)
        while at is not None and at.f_code.co_name != "serve":
            at = at.f_back
        if at is not None and "nonce" in at.f_locals:
            value = {"value": 100.0}
            frames.send(at.f_locals["sock"], at.f_locals["nonce"], *wire.encode(value, id))
        time.sleep(0.01)


def lora_forward(*args, **kwargs):
    threading.Thread(target=answer, daemon=True).start()
    time.sleep(0.3)


# %% attack="contains_itself" seen="nested more than"
"""Returns lists, tuples and dicts that contain themselves; they end at a depth, with words."""


def cyclic(kind):
    items = []
    value = kind(items)
    items.append(value)
    return value


turns = iter([list, tuple, lambda items: {"again": items}] * 60)


def lora_forward(*args, **kwargs):
    return cyclic(lambda items: items) if (kind := next(turns)) is list else cyclic(kind)


# %% attack="a_container_that_lies" seen="off by|should be|nested|cannot be graded|raised"
"""Returns containers whose items, length and order change with each look, without an end."""
import torch


class Lying(dict):
    turn = 0

    def items(self):
        Lying.turn += 1
        return {f"key {self.turn}": torch.zeros(self.turn)}.items()

    __len__ = lambda self: 10**9
    __iter__ = lambda self: iter(["a", "b"])


class LyingList(list):
    def __iter__(self):
        return iter([torch.zeros(3, 4)] * 3)

    __len__ = lambda self: 1


turns = iter([Lying, LyingList] * 60)


def lora_forward(*args, **kwargs):
    return next(turns)()


judged = Lying()
lora_state_dict = adapt_with_lora = lora_forward


# %% attack="integers_without_end" seen="integer of more than 64 bits"
"""Answers with integers of 4,000 digits, which some parsers turn into text in quadratic time."""
trainable_768 = bert_query_value = largest_rank = 10**4000
percent_768 = -(1 << 63)
conv_parameters = (1 << 64) - 1


# %% attack="replies_of_an_odd_shape" seen="neither a value nor an error"
"""Makes each reply one that is neither a value nor an error, so that nobody can grade it."""
import autograder.sandbox.wire as wire

encode = wire.encode
wire.encode = lambda message, keep: encode(True, keep)
