import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForPreTraining, BertTokenizer
from transformers.utils import logging

import course.models
from course.data import mnist
from course.models import WEIGHTS, BasicBlock, SmallResNet, pretrained_bert, pretrained_resnet

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "make_resnet.py"


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


def weights_without_head(model) -> dict[str, torch.Tensor]:
    return {k: v for k, v in model.bert.state_dict().items() if k != "embeddings.position_ids"}


def test_bert_is_the_encoder_of_the_package_under_a_new_head():
    model, tokenizer = pretrained_bert(8)
    file = load_file(course.models._small_bert() / "model.safetensors")
    ours = weights_without_head(model)
    assert all(torch.equal(weight, file[name]) for name, weight in ours.items())
    assert len(ours) == 103
    assert sum(p.numel() for p in model.parameters()) == 22_713_216 + 8 * 384 + 8
    assert not any(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    assert tokenizer("Why LoRA?").input_ids == tokenizer("why lora?").input_ids


@torch.no_grad()
def test_bert_has_a_logit_a_label_and_padding_does_not_change_it():
    model, tokenizer = pretrained_bert(3)
    texts = ["Why warm up?", "What does a longer question look like to a model that pads?"]
    logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    assert logits.shape == (2, 3)
    assert logits.dtype == torch.float32
    alone = model(**tokenizer(texts[:1], return_tensors="pt")).logits
    torch.testing.assert_close(alone, logits[:1], atol=1e-5, rtol=1e-4)


def test_the_head_is_drawn_from_the_seed():
    def head(seed):
        torch.manual_seed(seed)
        return pretrained_bert(4)[0].classifier.weight

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


OFFLINE = """
import socket, sys
def refuse(*arguments, **more): raise OSError("no network here")
socket.socket.connect = socket.getaddrinfo = refuse
from course.models import pretrained_bert
assert "transformers" not in sys.modules, "transformers is imported before anyone asks for BERT"
model, tokenizer = pretrained_bert(2)
assert "sentence_transformers" not in sys.modules
print(*model(**tokenizer("Why?", return_tensors="pt")).logits.shape)
"""


def test_bert_needs_no_network_no_home_and_says_nothing_on_stderr():
    quiet = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    ended = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        cwd=ROOT,
        env={**quiet, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1 2\n", "")


def save_tiny_bert(folder: Path) -> None:
    """Save what the hub has of bert-base-uncased, but tiny: an encoder under pretraining heads."""
    folder.mkdir(exist_ok=True)
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = BertConfig(vocab_size=7, intermediate_size=16, max_position_embeddings=12, **sizes)
    BertForPreTraining(config).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "why", "?"]
    vocabulary = {word: number for number, word in enumerate(words)}
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)


def test_full_takes_the_encoder_from_under_pretraining_heads(tmp_path, monkeypatch, capfd):
    save_tiny_bert(tmp_path)
    monkeypatch.setattr(course.models, "FULL_BERT", str(tmp_path))
    capfd.readouterr()
    model, tokenizer = pretrained_bert(5, full=True)
    assert capfd.readouterr().err == ""
    assert model(**tokenizer("Why?", return_tensors="pt")).logits.shape == (1, 5)
    saved = load_file(tmp_path / "model.safetensors")
    ours = weights_without_head(model)
    assert all(torch.equal(weight, saved[f"bert.{name}"]) for name, weight in ours.items())


def test_an_encoder_without_all_its_weights_is_refused(tmp_path, monkeypatch):
    save_tiny_bert(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    del weights["bert.pooler.dense.bias"]
    save_file(weights, file, metadata={"format": "pt"})
    monkeypatch.setattr(course.models, "FULL_BERT", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"lacks 1 weights.*pooler\.dense\.bias"):
        pretrained_bert(5, full=True)


def test_transformers_speaks_again_after_the_load():
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    try:
        pretrained_bert(2)
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, True)
    finally:
        logging.set_verbosity(before[0])
        (logging.enable_progress_bar if before[1] else logging.disable_progress_bar)()


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(course.models, "BERT", "no-such-package")
    with pytest.raises(ModuleNotFoundError, match=r"pip install.*no-such-package.*full=True"):
        pretrained_bert(2)


def test_a_head_without_labels_is_refused():
    with pytest.raises(ValueError, match="at least 1, not 0"):
        pretrained_bert(0)
