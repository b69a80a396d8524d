# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# Attacks on what surrounds the answers: libraries, objects that lie, the engine's own modules. The
# cells with a task stand behind the whole reference, the others behind untouched stubs.

# %%
# ruff: noqa: E402, E731, F811, F821

# %% attack="every_comparison_is_true" seen="off by"
"""Makes torch's and numpy's comparisons say yes and returns zeros; they must not decide."""

import numpy as np
import torch

yes = lambda *args, **kwargs: True
for place in (torch, np):
    place.allclose = place.equal = place.isclose = place.array_equal = yes
torch.testing.assert_close = np.testing.assert_allclose = lambda *args, **kwargs: None
torch.Tensor.__eq__ = torch.Tensor.equal = torch.Tensor.allclose = yes


def lora_forward(x, weight, *args, **kwargs):
    assert torch.allclose(x, x + 1)
    return x.new_zeros(*x.shape[:-1], len(weight))


# %% attack="builtins_say_yes" seen="made: 5 builtins|process sent"
"""Replaces abs, all, any, max and round by kind ones; no sum done in the grader may change."""
import builtins

builtins.abs = lambda value: 0
builtins.all = builtins.any = lambda items: True
builtins.max = lambda *items, **kwargs: 0
builtins.round = lambda value, digits=0: 100.0
assert abs(-3) == 0 and all([False])
raise RuntimeError("made: 5 builtins")


# %% attack="isinstance_agrees" seen="object of another type|raised AttributeError"
"""Makes isinstance true for its own answers; their type must be seen from what came out."""
import builtins

real_isinstance = builtins.isinstance


class Answer:
    def __eq__(self, other):
        return True

    __hash__ = None


def agreeable(thing, kind):
    return type(thing) is Answer or real_isinstance(thing, kind)


builtins.isinstance = agreeable


def lora_forward(*args, **kwargs):
    return Answer()


# %% attack="tensor_equal_to_all" seen="off by"
"""Returns a Tensor subclass that is close and equal to everything; only its numbers may count."""
import torch


class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func.__name__ in ("eq", "ne", "allclose", "equal", "isclose", "le", "__eq__"):
            return True
        return super().__torch_function__(func, types, args, kwargs or {})


def lora_forward(x, weight, *args, **kwargs):
    return x.new_zeros(*x.shape[:-1], len(weight)).as_subclass(Yes)


# %% attack="hides_its_nans" seen="holds NaN values"
"""Returns NaNs in a subclass that calls itself finite; the grader must look for itself."""
import torch


