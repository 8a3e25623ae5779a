"""Trained models in use: what they answer is what their run's evaluation says, or a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from members import combinations, family_of, in_turn, members, small
from torch import Tensor

import zoo
from zoo.codec.lossless import why_not
from zoo.contract.values import fits
from zoo.data.units import Units
from zoo.errors import RunError, ZooError
from zoo.event import EXAMPLES
from zoo.pairs.pair import Pair
from zoo.pairs.registry import families
from zoo.pairs.traces import capabilities
from zoo.runs.config import DataSpec, configure
from zoo.runs.evaluation import Settings, evaluate
from zoo.runs.lookup import find_run
from zoo.runs.run import Run
from zoo.runs.stored_scores import trained_run
from zoo.use.latents import Latents

PARTICLES = 16
DEPENDENT = ("pixelvae", "sentence-vae", "sentence-vae-freebits")
"""Families with latents whose entries depend on each other given these: they have no expected data."""
SWEPT = [(name, support) for name, support in members() if "+" not in name and support != "binary"]
EVENTS = {"levels": zoo.Event((4, 4), 5), "real": zoo.Event(3, "real")}


def numbers(support: str, n: int = 120) -> np.ndarray[Any, Any]:
    """Made-up data with some dependence between entries."""
    event, generator = EVENTS[support], np.random.default_rng(0)
    shared = generator.normal(size=(n, *[1] * len(event.shape)))
    values = shared + generator.normal(size=(n, *event.shape))
    if event.levels is None:
        return values * [1.0, 2.0, 0.5] + [0.0, 3.0, -1.0]
    return np.clip(np.rint(values + 2), 0, 4).astype(np.int64)


def in_use(pair: Pair) -> zoo.TrainedModel:
    """A pair that is given its data as they are."""
    x = torch.zeros(2, *pair.event.shape) if pair.event.levels else torch.randn(20, *pair.event.shape)
    return zoo.TrainedModel(pair, zoo.Dataset("made up", pair.event, x, x, x, "made up"))


def train(name: str, data: str, runs: Path, hyper: dict[str, Any] | None = None, **recipe: Any) -> Run:
    """A run of a few steps."""
    spec = DataSpec(name=data)
    dataset = spec.load()
    recipe = {"steps": 2, "batch": 20, "checkpoints": 1, "engine": "eager"} | recipe
    config = configure(name, spec, dataset, hyper=small(name) if hyper is None else hyper, recipe=recipe)
    run = Run.of(config, runs)
    run.train(config, dataset, "cpu")
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of both supports, ``levels.npy`` and ``real.npy``."""
    folder = tmp_path_factory.mktemp("use")
    for support in EVENTS:
        np.save(folder / f"{support}.npy", numbers(support))
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "support"), in_turn(SWEPT, family_of))
def test_a_loaded_model_answers_as_its_run_or_refuses(name: str, support: str, folder: Path) -> None:
    recipe = {"steps": 0} if name in ("independent", "uniform") else {}
    run = train(name, str(folder / f"{support}.npy"), folder / "runs", **recipe)
    model = zoo.load(run.folder, device="cpu")
    data = trained_run(run, model.data, "cpu")
    test = model.data.restore(model.data.test)
    x = test.numpy()
    n, shape = len(x), model.event.shape
    nats = evaluate("likelihood", [data], Settings(particles=PARTICLES))[0]
    if nats.status == "ok" and capabilities(model.pair).likelihood != "unnormalised":
        found = model.log_prob(test, PARTICLES)
        assert (float(-found.value.mean()), found.kind) == (nats.value, nats.kind)
        assert ((found.stderr == 0) == (found.kind == "exact")).all()
    else:
        with pytest.raises(ZooError, match=r"implicit|up to a constant"):
            model.log_prob(x)
    mask = np.zeros(x.shape, bool)
    mask[:, -1] = True
    can, flow = capabilities(model.pair), model.pair.group == "flow" and name not in ("idf", "git")
    latent, observed = bool(set(can.latents) - set(can.dequantising)) or flow, bool(can.observed)
    decodes = name not in DEPENDENT
    answers: dict[str, tuple[Callable[[], Any], tuple[int, ...], bool]] = {
        "sample": (lambda: model.sample(3), (3, *shape), True),
        "encode": (lambda: model.encode(x, 3).mean, (n,), latent and observed),
        "reconstruct": (lambda: model.reconstruct(x, 2), (n, *shape), latent and observed and decodes),
        "interpolate": (
            lambda: model.interpolate(x, x, 2, 2),
            (2, n, *shape),
            latent and observed and decodes,
        ),
        "impute": (
            lambda: model.impute(x, mask, 2, 4).draws,
            (2, n, *shape),
            observed and model.pair.group != "flow" and not can.energies,
        ),
        "compress": (lambda: model.decompress(model.compress(x)), (n, *shape), not why_not(model.pair)),
    }
    for what, (ask, wanted, offered) in answers.items():
        if not offered:
            with pytest.raises(ZooError, match=f"^{re.escape(model.pair.label)} "):
                ask()
            continue
        answer = ask()
        assert isinstance(answer, Tensor if what == "sample" else np.ndarray), what
        answer = torch.as_tensor(answer)
        assert tuple(answer.shape[: len(wanted)]) == wanted, what
        assert answer.isfinite().all(), what
        if what in ("sample", "impute", "compress"):
            assert fits(model.event, answer.reshape(-1, *shape).float()), what
        elif what != "encode" and model.event.levels:
            assert 0 <= answer.min() <= answer.max() <= model.event.levels - 1, what
    if latent and decodes:
        d = sum(Latents(model.pair).sizes)
        assert model.decode(torch.zeros(2, d)).shape == (2, *shape)
    if latent and not flow:
        assert fits(model.event, model.sample(2, z=torch.zeros(2, sum(Latents(model.pair).sizes))))


