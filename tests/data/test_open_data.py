"""Datasets in every official form, and what a damaged, hostile or misspelt one says."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bincompress.data import dataset_names, default_normalize, open_data
from bincompress.data.cifar import unpickle
from bincompress.data.idx import parse_idx
from bincompress.errors import BincompressError, DataError, UsageError

RNG = np.random.default_rng(0)
PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


def idx_bytes(array: np.ndarray[Any, Any]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, suffix: str = "", separator: str = "-") -> tuple[Any, Any]:
    images = RNG.integers(0, 256, (7, 28, 28), dtype=np.uint8)
    labels = np.arange(7, dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in (("t10k-images", images), ("t10k-labels", labels)):
        name = f"{stem}{separator}idx{array.ndim}-ubyte{suffix}"
        (folder / name).write_bytes(PACKERS[suffix](idx_bytes(array)))
    return images, labels


def cifar_rows(n: int = 4) -> Any:
    return RNG.integers(0, 256, (n, 3072), dtype=np.uint8)


def cifar_pickle(rows: Any, labels: list[int], key: str = "labels") -> bytes:
    # Python 2 wrote byte strings; protocol 2 with latin-1 text of arrays, as the official files have.
    return pickle.dumps({b"data": rows, key.encode(): labels, b"filenames": [b"a.png"] * len(labels)}, protocol=2)


def one_line(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    assert 0 < len(text) < 500
    return text


# --- official forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("subfolder", ["", "raw", "MNIST/raw"])
def test_mnist_plain_or_compressed_in_any_usual_folder(tmp_path: Path, suffix: str, subfolder: str) -> None:
    images, labels = write_mnist(tmp_path / subfolder, suffix)
    split = open_data(f"mnist:{tmp_path}#test")
    assert split.images.shape == (7, 1, 28, 28)
    assert (split.images[:, 0] == images).all()
    assert split.labels.dtype == np.int64
    assert (split.labels == labels).all()
    assert split.name == "mnist#test"
    assert split.images.flags.writeable


def test_mnist_with_a_dot_in_the_names(tmp_path: Path) -> None:
    write_mnist(tmp_path, separator=".")
    assert len(open_data(f"fashion-mnist:{tmp_path}")) == 7


@pytest.mark.parametrize("suffix", PACKERS)
def test_cifar10_python_batches(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rows = [cifar_rows(2) for _ in range(5)]
    for i, part in enumerate(rows, 1):
        (folder / f"data_batch_{i}{suffix}").write_bytes(PACKERS[suffix](cifar_pickle(part, [i, 0])))
    split = open_data(f"cifar10:{tmp_path}#train")
    assert (split.images.reshape(10, -1) == np.concatenate(rows)).all()
    assert split.labels.tolist() == [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]
    assert split.classes[3] == "cat"


def test_cifar10_binary_batches(tmp_path: Path) -> None:
    rows = cifar_rows(3)
    records = np.concatenate([np.array([[9], [0], [4]], np.uint8), rows], axis=1)
    (tmp_path / "test_batch.bin").write_bytes(records.tobytes())
    split = open_data(f"cifar10:{tmp_path}")
    assert (split.images.reshape(3, -1) == rows).all()
    assert split.labels.tolist() == [9, 0, 4]


@pytest.mark.parametrize("where", ["directory", "file"])
def test_cifar10_straight_from_the_archive(tmp_path: Path, where: str) -> None:
    rows = cifar_rows(3)
    data = cifar_pickle(rows, [1, 2, 3])
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-py/test_batch")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    split = open_data(f"cifar10:{tmp_path if where == 'directory' else archive}")
    assert (split.images.reshape(3, -1) == rows).all()


def test_cifar100_has_fine_labels_and_their_names(tmp_path: Path) -> None:
    rows = cifar_rows(2)
    (tmp_path / "test").write_bytes(cifar_pickle(rows, [99, 3], "fine_labels"))
    names = [f"class {i}".encode() for i in range(100)]
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}, protocol=2))
    split = open_data(f"cifar100:{tmp_path}")
    assert split.labels.tolist() == [99, 3]
    assert split.classes[99] == "class 99"


def test_cifar100_with_a_damaged_list_of_names(tmp_path: Path) -> None:
    (tmp_path / "test").write_bytes(cifar_pickle(cifar_rows(1), [99], "fine_labels"))
    for data in (pickle.dumps({}, protocol=2), b"\x80\x02"):
        (tmp_path / "meta").write_bytes(data)
        with pytest.raises(DataError, match="meta"):
            open_data(f"cifar100:{tmp_path}")


def test_cifar100_binary(tmp_path: Path) -> None:
    record = bytes((7, 42)) + bytes(3072)
    (tmp_path / "test.bin").write_bytes(record)
    assert open_data(f"cifar100:{tmp_path}").labels.tolist() == [42]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "test_batch"
    for label in (1, 2):
        path.write_bytes(cifar_pickle(cifar_rows(1), [label]))
        os.utime(path, ns=(label, label))
        assert open_data(f"cifar10:{tmp_path}").labels.tolist() == [label]


def test_svhn_turns_label_10_into_0(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    pixels = RNG.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    scipy_io.savemat(tmp_path / "test_32x32.mat", {"X": pixels, "y": np.array([[10], [1], [9], [10]], np.uint8)})
    split = open_data(f"svhn:{tmp_path}")
    assert split.labels.tolist() == [0, 1, 9, 0]
    assert split.images[2, 1, 5, 6] == pixels[5, 6, 1, 2]


def test_digits_are_split_once_and_for_all() -> None:
    pytest.importorskip("sklearn")
    train, test = open_data("digits#train"), open_data("digits#test")
    assert (len(train), len(test)) == (1438, 359)
    assert train.images.shape[1:] == (1, 8, 8)
    assert train.images.max() == 255
    assert np.bincount(test.labels).min() > 20


@pytest.mark.parametrize(
    "names", [("test_images", "test_labels"), ("x_test", "y_test"), ("images", "labels"), ("x", "y")]
)
def test_npz_under_the_usual_names(tmp_path: Path, names: tuple[str, str]) -> None:
    images = RNG.integers(0, 256, (5, 9, 8), dtype=np.uint8)
    arrays: dict[str, Any] = {names[0]: images, names[1]: np.arange(5)[:, None], "classes": np.array(list("abcde"))}
    np.savez(tmp_path / "d.npz", **arrays)
    split = open_data(f"npz:{tmp_path / 'd.npz'}")
    assert split.images.shape == (5, 1, 9, 8)
    assert split.labels.tolist() == [0, 1, 2, 3, 4]
    assert split.classes == tuple("abcde")


def test_a_function_of_the_user_gets_the_split(tmp_path: Path) -> None:
    (tmp_path / "helper_of_mine.py").write_text("N = 3\n")
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom helper_of_mine import N\n"
        "def pairs(split):\n"
        "    return np.full((N, 3, 4, 4), split == 'train', np.uint8), np.arange(N)\n"
    )
    assert open_data(f"{tmp_path}/mine.py:pairs#train").images.all()
    assert not open_data(f"{tmp_path}/mine.py:pairs", split="test").images.any()


def write_image(path: Path, size: tuple[int, int], value: int, mode: str = "RGB") -> None:
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.new(mode, size, value if mode == "L" else (value, 0, 255)).save(path)


def test_imagefolder_reads_classes_in_order(tmp_path: Path) -> None:
    for i, name in enumerate(("ant", "bee")):
        write_image(tmp_path / "train" / name / "1.png", (6, 4), 10 + i)
        write_image(tmp_path / "val" / name / "2.bmp", (6, 4), 20 + i)
    split = open_data(f"imagefolder:{tmp_path}#test")
    assert split.classes == ("ant", "bee")
    assert split.images.shape == (2, 3, 4, 6)
    assert split.images[:, 0, 0, 0].tolist() == [20, 21]
    assert split.images[:, 2].min() == 255


def test_imagefolder_scales_to_what_the_model_wants(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "1.png", (50, 20), 9)
    write_image(tmp_path / "b" / "2.png", (7, 300), 9, "L")
    split = open_data(f"imagefolder:{tmp_path}", image_shape=(3, 16, 16))
    assert split.images.shape == (2, 3, 16, 16)
    assert (split.images[0, 0] == 9).all()
    with pytest.raises(DataError, match="scale them to one size"):
        open_data(f"imagefolder:{tmp_path}")


# --- specs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("cifar01:x", "did you mean cifar10"),
        ("mnist", "mnist:PATH"),
        ("mnist:x#valid", "train or test"),
        ("nothing", "known: mnist"),
        ("", "known: mnist"),
        ("digits:dir", "known: mnist"),
        ("tests", "which kind of data is tests"),
    ],
)
def test_a_malformed_spec_is_a_usage_error(spec: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(UsageError) as caught:
        open_data(spec)
    assert expected in one_line(caught.value)


def test_a_suffix_goes_before_the_argument(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    assert len(open_data(f"mnist:{tmp_path}#test", split="train")) == 7


def test_every_kind_but_arrays_has_a_usual_normalisation() -> None:
    for kind in dataset_names():
        normalize = default_normalize(f"{kind}:/x#test")
        assert (normalize is None) == (kind == "npz")
    assert default_normalize("digits") == default_normalize("digits#train")


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in dataset_names() if kind != "digits"])
def test_a_missing_path_is_one_line(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("scipy")
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataError) as caught:
            open_data(f"{kind}:{path}")
        assert str(path) in one_line(caught.value)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("keep", [0, 3, 20, -1])
def test_truncated_files_are_one_line(tmp_path: Path, suffix: str, keep: int) -> None:
    write_mnist(tmp_path, suffix)
    path = tmp_path / f"t10k-images-idx3-ubyte{suffix}"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError) as caught:
        open_data(f"mnist:{tmp_path}")
    assert str(path) in one_line(caught.value)
    cifar = tmp_path / f"test_batch{suffix}"
    cifar.write_bytes(PACKERS[suffix](cifar_pickle(cifar_rows(), [0, 1, 2, 3]))[:keep])
    with pytest.raises(DataError) as caught:
        open_data(f"cifar10:{tmp_path}")
    assert str(cifar) in one_line(caught.value)


def test_an_idx_header_that_lies_is_refused() -> None:
    data = idx_bytes(np.zeros((2, 3, 3), np.uint8))
    assert parse_idx(data, 3, "f").shape == (2, 3, 3)
    for bad in (data + b"\0", data[:-1], b"\0\0\x09" + data[3:], data[:4] + b"\xff" * 12 + data[16:]):
        with pytest.raises(DataError):
            parse_idx(bad, 3, "f")


class Evil:
    """Runs a command when it is unpickled by an unpickler that lets it."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.target,)


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "made-by-pickle"
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": Evil(str(target))}, protocol=2))
    with pytest.raises(DataError, match="mkdir"):
        open_data(f"cifar10:{tmp_path}")
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {},
        {b"data": [1], b"labels": [0]},
        {b"data": np.zeros((2, 5), np.uint8), b"labels": [0, 1]},
        {b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, -1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": "ab"},
    ],
)
def test_a_pickle_of_something_else_is_one_line(tmp_path: Path, content: Any) -> None:
    (tmp_path / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError) as caught:
        open_data(f"cifar10:{tmp_path}")
    one_line(caught.value)


