"""MNIST and Fashion-MNIST: their files, found, verified and read."""

import gzip
import hashlib
import os
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from splits import everything

from zoo.data import Dataset, load_data
from zoo.data import idx as files
from zoo.data.idx import FASHION, MNIST, IdxFile, Published, parse_idx
from zoo.data.mnist import GARMENTS, binarised, fashion, mnist
from zoo.errors import ZooError
from zoo.event import Event


def sizes(data: Dataset) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def published(file: IdxFile, array: np.ndarray) -> IdxFile:
    content = idx(array)
    packed = gzip.compress(content, mtime=0)
    return IdxFile(file.name, *(hashlib.sha256(each).hexdigest() for each in (content, packed)))


SIZES = {"train": 12, "test": 5}
IMAGES = {k: np.random.default_rng(0).integers(256, size=(n, 4, 3), dtype=np.uint8) for k, n in SIZES.items()}
LABELS = {k: np.arange(n, dtype=np.uint8) % 3 for k, n in SIZES.items()}


def small(source: Published, changed: int = 0) -> Published:
    """The same data set with small files, and the pixels ``changed``."""
    images = {name: published(source.images[name], IMAGES[name] + np.uint8(changed)) for name in SIZES}
    labels = {name: published(source.labels[name], LABELS[name]) for name in SIZES}
    return replace(source, images=images, labels=labels)


SMALL, SMALL_FASHION = small(MNIST), small(FASHION, changed=1)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No MNIST on this machine and no network, unless a test brings them."""
    monkeypatch.delenv("ZOO_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr(files, "SYSTEM", str(tmp_path / "system"))
    monkeypatch.setattr(pooch, "retrieve", _no_network)


def _no_network(url: str, **_: object) -> str:
    raise ConnectionError(url)


retrieve = pooch.retrieve


def put(folder: Path, pack: Callable[[bytes], bytes] = bytes, swapped: bool = False, changed: int = 0) -> None:
    """The small files in a folder, with the pixels ``changed``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, other in (("train", "test"), ("test", "train")):
        suffix = "" if pack is bytes else ".gz"
        images = IMAGES[other if swapped else name] + np.uint8(changed)
        (folder / (MNIST.images[name].name + suffix)).write_bytes(pack(idx(images)))
        (folder / (MNIST.labels[name].name + suffix)).write_bytes(pack(idx(LABELS[name])))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, partial(gzip.compress, compresslevel=1)])
@pytest.mark.parametrize("where", ["data_dir", "data_dir/mnist", "env", "cache/mnist"])
def test_mnist_is_found_packed_or_not(
    where: str, pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data_dir").mkdir()
    put(tmp_path / where, pack)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "env"))
    data = mnist(tmp_path / "data_dir", SMALL)
    assert data.event == Event((4, 3), 256)
    assert sizes(data) == (10, 2, 5)
    assert np.array_equal(everything(data).numpy(), np.concatenate([IMAGES["train"], IMAGES["test"]]))


@pytest.mark.parametrize(
    "where", ["data_dir", "data_dir/fashion", "env/FashionMNIST/raw", "system/fashion-mnist", "cache/fashion-mnist"]
)
def test_fashion_is_told_from_mnist_whose_files_have_its_names(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "KNOWN", {each.content for source in (SMALL, SMALL_FASHION) for each in all_of(source)})
    (tmp_path / "data_dir").mkdir()
    put(tmp_path / "env")  # MNIST
    put(tmp_path / where, gzip.compress, changed=1)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "env"))
    data, digits = (make(tmp_path / "data_dir", source) for make, source in ((fashion, SMALL_FASHION), (mnist, SMALL)))
    assert (data.name, digits.name) == ("fashion", "mnist")
    assert torch.equal(everything(data), (everything(digits) + 1) % 256)
    with pytest.raises(ZooError, match=r"Fashion-MNIST .* is not on disk and cannot be fetched"):
        fashion(tmp_path / "data_dir")  # the published one, of which there is none


DEBIAN = Path(files.SYSTEM, "fashion-mnist")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="the package dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("file", [*FASHION.images.values(), *FASHION.labels.values()], ids=lambda file: file.name)
def test_debians_files_are_the_published_ones(file: IdxFile) -> None:
    content = gzip.decompress((DEBIAN / f"{file.name}.gz").read_bytes())
    assert hashlib.sha256(content).hexdigest() == file.content


def all_of(source: Published) -> list[IdxFile]:
    return [*source.images.values(), *source.labels.values()]


