"""New data for a trained model: rows keep their order, columns their names, and words their levels."""

import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import zoo
from zoo.data import load_data
from zoo.data.files import read_rows, table_columns
from zoo.errors import ZooError
from zoo.event import Event
from zoo.runs.config import DataSpec, configure
from zoo.runs.run import Run

TABLE = pd.DataFrame(
    {"age": np.arange(30) + 0.5, "size": np.arange(30) ** 2 + 0.25, "site": ["hill", "dale", "moor"] * 10}
)
NUMBERS = TABLE[["age", "size"]]


def csv(path: Path, table: pd.DataFrame) -> Path:
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("as_file", [True, False])
def test_columns_are_taken_by_name_and_rows_keep_their_order(as_file: bool, tmp_path: Path) -> None:
    columns = table_columns(csv(tmp_path / "trained.csv", NUMBERS))
    assert columns == ["age", "size"]
    other = NUMBERS.assign(more=0.0)[["size", "more", "age"]].iloc[::-1]
    source = csv(tmp_path / "new.csv", other) if as_file else other
    rows, found, _ = read_rows(source, Event(2, "real"), columns)
    assert list(found) == ["age", "size"]
    assert np.array_equal(rows, NUMBERS.to_numpy(np.float32)[::-1])
    with pytest.raises(ZooError, match="has no column 'age', which the model was trained on"):
        read_rows(other.drop(columns="age"), Event(2, "real"), columns)


def test_words_of_new_rows_are_those_of_the_model(tmp_path: Path) -> None:
    """Rows that lack a word must not renumber the others."""
    trained = load_data(str(csv(tmp_path / "trained.csv", TABLE)), roles={"site": "given"})
    few = TABLE[TABLE.site != "dale"]
    rows, *_ = read_rows(few, trained.event, names=trained.names)
    assert rows[:, 2].tolist() == [trained.names["site"].index(word) for word in few.site] == [1, 2] * 10
    with pytest.raises(ZooError, match="'site' has 'fen', which is none of those known: dale, hill, moor"):
        read_rows(TABLE.assign(site="fen"), trained.event, names=trained.names)


def test_files_of_other_kinds_are_read_in_their_order(tmp_path: Path) -> None:
    text = "abba" * 10
    (tmp_path / "new.txt").write_text(text)
    rows, columns, _ = read_rows(Path(f"{tmp_path}/new.txt:window=4"), Event(4, 3), names={"x": ("a", "b", "c")})
    assert (rows.tolist(), list(columns)) == ([[0, 1, 1, 0]] * 10, [])
    pixels = np.random.default_rng(0).integers(256, size=(5, 6, 7, 3), dtype=np.uint8)
    np.save(tmp_path / "new.npy", pixels)
    rows, *_ = read_rows(tmp_path / "new.npy", Event((3, 6, 7), 256))
    assert np.array_equal(rows, np.moveaxis(pixels, 3, 1))
    np.savez(tmp_path / "new.npz", images=pixels, labels=np.array(["cat", "dog"] * 2 + ["cat"]))
    rows, *_ = read_rows(
        tmp_path / "new.npz", Event.parse("x=3x6x7:256,y=:3@label"), names={"y": ("ant", "cat", "dog")}
    )
    assert rows[:, -1].tolist() == [1, 2, 1, 2, 1]
    rows, *_ = read_rows(tmp_path / "new.npz", Event((3, 6, 7), 256))
    assert np.array_equal(rows, np.moveaxis(pixels, 3, 1))
    np.savez(tmp_path / "new.npz", x=pixels, mask=pixels)
    with pytest.raises(ZooError, match="holds x, mask; rows to score are one array or table"):
        read_rows(tmp_path / "new.npz", Event((3, 6, 7), 256))


def test_new_data_are_read_as_those_of_the_model_were(tmp_path: Path) -> None:
    """Samples of another encoding would be scored without a word."""
    with wave.open(str(tmp_path / "new.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((256 * np.arange(40)).astype("<i2").tobytes())
    settings = {"window": 4, "encoding": "linear", "size": 3}
    rows, *_ = read_rows(tmp_path / "new.wav", Event(4, 256), settings=settings)
    assert rows.flatten().tolist() == list(range(128, 168))
    rows, *_ = read_rows(Path(f"{tmp_path}/new.wav:window=2"), Event(2, 256), settings=settings)
    assert rows.flatten().tolist() == list(range(128, 168))


def test_a_run_scores_words_by_the_levels_that_it_was_trained_on(tmp_path: Path) -> None:
    words = TABLE[["site"]].assign(soil=["clay", "sand"] * 15)
    spec = DataSpec(name=str(csv(tmp_path / "trained.csv", words)))
    data = spec.load()
    config = configure("independent", spec, data, recipe={"steps": 2})
    run = Run.of(config, tmp_path / "runs")
    run.train(config, data, "cpu")
    few = words[words.site == "moor"]
    found = zoo.score(run.folder, few, rate=0.5)
    codes = np.array([[2, ["clay", "sand"].index(soil)] for soil in few.soil], np.float32)
    assert found["log_prob"].to_numpy() == pytest.approx(zoo.load(run.folder).log_prob(codes).value)