def test_bytes_changed_at_random_never_escape_as_another_error() -> None:
    data = cifar_pickle(np.zeros((1, 8), np.uint8), [1])
    for seed in range(300):
        damaged = bytearray(data)
        damaged[seed % len(data)] = np.random.default_rng(seed).integers(256)
        try:
            unpickle(bytes(damaged), "f")
        except DataError as error:
            one_line(error)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"images": np.zeros((2, 1, 4, 4), np.float32), "labels": np.arange(2)}, "float32"),
        ({"images": np.zeros((2, 16), np.uint8), "labels": np.arange(2)}, "shape"),
        ({"images": np.zeros((0, 1, 4, 4), np.uint8), "labels": np.arange(0)}, "shape"),
        ({"images": np.zeros((2, 8, 8, 3), np.uint8), "labels": np.arange(2)}, "channels come first"),
        ({"images": np.zeros((2, 1, 4, 4), np.uint8), "labels": np.arange(3)}, "2 images but 3 labels"),
        ({"images": np.zeros((2, 1, 4, 4), np.uint8), "labels": np.ones(2)}, "expected integers"),
        ({"images": np.zeros((2, 1, 4, 4), np.uint8), "labels": np.array([0, -1])}, "from -1"),
        ({"pictures": np.zeros(3)}, "it has pictures"),
    ],
)
def test_arrays_that_do_not_fit_together(tmp_path: Path, arrays: dict[str, Any], expected: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError) as caught:
        open_data(f"npz:{tmp_path / 'd.npz'}")
    assert expected in one_line(caught.value)