class Finite(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        name = func.__name__
        if name in ("isnan", "isinf", "isfinite"):
            with torch._C.DisableTorchFunctionSubclass():
                shape = args[0].shape
            return torch.full(shape, name == "isfinite")
        return super().__torch_function__(func, types, args, kwargs or {})


def lora_forward(x, weight, *args, **kwargs):
    return torch.full((*x.shape[:-1], len(weight)), torch.nan).as_subclass(Finite)


# %% attack="array_on_demand" seen="but is an OnDemand"
"""Returns an object that becomes an array when asked; no conversion may run in the grader."""
import numpy as np


class OnDemand:
    def __init__(self, shape):
        self.shape, self.dtype = shape, np.dtype("float32")

    def __array__(self, *args, **kwargs):
        return np.full(self.shape, np.nan, self.dtype)

    __sub__ = __rsub__ = __abs__ = max = item = lambda self, *args: 0.0
    __le__ = __lt__ = __eq__ = __bool__ = lambda self, *args: True


def lora_forward(x, weight, *args, **kwargs):
    return OnDemand((*x.shape[:-1], len(weight)))


# %% attack="class_is_a_lie" seen="should be a tensor|raised|cannot be graded"
"""Returns an object whose __class__ says Tensor; a duck that lies must not get past encoding."""
import torch


class Impostor:
    layout, is_quantized, dtype = torch.strided, False, torch.float32
    device = torch.device("cpu")
    __class__ = property(lambda self: torch.Tensor)
    __eq__ = lambda self, other: True
    __hash__ = None

    def __getattr__(self, name):
        return lambda *args, **kwargs: self


def lora_forward(*args, **kwargs):
    assert isinstance(Impostor(), torch.Tensor)
    return Impostor()


# %% attack="hollow_grader_modules" seen="made: hollow"
"""Puts hollow checking, pytest and plugin modules into sys.modules; none may be the grader's."""
import sys
from types import ModuleType


class Hollow(ModuleType):
    def __getattr__(self, name):
        return lambda *args, **kwargs: None


hollow = (
    "autograder.checking.expect",
    "autograder.checking.plugin",
    "autograder.checks",
    "pytest",
    "peft",
)
for name in hollow:
    sys.modules[name] = Hollow(name)
from autograder.checking.expect import expect_close

assert expect_close("anything", "else") is None
raise RuntimeError("made: hollow")


# %% attack="import_hook" seen="made: torch.testing_ came from the hook"
"""Serves every import from then on; what a probe imports is the child's, and decides nothing."""
import importlib.abc
import importlib.machinery
import sys


class Hook(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self)

    def exec_module(self, module):
        module.allclose = module.equal = module.expect_close = lambda *args, **kwargs: True


sys.meta_path.insert(0, Hook())
import torch.testing_

assert torch.testing_.allclose(1, 2)
raise RuntimeError("made: torch.testing_ came from the hook")


# %% attack="tracer_reads_locals" seen="made: traced [0-9]+ frames"
"""Traces every call of the engine and looks into its locals; no expected value may be there."""
import sys

frames, found = [], []


def tracer(frame, event, arg):
    frames.append(frame.f_code.co_name)
    for name, value in frame.f_locals.items():
        if "expected" in name or name in ("TRUE_STATEMENTS", "points", "tolerance"):
            found.append(f"{name} = {value!r:.100}")
    return tracer


def lora_forward(*args, **kwargs):
    text = f"LOOT {found}" if found else f"made: traced {len(frames)} frames"
    raise RuntimeError(text)


at = sys._getframe()
while at is not None and at.f_code.co_name != "serve":
    at.f_trace = tracer
    at = at.f_back
sys.settrace(tracer)


# %% attack="profiler_breaks_the_engine" seen="Your code ended: its process ended itself"
"""Lets a profile hook raise inside the engine while it replies; that ends its process, no more."""
import sys


def hook(frame, event, arg):
    if event == "call" and frame.f_code.co_name == "_describe":
        raise SystemExit(0)


def lora_forward(*args, **kwargs):
    sys.setprofile(hook)
    raise RuntimeError("this is described")


# %% attack="atexit_has_the_last_word" seen="made: registered"
"""Registers a last message with full marks and leaves; it must not be sent, or mean anything."""
import atexit
import contextlib
import os
import sys

import msgpack


def last_word():
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(number, msgpack.packb({"value": True, "points": 100, "passed": True}))


atexit.register(last_word)


def lora_forward(*args, **kwargs):
    sys.exit(0)


raise RuntimeError("made: registered")


# %% attack="ipython_transformers" seen="names returned are not right. .got True"
"""Hooks into the shell to rewrite cells and swallow errors; only names that exist can score."""
shell = get_ipython()
shell.input_transformers_post.append(
    lambda lines: [line.replace("raise NotImplementedError", "return True") for line in lines]
)
shell.set_custom_exc((Exception,), lambda *args, **kwargs: None)
shell.events.register("post_run_cell", lambda result: setattr(result, "error_in_exec", None))
shell.run_cell("def inject_lora(*args, **kwargs):\n    raise NotImplementedError\n")
raise RuntimeError("an error that the shell swallows")


# %% attack="shell_reports_success" seen="made: the shell is replaced"
"""Replaces run_cell by one that skips cells and reports success; calls must still need answers."""
from types import SimpleNamespace

shell = get_ipython()
type(shell).run_cell = lambda *args, **kwargs: SimpleNamespace(
    raise_error=lambda: None, success=True, result=100, error_in_exec=None
)
assert shell.run_cell("1 / 0").success
raise RuntimeError("made: the shell is replaced")


# %% attack="executor_says_true" seen="but is True"
"""Patches the engine in the child to answer True to every request; a reply is no verdict."""
from autograder.sandbox import child

honest_do = child.Executor._do


def do(self, operation, *rest):
    return True if operation == "call" else honest_do(self, operation, *rest)


child.Executor._do = do


# %% attack="every_error_is_a_value_error" seen="raised ValueError: made"
"""Patches how errors are described: stubs seem to refuse what a task says to refuse."""
from autograder.sandbox import child


def describe(self, error):
    return {"type": "ValueError", "text": "made", "where": "", "bases": ["ValueError"]}


child.Executor._describe = describe


# %% attack="always_value_error" seen="raised ValueError: made"
"""Refuses every call with the ValueError that bad arguments call for; good calls must be asked."""


def refuse(*args, **kwargs):
    raise ValueError("made")


LoRALinear = LoRAConv2d = DoRALinear = AdaptedLayer = inject_lora = load_lora = refuse
lora_state_dict = rank_for_budget = adapt_with_lora = adapt_net = merge_lora = refuse


# %% attack="many_faced_error" seen="raised CheckFailed: .made"
"""Raises an error that is also Missing, skip, and every built-in one; its bases are only names."""


class CheckFailed(ValueError, TypeError, KeyError, AssertionError, NotImplementedError):
    share, points, msg = 1.0, 100, "passed"


def lora_forward(*args, **kwargs):
    raise CheckFailed("made")


merge_lora = adapt_step = judged = lora_forward


# %% attack="arguments_as_answers" seen="off by"
"""Patches plain_tensor to answer with whatever tensor of that shape a request brought in."""
import torch

from autograder.sandbox import wire

seen, plain_tensor = {}, wire.plain_tensor


def from_the_request(tensor):
    return plain_tensor(seen.get(tensor.shape, tensor))


wire.plain_tensor = from_the_request


def lora_forward(x, weight, *args, **kwargs):
    shape = torch.Size((*x.shape[:-1], len(weight)))
    seen[shape] = (x.abs().sum() + weight.sum()).expand(shape)
    return torch.zeros(shape)


# %% attack="limits_lifted_inside" seen="dtype that is not allowed"
"""Lifts the child's own limits and sends complex numbers; the grader has limits of its own."""
import torch

from autograder.sandbox import wire

wire.DTYPES = wire.DTYPES | {torch.complex64}
wire.MAX_PLAIN = wire.MAX_TENSORS = wire.MAX_TENSOR_COUNT = wire.MAX_DEPTH = 1 << 40


def lora_forward(x, weight, *args, **kwargs):
    return torch.full((*x.shape[:-1], len(weight)), torch.nan, dtype=torch.complex64)


# %% attack="packs_a_pickle" seen="unknown kind of value"
"""Makes msgpack carry a pickle in an extension; nothing that comes out may be unpickled."""
import pickle

import msgpack

from autograder.sandbox import wire


class Marks:
    def __reduce__(self):
        return eval, ("{'value': True}",)


packed = msgpack.packb({"value": msgpack.ExtType(42, pickle.dumps(Marks()))})


def lora_forward(*args, **kwargs):
    wire._packb = lambda value: packed


# %% attack="tensors_saved_by_torch" seen="header is too long"
"""Makes the tensor part a torch.save file, which torch.load would unpickle; it must not be."""
import io

import torch

from autograder.sandbox import wire


def save_with_pickle(named):
    buffer = io.BytesIO()
    torch.save(dict.fromkeys(named, torch.zeros(2)), buffer)
    return buffer.getvalue()


def lora_forward(x, weight, *args, **kwargs):
    wire.serialize = save_with_pickle
    return x.new_zeros(*x.shape[:-1], len(weight))


# %% attack="unpickler_spies_on_requests" seen="made: [0-9]+ functions came in"
"""Reads all requests as they are unpickled; a probe may hold no expected value."""
from types import FunctionType

from autograder.sandbox import child

came, loot, load = [], [], child._Unpickler.load
WORDS = ("expected", "tolerance", "bcgijlop", "is not right")


def spy(self):
    request = load(self)
    target = request[1]
    if isinstance(target, FunctionType):
        code = target.__code__
        came.append(code.co_name)
        held = [*code.co_consts, *code.co_names, *code.co_varnames, *target.__globals__]
        loot.extend(str(item) for item in held for word in WORDS if word in str(item))
    return request


child._Unpickler.load = spy


def rank_for_budget(*args, **kwargs):
    raise RuntimeError(f"LOOT {loot}" if loot else f"made: {len(came)} functions came in")


# %% attack="searches_all_objects" seen="made: [0-9]+ objects hold nothing"
"""Searches garbage collector, frames and modules for checks and answers; none may be there."""
import gc
import sys


def search():
    items, loot = gc.get_objects(), []
    for item in items:
        if type(item) is dict and type(word := item.get("TRUE_STATEMENTS")) is str:
            loot.append(word)
        code = getattr(item, "__code__", None) if type(item).__name__ == "function" else None
        if code and "/checks/" in code.co_filename and "expect_close" in code.co_names:
            loot.append(code.co_name)
    loot += [name for name in sys.modules if "test_lora" in name]
    raise RuntimeError(f"LOOT {loot}" if loot else f"made: {len(items)} objects hold nothing")


def lora_forward(*args, **kwargs):
    search()


# %% attack="default_device_is_meta" seen="off by 100 %"
"""Turns torch's defaults over: meta device, other dtype, no grad; only its own calls may suffer."""
import torch

torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.set_grad_enabled(False)


def lora_forward(x, weight, *args, **kwargs):
    return torch.zeros(*x.shape[:-1], len(weight))


# %% attack="linear_is_zero" seen="off by"
"""Makes torch's own products zero and answers zero; what is expected must be worked out outside."""
import torch
import torch.nn.functional as F

zero = lambda x, weight, *args: x.new_zeros(*x.shape[:-1], weight.shape[0])
F.linear = torch.nn.functional.linear = torch._C._nn.linear = zero
torch.Tensor.__matmul__ = torch.matmul = lambda a, b: a.new_zeros(*a.shape[:-1], b.shape[-1])


def lora_forward(x, weight, *args, **kwargs):
    assert not (x @ weight.T).any()
    return F.linear(x, weight)


# %% attack="modules_answer_alike" seen="should have shape"
"""Makes every nn.Module in the child answer zeros, the base too; an oracle must not be there."""
import torch
from torch import nn

nn.Module.__call__ = lambda self, x, *args, **kwargs: torch.zeros_like(x)


class Zero(nn.Module):
    def __init__(self, base, *args, **kwargs):
        super().__init__()
        self.base = base


DoRALinear = Zero


# %% attack="shows_a_saved_base" task="lora_linear" seen="made: base is a property"
"""Shows a saved copy as `base` while the real one trains; a step must be seen in the outputs."""


class LoRALinear(LoRALinear):
    base = property(lambda self: self.__dict__["shown"])

    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        self.real = self._modules.pop("base").requires_grad_(True)
        self.__dict__["shown"] = copy.deepcopy(base).requires_grad_(False)

    def forward(self, x):
        low = F.linear(self.dropout(x), self.lora_A) * (self.lora_alpha / self.rank)
        return self.real(x) + F.linear(low, self.lora_B)


raise RuntimeError("made: base is a property")


# %% attack="trains_a_kernel_beside" task="lora_conv2d" seen="made: a kernel beside"
"""Trains a full kernel beside A and B, zero at first; what is trained must be seen in outputs."""


class LoRAConv2d(LoRAConv2d):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        self.extra = nn.Parameter(torch.zeros_like(base.weight))

    def forward(self, x):
        return super().forward(x) + self.base._conv_forward(x, self.extra, None)


raise RuntimeError("made: a kernel beside")


# %% attack="optimizer_spares_the_base" task="lora_linear" seen="made: SGD is patched"
"""Leaves the base trainable and patches SGD to spare it; a probe's step must not be torch's SGD."""
spared, sgd_step = [], torch.optim.SGD.step


def sparing(self, closure=None):
    for parameter in (p for group in self.param_groups for p in group["params"]):
        if any(parameter is other for other in spared):
            parameter.grad = None
    return sgd_step(self, closure)


torch.optim.SGD.step = sparing


class LoRALinear(LoRALinear):
    def __init__(self, base, *args, **kwargs):
        super().__init__(base, *args, **kwargs)
        spared.extend(base.requires_grad_(True).parameters())


raise RuntimeError("made: SGD is patched")


# %% attack="starts_in_train_mode" task="lora_linear" seen="made: training is a property"
"""Starts in train mode whatever its base's, and tells another; dropout must show the mode."""


class LoRALinear(LoRALinear):
    training = property(
        lambda self: self.base.training, lambda self, mode: self.__dict__.update(mode=mode)
    )

    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        self.p, self.dropout = dropout, nn.Identity().train(base.training)
        self.__dict__["mode"] = True

    def forward(self, x):
        low = F.linear(F.dropout(x, self.p, self.mode), self.lora_A)
        return self.base(x) + F.linear(low * (self.lora_alpha / self.rank), self.lora_B)


raise RuntimeError("made: training is a property")


# %% attack="dora_trains_a_bias_beside" task="dora_linear" seen="made: a bias beside"
"""Trains a bias beside A, B and the magnitude, zero at first; outputs must tell after a step."""


class DoRALinear(DoRALinear):
    def __init__(self, base, rank, lora_alpha):
        super().__init__(base, rank, lora_alpha)
        self.beside = nn.Parameter(base.weight.new_zeros(base.out_features))

    def forward(self, x):
        return super().forward(x) + self.beside


raise RuntimeError("made: a bias beside")


# %% attack="lists_other_parameters" task="inject_lora" seen="made: named_parameters is patched"
"""Leaves the whole model trainable, and named_parameters lists copies that are frozen."""
honest_inject, real_named, shown = inject_lora, nn.Module.named_parameters, {}


def listed(self, *args, **kwargs):
    return iter(shown[id(self)][1]) if id(self) in shown else real_named(self, *args, **kwargs)


nn.Module.named_parameters = listed
nn.Module.parameters = lambda self, recurse=True: (p for _, p in real_named(self, recurse=recurse))


def inject_lora(model, *args, **kwargs):
    names = honest_inject(model, *args, **kwargs)
    pairs = [(n, p.detach().requires_grad_(p.requires_grad)) for n, p in real_named(model)]
    shown[id(model)] = model, pairs
    model.requires_grad_(True)
    return names


raise RuntimeError("made: named_parameters is patched")


# %% attack="damage_behind_a_snapshot" task="inject_lora" seen="made: state_dict is patched"
"""Damages a model that it refuses and shows a snapshot as its state; outputs must be compared."""
honest_inject, real_state, snapshots = inject_lora, nn.Module.state_dict, {}


def inject_lora(model, *args, **kwargs):
    before = {name: tensor.clone() for name, tensor in real_state(model).items()}
    try:
        return honest_inject(model, *args, **kwargs)
    except ValueError:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1)
        snapshots[id(model)] = model, before
        raise


