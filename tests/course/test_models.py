import importlib.util
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

import course.models
from course.data import mnist
from course.models import WEIGHTS, BasicBlock, SmallResNet, pretrained_resnet

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_resnet.py"


@pytest.fixture(autouse=True)
def one_thread():
    """On a busy machine threads that wait for each other make small models 20 times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_logits_have_one_column_a_class():
    images = torch.randn(3, 1, 28, 28)
    assert SmallResNet().eval()(images).shape == (3, 5)
    assert SmallResNet(num_classes=7, width=4).eval()(images).shape == (3, 7)


def test_size_is_as_stated():
    assert sum(p.numel() for p in SmallResNet().parameters()) == 174_645
    assert "174,645" in SmallResNet.__doc__
    assert WEIGHTS.stat().st_size < 1_000_000


def test_names_of_modules_are_those_of_torchvision():
    theirs = set(torchvision.models.resnet18(weights=None).state_dict())
    assert set(SmallResNet().state_dict()) < theirs


def test_a_block_equals_torchvisions():
    torch.manual_seed(0)
    for stride, out in ((1, 8), (2, 16)):
        ours = BasicBlock(8, out, stride)
        theirs = torchvision.models.resnet.BasicBlock(8, out, stride, ours.downsample)
        theirs.load_state_dict(ours.state_dict())
        x = torch.randn(4, 8, 14, 14)
        torch.testing.assert_close(ours(x), theirs(x))


def test_a_block_of_zeros_passes_its_input_on():
    block = BasicBlock(4, 4).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.rand(2, 4, 7, 7)
    assert torch.equal(block(x), x)


def test_weights_load_strictly_and_hold_every_key():
    weights = load_file(WEIGHTS)
    state = SmallResNet().state_dict()
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in state.items()}
    assert all(torch.equal(v, weights[k]) for k, v in pretrained_resnet().state_dict().items())


def test_pretrained_is_in_eval_mode_trainable_and_new_at_every_call():
    model = pretrained_resnet()
    assert not any(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    torch.nn.init.zeros_(model.fc.weight)
    assert pretrained_resnet().fc.weight.abs().sum() > 0


@torch.no_grad()
def test_pretrained_knows_0_to_4_and_separates_5_to_9_only_in_part():
    model = pretrained_resnet()
    images, classes = mnist("test", digits=range(5)).tensors
    assert (model(images).argmax(dim=1) == classes).float().mean() >= 0.985
    images, classes = mnist("test", digits=range(5, 10)).tensors
    assert (model(images).argmax(dim=1) == classes).float().mean() <= 0.5  # another head is needed


def test_missing_weights_say_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(course.models, "WEIGHTS", tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"make_resnet\.py"):
        pretrained_resnet()


def test_weights_of_another_model_are_refused(tmp_path, monkeypatch):
    other = SmallResNet().state_dict()
    del other["fc.bias"]
    save_file(other, tmp_path / "other.safetensors")
    monkeypatch.setattr(course.models, "WEIGHTS", tmp_path / "other.safetensors")
    with pytest.raises(RuntimeError, match=r"fc\.bias"):
        pretrained_resnet()


def test_training_is_seeded_and_learns():
    spec = importlib.util.spec_from_file_location("make_resnet", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    data = mnist("train", digits=range(5), limit=800)
    first, again, other = (
        script.train(data, epochs=2, lr=3e-3, batch_size=16, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert script.accuracy(first, mnist("test", digits=range(5))) > 0.5
