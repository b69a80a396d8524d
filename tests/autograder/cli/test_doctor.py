"""What `doctor` says of this machine, and of worse ones."""

import shutil
import sysconfig
import tempfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from autograder.checking import gpu_race
from autograder.cli import doctor, main
from autograder.sandbox import launch
from tests.conftest import ROOT


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


@pytest.fixture
def among_the_libraries():
    """A folder that lies where the interpreter's own do, with something in it to see."""
    with tempfile.TemporaryDirectory(dir=sysconfig.get_path("purelib")) as name:
        Path(name).chmod(0o755)
        (Path(name) / "test_lora.py").write_text("# secret")
        yield Path(name)


def test_what_a_grader_has_is_not_seen_from_inside(among_the_libraries, tmp_path, monkeypatch):
    folders = [among_the_libraries, tmp_path]
    found = doctor.look_from_inside(folders)
    assert [finding.name for finding in found] == [str(ROOT), *map(str, folders)]
    assert all(finding.good for finding in found), found
    start = launch.start
    monkeypatch.setattr(launch, "start", lambda hide, **options: start(**options))
    _, seen, _ = doctor.look_from_inside(folders)
    assert not seen.good and "test_lora.py" in seen.found


def test_folders_are_for_looking_from_inside(tmp_path):
    for args, why in (([tmp_path], "--sandbox"), (["--sandbox", tmp_path / "x"], "no such folder")):
        ended = CliRunner().invoke(main, ["doctor", *map(str, args)])
        assert ended.exit_code == 2 and why in ended.output


def test_the_slower_isolation_is_said_to_be_slow(monkeypatch):
    monkeypatch.setattr(launch, "start", lambda *_: launch.Fresh("single"))
    found = by_name(doctor.examine())["sandbox"]
    assert found.good and "single" in found.found and "slowly" in found.mend