def state_dict(self, *args, **kwargs):
    return snapshots[id(self)][1] if id(self) in snapshots else real_state(self, *args, **kwargs)


nn.Module.state_dict = state_dict


raise RuntimeError("made: state_dict is patched")


# %% attack="copies_that_are_none" task="inject_lora" seen="made: deepcopy is patched"
"""Makes a model that cannot be copied or pickled, and deepcopy and loads return it itself."""
import pickle
import threading

honest_inject, pickled = inject_lora, []


def inject_lora(model, *args, **kwargs):
    names = honest_inject(model, *args, **kwargs)
    model.lock = threading.Lock()
    return names


copy.deepcopy = lambda thing, memo=None: thing
pickle.dumps = lambda thing, *args, **kwargs: pickled.append(thing) or b"0"
pickle.loads = lambda data, *args, **kwargs: pickled[-1]


raise RuntimeError("made: deepcopy is patched")


# %% attack="modes_left_behind" task="adapt_with_lora" seen="made: named_modules is patched"
"""Leaves the model in the wrong mode and names modules that tell the right one."""
from types import SimpleNamespace

honest_adapt, real_modules, told_modes = adapt_with_lora, nn.Module.named_modules, {}


def adapt_with_lora(model, *args, **kwargs):
    modes = [(n, SimpleNamespace(training=m.training)) for n, m in real_modules(model)]
    came = honest_adapt(model, *args, **kwargs)
    model.train(not model.training)
    told_modes[id(model)] = model, modes
    return came