def test_npz_files_are_never_unpickled(tmp_path: Path) -> None:
    target = tmp_path / "made-by-pickle"
    np.savez(tmp_path / "d.npz", images=np.array([Evil(str(target))], object), labels=np.arange(1))
    with pytest.raises(DataError) as caught:
        open_data(f"npz:{tmp_path / 'd.npz'}")
    one_line(caught.value)
    assert not target.exists()
    for data in (b"", b"PK\x03\x04", b"\x93NUMPY"):
        (tmp_path / "e.npz").write_bytes(data)
        with pytest.raises(DataError) as caught:
            open_data(f"npz:{tmp_path / 'e.npz'}")
        one_line(caught.value)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("def pairs(split):\n    raise KeyError('x')", "KeyError"),
        ("def pairs(split):\n    return 3", "expected (images, labels)"),
        ("def other(split):\n    pass", "it has: other"),
        ("import no_such_module_here", "no_such_module_here"),
        ("def pairs(:", "SyntaxError"),
    ],
)
def test_a_function_that_fails_is_one_line(tmp_path: Path, body: str, expected: str) -> None:
    (tmp_path / "mine.py").write_text(body)
    with pytest.raises(DataError) as caught:
        open_data(f"{tmp_path}/mine.py:pairs")
    assert expected in one_line(caught.value)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "1.png", (6, 4), 1)
    bad = tmp_path / "a" / "2.png"
    bad.write_bytes((tmp_path / "a" / "1.png").read_bytes()[:40])
    with pytest.raises(DataError, match=r"2\.png") as caught:
        open_data(f"imagefolder:{tmp_path}")
    one_line(caught.value)


def test_a_decompression_bomb_ends_as_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bincompress.data.files.LIMIT", 1000)
    write_mnist(tmp_path, ".gz")
    with pytest.raises(DataError, match="more than 1000 bytes"):
        open_data(f"mnist:{tmp_path}")


# --- the real files ---------------------------------------------------------------------------------------------------


def test_the_real_mnist_and_cifar10(data_dir: Path) -> None:
    mnist = open_data(f"mnist:{data_dir / 'mnist'}")
    assert mnist.images.shape == (10_000, 1, 28, 28)
    assert mnist.labels[:5].tolist() == [7, 2, 1, 0, 4]
    cifar = open_data(f"cifar10:{data_dir / 'cifar10'}")
    assert cifar.images.shape == (10_000, 3, 32, 32)
    assert np.bincount(cifar.labels).tolist() == [1000] * 10
    assert [cifar.classes[i] for i in cifar.labels[:4]] == ["cat", "ship", "ship", "airplane"]


def test_errors_of_data_have_exit_code_3() -> None:
    assert DataError.exit_code == 3
    assert issubclass(DataError, BincompressError)
