"""Real data in other units: a likelihood changes by its log-scale and by nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from command import zoo as command
from members import in_turn, small

import zoo
from zoo.data import Dataset, load_data
from zoo.data.atoms import grid_of, standardised
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.plugins import load_families
from zoo.pairs.registry import dataset, datasets, families, load_shelves
from zoo.runs.config import DataSpec, configure
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.runs.lookup import dataset_of
from zoo.runs.run import Run
from zoo.seeding import seeded
from zoo.training.loop import fit
from zoo.training.recipe import Recipe

load_shelves()
REAL = sorted(family.name for family in families if "real" in family.supports)
SCALES, OFFSETS = np.array([1e-9, 3.0, 1e9, 2e-4]), np.array([2e-4, -50.0, 1e14, 7.0])
LOG_SCALE = float(np.log(SCALES).sum())


def table(rows: int = 300) -> np.ndarray:
    """Correlated numbers of unit deviation."""
    noise = np.random.default_rng(0).normal(size=(rows, 4))
    return noise @ np.linalg.cholesky(0.5 * np.eye(4) + 0.5).T


def of_array(folder: Path, name: str, array: np.ndarray) -> Dataset:
    np.save(folder / f"{name}.npy", array)
    return load_data(str(folder / f"{name}.npy"))


def scores(pair: zoo.Pair, data: Dataset, particles: int = 20) -> dict[str, Any]:
    found = evaluate("likelihood", [TrainedRun(pair, data, 0, [], "finished")], Settings(particles=particles))
    return {score.metric: score for score in found}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    folder = tmp_path_factory.mktemp("units")
    return of_array(folder, "plain", table()), of_array(folder, "scaled", OFFSETS + SCALES * table())


@pytest.mark.thorough
@pytest.mark.parametrize("name", in_turn(REAL, lambda name: families[name].group))
def test_units_change_a_likelihood_by_their_log_scale_only(name: str, both: tuple[Dataset, Dataset]) -> None:
    """After training, for every family, its floors and its history; columns are 5e5 deviations off zero and less."""
    found = []
    for data in both:
        pair = build(name, data.event, small(name))
        recipe = Recipe(steps=4, batch=64, checkpoints=2, engine="eager")
        history = fit(pair, data, recipe, seed=1, device="cpu").history
        found.append((scores(pair, data), history))
    (ours, before), (theirs, after) = found
    for metric in ("nats", "elbo", "reconstruction", "floor_independent"):
        assert ours[metric].status == theirs[metric].status
        if ours[metric].status == "ok":
            assert theirs[metric].value - ours[metric].value == pytest.approx(LOG_SCALE, abs=2e-3)
            assert theirs[metric].kind == ours[metric].kind
    if ours["nats"].status == "ok":
        for metric in ("train", "validation"):
            for old, new in zip(before, after, strict=True):
                assert new[metric] == pytest.approx(old[metric] + LOG_SCALE, abs=2e-3, nan_ok=True)  # no steps, no loss


def test_a_gaussian_has_the_density_of_its_own_units(tmp_path: Path) -> None:
    """Age, income and mass: the independent normal's exact nats."""
    deviations = np.array([12.0, 9700.0, 5e-5])
    array = np.random.default_rng(1).normal(size=(4000, 3)) * deviations + np.array([41.0, 31_000.0, 7e-4])
    data = of_array(tmp_path, "people", array)
    pair = build("independent", data.event)
    with torch.no_grad():
        pair.extras.initialise(data.train)  # type: ignore[attr-defined] # it has that method
    expected = float(np.log(deviations).sum() + 1.5 * math.log(2 * math.pi * math.e))
    assert scores(pair, data)["nats"].value == pytest.approx(expected, abs=0.1)


def test_seconds_since_1970_keep_their_differences(tmp_path: Path) -> None:
    """As float32, of 1.7e9 + N(0, 30) three distinct values would be left."""
    array = 1.7e9 + 30 * np.random.default_rng(0).normal(size=(1000, 1))
    data = of_array(tmp_path, "time", array)
    everything = torch.cat([data.train, data.validation, data.test])
    assert len(everything.unique()) == 1000
    assert np.allclose(np.sort(data.restore(everything)[:, 0]), np.sort(array[:, 0]), atol=1e-4, rtol=0)


