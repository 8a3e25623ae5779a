"""CIFAR-10, Omniglot and BSDS300 from small files in their real formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from zoo.data import load_data
from zoo.data.cifar import CLASSES, RECORD, TEST, TRAIN
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.training.loop import fit

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them on this machine, unless a test brings it."""
    monkeypatch.delenv("ZOO_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")


def cifar(folder: Path) -> np.ndarray:
    """Batches of four images each; the records of all."""
    folder.mkdir(parents=True)
    records = RNG.integers(256, size=(24, RECORD), dtype=np.uint8)
    records[:, 0] = np.arange(24) % 10
    for place, name in enumerate([*TRAIN, TEST]):
        (folder / name).write_bytes(records[4 * place : 4 * place + 4].tobytes())
    return records


@pytest.mark.parametrize("where", ["cifar10", "cifar-10-batches-bin", "."])
def test_cifar10_is_read_channel_by_channel(where: str, tmp_path: Path) -> None:
    records = cifar(tmp_path / "data" / where) if where != "." else cifar(tmp_path / "data")
    data = load_data("cifar10", data_dir=tmp_path / "data")
    assert data.event == Event((3, 32, 32), 256)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [18, 2, 4]
    assert torch.equal(
        torch.cat([data.train, data.validation, data.test]).flatten(1).byte(), torch.tensor(records[:, 1:])
    )
    assert float(data.train[0, 2, 31, 30]) == records[0, 1 + 2 * 1024 + 31 * 32 + 30]


def test_cifar10_has_its_classes_by_name(tmp_path: Path) -> None:
    cifar(tmp_path / "cifar10")
    data = load_data("cifar10:labels=all", data_dir=tmp_path)
    assert data.names["y"] == CLASSES
    assert data.event.unpack(data.test)["y"].tolist() == [0, 1, 2, 3]


def test_damaged_batches_are_refused(tmp_path: Path) -> None:
    cifar(tmp_path / "cifar10")
    path = tmp_path / "cifar10" / TRAIN[2]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ZooError, match=f"data_batch_3.bin has {4 * RECORD - 1} bytes.* {RECORD} an image"):
        load_data("cifar10", data_dir=tmp_path)
    path.write_bytes(b"\x0b" * RECORD)
    with pytest.raises(ZooError, match="an image of class 11"):
        load_data("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "address"),
    [("cifar10", "cifar-10-binary.tar.gz"), ("omniglot", "brendenlake/omniglot"), ("bsds300", "BSDS300-images.tgz")],
)
def test_what_is_not_there_is_said_with_its_address(name: str, address: str, tmp_path: Path) -> None:
    with pytest.raises(
        ZooError, match=rf"is not on this machine: unpack .*{address}.* folder {name} of a folder.*--data-dir"
    ):
        load_data(name, data_dir=tmp_path)


def test_omniglots_array_stands_upright_and_is_drawn_again(tmp_path: Path) -> None:
    (tmp_path / "omniglot").mkdir()
    images = RNG.random((30, 28, 28)).round(2)
    columns = images.transpose(0, 2, 1).reshape(30, -1).T  # pixels from the top down, column by column
    savemat(tmp_path / "omniglot" / "chardata.mat", {"data": columns[:, :20], "testdata": columns[:, 20:]})
    data = load_data("omniglot", data_dir=tmp_path)
    assert (data.event, data.binarise) == (Event((28, 28), "binary"), True)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 10, 10]
    assert np.allclose(data.train.numpy(), images[:10])
    assert set(data.test.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(data.batch(torch.arange(10)), data.batch(torch.arange(10)))
    assert torch.equal(load_data("omniglot", data_dir=tmp_path).test, data.test)


def test_omniglots_images_are_ink_by_alphabet(tmp_path: Path) -> None:
    for part, people in (("images_background", 20), ("images_evaluation", 3)):
        for alphabet in ("Greek", "Latin"):
            folder = tmp_path / "omniglot" / part / alphabet / "character01"
            folder.mkdir(parents=True)
            for person in range(1, people + 1):
                white = np.full((105, 105), True)
                white[:30, :60] = False
                Image.fromarray(white).save(folder / f"0001_{person:02}.png")
    data = load_data("omniglot", data_dir=tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [36, 4, 6]
    ink = data.train[0]
    assert ink[:8, :16].min() == 1
    assert ink[9:].max() == 0
    assert ink[:, 17:].max() == 0
    assert float(ink.mean()) == pytest.approx(30 * 60 / 105**2, abs=1e-2)


def bsds(folder: Path, size: tuple[int, int] = (20, 24)) -> None:
    for part, count in (("train", 10), ("test", 3)):
        (folder / part).mkdir(parents=True)
        for place in range(count):
            pixels = RNG.integers(40, 200, size=(*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / part / f"{place}.jpg")


def test_bsds300_follows_the_protocol_of_63_dimensions(tmp_path: Path) -> None:
    bsds(tmp_path / "BSDS300" / "images")
    name = "bsds300:train=400,validation=50,test=60"
    data = load_data(name, data_dir=tmp_path)
    assert (data.event, data.units) == (Event(63, "real"), None)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [400, 50, 60]
    assert "9 photographs train, 50 of 1 others validation" in data.source
    last = -data.train.sum(1)  # what the mean leaves for the pixel that is dropped
    assert float(last.abs().max()) < 1
    assert float(data.train.abs().max()) < 1
    assert float(torch.cat([data.train.T, last[None]]).mean(0).abs().max()) < 1e-6
    assert torch.equal(load_data(name, data_dir=tmp_path).train, data.train)
    assert not torch.equal(load_data(name, data_dir=tmp_path, seed=1).train, data.train)


def test_a_family_trains_on_bsds300(tmp_path: Path) -> None:
    bsds(tmp_path / "bsds300" / "images")
    data = load_data("bsds300:train=100,validation=20,test=20", data_dir=tmp_path)
    pair = build("realnvp", data.event, {"layers": 2, "hidden": 8})
    assert fit(pair, data, {"steps": 3, "checkpoints": 1}).status == "finished"
