# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# Ways to look fast. Each cell stands behind a right but slow answer and gives it to `cheat`; what
# comes back takes its name. None may earn the points of a speed check.

# %%
# ruff: noqa: BLE001, F811, PTH110, PTH123, SIM105

# %% cheat="cache_by_identity"
"""Keeps results by the identities of the arguments, which are new objects at each call."""


def cheat(function):
    kept = {}

    def fast(*args, **kwargs):
        key = tuple(map(id, args))
        if key not in kept:
            kept[key] = function(*args, **kwargs)
        return kept[key]

    return fast


# %% cheat="cache_by_shape"
"""Keeps one result for each shape and type of arguments, which stay; their values do not."""


def cheat(function):
    kept = {}

    def fast(*args, **kwargs):
        key = tuple((type(each), getattr(each, "shape", None)) for each in args)
        if key not in kept:
            kept[key] = function(*args, **kwargs)
        return kept[key]

    return fast


# %% cheat="cache_by_value"
"""Keeps results by a digest of all arguments; no two calls have the same."""


def cheat(function):
    import hashlib
    import pickle

    kept = {}

    def fast(*args, **kwargs):
        try:
            key = hashlib.md5(pickle.dumps((args, kwargs))).digest()
        except Exception:
            key = None
        if key not in kept or key is None:
            kept[key] = function(*args, **kwargs)
        return kept[key]

    return fast


# %% cheat="cache_on_disk"
"""Keeps results in files, from one process to the next; each process has files of its own."""


def cheat(function):
    import os
    import pickle

    def fast(*args, **kwargs):
        path = f"/tmp/kept-{len(args)}"
        if not os.path.exists(path):
            with open(path, "wb") as file:
                pickle.dump(function(*args, **kwargs), file)
        with open(path, "rb") as file:
            return pickle.load(file)

    return fast


# %% cheat="lazy_result"
"""Returns at once what computes when it is looked at; its bytes end the timed region."""


def cheat(function):
    import torch

    class LazyTensor(torch.Tensor):
        @classmethod
        def __torch_function__(cls, operation, types, args=(), kwargs=None):
            return operation(args[0].work(), *args[1:], **(kwargs or {}))

    class LazyList(list):
        def __iter__(self):
            return iter(self.work())

    def fast(*args, **kwargs):
        is_tensor = isinstance(args[0], torch.Tensor)
        lazy = torch.empty(0).as_subclass(LazyTensor) if is_tensor else LazyList()
        lazy.work = lambda: function(*args, **kwargs)
        return lazy

    return fast


# %% cheat="finished_later"
"""Returns a result that a thread fills in afterwards; what had been sent is what counts."""


def cheat(function):
    import threading

    import torch

    def fast(*args, **kwargs):
        if not isinstance(args[0], torch.Tensor):
            result = []
            threading.Thread(target=lambda: result.extend(function(*args, **kwargs))).start()
            return result
        result = torch.zeros(*args[0].shape[:-1], len(args[1]))
        work = threading.Thread(target=lambda: result.copy_(function(*args, **kwargs)))
        work.start()
        return result

    return fast


# %% cheat="patched_clocks"
"""Stops every clock of the process; the clock that counts is another's."""


def cheat(function):
    import time

    for name in ("time", "perf_counter", "monotonic", "process_time", "thread_time"):
        setattr(time, name, lambda: 0.0)
        setattr(time, f"{name}_ns", lambda: 0)
    return function


# %% cheat="work_ahead"
"""A thread looks for tensors that have been handed over and computes with them before the call."""


def cheat(function):
    import gc
    import threading
    import time

    import torch

    ahead = {}

    def look():
        while True:
            time.sleep(0.001)
            found = [each for each in gc.get_objects() if type(each) is torch.Tensor]
            for tensor in found:
                if tensor.dim() == 2 and tensor.is_floating_point() and tensor.numel() > 1 << 20:
                    ahead[id(tensor)] = tensor @ torch.zeros(tensor.shape[1], 16)

    threading.Thread(target=look, daemon=True).start()
    return function


# %% cheat="knows_when_it_is_timed"
"""Answers large inputs, which only a timed call has, from the first such call; all are verified."""


def cheat(function):
    import pickle

    first = []

    def fast(*args, **kwargs):
        try:
            is_large = len(pickle.dumps(args)) > 20_000
        except Exception:
            is_large = True
        if not is_large:
            return function(*args, **kwargs)
        if not first:
            first.append(function(*args, **kwargs))
        return first[0]

    return fast


# %% cheat="slows_the_other_down"
"""Processes that only burn time, gone from their parent, while the reference is timed."""


def cheat(function):
    import os

    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            try:
                os.sched_setaffinity(0, set(range(64)))
            except OSError:
                pass
            while True:
                sum(range(10_000))
    return function


# %% cheat="computes_elsewhere"
"""Leaves the work to processes and threads on all CPUs; all of them are on one, and all count."""


def cheat(function):
    import os

    import torch

    def fast(*args, **kwargs):
        os.sched_setaffinity(0, set(range(64)))
        torch.set_num_threads(8)
        return function(*args, **kwargs)

    return fast


# %% cheat="burns_the_time_of_others"
"""Forks a helper for the work and waits: its time is not the process's own, but the clock's."""


def cheat(function):
    import os
    import pickle

    def fast(*args, **kwargs):
        end, begin = os.pipe()
        if os.fork() == 0:
            with os.fdopen(begin, "wb") as pipe:
                pickle.dump(function(*args, **kwargs), pipe)
            os._exit(0)
        os.close(begin)
        with os.fdopen(end, "rb") as pipe:
            result = pickle.load(pipe)
        os.wait()
        return result

    return fast


# %% cheat="wakes_itself"
"""Has the kernel continue it by forty timers, to burn time while the reference is timed."""


def cheat(function):
    import ctypes
    import os
    import signal
    import struct
    import threading

    def spin():
        while True:
            sum(range(10_000))

    begun = []

    def busy(*args, **kwargs):
        if not begun:
            begun.append(os.fork())
            if begun == [0]:
                libc = ctypes.CDLL(None)
                event = ctypes.create_string_buffer(struct.pack("=Qii", 0, signal.SIGCONT, 0), 64)
                every = ctypes.create_string_buffer(struct.pack("=4q", 0, 5_000_000, 0, 5_000_000))
                for _ in range(40):
                    timer = ctypes.c_void_p()
                    libc.timer_create(1, event, ctypes.byref(timer))
                    libc.timer_settime(timer, 0, every, None)
                for _ in range(3):
                    threading.Thread(target=spin, daemon=True).start()
                spin()
        return function(*args, **kwargs)

    return busy
