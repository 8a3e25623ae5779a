"""What becomes of a table's values: columns chosen, split by time, missing, transformed to quantiles, on a grid."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command import zoo as run_zoo
from splits import everything

import zoo
from zoo.data import Dataset, load_data
from zoo.data.files import read_rows, table_of
from zoo.data.files.missing import filled
from zoo.data.quantiles import Quantiles
from zoo.data.units import Units
from zoo.errors import ZooError
from zoo.metrics.bounds import log_probs
from zoo.runs.config import DataSpec, RunConfig, configure

RANDOM = np.random.default_rng(0)
N = 600
TABLE = pd.DataFrame(
    {
        "when": pd.date_range("2024-01-31", periods=N, freq="h").strftime("%Y-%m-%d %H:%M"),
        "age": RANDOM.normal(40, 12, N),
        "income": np.exp(RANDOM.normal(9, 1.5, N)),
        "mass": RANDOM.normal(3e-5, 5e-6, N),
        "id": RANDOM.permutation(N),
    }
)


def csv(path: Path, table: pd.DataFrame = TABLE) -> str:
    table.to_csv(path / "people.csv", index=False)
    return str(path / "people.csv")


def nats(name: str, data: Dataset) -> float:
    """Of the test split under a family's start, in the data's own units."""
    pair = zoo.build(name, data.event)
    pair.extras.initialise(data.train)
    return float(-(log_probs(pair, data.test) - data.log_scale(pair, data.test)).mean())


# ------------------------------------------------------------------------------------------------- columns and time


@pytest.mark.parametrize(
    ("settings", "columns"),
    [
        ("", ["age", "income", "mass", "id"]),
        (":columns=mass+age", ["mass", "age"]),
        (":columns=-id", ["age", "income", "mass"]),
        (":columns=-id+income", ["age", "mass"]),
        (":time=id", ["age", "income", "mass"]),
        (":time=when,columns=age", ["age"]),
    ],
)
def test_columns_are_chosen_by_name(settings: str, columns: list[str], tmp_path: Path) -> None:
    data = load_data(csv(tmp_path) + settings)
    assert list(data.columns) == columns
    found = np.sort(everything(data.in_own_units()).numpy(), 0)
    assert np.allclose(found, np.sort(TABLE[columns].to_numpy(np.float32), 0), rtol=1e-5)
    left_out = "column 'when' holds times and is left out" in data.source
    assert left_out == (settings in ("", ":columns=-id", ":columns=-id+income", ":time=id"))


@pytest.mark.parametrize("time", ["when", "id"])
def test_a_split_in_time_trains_on_the_past(time: str, tmp_path: Path) -> None:
    shuffled = TABLE.sample(frac=1, random_state=1)
    data = load_data(f"{csv(tmp_path, shuffled)}:columns=age,time={time}", split=(0.5, 0.25, 0.25)).in_own_units()
    in_order = shuffled.sort_values(time)["age"].to_numpy(np.float32)
    assert np.array_equal(everything(data).numpy()[:, 0], in_order)
    assert "in the order of time, split 0.5/0.25/0.25" in data.source


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (":columns=age+size", "has the columns when, age, income, mass, id; there is no 'size'"),
        (":columns=when+age", "column 'when' holds times, which are no numbers; time=when splits by them"),
        (":time=size", "there is no 'size'"),
        (":time=id,columns=id+age", "column 'id' orders the rows and is no part of a datum"),
        (":columns=-age+income+mass+id", "has no column of numbers or words left"),
        (":missing=fill", "missing is drop or impute, got 'fill'"),
        (":quantile=size", "there is no 'size' to transform to quantiles"),
        (":quantise=1", "quantise is a number of levels from 2 to 65536, got 1"),
        (":quantise=8,quantile=age", "column 'age' has levels, and only real numbers are transformed"),
    ],
)
def test_wrong_settings_of_a_table_are_refused(settings: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=words):
        load_data(csv(tmp_path) + settings)


def test_times_that_are_not_ordered_are_refused(tmp_path: Path) -> None:
    words = TABLE.assign(when=[f"{day % 28 + 1}.{day % 12 + 1}.2024" for day in range(N)])
    with pytest.raises(
        ZooError, match="column 'when' is not ordered by time: expected numbers or times such as 2024-05"
    ):
        load_data(f"{csv(tmp_path, words)}:time=when")
    lacking = TABLE.assign(when=TABLE["when"].where(TABLE["id"] != 7))
    with pytest.raises(ZooError, match="column 'when' has no time in data row"):
        load_data(f"{csv(tmp_path, lacking)}:time=when")


# --------------------------------------------------------------------------------------------------------- missing


LACKING = TABLE.assign(income=TABLE["income"].where(TABLE.index % 7 > 0), age=TABLE["age"].where(TABLE.index % 11 > 0))
LACK = LACKING[["age", "income"]].isna().any(axis=1)


def test_data_that_lack_values_are_refused_with_both_mends(tmp_path: Path) -> None:
    with pytest.raises(
        ZooError, match=rf"{LACK.sum()} of 600 data lack some: leave these out by FILE:missing=drop, or"
    ):
        load_data(csv(tmp_path, LACKING))


def test_dropped_data_are_counted(tmp_path: Path) -> None:
    data = load_data(f"{csv(tmp_path, LACKING)}:missing=drop,columns=age+income").in_own_units()
    found = np.sort(everything(data).numpy(), 0)
    assert np.array_equal(found, np.sort(LACKING[~LACK][["age", "income"]].to_numpy(np.float32), 0))
    assert f"{LACK.sum()} data that lack a value are left out" in data.source


def test_only_train_data_are_filled_in(tmp_path: Path) -> None:
    """What is scored is data, not draws."""
    data = load_data(f"{csv(tmp_path, LACKING)}:missing=impute,columns=age+income")
    whole = load_data(f"{csv(tmp_path, TABLE)}:columns=age+income")
    known = {tuple(row) for row in LACKING[~LACK][["age", "income"]].to_numpy(np.float32).tolist()}
    own = data.in_own_units()
    assert all(tuple(row) in known for split in (own.validation, own.test) for row in split.tolist())
    assert len(own.train) == len(whole.train)
    drawn = [row for row in own.train.tolist() if tuple(row) not in known]
    lost = len(everything(whole)) - len(everything(data))
    assert len(drawn) + lost == LACK.sum()
    assert f"{len(drawn)} train data filled in by draws of a Gaussian and {lost} others left out" in data.source
    assert torch.allclose(data.restore(data.train).float(), own.train, rtol=1e-4)


def test_draws_have_the_conditional_of_a_gaussian() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.5, -0.5, 0.7]], dtype=torch.float64)
    x = torch.randn(20_000, 3, generator=generator, dtype=torch.float64) @ root.T
    holes = x.clone()
    holes[:8000, 1] = torch.nan
    holes[4000:12_000, 2] = torch.nan
    found = filled(holes, generator)
    known = ~holes.isnan()
    assert torch.equal(found[known], holes[known])
    assert torch.allclose(found.T.cov(), root @ root.T, atol=0.04)
    covariance = root @ root.T
    slope, rest = covariance[1, 0], covariance[1, 1] - covariance[1, 0] ** 2
    alone = found[4000:8000]
    assert float((alone[:, 1] - slope * alone[:, 0]).var()) == pytest.approx(float(rest), rel=0.1)


def test_levels_are_not_filled_in_by_a_gaussian(tmp_path: Path) -> None:
    marks = pd.DataFrame({"a": [0.0, 1, 2, np.nan] * 20, "b": [3.0, 1, 2, 0] * 20})
    with pytest.raises(ZooError, match="missing=impute fills in real numbers, and 2:4 lacks some of levels"):
        load_data(f"{csv(tmp_path, marks)}:missing=impute")
    assert load_data(f"{csv(tmp_path, marks)}:missing=drop").event == zoo.Event(2, 4)


# -------------------------------------------------------------------------------------------------------- quantiles


@pytest.mark.parametrize("draw", ["cauchy", "exponential", "lognormal", "uniform", "two"])
def test_a_spline_of_quantiles_is_increasing_and_has_its_slope(draw: str) -> None:
    torch.manual_seed(0)
    u = torch.rand(2000, dtype=torch.float64)
    x = {
        "cauchy": (math.pi * (u - 0.5)).tan(),
        "exponential": -u.log(),
        "lognormal": torch.special.ndtri(u).exp(),
        "uniform": u,
        "two": torch.where(u < 0.5, u, u + 100),
    }[draw]
    q = Quantiles.of(x)
    z = torch.linspace(-6, 6, 4001, dtype=torch.float64).requires_grad_()
    back, log_slope = q.forward(z)
    assert (back.diff() > 0).all()
    assert torch.allclose(q.inverse(back.detach()), z.detach(), atol=1e-6)
    [slope] = torch.autograd.grad(back.sum(), z)
    inside = (z > q.z[0]) & (z < q.z[-1])
    assert torch.allclose(slope[inside].log(), log_slope[inside], atol=1e-6)
    standard = q.inverse(x)
    assert abs(float(standard.mean())) < 0.05
    assert float(standard.std()) == pytest.approx(1, abs=0.06)


def test_heavy_tails_cost_less_in_quantiles(tmp_path: Path) -> None:
    """Of a log-normal column, whose entropy is known."""
    values = np.exp(RANDOM.normal(9, 1.5, 8000))
    path = csv(tmp_path, pd.DataFrame({"income": values}))
    entropy = 0.5 * math.log(2 * math.pi * math.e) + math.log(1.5) + 9
    plain, quantiles = load_data(path), load_data(f"{path}:quantile=income")
    assert nats("independent", quantiles) == pytest.approx(entropy, abs=0.2)
    assert nats("independent", plain) > entropy + 1
    assert torch.allclose(quantiles.restore(quantiles.test), plain.restore(plain.test), rtol=1e-4)
    assert "income transformed to quantiles of a normal" in quantiles.source
    units = quantiles.units
    assert units is not None
    again = Units.from_json(json.loads(json.dumps(units.to_json())))
    assert torch.equal(again.restore(quantiles.test), units.restore(quantiles.test))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_change_a_density_of_quantiles(scale: float, tmp_path: Path) -> None:
    table = TABLE[["age", "income"]]
    plain = load_data(f"{csv(tmp_path, table)}:quantile=all")
    scaled = load_data(f"{csv(tmp_path, table * scale)}:quantile=all")
    assert nats("independent", scaled) == pytest.approx(nats("independent", plain) + 2 * math.log(scale), abs=2e-3)


# --------------------------------------------------------------------------------------------------------- on a grid


def test_numbers_on_a_grid_are_off_by_half_a_step_at_most(tmp_path: Path) -> None:
    table = TABLE[["age", "mass"]].assign(count=np.arange(N) % 5)
    path = csv(tmp_path, table)
    data = load_data(f"{path}:quantise=32")
    assert data.event == zoo.Event(3, 32)
    assert data.names["count"] == ("0", "1", "2", "3", "4")
    points = {column: np.array(data.names[column], float) for column in data.columns}
    rows, columns, note = read_rows(Path(path), data.event, data.columns, data.names)
    back = table_of(torch.from_numpy(rows), columns, data.names)
    for column in columns:
        step = np.diff(points[column]).max()
        error = (back[column] - table[column]).abs()
        assert error.max() <= 0.501 * step
    assert (back["count"] == table["count"]).all()
    said = f"off by at most {(back['age'] - table['age']).abs().max():.2g}"
    assert said in note
    assert said in data.source
    again, _, none = read_rows(back, data.event, data.columns, data.names)
    assert np.array_equal(again, rows)
    assert none == ""
    with pytest.raises(
        ZooError, match=r"expected values of column 'age' from .* the grid that the model was trained on"
    ):
        read_rows(table.assign(age=1e3), data.event, data.columns, data.names)


def test_a_run_keeps_the_columns_of_its_table(tmp_path: Path) -> None:
    spec = DataSpec(name=f"{csv(tmp_path)}:columns=mass+age")
    config = configure("independent", spec, spec.load())
    assert config.columns == ("mass", "age")
    assert config.model_copy(update={"columns": ()}).digest == config.digest
    assert RunConfig(**json.loads(config.model_dump_json())) == config


@pytest.mark.thorough
def test_a_table_through_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on some columns of a file with missing values and times, scored, sampled, and compressed on a grid."""
    monkeypatch.chdir(tmp_path)
    csv(tmp_path, LACKING)
    common = ("--data", "people.csv:missing=drop", "--train", "steps=20", "--quiet")
    run_zoo("train", "ppca", *common, "--columns=-id,income", "--set", "latent=1")
    run_zoo("score", "ppca", "--data", "people.csv", "-o", "scores.csv")
    scores = pd.read_csv("scores.csv")
    lacks = LACKING["age"].isna().to_numpy()
    assert len(scores) == N
    assert (scores["kind"] == "not scored: lacks a value").to_numpy().tolist() == lacks.tolist()
    assert scores["log_prob"].isna().to_numpy().tolist() == lacks.tolist()
    assert not scores.loc[lacks, "flag"].any()
    [run] = Path("runs/people.csv_missing_drop_columns_-id+income/ppca").iterdir()
    run_zoo("sample", str(run), "--out", "drawn.csv", "-n", "5")
    drawn = pd.read_csv("drawn.csv")
    assert list(drawn.columns) == ["age", "mass"]
    assert drawn["mass"].between(-1e-4, 1e-4).all()
    run_zoo("train", "independent", *common, "--columns", "age,mass", "--quantise", "16")
    [run] = Path("runs").glob("*quantise_16/independent/seed0-*")
    TABLE.iloc[:50].query("age > 15 and age < 65").to_csv("new.csv", index=False)
    said = run_zoo("compress", str(run), "new.csv", "-o", "new.zoo").output
    assert "age in steps of" in said
    run_zoo("decompress", "new.zoo", "-o", "back.csv")
    back, new = pd.read_csv("back.csv"), pd.read_csv("new.csv")
    step = np.diff(np.array(zoo.load(run).names["age"], float)).max()
    assert (back["age"] - new["age"]).abs().max() <= 0.501 * step


@pytest.mark.process
def test_a_comparison_takes_columns_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    csv(tmp_path)
    run_zoo("compare", "independent", "--data", "people.csv", "--columns", "age,mass", "-e", "likelihood", "--quick")
    report = pd.read_csv("reports/own/scores.csv")
    assert set(report["dataset"]) == {"people:columns=age+mass"}