@pytest.mark.parametrize("name", in_turn([name for name, _ in combinations()], lambda name: name.partition("+")[0]))
def test_every_guide_encodes_and_decodes(name: str) -> None:
    pair = zoo.build(name, EVENTS["levels"], small(name))
    model, x = zoo.TrainedModel(pair), torch.as_tensor(numbers("levels", 5)).float()
    width = sum(torch.Size(shape).numel() for shape in zoo.capabilities(pair).latents.values())
    assert model.encode(x, 2).draws.shape == (2, 5, width)
    assert name.startswith("pixelvae") or model.reconstruct(x, 2).shape == x.shape


def test_a_flow_gives_its_data_back(folder: Path) -> None:
    for support in EVENTS:
        pair = zoo.build("realnvp", EVENTS[support], small("realnvp"))
        x = numbers(support)
        assert pair.extras.initialise(torch.as_tensor(x).float()) is None
        assert np.allclose(in_use(pair).reconstruct(x), x, atol=1e-4)


@pytest.mark.thorough
def test_answers_come_in_the_form_of_the_question() -> None:
    model = zoo.TrainedModel(zoo.build("vae", EVENTS["levels"], small("vae")))
    x = numbers("levels", 6)
    flat, tensor = model.log_prob(x.reshape(6, -1), 4), model.log_prob(torch.as_tensor(x), 4)
    assert isinstance(tensor.value, Tensor)
    assert np.array_equal(flat.value, tensor.value.numpy())
    assert model.reconstruct(x.reshape(6, -1)).shape == (6, 16)
    encoded, sites = model.encode(x, 5), model.latents(x, 5)
    assert np.array_equal(encoded.mean, sites["z"])
    assert np.allclose(encoded.draws.mean(0), encoded.mean, atol=1e-6)
    assert np.array_equal(model.decode(sites), model.decode(encoded.mean))
    ends = model.interpolate(x[:3], x[3:])
    assert np.allclose(ends[0], model.reconstruct(x[:3]), atol=1e-5)
    assert np.allclose(ends[-1], model.reconstruct(x[3:]), atol=1e-5)


@pytest.mark.thorough
def test_units_change_a_likelihood_by_their_log_scale_only(folder: Path) -> None:
    x, scale, shift = numbers("real"), np.array([1e-6, 1e4, 30.0]), np.array([1.0, -3e5, 1.7e9])
    np.save(folder / "scaled.npy", x * scale + shift)
    models = [
        zoo.load(train("ppca", str(folder / f"{name}.npy"), folder / "runs", steps=200).folder, device="cpu")
        for name in ("real", "scaled")
    ]
    mask = np.array([False, True, True])[None].repeat(len(x), 0)
    found, scaled = (
        {
            "nats": model.log_prob(data).value,
            "masked": model.log_prob(data, mask=mask).value - np.log(scale[0]) * (data is not x),
            "columns": zoo.score(model, data).iloc[:, -3:].sum(axis=1).to_numpy(),
        }
        for model, data in zip(models, (x, x * scale + shift), strict=True)
    )
    for what, value in found.items():
        assert np.allclose(scaled[what] + np.log(scale).sum(), value, atol=0.02), what
    plain, large = models
    z = plain.encode(x, 400).mean
    assert np.allclose(large.decode(z), plain.decode(z) * scale + shift, rtol=1e-6, atol=0.02 * scale)
    incomplete = np.where(mask, np.nan, x * scale + shift)
    imputed = large.impute(incomplete, draws=5)
    assert (imputed.draws[:, ~mask] == incomplete[~mask]).all()
    assert np.allclose(imputed.mean, plain.impute(x, mask).mean * scale + shift, atol=0.02 * scale)
    with pytest.raises(ZooError, match="whose units are those of its training data"):
        zoo.TrainedModel(large.pair)