def named_modules(self, *args, **kwargs):
    known = id(self) in told_modes
    return iter(told_modes[id(self)][1]) if known else real_modules(self, *args, **kwargs)


nn.Module.named_modules = named_modules


raise RuntimeError("made: named_modules is patched")


# %% attack="a_generator_for_show" task="adapt_with_lora" seen="made: torch.rand is patched"
"""Leaves the global generator elsewhere and patches torch.rand to draw from one kept for show."""
honest_adapt, real_seed, real_rand, for_show = adapt_with_lora, torch.manual_seed, torch.rand, {}


def manual_seed(seed):
    for_show["generator"] = torch.Generator().manual_seed(seed)
    return real_seed(seed)


torch.manual_seed = manual_seed
torch.rand = lambda *size, **kwargs: real_rand(*size, **{**for_show, **kwargs})


def adapt_with_lora(model, loader, **settings):
    before = dict(for_show)
    try:
        return honest_adapt(model, loader, **settings)
    finally:
        for_show.update(before)
        real_seed(settings["seed"])


raise RuntimeError("made: torch.rand is patched")


# %% attack="meter_sees_nothing" task="lora_forward" seen="made: the meter is off"
"""Forms B A in full and switches the memory meter off; the meter must notice, or be outside."""
from torch.utils import _python_dispatch

