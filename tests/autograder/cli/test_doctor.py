"""What `doctor` says of this machine, and of worse ones."""

import shutil

import pytest
import torch

from autograder.checking import gpu_race
from autograder.cli import doctor
from autograder.sandbox import launch


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_this_machine_is_good_enough(warm):
    found = by_name(doctor.examine())
    assert all(finding.good for finding in found.values() if finding.needed), found
    assert not found["GPU"].needed
    assert "torch" in found["libraries"].found


def test_what_is_missing_comes_with_the_way_to_mend_it(monkeypatch):
    def refused(hide=()):
        raise launch.SandboxError("no sandbox works here. Do this.")

    monkeypatch.setattr(launch, "start", refused)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    found = by_name(doctor.examine())
    assert not found["sandbox"].good and "Do this." in found["sandbox"].mend
    assert not found["disk"].good and found["disk"].mend


@pytest.mark.parametrize("cuda, said", [("13.0", "TORCH=cpu"), (None, "not counted")])
def test_without_a_gpu_it_says_which_build_of_torch_would_do(monkeypatch, cuda, said):
    monkeypatch.setattr(gpu_race, "open_arena", gpu_race.Nowhere)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    found = doctor._gpu()
    assert said in found.mend and not found.needed
    assert ("TORCH=cpu" in found.mend) == ("CUDA" in found.found) == (cuda is not None)


def test_the_slower_isolation_is_said_to_be_slow(monkeypatch):
    monkeypatch.setattr(launch, "start", lambda *_: launch.Fresh("single"))
    found = by_name(doctor.examine())["sandbox"]
    assert found.good and "single" in found.found and "slowly" in found.mend