def test_a_trained_model_takes_and_gives_the_datas_own_units(both: tuple[Dataset, Dataset]) -> None:
    with seeded(0):
        models = [zoo.TrainedModel(build("ppca", data.event, {"latent": 1}, seed=0), data) for data in both]
    x = table(7)
    ours, theirs = (model.log_prob(each).value for model, each in zip(models, (x, OFFSETS + SCALES * x), strict=True))
    assert np.allclose(ours - theirs, LOG_SCALE, atol=2e-3)
    drawn, moved = (model.sample(5, seed=3).numpy() for model in models)
    assert np.allclose(OFFSETS + SCALES * drawn, moved, rtol=1e-6)
    masked = np.zeros((7, 4), bool)
    masked[:, 1] = True
    parts = [
        model.log_prob(each, mask=masked).value for model, each in zip(models, (x, OFFSETS + SCALES * x), strict=True)
    ]
    assert np.allclose(parts[0] - parts[1], math.log(SCALES[1]), atol=2e-3)


def test_the_zoos_own_data_are_in_their_own_units() -> None:
    for name in ("moons", "rings", "digits"):
        data = load_data(name)
        assert data.units is None
        assert not data.log_scale(build("independent", data.event), data.test).any()


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.arange(200) % 17 / 16, 1 / 16),
        (np.round(np.random.default_rng(0).normal(170, 8, 300), 1), 0.1),
        (np.random.default_rng(0).integers(0, 2, 300), 1.0),
        (np.random.default_rng(0).integers(200, 9000, 300) * 25, 25.0),
        (np.random.default_rng(0).normal(size=300), None),
        (np.random.default_rng(0).normal(size=300).astype(np.float32), None),
        ((1e6 + np.random.default_rng(0).normal(size=300)).astype(np.float32), 1 / 16),  # what float32 left of it
    ],
)
def test_grids_of_real_values_are_found(values: np.ndarray, step: float | None) -> None:
    found = grid_of(values.astype(np.float64))
    assert (found is None) == (step is None)
    if found:
        assert found[0] == pytest.approx(step)


def test_values_on_a_grid_are_scored_by_a_bound_that_says_so(tmp_path: Path) -> None:
    """Rounded to tenths, the nats of a density are at least those of the probability of each interval."""
    array = np.round(np.random.default_rng(0).normal(170, 8, (2000, 2)), 1)
    data = of_array(tmp_path, "heights", array)
    pair = build("independent", data.event)
    with torch.no_grad():
        pair.extras.initialise(data.train)  # type: ignore[attr-defined] # it has that method
    nats = scores(pair, data)["nats"]
    assert (nats.kind, "dequantised at steps of grids" in nats.reason) == ("lower bound", True)
    entropy = 2 * (math.log(8) + 0.5 * math.log(2 * math.pi * math.e))
    assert nats.value == pytest.approx(entropy, abs=0.15)
    assert np.allclose(data.restore(data.test) * 10, (data.restore(data.test) * 10).round(), atol=1e-6)


def test_a_row_on_a_grid_is_scored_over_its_noise(tmp_path: Path) -> None:
    """Alike rows get alike scores, which differ by their stated errors; the mean of their exponentials is P(x)."""
    values = np.random.default_rng(0).integers(0, 3, (300, 2)).astype(np.float64)
    pd.DataFrame(values + 0.5, columns=["a", "b"]).to_csv(tmp_path / "t.csv", index=False)
    data = load_data(str(tmp_path / "t.csv"))
    pair = build("independent", data.event)
    pair.extras.initialise(data.train)
    found = zoo.TrainedModel(pair, data).log_prob(np.full((400, 2), 1.5))
    assert found.kind == "lower bound"
    assert (found.stderr > 0).all()
    spread = np.std(found.value)
    assert 0.7 < spread / np.mean(found.stderr) < 1.4
    with seeded(0):
        z = data.standardise(torch.full((4000, 2), 1.5))
    one = float((zoo.log_prob(pair, z).double() - data.log_scale(pair, z)).exp().mean().log())
    assert np.log(np.exp(found.value).mean()) == pytest.approx(one, abs=4 * spread / 20)