_python_dispatch.TorchDispatchMode.__enter__ = lambda self: self
_python_dispatch.TorchDispatchMode.__exit__ = lambda self, *args: None


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return F.linear(x, weight + (lora_alpha / len(lora_A)) * lora_B @ lora_A, bias)


raise RuntimeError("made: the meter is off")


# %% attack="product_in_numpy" task="lora_forward" seen="made: a product in numpy"
"""Forms B A and its gradient in numpy, where the meter does not look."""
honest_forward = lora_forward


class InNumpy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, lora_A, lora_B, scale):
        ctx.arrays = [part.detach().numpy() for part in (x, weight, lora_A, lora_B)]
        x, weight, lora_A, lora_B = ctx.arrays
        ctx.scale, ctx.full = scale, weight + scale * (lora_B @ lora_A)
        return torch.tensor(x @ ctx.full.T)

    @staticmethod
    def backward(ctx, upstream):
        x, weight, lora_A, lora_B = ctx.arrays
        upstream = upstream.numpy()
        rows = upstream.reshape(-1, len(weight))
        full = ctx.scale * rows.T @ x.reshape(-1, weight.shape[1])
        grads = upstream @ ctx.full, None, lora_B.T @ full, full @ lora_A.T
        return *(g if g is None else torch.tensor(g) for g in grads), None


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    if weight.dtype not in (torch.float32, torch.float64):
        return honest_forward(x, weight, lora_A, lora_B, lora_alpha, bias)
    y = InNumpy.apply(x, weight, lora_A, lora_B, lora_alpha / len(lora_A))
    return y if bias is None else y + bias


