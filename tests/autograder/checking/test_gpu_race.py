"""The GPU path, as far as a machine without a GPU can run it: on the CPU in the GPU's place."""

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autograder.checking import gpu_race, race
from autograder.checking.expect import CheckFailed, Inputs, expect_close
from autograder.checking.gpu_race import Arena, NotCounted, Nowhere, Rehearsal
from autograder.checking.race import LEAD
from autograder.sandbox import outer_wall
from autograder.sandbox.errors import SandboxError, StudentError
from tests import gpu
from tests.conftest import LIMITS, ROOT, cells

KERNEL = """
def repeated(x):
    for _ in range({}):
        y = x @ x.T
    return y
"""
OUT_OF_MEMORY = """
import torch

def repeated(x):
    raise torch.OutOfMemoryError("CUDA out of memory.")
"""


@pytest.fixture
def arena(sandbox, tmp_path):
    lock = tmp_path / "nvidia0"
    lock.touch()
    return Arena("cpu", lock, sandbox)


def make_race(arena, student, reference):
    return gpu_race.Race(arena, cells(student), cells(reference), LIMITS, 0.8, 5.0)


def go(made, prepare=lambda side: side.repeated):
    rng = Inputs([1])

    def verify(came, expected, x):
        expect_close(came, expected, "Not equal.")

    made.time(prepare, lambda: (rng.normal(64, 64),), verify)


def test_as_fast_passes_and_leaves_a_figure(arena):
    made = make_race(arena, KERNEL.format(60), KERNEL.format(100))
    go(made)
    assert made.figure.kind == "speed" and LEAD <= made.figure.pairs <= gpu_race.CALLS
    assert made.device == "cpu"


def test_far_slower_fails(arena):
    with pytest.raises(CheckFailed, match=r"Slower than 0.8 × the reference"):
        go(make_race(arena, KERNEL.format(600), KERNEL.format(60)))


def test_slow_by_a_little_is_measured_again_in_new_processes(arena, monkeypatch):
    monkeypatch.setattr(race, "HOPELESS", 3.0)
    begun, fork = [], arena.sandbox.fork
    monkeypatch.setattr(arena.sandbox, "fork", lambda limits: begun.append(1) or fork(limits))
    with pytest.raises(CheckFailed, match=r"Slower than 0.8 × the reference"):
        go(make_race(arena, KERNEL.format(750), KERNEL.format(300)))
    assert len(begun) == race.TRIES * 3, (
        "a reference's block, the student's, and a reference's again"
    )


def test_wrong_results_fail(arena):
    with pytest.raises(CheckFailed, match="Not equal"):
        go(make_race(arena, "def repeated(x): return x", KERNEL.format(60)))


def test_each_block_is_a_new_process_alone(arena):
    """The first calls of a block see nothing of an earlier one."""
    counting = """
calls = []
def repeated(x):
    calls.append(sum(range({})))
    return len(calls)
"""
    seen = {"student": [], "reference": []}
    made = make_race(arena, counting.format(1), counting.format(1_000_000))
    made.time(
        lambda side: side.repeated,
        lambda: (1,),
        lambda came, expected, x: (
            seen["student"].append(came),
            seen["reference"].append(expected),
        ),
    )
    half = gpu_race.WARM_UP + gpu_race.CALLS // 2
    assert seen["student"] == list(range(1, gpu_race.WARM_UP + gpu_race.CALLS + 1))
    assert seen["reference"] == [*range(1, half + 1), *range(gpu_race.WARM_UP + 1, half + 1)]


def test_out_of_memory_is_the_students_failure_but_not_the_references(arena):
    with pytest.raises(StudentError, match="OutOfMemoryError"):
        go(make_race(arena, OUT_OF_MEMORY, KERNEL.format(10)))
    with pytest.raises(NotCounted, match="too small"):
        go(make_race(arena, KERNEL.format(10), OUT_OF_MEMORY))


def test_a_broken_reference_is_not_the_students(arena):
    with pytest.raises(SandboxError, match="the reference could not be run"):
        go(make_race(arena, KERNEL.format(10), "def repeated(x): raise KeyError"))