def test_a_grid_holds_for_data_that_are_held_out(tmp_path: Path) -> None:
    """Of eight numbers that train, all may be even by chance."""
    np.savez(tmp_path / "halves.npz", train=2.0 * np.arange(8)[:, None] + 0.5, validation=[[1.5], [6.5]], test=[[7.5]])
    data = load_data(str(tmp_path / "halves.npz"))
    assert data.units is not None
    assert data.units.step.tolist() == [1.0]
    assert data.restore(torch.cat([data.validation, data.test])).flatten().tolist() == [1.5, 6.5, 7.5]


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda frame: frame.assign(c=frame.a), "column 'a', column 'c' depend linearly on each other"),
        (lambda frame: frame.assign(c=2 * frame.a - frame.b + 1), "depend linearly on each other"),
        (lambda frame: frame.assign(c=np.where(frame.a > 0, frame.b, 0.123)), "has the value 0.123 in"),
        (lambda frame: frame.assign(c=4.5), "column 'c' is constant"),
    ],
)
def test_data_without_a_density_are_refused(harm: Any, sentence: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 2)), columns=["a", "b"])
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    load_data(str(path))  # as it is, it has one
    harm(frame).to_csv(path, index=False)
    with pytest.raises(ZooError, match=sentence):
        load_data(str(path))


def test_images_of_k_over_255_are_levels(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (40, 3, 3))
    data = of_array(tmp_path, "images", (levels / 255).astype(np.float32))
    assert data.event == Event((3, 3), 256)
    assert "values k/255 are taken for the levels k" in data.source
    assert sorted(torch.cat([data.train, data.validation, data.test]).flatten().tolist()) == sorted(levels.flatten())


def test_programs_for_one_event_take_data_as_they_are(tmp_path: Path) -> None:
    """Priors and supports of a person's own programs are written in the data's units."""
    (tmp_path / "waiting.py").write_text(
        "import pyro, pyro.distributions as dist, torch, zoo\n"
        "event = zoo.Event(1, 'real')\n"
        "def model(x):\n"
        "    rate = pyro.param('rate', torch.tensor(0.01), constraint=dist.constraints.positive)\n"
        "    with pyro.plate('data', len(x)):\n"
        "        pyro.sample('x', dist.Exponential(rate.expand(1)).to_event(1), obs=x)\n"
    )
    data = of_array(tmp_path, "times", np.random.default_rng(0).exponential(50.0, (300, 1)))
    load_families([tmp_path / "waiting.py"])
    config = configure("waiting", DataSpec(name=str(tmp_path / "times.npy")), data, recipe={"steps": 0})
    assert config.units is None
    run = Run.of(config, tmp_path / "runs")
    run.train(config, data, "cpu")
    x = torch.from_numpy(data.restore(data.test).numpy())
    model = zoo.load(run.folder, device="cpu")
    assert model.data.units is None
    assert torch.equal(model.data.test, data.in_own_units().test)
    found = model.log_prob(x)
    expected = (math.log(0.01) - 0.01 * x).sum(1)
    assert np.allclose(found.value, expected, atol=1e-4)
    assert (model.log_prob(-x).value == -math.inf).all()  # no wait is negative
    assert not build("independent", data.event).in_own_units


def test_registered_data_of_ones_own_are_standardised_too() -> None:
    with datasets.scoped():
        for name, scale, offset in (("plain", np.ones(4), np.zeros(4)), ("scaled", SCALES, OFFSETS)):

            @dataset(name)
            def made(name: str = name, scale: Any = scale, offset: Any = offset) -> Dataset:
                train, validation, test = torch.from_numpy(offset + scale * table()).float().split(100)
                return Dataset(name, Event(4, "real"), train, validation, test, "Drawn.")

        found = []
        for name in ("plain", "scaled"):
            data = load_data(name)
            pair = build("independent", data.event)
            with torch.no_grad():
                pair.extras.initialise(data.train)  # type: ignore[attr-defined] # it has that method
            found.append(scores(pair, data)["nats"].value)
            units = data.in_own_units().units
            assert units is None or (units.scale == 1).all()
        assert found[1] - found[0] == pytest.approx(LOG_SCALE, abs=0.05)  # float32 in their own units