def test_what_is_given_is_in_its_own_units() -> None:
    event = zoo.Event.parse("x=:real,c=:real@given")
    x = torch.tensor([[0.0, 1000.0], [1.0, 3000.0]]).double()
    units = Units.of(event, x)
    z = units.standardise(x)

    def model(x: Tensor, c: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(c, 1e-6), obs=x)

    used = zoo.TrainedModel(Pair(event, model), zoo.Dataset("made up", event, z, z, z, "made up", units=units))
    drawn = used.sample(2, given={"c": np.array([1000.0, 4000.0])})
    assert isinstance(drawn, dict)
    assert np.allclose(drawn["x"], [0.0, 1.5], atol=1e-4)  # half a unit of x for each 1000 of c
    assert np.allclose(drawn["c"], [1000.0, 4000.0])
    assert used.log_prob({"x": [1.5], "c": [4000.0]}).value == pytest.approx(-np.log(0.5e-6 * np.sqrt(2 * np.pi)))


def test_data_of_another_kind_are_refused() -> None:
    levels, real = (in_use(zoo.build("independent", EVENTS[support])) for support in ("levels", "real"))
    for model, x, reason in [
        (levels, np.full((2, 4, 4), 0.25), "levels 0 to 4"),
        (levels, np.full((2, 4, 4), 5), "levels 0 to 4"),
        (levels, np.zeros((4, 4)), r"write x\[None\]"),
        (levels, np.zeros((2, 3)), r"shape \(n, 4, 4\)"),
        (real, np.array([[0.0, np.nan, 0.0]]), "NaN; fill missing entries by impute"),
        (real, np.full((1, 3), 1e300), "finite numbers"),
        (real, [["a", "b", "c"]], "should be numbers"),
    ]:
        with pytest.raises(ZooError, match=reason):
            model.log_prob(x)
    for wrong, reason in (({"seed": -1}, "from 0 to 4294967295, got -1"), ({"particles": 0}, "one particle or more")):
        with pytest.raises(ZooError, match=reason):
            levels.log_prob(np.zeros((2, 4, 4)), **wrong)
    coded = in_use(zoo.build("ppca", EVENTS["levels"], {"latent": 3}))
    for z in (np.zeros((0, 3)), np.full((2, 3), np.nan)):
        with pytest.raises(ZooError, match="one vector or more of finite numbers"):
            coded.decode(z)


@pytest.mark.thorough
def test_records_are_given_and_returned_by_field() -> None:
    event = zoo.Event.parse("x=4x4:5,y=:3@label")
    model = zoo.TrainedModel(zoo.build("ssvae", event, {"hidden": 8, "latent": 2}))
    x = numbers("levels", 6)
    labelled, bare = model.log_prob({"x": x, "y": [0, 1, 2, 0, 1, 2]}, 4), model.log_prob({"x": x}, 4)
    mixed = model.log_prob({"x": x, "y": [0, 1, 2, np.nan, np.nan, np.nan]}, 4)
    assert (labelled.of, bare.of) == ("p(x, y)", "p(x)")
    assert mixed.of == "p(x, y) of 3 data and p(x) of 3 data"
    assert model.encode({"x": x, "y": np.zeros(6)}).mean.shape == (6, 2)
    drawn = model.sample(3)
    assert isinstance(drawn, dict)
    assert (drawn["x"].shape, drawn["y"].shape) == ((3, 4, 4), (3,))
    with pytest.raises(ZooError, match=r"given by field, \{'x': \.\.\., 'y': \.\.\.\}"):
        model.log_prob(x)


@pytest.mark.thorough
def test_the_error_of_a_bound_is_its_spread_over_seeds() -> None:
    pair = zoo.build("ppca", EVENTS["levels"], {"latent": 3})
    x = numbers("levels", 40)
    assert pair.extras.initialise(torch.as_tensor(x).float()) is None
    found = [zoo.TrainedModel(pair).log_prob(x, 100, seed) for seed in range(30)]
    spread = np.std([each.value for each in found], 0)
    stated = np.mean([each.stderr for each in found], 0)
    assert 0.9 < np.median(spread / stated) < 1.1


