"""Data sets of records: their fields from columns, arrays and folders, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo.data import Dataset, load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.registry import dataset, datasets
from zoo.runs.config import DataSpec


def made(event: str, train: Tensor, **changes: Any) -> Dataset:
    return Dataset("made", Event.parse(event), train, train, train, "made up", **changes)


@pytest.mark.parametrize(
    ("event", "row", "words"),
    [
        ("x=2:real,y=:3@label", [math.nan, 0, 1], "only a label may be missing"),
        ("x=2:real,c=:real@given", [0, 0, math.nan], "only a label may be missing"),
        ("x=:real,y=2:3@label", [0, math.nan, 1], "known or missing as a whole"),
        ("x=2:real,y=:3@label", [0, 0, 3], "levels 0 to 2 of y=:3@label"),
        ("x=2:real,y=:3@label", [0, 0, 0.5], "levels 0 to 2 of y=:3@label"),
    ],
)
def test_records_out_of_their_support_are_refused(event: str, row: list[float], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        made(event, torch.tensor([row]).float())


def test_a_record_may_change_its_roles_and_shapes() -> None:
    data = made("x=4:real,y=:3@label", torch.tensor([[0.0, 1, 2, 3, 2]]))
    asked = Event.parse("x=2x2:real,y=:3@given")
    assert data.reshaped(asked).event == asked
    with pytest.raises(ZooError, match="fields may differ in shape and role only"):
        data.reshaped(Event.parse("x=4:real,z=:3@given"))
    with pytest.raises(ZooError, match="fields may differ in shape and role only"):
        data.reshaped(Event(5, "real"))
    with pytest.raises(ZooError, match="only a label may be missing"):
        made("x=4:real,y=:3@label", torch.tensor([[0.0, 1, 2, 3, math.nan]])).reshaped(asked)


# ---------------------------------------------------------------------------------------------- data with fields


@pytest.mark.parametrize(("labels", "known"), [(100, 100), ("all", 1000)])
def test_digits_know_their_labels(labels: int | str, known: int) -> None:
    from sklearn.datasets import load_digits

    data, plain = load_data(f"digits:labels={labels}"), load_data("digits")
    assert str(data.event) == "x=8x8:17,y=:10@label"
    assert torch.equal(data.event.main_of(data.train), plain.train)
    missing, target = data.event.missing(data.train), torch.from_numpy(load_digits().target).float()
    assert int((~missing).sum()) == known
    assert torch.equal(data.train[~missing, -1], target[:1000][~missing])
    assert torch.equal(data.test[:, -1], target[-447:])
    if labels == 100:
        assert torch.bincount(data.train[~missing, -1].long()).tolist() == [10] * 10
        assert "known for 100 of 1000 train data, drawn with seed 0" in data.source


def test_digits_in_black_and_white_have_the_same_labels() -> None:
    grey, black = load_data("digits:labels=100"), load_data("digits-binary:labels=100")
    assert str(black.event) == "x=8x8:binary,y=:10@label"
    assert torch.equal(grey.train[:, -1].nan_to_num(-1), black.train[:, -1].nan_to_num(-1))
    assert torch.equal(black.event.main_of(black.test), (grey.event.main_of(grey.test) >= 8).float())


def test_data_without_a_label_may_be_left_out() -> None:
    data = load_data("digits:labels=100,unlabelled=False")
    assert data.train.shape == (100, 65)
    other = load_data("digits:labels=100,unlabelled=False", seed=1)
    assert other.fingerprint != data.fingerprint
    assert torch.equal(other.test, data.test)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digits:labels=33", "'all' or a multiple of the 10 classes"),
        ("digits:labels=2000", "200 labels of each class are asked for, and class 0 has 99"),
        ("digits:seed=1", "data set 'digits' has no setting 'seed'; it has: labels, unlabelled"),
        ("moons:labels=all", "data set 'moons' has no setting 'labels'; it has: none"),
    ],
)
def test_labels_that_are_not_there_are_refused(name: str, words: str) -> None:
    with pytest.raises(ZooError, match=words):
        load_data(name)


TABLE = "age,y,2\n" + "\n".join(f"{i}.5,{'' if i % 4 == 0 else i % 3},{-i}.25" for i in range(40))
"""A header, a column of labels of which some are missing, and two of numbers."""


@pytest.fixture
def table(tmp_path: Path) -> str:
    (tmp_path / "table.csv").write_text(TABLE)
    return str(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("roles", "event"),
    [
        ({"y": "label"}, "x=2:real,y=:3@label"),
        ({"y": "label", "age": "given"}, "x=1:real,age=:real@given,y=:3@label"),
    ],
)
def test_columns_become_fields_by_name(roles: dict[str, str], event: str, table: str) -> None:
    data = load_data(table, roles=roles)
    assert str(data.event) == event
    assert len(data.train) == 32
    x = data.restore(torch.cat([data.train, data.validation, data.test]))
    label = data.event.unpack(x)["y"]
    assert label is not None
    assert int(label.isnan().sum()) == 10
    row = next(row for row in x if row[-1] == 2)  # the values of a line stay together
    assert (float(row[0]) if "age" not in roles else float(row[1])) % 3 == pytest.approx(2.5, abs=1e-5)


def test_an_event_names_the_columns_too(table: str) -> None:
    assert str(load_data(table, event=Event.parse("w=2:real,y=:5@label")).event) == "w=2:real,y=:5@label"


def test_arrays_become_fields_by_name(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(30, 2, 2)), np.arange(30) % 4
    np.savez(tmp_path / "both.npz", x=x, y=y)
    path = str(tmp_path / "both.npz")
    assert str(load_data(path).event) == "x=2x2:real,y=:4"
    data = load_data(path, roles={"y": "given"})
    assert str(data.event) == "x=2x2:real,y=:4@given"
    rows = torch.cat([data.train, data.validation, data.test])
    assert np.allclose(sorted(data.restore(rows).tolist()), sorted(np.c_[x.reshape(30, 4), y].tolist()), atol=1e-6)


def test_a_folder_for_each_class_gives_labels(tmp_path: Path) -> None:
    for index, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(10):
            pixels = np.full((2, 3), 100 * index + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.png")
    data = load_data(str(tmp_path / "pets"))
    assert str(data.event) == "x=2x3:256,y=:binary@label"
    assert torch.equal(data.train[:, 0] // 100, data.train[:, -1])
    assert "y is 0 for cat, 1 for dog" in data.source


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"roles": {"z": "given"}}, "has the columns age, y, 2; there is no z"),
        ({"roles": {"y": "given"}}, "got nan at data row 1, column 'y'"),
        ({"roles": {"y": "label", "age": "target"}}, "the role of field 'age' is observed, given, label; got 'target'"),
        ({"roles": {"y": "label", "age": "label"}}, "one label at most"),
        ({"event": Event.parse("x=2:real,y=:2@label")}, "levels 0 to 1 of y=:binary@label"),
        ({"event": Event.parse("x=3:real,y=:3@label")}, r"field 'x' should have shape \(40, 3\), got \(40, 2\)"),
    ],
)
def test_fields_that_are_not_in_a_file_are_refused(options: dict[str, Any], words: str, table: str) -> None:
    with pytest.raises(ZooError, match=words) as caught:
        load_data(table, **options)
    assert "\n" not in str(caught.value)


def test_no_column_is_lost_unless_an_event_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x,y,z\n" + "\n".join(f"{i}.5,{i % 2},{i}" for i in range(20)))
    with pytest.raises(ZooError, match="column 'y' is in no field"):
        load_data(str(tmp_path / "x.csv"), roles={"x": "observed"})
    chosen = load_data(str(tmp_path / "x.csv"), event=Event.parse("x=:real,y=:2@label"))
    assert chosen.train.shape == (16, 2)
    assert str(load_data(str(tmp_path / "x.csv"), roles={"y": "label"}).event) == "x=2:real,y=:binary@label"


def test_roles_of_a_run_are_part_of_its_settings_only_if_there_are_any() -> None:
    """Runs from before there were roles keep their digests."""
    assert "roles" not in DataSpec(name="digits").model_dump_json()
    spec = DataSpec(name="digits:labels=all", roles={"y": "given"})
    assert DataSpec(**spec.model_dump()) == spec
    assert str(spec.load().event) == "x=8x8:17,y=:10@given"


def test_an_error_in_a_data_set_is_one_sentence_with_its_line() -> None:
    with datasets.scoped():

        @dataset("broken")
        def broken() -> Dataset:
            return {}["nothing"]  # type: ignore[return-value] # an error of the user's

        with pytest.raises(
            ZooError, match=r"'broken': its function raised KeyError at test_record_data.py:\d+: 'nothing'"
        ):
            load_data("broken")