def test_registered_data_without_a_density_are_refused() -> None:
    with datasets.scoped():

        @dataset("copied")
        def copied() -> Dataset:
            x = torch.randn(90, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 2).contiguous()
            return Dataset("copied", Event(2, "real"), x[:50], x[50:70], x[70:], "A column and its copy.")

        with pytest.raises(ZooError, match="data set 'copied': the entry 0 of a datum, the entry 1 of a datum depend"):
            load_data("copied")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: x + 40, r"has the mean (39|40)\.\d+ and the deviation"),
        (lambda x: 1e-4 * x, r"and the deviation \d\.\d+e-05"),
        (lambda x: (4 * x).round() / 4, "lies on a grid of step 0.25"),
        (lambda x: x.index_copy(1, torch.tensor([1]), x[:, :1]), "depend linearly on each other"),
    ],
)
def test_data_made_by_hand_are_standardised_or_refused(change: Any, sentence: str) -> None:
    """By training and by evaluations; nothing is refused of what is near standard, or is standardised."""
    x = change(torch.randn(300, 2, generator=torch.Generator().manual_seed(0)))
    data = Dataset("made", Event(2, "real"), x[:200], x[200:250], x[250:], "Drawn.")
    pair = build("independent", data.event)
    with pytest.raises(ZooError, match=sentence):
        fit(pair, data, {"steps": 1})
    with pytest.raises(ZooError, match=sentence):
        TrainedRun(pair, data, 0, [])
    if "linearly" not in sentence:
        assert fit(pair, standardised(data), {"steps": 1}).status == "finished"
    plain = replace(data, train=torch.randn(200, 2), validation=torch.randn(50, 2), test=torch.randn(50, 2))
    assert fit(build("independent", data.event), plain, {"steps": 1}).status == "finished"


ROUNDED = np.round(np.random.default_rng(3).normal(5.0, 3.0, (240, 2)), 1)
OWN_PROGRAM = """
import pyro, pyro.distributions as dist, torch, zoo
event = zoo.Event(2, "real")
def model(x):
    mean, scale = pyro.param("mean", torch.full((2,), 5.0)), pyro.param("scale", torch.tensor(3.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, scale).to_event(1), obs=x)
"""


def own_program(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(torch.full((2,), 5.0), 3.0).to_event(1), obs=x)


@pytest.mark.thorough
def test_no_door_gives_rounded_data_a_bare_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs for one event, in a file or in memory: noise that is named, or a refusal."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN_PROGRAM)
    pd.DataFrame(ROUNDED, columns=["a", "b"]).to_csv("rounded.csv", index=False)
    with families.scoped():
        given = ("--data", "rounded.csv", "--train", "steps=1", "--quiet")
        command("train", "own.py", *given)
        said = command("evaluate", "own.py", *given, "-e", "likelihood").output
        nats = next(line for line in said.splitlines() if " nats " in line)
        assert "(lower bound; dequantised at steps of grids: column 'a' at 0.1, column 'b' at 0.1)" in nats
        command("score", "runs/rounded.csv/own", "--data", "rounded.csv", "-o", "rows.csv")
        assert set(pd.read_csv("rows.csv").kind) == {"lower bound"}
        data = load_data("rounded.csv")
    pair = zoo.Pair(data.event, own_program)
    model = zoo.TrainedModel(pair, data)
    found = model.log_prob(ROUNDED[:50])
    assert (found.kind, "dequantised at steps" in found.remark) == ("lower bound", True)
    exact = torch.distributions.Normal(5.0, 3.0).log_prob(torch.from_numpy(ROUNDED[:50])).sum(1)
    assert np.allclose(found.value, exact, atol=0.1)  # noise of 0.05 at most
    assert set(scores(pair, data)["nats"].reason.split(": ")) >= {"dequantised at steps of grids"}
    by_hand = Dataset("made", data.event, *torch.from_numpy(ROUNDED).float().split(80), "Drawn.")
    for door in (
        lambda: fit(pair, by_hand, {"steps": 0}),
        lambda: TrainedRun(pair, by_hand, 0, []),
        lambda: zoo.TrainedModel(pair, by_hand),
    ):
        with pytest.raises(ZooError, match=r"grid of step 0.1, and pair takes a density; give it zoo.standardised"):
            door()
    assert TrainedRun(pair, standardised(by_hand), 0, []).data.dequantised


