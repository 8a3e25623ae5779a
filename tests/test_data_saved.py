"""A data set in a file comes back as it was, and whatever is no data set is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import zoo
from zoo.data import save_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.files import read_tensors, write_tensors
from zoo.runs.config import DataSpec, configure
from zoo.runs.lookup import data_of

TABLE = "age,tree,size\n" + "\n".join(f"{i % 7},{('ash', 'oak', 'elm')[i % 3]},{i**1.5:.3f}" for i in range(60))


def of_table(folder: Path) -> zoo.Dataset:
    """Units, a grid, names and columns."""
    (folder / "trees.csv").write_text(TABLE)
    return zoo.load_data(str(folder / "trees.csv"), roles={"tree": "label"})


def same(ours: zoo.Dataset, theirs: zoo.Dataset) -> bool:
    plain = replace(ours, name="", registered=False)
    for name in ("event", "source", "binarise", "columns", "rate"):
        assert getattr(plain, name) == getattr(theirs, name)
    assert {field: tuple(words) for field, words in ours.names.items()} == dict(theirs.names)
    assert ours.description == theirs.description
    assert torch.equal(ours.restore(ours.test), theirs.restore(theirs.test))
    assert torch.equal(ours.own_test.nan_to_num(), theirs.own_test.nan_to_num())
    return ours.fingerprint == theirs.fingerprint


@pytest.mark.parametrize(
    "name",
    ["blobs", "digits", "digits:labels=100", "digits-binary", "moons", "rotated-digits", "shifted-bars", "atlas"],
)
def test_a_registered_data_set_comes_back(name: str, tmp_path: Path) -> None:
    data = zoo.load_data(name)
    save_data(data, tmp_path / "kept.safetensors")
    assert same(data, zoo.load_data(str(tmp_path / "kept.safetensors")))


def test_units_names_columns_and_draws_come_back(tmp_path: Path) -> None:
    levels = torch.rand(3, 4, 5)
    drawn = zoo.Dataset(
        "grey", Event(5, "binary"), levels[0], levels[1].round(), levels[2].round(), "Grey.", binarise=True
    )
    for data in (of_table(tmp_path), drawn, replace(drawn, rate=8000)):
        save_data(data, tmp_path / "kept.safetensors")
        assert same(data, zoo.load_data(str(tmp_path / "kept.safetensors")))


def test_levels_take_a_byte_each(tmp_path: Path) -> None:
    save_data(zoo.load_data("digits"), tmp_path / "kept.safetensors")
    assert read_tensors(tmp_path / "kept.safetensors")[0]["train"].dtype == torch.uint8


def test_shapes_and_roles_may_be_others(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    save_data(zoo.load_data("digits:labels=all"), path)
    assert str(zoo.load_data(str(path), roles={"y": "given"}).event) == "x=8x8:17,y=:10@given"
    save_data(zoo.load_data("digits"), path)
    assert zoo.load_data(str(path), event=Event(64, 17)).train.shape[1:] == (64,)
    with pytest.raises(ZooError, match="only the shape may differ"):
        zoo.load_data(str(path), event=Event(64, "binary"))


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    with pytest.raises(ZooError, match=r"no file or folder .*kept.safetensors"):
        zoo.load_data(str(path))
    with pytest.raises(ZooError, match=r"ends in .safetensors, got .*kept.npz"):
        save_data(zoo.load_data("moons"), tmp_path / "kept.npz")
    write_tensors(path, {"weight": torch.zeros(2)}, {"family": "vae"})
    with pytest.raises(ZooError, match="holds tensors but no data set"):
        zoo.load_data(str(path))
    save_data(zoo.load_data("moons"), path)
    with pytest.raises(ZooError, match="neither settings nor a split"):
        zoo.load_data(str(path), split=(0.5, 0.25, 0.25))
    with pytest.raises(ZooError, match="neither settings nor a split"):
        zoo.load_data(f"{path}:missing=drop")
    with pytest.raises(ZooError, match="names the levels of y otherwise than cat, dog"):
        zoo.load_data(str(path), names={"y": ("cat", "dog")})
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ZooError, match=r"cannot read .* \(checksum\)"):
        zoo.load_data(str(path))
    path.write_bytes(whole[:100])
    with pytest.raises(ZooError, match=r"cannot read .* damaged"):
        zoo.load_data(str(path))


def test_a_run_finds_its_data_in_the_file_and_after_a_move(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    save_data(zoo.load_data("moons"), path)
    spec, data = DataSpec(name=str(path)).resolved()
    config = configure("realnvp", spec, data)
    assert data_of(config).fingerprint == data.fingerprint
    (tmp_path / "there").mkdir()
    path.rename(tmp_path / "there" / path.name)
    assert data_of(config, tmp_path / "there").fingerprint == data.fingerprint
