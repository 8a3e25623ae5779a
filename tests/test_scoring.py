"""Rows scored: p-values are uniform on data like the validation split's, columns go by name, anomalies come first."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_use import train
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.errors import ZooError
from zoo.use import scoring

NAMES = ["temperature", "pressure", "current", "flow", "vibration", "speed"]
WEIGHTS = np.array([[5, -2, 1, 0.2, -0.2, 1], [1, 0, 0, 0.5, 0.3, -1]])
NOISE = np.array([0.5, 0.3, 0.2, 0.1, 0.1, 0.3])


def rows(n: int, seed: int) -> pd.DataFrame:
    """Readings of six sensors that depend on a load and a temperature."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(n, 2)) @ WEIGHTS + NOISE * generator.normal(size=(n, 6))
    return pd.DataFrame(values + np.array([60, 30, 4, 12, 1, 15]), columns=NAMES)


def command(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, its scores to come, and a run of ppca on it under ``runs``."""
    folder = tmp_path_factory.mktemp("sensors")
    rows(1000, 0).to_csv(folder / "sensors.csv", index=False)
    train("ppca", str(folder / "sensors.csv"), folder / "runs", {"latent": 2}, steps=600, batch=100, checkpoints=6)
    return folder


@pytest.fixture
def model(folder: Path) -> zoo.TrainedModel:
    return zoo.load("ppca", runs=folder / "runs", device="cpu")


def test_p_values_are_ranks_and_uniform_if_rows_are_exchangeable() -> None:
    values = torch.randn(50, dtype=torch.float64)
    found = torch.cat([scoring.novelty(torch.cat([values[:i], values[i + 1 :]]), values[i : i + 1]) for i in range(50)])
    assert torch.equal(found.sort().values, torch.arange(1, 51) / torch.tensor(50.0, dtype=torch.float64))
    ties = scoring.novelty(torch.zeros(9), torch.zeros(3))
    assert torch.equal(ties, torch.ones(3, dtype=torch.float64))


@pytest.mark.thorough
def test_false_alarms_are_as_many_as_stated(model: zoo.TrainedModel) -> None:
    found = zoo.score(model, rows(4000, 5), rate=0.1)
    p = np.sort(found["p_value"])
    n = len(model.data.validation)
    assert np.abs(p - np.arange(1, 4001) / 4000).max() < 1.63 / np.sqrt(n)  # the 1 % point of Kolmogorov's law
    assert abs(found["flag"].mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / n)
    assert found.attrs == {"rate": 0.1, "validation": n, "of": "p(x)"}


def test_scores_say_what_the_model_says(model: zoo.TrainedModel) -> None:
    new = rows(30, 1).set_index(pd.Index(range(100, 130), name="reading"))
    found, plain = zoo.score(model, new), model.log_prob(new.to_numpy())
    assert list(found.columns[:6]) == ["log_prob", "kind", "stderr", "typicality", "p_value", "flag"]
    assert list(found.columns[6:]) == [f"log p({name} | rest)" for name in NAMES]
    assert np.allclose(found["log_prob"], plain.value, atol=1e-5)
    assert (found["kind"] == "exact").all()
    assert (found["stderr"] == 0).all()
    assert found.index.equals(new.index)
    entropy = model.log_prob(model.data.restore(model.data.validation)).value.mean()
    assert np.allclose(found["typicality"], abs(plain.value - float(entropy)), atol=1e-5)


def test_columns_are_taken_by_name(model: zoo.TrainedModel, tmp_path: Path) -> None:
    new = rows(20, 2)
    new.assign(site=3.0)[["site", *reversed(NAMES)]].to_csv(tmp_path / "other.csv", index=False)
    found, wanted = zoo.score(model, tmp_path / "other.csv"), zoo.score(model, new)
    assert np.allclose(found["log_prob"], wanted["log_prob"], atol=1e-4)
    assert found.index.tolist() == list(range(1, 21))
    with pytest.raises(ZooError, match="no column 'flow', which the model was trained on"):
        zoo.score(model, new.drop(columns="flow"))


def test_a_row_that_lacks_a_value_has_no_score(model: zoo.TrainedModel) -> None:
    new = rows(20, 2)
    whole = zoo.score(model, new)
    new.loc[3, "pressure"] = np.nan
    found = zoo.score(model, new)
    assert found.loc[3, "kind"] == "not scored: lacks a value"
    assert found.loc[3, ["log_prob", "p_value"]].isna().all()
    assert not found.loc[3, "flag"]
    pd.testing.assert_frame_equal(found.drop(index=3), whole.drop(index=3), check_dtype=False)
    alike = zoo.score(model, new.set_axis([7] * 20))
    assert np.array_equal(alike["log_prob"], found["log_prob"], equal_nan=True)
    assert alike.index.tolist() == [7] * 20
    with pytest.raises(ZooError, match="every row lacks a value"):
        zoo.score(model, new.iloc[[3]])
    alone = scoring.Scorer(model, None, 16).score(scoring.read(model, new.iloc[[3]]))  # of a file that grows
    assert list(alone.columns) == list(found.columns)
    assert alone["kind"].tolist() == ["not scored: lacks a value"]
    assert alone.drop(columns=["kind", "flag"]).isna().all(axis=None)


def test_a_rate_that_the_validation_rows_do_not_allow_is_refused(model: zoo.TrainedModel) -> None:
    with pytest.raises(ZooError, match=r"100 validation rows allow false-alarm rates from 0\.0099 to 1, got 0\.001"):
        zoo.score(model, rows(5, 0), rate=0.001)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["ppca", "vae"])
def test_planted_anomalies_come_first(name: str, folder: Path) -> None:
    if name == "vae":
        hyper = {"hidden": 64, "latent": 3, "guide.hidden": 64, "dropout": 0.0}
        recipe = {"steps": 500, "batch": 100, "lr": 1e-2, "engine": "traced", "checkpoints": 5}
        train(name, str(folder / "sensors.csv"), folder / "runs", hyper, **recipe)
    new, planted = rows(1000, 7), np.random.default_rng(8).choice(1000, 10, replace=False)
    for place, row in enumerate(planted):  # each reading by itself is within six deviations
        new.iloc[row, place % 6] += 6 * new.iloc[:, place % 6].std() * (-1) ** place
    new.to_csv(folder / "new.csv", index=False)
    said = command(
        "score",
        name,
        "--runs",
        folder / "runs",
        "--data",
        folder / "new.csv",
        "-o",
        folder / "scores.csv",
        "--particles",
        64,
    )
    assert "1000 rows, log p(x) " + ("exact" if name == "ppca" else "lower bound") in said
    found = pd.read_csv(folder / "scores.csv")
    first = found.sort_values("log_prob")["row"].head(12) - 1
    assert len({*planted} & {*first}) >= 9
    assert found["flag"][planted].sum() >= 9
    if name == "ppca":  # the column that was changed contributes least
        columns = [f"log p({column} | rest)" for column in NAMES]
        worst = found.loc[planted, columns].to_numpy().argmin(1)
        assert (worst == np.arange(10) % 6).sum() >= 8


def test_a_growing_file_is_followed_row_by_row(model: zoo.TrainedModel, tmp_path: Path) -> None:
    path, text = tmp_path / "live.csv", rows(30, 3).to_csv(index=False)
    lines = text.splitlines(keepends=True)
    growth: Iterator[str] = iter(
        [lines[0], "".join(lines[1:11]), "".join(lines[11:12]) + lines[12][:9], lines[12][9:], ""]
    )
    path.write_text(next(growth))

    def wait() -> bool:
        more = next(growth)
        with path.open("a") as file:
            file.write(more)
        return bool(more)

    parts = list(scoring.follow(model, path, scoring.Scorer(model, None, 16), wait))
    assert [len(part) for part in parts] == [10, 1, 1]
    whole = zoo.score(model, rows(12, 3))
    together = pd.concat(parts)
    assert together.index.tolist() == list(range(1, 13))
    assert np.allclose(together["log_prob"], zoo.score(model, path)["log_prob"])
    assert len(whole) == len(together)
    path.write_text(lines[0])
    followed = scoring.follow(model, path, scoring.Scorer(model, None, 16), lambda: True)
    path.write_text(text)
    next(followed)
    path.write_text(lines[0])
    with pytest.raises(ZooError, match="has become shorter"):
        next(followed)


def test_scores_of_a_growing_file_are_added_to_those_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, text = tmp_path / "live.csv", rows(12, 3).to_csv(index=False).splitlines(keepends=True)
    path.write_text("".join(text[:9]))
    written = list[int]()

    def wait() -> bool:
        written.append(len(pd.read_csv(tmp_path / "scores.csv")))
        if len(written) == 2:
            raise KeyboardInterrupt
        path.write_text("".join(text))
        return True

    monkeypatch.setattr("zoo.cli.trained._wait", wait)
    command(
        *("score", "ppca", "--runs", folder / "runs", "--data", path),
        *("-o", tmp_path / "scores.csv", "--follow", "--rate", 0.99),
    )
    assert written == [8, 12]
    found, whole = pd.read_csv(tmp_path / "scores.csv"), zoo.score("ppca", path, runs=folder / "runs")
    assert found["row"].tolist() == whole.index.tolist()
    assert np.allclose(found["log_prob"], whole["log_prob"])


def test_a_row_without_a_log_probability_is_no_typical_one(
    model: zoo.TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, bad = scoring.Scorer(model, None, 16), torch.full((3,), torch.nan, dtype=torch.float64)
    monkeypatch.setattr(type(model), "packed_log_prob", lambda *words: (bad, bad, "exact"))
    with pytest.raises(ZooError, match="3 of 3 rows have no log-probability under ppca"):
        scorer.score(scoring.read(model, rows(3, 0)))


def test_validation_is_scored_once(model: zoo.TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    first = zoo.score(model, rows(3, 0))
    assert model.run is not None
    again = zoo.load(model.run.folder, device="cpu")
    monkeypatch.setattr(type(again), "data", property(lambda self: pytest.fail("the data were loaded")))
    assert zoo.score(again, rows(3, 0)).equals(first)


def test_records_of_a_table_are_scored(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    table = pd.DataFrame(generator.normal(size=(80, 2)), columns=["a", "b"]).assign(y=generator.integers(0, 3, 80))
    table.to_csv(tmp_path / "table.csv", index=False)
    data = zoo.load_data(str(tmp_path / "table.csv"), roles={"y": "label"})
    model = zoo.TrainedModel(zoo.build("ssvae", data.event, {"hidden": 8, "latent": 2}), data)
    found = zoo.score(model, tmp_path / "table.csv", particles=8)
    x = {"x": table[["a", "b"]].to_numpy(), "y": table["y"].to_numpy()}
    assert np.allclose(found["log_prob"], model.log_prob(x, 8).value, atol=1e-5)
    assert found.attrs["of"] == "p(x, y)"


@pytest.mark.thorough
def test_commands_take_a_runs_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    [run] = Path("runs/sensors.csv/ppca").iterdir()
    assert "finished, best validation" in command("train", run)
    command("sample", run, "-n", 3, "--out", "drawn.npy")
    assert np.load("drawn.npy").shape == (3, 6)
    nats = next(
        row for row in json.loads(command("evaluate", run, "-e", "likelihood", "--json")) if row["metric"] == "nats"
    )
    assert nats["dataset"] == "sensors"
    listed: list[dict[str, Any]] = json.loads(command("runs", "--json"))
    [row] = [row for row in listed if row["folder"] == str(run)]
    assert (row["family"], row["status"], row["nats"], row["kind"]) == ("ppca", "finished", nats["value"], "exact")
    assert f"{nats['value']:.5g}" in command("runs")
    assert json.loads(command("show", run.parent, "--json"))["likelihood"] == "exact (analytic)"
    assert "ok" in command("check", run)
    for words, reason in [
        (["train", run, "--seed", "3", "--set", "latent=1"], "leave out --set, --seed"),
        (["compare", run], "name the family of"),
        (["train", "runs/nowhere/ppca"], "there is no run 'runs/nowhere/ppca'"),
        (["score", "vae+iaf", "--data", "sensors.csv"], "there is no run 'vae+iaf' in runs"),
        (["score", run, "--data", "sensors.csv", "-o", "scores.txt"], "written to a .csv"),
        (["score", run, "--data", "drawn.npy", "--follow"], "only a .csv is followed"),
    ]:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code in (1, 2)
        assert reason in result.output, result.output


@pytest.mark.thorough
def test_the_page_on_use_runs_as_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs/use.md").read_text()
    monkeypatch.chdir(tmp_path)
    rows(300, 0).to_csv("sensors.csv", index=False)
    rows(300, 1)[NAMES[::-1]].to_csv("new.csv", index=False)
    for line in page.splitlines():
        if line.startswith(".venv/bin/zoo "):
            steps = ["--train", "steps=3"] if " train " in line else []
            command(*shlex.split(line)[1:], *steps)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    with redirect_stdout(io.StringIO()) as said:
        exec(compile("\n".join(blocks), "use.md", "exec"), {})
    assert said.getvalue().splitlines()[:3] == [
        "(6,) lower bound True p(x)",
        "(6, 16) (6, 8, 8) (6, 8, 8)",
        "exact (3, 6, 8, 8)",
    ]