@pytest.mark.process
def test_a_comparison_gives_rounded_data_no_bare_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN_PROGRAM)
    pd.DataFrame(ROUNDED, columns=["a", "b"]).to_csv("rounded.csv", index=False)
    with families.scoped():
        given = ("--data", "rounded.csv", "--train", "steps=1", "--quiet", "-e", "likelihood", "--quick")
        command("compare", "own.py", *given, "--workers", 1)
    table = pd.read_csv("reports/own/scores.csv")
    assert set(table[table.metric == "nats"].kind) == {"lower bound"}


def test_what_float32_leaves_of_large_numbers_is_no_data() -> None:
    """In their own units, as a program for one event takes them; standardised they keep their differences."""
    x = torch.from_numpy(1.7e9 + 100 * ROUNDED + np.random.default_rng(0).normal(size=ROUNDED.shape))
    data = Dataset("made", Event(2, "real"), *x.float().split(80), "Drawn.")
    with pytest.raises(ZooError, match=r"what float32 leaves of its numbers up to 1\.7e\+09"):
        zoo.TrainedModel(zoo.Pair(data.event, own_program), data)


def test_a_run_that_was_given_rounded_data_as_they_are_asks_to_be_trained_again(tmp_path: Path) -> None:
    data = of_array(tmp_path, "rounded", ROUNDED)
    config = configure("independent", DataSpec(name=str(tmp_path / "rounded.npy")), data, recipe={"steps": 0})
    earlier = config.model_copy(update={"units": None})
    run = Run.of(earlier, tmp_path / "runs")
    run.train(earlier, data, "cpu")
    with pytest.raises(RunError, match=r"values of a grid without noise.*train another run of independent"):
        dataset_of(run)


@pytest.mark.slow
def test_people_in_raw_units_are_near_the_density_they_were_drawn_from(tmp_path: Path) -> None:
    """The table of docs/tables.md: years, an income that rises with age, and a mass of 3e-4."""
    section = (Path(__file__).parent.parent / "docs" / "tables.md").read_text().split("\n## Units")[1]
    names: dict[str, Any] = {}
    exec(section.split("```python\n")[1].split("np.savetxt")[0], names)
    np.savetxt(tmp_path / "people.csv", names["rows"], "%.9g", ",", header="age,income,mass", comments="")
    data = load_data(str(tmp_path / "people.csv"))
    z = (data.restore(data.test).numpy() - [45, 42_000, 3e-4]) / [12, 9_700, 5e-5]
    log_scale = math.log(12 * 9_700 * 5e-5) + 1.5 * math.log(2 * math.pi)
    alone = log_scale + np.square(z).sum(1).mean() / 2
    given_age = (z[:, 1] - 0.4 * z[:, 0]) ** 2 / 0.84 - z[:, 1] ** 2
    drawn_from = alone + given_age.mean() / 2 + math.log(0.84) / 2
    floor = build("independent", data.event)
    fit(floor, data, Recipe(steps=0))
    assert abs(scores(floor, data)["nats"].value - alone) < 0.02
    for seed in range(3):
        config = configure("vae", DataSpec(name=str(tmp_path / "people.csv")), data, seed=seed)
        run = Run.of(config, tmp_path / "runs")
        run.train(config, data, "cpu")
        pair = zoo.load(run.folder, device="cpu").pair
        assert scores(pair, data, 512)["nats"].value < min(6.1, drawn_from + 0.1)
