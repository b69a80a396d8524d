"""Settings of the whole process are put back, and those that nobody may leave changed are told."""

import warnings

import numpy as np
import pytest
import torch

from autograder.sandbox.settings import FOR_GOOD, Settings
from tests.conftest import running


@pytest.fixture(autouse=True)
def put_back():
    before = Settings()
    yield
    before.put_back()


CHANGES = {
    "torch's grad mode": lambda: torch.set_grad_enabled(False),
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's default device": lambda: torch.set_default_device("meta"),
    "torch's number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "torch's anomaly mode": lambda: torch.autograd.set_detect_anomaly(True),
}


@pytest.mark.parametrize("name", FOR_GOOD)
def test_each_setting_is_told_and_put_back(name):
    settings = Settings()
    assert settings.put_back() == []
    CHANGES[name]()
    assert settings.put_back() == [name]
    assert settings.put_back() == []


def test_what_an_import_may_change_is_put_back_and_not_told():
    settings = Settings()
    before = torch._tensor_str.PRINT_OPTS.precision, list(warnings.filters)
    torch.set_printoptions(precision=1)
    np.seterr(all="raise")
    warnings.simplefilter("error")
    assert settings.put_back() == []
    assert (torch._tensor_str.PRINT_OPTS.precision, list(warnings.filters)) == before
    assert np.geterr()["over"] == "warn"


def test_what_cells_leave_changed_is_put_back_before_the_first_check(sandbox):
    cell = "import torch\ntorch.set_grad_enabled(False)\nenabled = torch.is_grad_enabled"
    with running(sandbox, cell) as (student, _):
        assert student.enabled() is True


def test_what_a_reply_claims_to_have_changed_is_one_of_ours(sandbox):
    lie = """
from autograder.sandbox import settings
settings.Settings.put_back = lambda self: ["<b>42</b>", "torch's grad mode"]
"""
    with running(sandbox, lie) as (student, _):
        assert student._settle() == ["torch's grad mode"]