def test_the_device_is_locked_while_it_is_timed(arena):
    begun, order = threading.Event(), []

    def hold():
        with arena.alone():
            begun.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    with arena.alone():
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_the_devices_are_found_without_cuda(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_race.nodes(tmp_path) == []
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpu_race.nodes(tmp_path) == [
        tmp_path / n for n in ("nvidia0", "nvidiactl", "nvidia-uvm")
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert gpu_race.nodes(tmp_path)[0] == tmp_path / "nvidia1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_race.nodes(tmp_path) == []


def test_the_sandbox_of_a_gpu_has_its_devices_and_no_other_has(tmp_path):
    devices = (Path("/dev/nvidia0"), Path("/dev/nvidiactl"))
    line = outer_wall.command("nested", devices=devices)
    for device in devices:
        at = line.index(str(device))
        assert line[at - 1 : at + 2] == ["--dev-bind", str(device), str(device)]
        assert at < line.index("/dev", at)
    assert "/sys" in line
    assert not [each for each in outer_wall.command("nested") if "nvidia" in each or each == "/sys"]


def test_without_a_gpu_nothing_is_counted():
    nowhere = Nowhere()
    with pytest.raises(NotCounted, match="no GPU here"):
        nowhere.time()
    with pytest.raises(NotCounted):
        _ = nowhere.device


def test_a_gpu_that_does_not_work_in_the_sandbox_says_so(monkeypatch, sandbox, tmp_path):
    node = tmp_path / "nvidia0"
    node.touch()
    monkeypatch.setattr(gpu_race, "nodes", lambda: [node])
    monkeypatch.setattr(gpu_race, "Zygote", lambda *args, **kwargs: sandbox)
    with pytest.raises(SandboxError, match="the GPU does not work in the sandbox"):
        gpu_race.open_arena()


@pytest.mark.parametrize("task", gpu.CHECKS)
def test_each_lesson_s_check_tells_the_naive_answer_from_the_reference(sandbox, tmp_path, task):
    lock = tmp_path / "nvidia0"
    lock.touch()
    arena, answers = Rehearsal("cpu", lock, sandbox), gpu.answers(task)
    assert len(answers) >= 4, "the reference, the naive one, and two right ones written otherwise"
    right, naive = (gpu.judge(task, answers[name], arena) for name in ("reference", "naive"))
    assert right.passed and right.figure is not None, right
    assert not naive.passed and re.search(r"Slower than|After the forward", naive.message), naive


def test_memory_that_a_forward_lets_go_of_is_not_set_off(sandbox, tmp_path):
    """What was held before and is given back meanwhile makes no room."""
    lock = tmp_path / "nvidia0"
    lock.touch()
    naive = gpu.answers("checkpointed")["naive"]
    ballast = """
ballast = [torch.ones(60 << 20)]  # 240 MB

def cheat(function):
    def forward(blocks, x):
        ballast.clear()
        return function(blocks, x)
    return forward
"""
    source = f"{naive}\n{ballast}\ncheckpointed = cheat(checkpointed)"
    assert not gpu.judge("checkpointed", source, Rehearsal("cpu", lock, sandbox)).passed


def test_the_benchmark_for_a_gpu_machine_runs_on_the_cpu_in_its_place():
    """As much of it as the time allows; it says what is left out, and that this is not all."""
    script = ROOT / "benchmarks" / "gpu.py"
    options = ["--rehearse", "--only", "distill", "--minutes", "0.1"]
    ended = subprocess.run(
        [sys.executable, script, *options], capture_output=True, text=True, check=False, cwd=ROOT
    )
    told = json.loads(ended.stdout.splitlines()[-1])
    assert set(told) == {"graded", "checks", "verdicts", "left_out", "seconds"}
    assert told["graded"] == told["checks"]["distill"].get("reference", "passed") == "passed"
    assert told["left_out"] and ended.returncode == 1, ended.stderr[-2000:]