def test_memory_does_not_change_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = zoo.TrainedModel(zoo.build("vae", EVENTS["levels"], small("vae")))
    z = np.random.default_rng(0).normal(size=(50, 3))
    whole = model.decode(z)
    monkeypatch.setattr("zoo.metrics.memory.CHUNK", 1)
    assert np.allclose(model.decode(z), whole, atol=1e-5)


def test_a_model_in_memory_and_from_disk_are_one(folder: Path) -> None:
    run = train("vae", str(folder / "real.npy"), folder / "runs")
    pair = zoo.build("vae", EVENTS["real"], run.config.hyper, run.config.seed)
    data = run.config.data.load()
    zoo.fit(pair, data, run.config.recipe.model_dump(), seed=run.config.seed, device="cpu")
    x = numbers("real")
    trained, loaded = zoo.TrainedModel(pair, data), zoo.load(run.folder / "weights.safetensors", device="cpu")
    assert np.array_equal(trained.log_prob(x, 8).value, loaded.log_prob(x, 8).value)


def test_a_run_is_found_by_folder_file_or_name(folder: Path) -> None:
    runs = folder / "found"
    run = train("ppca", str(folder / "real.npy"), runs)
    for text in (run.folder, run.folder / "status.json", run.folder.parent, runs / "real.npy" / "ppca", runs):
        assert find_run(text).folder == run.folder
    assert find_run("ppca", runs) == run
    other = train("ppca", str(folder / "levels.npy"), runs)
    with pytest.raises(RunError, match=f"one of 2 runs; name one folder: {other.folder}, {run.folder}"):
        find_run("ppca", runs)
    with pytest.raises(RunError, match="there is no run 'vae' in"):
        find_run("vae", runs)
    with pytest.raises(ZooError, match="did you mean"):
        find_run("pcca", runs)


def test_a_run_without_an_end_or_whose_data_changed_is_no_model(folder: Path) -> None:
    np.save(folder / "changing.npy", numbers("real"))
    run = train("ppca", str(folder / "changing.npy"), folder / "runs")
    np.save(folder / "changing.npy", numbers("real") + 1)
    with pytest.raises(RunError, match="has changed since"):
        zoo.score(run.folder, numbers("real"))
    run.fail("out of memory")
    with pytest.raises(RunError, match=r"is no trained model \(failed: out of memory\)"):
        zoo.load(run.folder)


RECORDS = ("ssvae", "diva", "hybrid:x=vae", "hybrid:x=realnvp", "dmm")


@pytest.mark.thorough
@pytest.mark.parametrize("name", RECORDS)
def test_records_are_reconstructed_interpolated_and_imputed(name: str) -> None:
    known = families[name.split(":")[0]]
    event = known.example or EXAMPLES[known.supports[0]]
    model, rng = zoo.TrainedModel(zoo.build(name, event)), np.random.default_rng(0)
    x = {field.name: rng.integers(0, field.levels or 2, (4, *field.shape)).astype(float) for field in event.fields}
    x = {key: torch.as_tensor(value).numpy() for key, value in model.event.unpack(event.pack(x)).items()}
    if event.label:
        x["y"] = np.where([True, False, True, True], x["y"], np.nan)
    made, line = model.reconstruct(x, 3), model.interpolate(x, x, 2, 3)
    assert {key: value.shape for key, value in made.items()} == {key: value.shape for key, value in x.items()}
    assert all(np.allclose(line[key][1], made[key], atol=1e-4) for key in made)
    for field in event.fields:
        if field.role != "observed":  # kept where they are known, filled in where not
            assert np.array_equal(np.where(np.isnan(x[field.name]), made[field.name], x[field.name]), made[field.name])
        assert 0 <= made[field.name].min() <= made[field.name].max() <= (field.levels or 1) - 1
    if name.startswith("hybrid"):
        with pytest.raises(ZooError, match=f"^{re.escape(model.pair.label)} gives no distribution of missing entries"):
            model.impute(x, {"x": np.ones_like(x["x"], bool)})
        return
    x["x"][:, -2:] = np.nan
    if "n" in x:
        x["n"][:] = len(x["x"][0])
    found = model.impute(x, draws=3, particles=4)
    for key, value in x.items():
        assert np.array_equal(np.where(np.isnan(value), found.draws[key], value), found.draws[key]), key
    assert fits(event, event.pack({key: value.reshape(-1, *value.shape[2:]) for key, value in found.draws.items()}))
    with pytest.raises(ZooError, match="depend on z and"):
        model.decode(np.zeros((2, sum(Latents(model.pair).sizes))))
