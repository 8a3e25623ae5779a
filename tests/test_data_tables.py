"""The user's own tables: words as levels, and parquet."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from splits import everything

from zoo.data import load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.runs.config import DataSpec, RunConfig, configure

SPECIES = ("oak", "ash", "elm", "ash")
TABLE = pd.DataFrame(
    {
        "height": [index + 0.5 for index in range(40)],
        "species": [SPECIES[index % 4] for index in range(40)],
        "width": [3 * index + 0.25 for index in range(40)],
        "site": ["hill" if index % 3 else "dale" for index in range(40)],
    }
)


def csv(path: Path, table: pd.DataFrame = TABLE) -> str:
    table.to_csv(path / "trees.csv", index=False)
    return str(path / "trees.csv")


def test_words_of_a_column_are_levels(tmp_path: Path) -> None:
    data = load_data(csv(tmp_path), roles={"species": "label", "site": "given"})
    assert str(data.event) == "x=2:real,species=:3@label,site=:binary@given"
    assert data.names == {"species": ("ash", "elm", "oak"), "site": ("dale", "hill")}
    assert "species is 0 for ash, 1 for elm, 2 for oak" in data.source
    for height, _, species, site in everything(data).tolist():
        index = round(height - 0.5)
        assert data.names["species"][int(species)] == SPECIES[index % 4]
        assert data.names["site"][int(site)] == ("hill" if index % 3 else "dale")


def test_a_table_of_words_is_one_array_of_levels(tmp_path: Path) -> None:
    data = load_data(csv(tmp_path, TABLE[["species", "site"]]))
    assert data.event == Event(2, 3)
    assert data.names == {"species": ("ash", "elm", "oak"), "site": ("dale", "hill")}
    assert everything(data).amax(0).tolist() == [2, 1]


def test_words_that_are_known_keep_their_levels(tmp_path: Path) -> None:
    """A file that lacks some of the words must not renumber those of a trained model."""
    names = load_data(csv(tmp_path), roles={"species": "label", "site": "given"}).names
    few = TABLE[TABLE.species != "ash"]
    roles = {"species": "label", "site": "given"}
    known, own = (load_data(csv(tmp_path, few), roles=roles, names=each) for each in (names, None))
    assert known.names == names
    assert known.event.fields[1].levels == 3
    assert torch.equal(known.train[:, 2], own.train[:, 2] + 1)
    with pytest.raises(ZooError, match="'species' has 'ash', which is none of those known: elm, oak"):
        load_data(csv(tmp_path), roles=roles, names=own.names)


def test_a_run_keeps_the_names_of_levels(tmp_path: Path) -> None:
    spec = DataSpec(name=csv(tmp_path, TABLE[["species", "site"]]))
    config = configure("independent", spec, spec.load())
    assert config.names == {"species": ("ash", "elm", "oak"), "site": ("dale", "hill")}
    assert RunConfig(**json.loads(config.model_dump_json())) == config
    renamed = config.model_copy(update={"names": config.names | {"site": ("dale", "moor")}})
    assert renamed.digest != config.digest


def test_runs_without_names_keep_the_digest_of_earlier_ones() -> None:
    config = configure("independent", DataSpec(), load_data())
    later = ("unchecked", "names", "columns", "units", "rate")
    settings = config.model_dump_json(exclude=dict.fromkeys(later, True) | {"recipe": {"objective", "free_bits"}})
    assert config.digest == hashlib.sha256(settings.encode()).hexdigest()[:8]


def test_a_word_may_be_missing_in_a_label_only(tmp_path: Path) -> None:
    table = TABLE.copy()
    table.loc[5, "species"] = None
    data = load_data(csv(tmp_path, table), roles={"species": "label", "site": "given"})
    assert int(data.event.missing(everything(data)).sum()) == 1
    with pytest.raises(ZooError, match="got nan at data row 6, column 'species'"):
        load_data(csv(tmp_path, table), roles={"species": "given", "site": "given"})


@pytest.mark.parametrize("width", ["", "2"])
def test_arrays_of_words_are_levels(width: str, tmp_path: Path) -> None:
    words = np.array([["b", "a"], ["c", "a"]] * 10)
    np.save(tmp_path / "words.npy", words.astype("S") if width else words)
    data = load_data(str(tmp_path / "words.npy"))
    assert (data.event, data.names) == (Event(2, 3), {"x": ("a", "b", "c")})
    assert sorted(everything(data).tolist()) == [[1, 0]] * 10 + [[2, 0]] * 10


@pytest.mark.parametrize(
    ("change", "roles", "words"),
    [
        ({}, {}, r"column 'species' holds words \(ash, elm, oak\).*give it a role, such as --field species=label"),
        (
            {"species": [f"tree {i}" for i in range(40)]},
            {"species": "label", "site": "given"},
            "40 different words in 40 data",
        ),
        ({"site": ["3", "north"] * 20}, {"species": "label"}, "column 'site' is not numeric: it holds 'north' as well"),
    ],
)
def test_words_without_a_place_are_refused(
    change: dict[str, Any], roles: dict[str, str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ZooError, match=words) as caught:
        load_data(csv(tmp_path, TABLE.assign(**change)), roles=roles)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mark", ["None", "NA", "nan", "null"])
def test_a_mark_of_what_is_missing_may_be_a_word_among_words(mark: str, tmp_path: Path) -> None:
    """Among numbers it is missing."""
    roles, table = {"species": "label", "site": "given"}, TABLE.astype({"height": object})
    table.loc[::4, "species"] = mark
    with pytest.raises(ZooError, match=f"column 'species' holds '{mark}' in 10 rows, which may be a word or a missing"):
        load_data(csv(tmp_path, table), roles=roles)
    table = TABLE.astype({"height": object})
    table.loc[3, "height"] = mark
    with pytest.raises(ZooError, match="missing=drop"):
        load_data(csv(tmp_path, table), roles=roles)
    assert len(everything(load_data(csv(tmp_path, table) + ":missing=drop", roles=roles))) == 39


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a;b\n46.212;-1,71\n107.710;-0,98\n", "'46.212', which may be a date or a number with points of thousands"),
        ("a,b\n", "has a header and no row"),
        ("a,b\n1,2,3\n4,5,6\n", "the header does not name every column"),
    ],
)
def test_tables_that_are_no_numbers_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ZooError, match=words):
        load_data(str(tmp_path / "t.csv"))


def test_rows_may_end_in_a_separator_that_the_header_lacks(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i + 0.5},{i * i + 0.25},\n" for i in range(30)))
    assert list(load_data(str(tmp_path / "t.csv")).columns) == ["a", "b"]


def test_a_parquet_table_is_read_as_pandas_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With pandas' reader replaced, as pyarrow need not be installed."""
    roles = {"species": "label", "site": "given"}
    (tmp_path / "trees.parquet").touch()
    monkeypatch.setattr(pd, "read_parquet", lambda path: TABLE.set_index(TABLE.index + 7))
    data = load_data(str(tmp_path / "trees.parquet"), roles=roles)
    assert data.fingerprint == load_data(csv(tmp_path), roles=roles).fingerprint
    monkeypatch.setattr(pd, "read_parquet", lambda path: TABLE.assign(day=pd.Timestamp("2020-01-01")))
    data = load_data(str(tmp_path / "trees.parquet"), roles=roles)
    assert "column 'day' holds times and is left out" in data.source
    assert list(data.columns) == ["height", "width", "species", "site"]
    monkeypatch.setattr(pd, "read_parquet", lambda path: TABLE.assign(mixed=[[1]] * 40))
    with pytest.raises(ZooError, match="column 'mixed' holds list; write it as numbers or words"):
        load_data(str(tmp_path / "trees.parquet"), roles=roles)


def test_parquet_without_pyarrow_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "trees.parquet").touch()
    with pytest.raises(ZooError, match=r"install pyarrow, or save the table as .csv"):
        load_data(str(tmp_path / "trees.parquet"))
