"""What checks compare with, held to the libraries whose ways the lessons teach."""

import copy
import sys

import peft
import pytest
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from autograder.checking import check_files, plugin


def hidden(lesson):
    """A lesson's hidden checks as a module, imported as they are for grading."""
    plugin.census(check_files.files(lesson, hidden=True))
    return sys.modules[f"hidden.test_{lesson}"]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rank, alpha", [(2, 6.0), (3, 3.0)])
def test_our_dora_is_peft_s(rank, alpha, bias):
    base, x, upstream = nn.Linear(6, 4, bias=bias), torch.randn(5, 6), torch.randn(5, 4)
    values = {
        "lora_A": torch.randn(rank, 6),
        "lora_B": torch.randn(4, rank),
        "magnitude": torch.rand(4) + 0.5,
    }
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"], use_dora=True)
    theirs = peft.get_peft_model(nn.Sequential(copy.deepcopy(base)), config).base_model.model[0]
    parts = {
        "lora_A": theirs.lora_A["default"].weight,
        "lora_B": theirs.lora_B["default"].weight,
        "magnitude": theirs.lora_magnitude_vector["default"].weight,
    }
    with torch.no_grad():
        for name, part in parts.items():
            part.copy_(values[name])
    ours = hidden("lora").PlainDora(base, values, rank, alpha)
    torch.testing.assert_close(ours(x), theirs(x))
    ours(x).backward(upstream)
    theirs(x).backward(upstream)
    for name, part in parts.items():
        torch.testing.assert_close(getattr(ours, name).grad, part.grad)


@pytest.mark.parametrize("total, warmup", [(10, 0), (50, 7), (4, 4)])
def test_our_linear_schedule_is_transformers_s(total, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, warmup, total).lr_lambdas[0]
    ours = hidden("sft").linear_schedule
    for step in range(total + 3):
        assert ours(step, total, warmup) == pytest.approx(theirs(step))