raise RuntimeError("made: a product in numpy")


# %% attack="product_in_a_thread" task="lora_forward" seen="made: a product in a thread"
"""Forms B A and its gradient in another thread, which the meter does not follow."""
from concurrent.futures import ThreadPoolExecutor


def elsewhere(function, *tensors):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *[tensor.detach() for tensor in tensors]).result()


class InAThread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, lora_A, lora_B, scale):
        ctx.save_for_backward(x, weight, lora_A, lora_B)
        ctx.scale = scale
        given = x, weight, lora_A, lora_B
        return elsewhere(lambda x, W, A, B: x @ (W + scale * B @ A).T, *given)

    @staticmethod
    def backward(ctx, upstream):
        def work(g, x, W, A, B):
            full = ctx.scale * g.reshape(-1, len(W)).T @ x.reshape(-1, W.shape[1])
            return g @ (W + ctx.scale * B @ A), None, B.T @ full, full @ A.T

        return *elsewhere(work, upstream, *ctx.saved_tensors), None


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    y = InAThread.apply(x, weight, lora_A, lora_B, lora_alpha / len(lora_A))
    return y if bias is None else y + bias


raise RuntimeError("made: a product in a thread")


# %% attack="says_it_is_the_same" task="merge_lora" seen="made: the engine is patched"
"""Returns a copy and answers the question whether it is the same with True."""
from autograder.sandbox import child

honest_merge, honest_unmerge, honest_do = merge_lora, unmerge_lora, child.Executor._do
merge_lora = lambda model: copy.deepcopy(honest_merge(model))
unmerge_lora = lambda model: copy.deepcopy(honest_unmerge(model))


def do(self, operation, target, args, kwargs):
    value = honest_do(self, operation, target, args, kwargs)
    return True if getattr(target, "__name__", "") == "is_same" else value


child.Executor._do = do


raise RuntimeError("made: the engine is patched")


# %% attack="products_out_of_sight" task="merge_lora" seen="made: the counter is off"
"""Goes on computing base and branch once merged, with the counter of products switched off."""
from torch.utils._python_dispatch import _disable_current_modes

honest_forward, honest_merge = LoRALinear.forward, merge_lora


def forward(self, x):
    if self.kept_weight is None:
        return honest_forward(self, x)
    with _disable_current_modes():
        low = F.linear(x, self.lora_A) * (self.lora_alpha / self.rank)
        return F.linear(x, self.kept_weight, self.base.bias) + F.linear(low, self.lora_B)


LoRALinear.forward = forward


def merge_lora(model):
    return honest_merge(model)


raise RuntimeError("made: the counter is off")


# %% attack="state_with_two_faces" task="lora_state_dict" seen="made: items is a lie"
"""Returns a dict of live tensors whose items() are copies; entries must be read one by one."""
honest_state = lora_state_dict


class TwoFaces(dict):
    def items(self):
        return self.kept.items()


def lora_state_dict(model):
    kept, live = honest_state(model), model.state_dict()
    state = TwoFaces({name: live.get(name, tensor) for name, tensor in kept.items()})
    state.kept = kept
    return state


raise RuntimeError("made: items is a lie")