@pytest.mark.parametrize(("make", "source"), [(mnist, SMALL), (fashion, SMALL_FASHION)])
def test_labels_are_those_of_the_images(make: Callable[..., Dataset], source: Published, tmp_path: Path) -> None:
    put(tmp_path, changed=int(source is SMALL_FASHION))
    data = make(tmp_path, source, labels="all")
    assert str(data.event) == "x=4x3:256,y=:3@label"
    assert everything(data)[:, -1].tolist() == [*LABELS["train"], *LABELS["test"]]
    assert torch.equal(data.event.main_of(data.test), make(tmp_path, source).test)
    assert data.names == ({"y": GARMENTS} if make is fashion else {})


def test_binarised_mnist_shares_its_test_split(tmp_path: Path) -> None:
    put(tmp_path)
    levels = mnist(tmp_path, SMALL)
    levels.test[:, 0], levels.test[:, 1] = 0, 255
    static, dynamic = binarised(levels, dynamic=False), binarised(levels, dynamic=True)
    assert static.event == dynamic.event == Event((4, 3), "binary")
    assert torch.equal(static.test, dynamic.test)
    assert torch.equal(static.validation, dynamic.validation)
    assert static.test[:, 0].sum() == 0
    assert static.test[:, 1].min() == 1
    assert static.train.unique().tolist() == [0, 1]
    assert torch.equal(dynamic.train, levels.train / 255)
    assert (static.binarise, dynamic.binarise) == (False, True)
    assert binarised(levels, dynamic=False).fingerprint == static.fingerprint


def test_mnist_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"connect to the network.*--data-dir.*ZOO_DATA"):
        load_data("mnist-static")
    with pytest.raises(ZooError, match="does not exist"):
        load_data("mnist", data_dir=tmp_path / "absent")
    put(tmp_path, gzip.compress)
    with pytest.raises(ZooError, match="damaged or not the published file"):
        load_data("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("tear", [lambda content: content[:-9], lambda content: content[:30] + b"?" + content[31:]])
def test_damaged_gzip_is_refused(tear: Callable[[bytes], bytes], tmp_path: Path) -> None:
    put(tmp_path, lambda content: tear(gzip.compress(content)))
    with pytest.raises(ZooError, match="cannot read"):
        mnist(tmp_path, SMALL)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"short", "header"),
        (struct.pack(">4I", 0x801, 1, 1, 1) + b"x", "magic number 0x00000801"),
        (struct.pack(">4I", 0x803, 2, 1, 1) + b"x", "announces 2x1x1 bytes but holds 1"),
    ],
)
def test_idx_is_checked(content: bytes, words: str) -> None:
    with pytest.raises(ZooError, match=words):
        parse_idx(content)


@given(arrays(np.uint8, st.tuples(*[st.integers(0, 4)] * 3)))
def test_idx_is_read_as_written(images: np.ndarray) -> None:
    assert np.array_equal(parse_idx(idx(images)), images)
    labels = images.flatten()
    assert np.array_equal(parse_idx(struct.pack(">2I", 0x801, labels.size) + labels.tobytes(), axes=1), labels)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=tmp_path / "mirror")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.thorough
def test_mnist_is_fetched_once_and_verified(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(ZooError, match="HTTPError"):
        mnist(None, replace(SMALL, mirror=mirror))
    put(tmp_path / "mirror", partial(gzip.compress, mtime=0), swapped=True)
    with pytest.raises(ZooError, match="ValueError"):
        mnist(None, replace(SMALL, mirror=mirror))
    assert not list(tmp_path.glob("cache/**/*.gz"))
    put(tmp_path / "mirror", partial(gzip.compress, mtime=0))
    fetched = mnist(None, replace(SMALL, mirror=mirror))
    monkeypatch.setattr(pooch, "retrieve", _no_network)
    assert mnist(None, replace(SMALL, mirror=mirror)).fingerprint == fetched.fingerprint


PUBLISHED = os.environ.get("ZOO_DATA")


@pytest.mark.skipif(PUBLISHED is None, reason="ZOO_DATA does not name the folder of the published MNIST files")
def test_published_mnist() -> None:
    data = mnist(Path(PUBLISHED or ""))
    assert data.event == Event((28, 28), 256)
    assert sizes(data) == (50000, 10000, 10000)
    assert everything(data).mean() / 255 == pytest.approx(0.131, abs=0.001)
    static = binarised(data, dynamic=False)
    assert static.train.mean() == pytest.approx(float(data.train.mean()) / 255, abs=0.001)
