"""What ArviZ reads of a trained model: its groups, its units, its importance weights, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from command import zoo as run_zoo
from members import small
from test_use import train
from torch import Tensor

import zoo
from zoo import Event, Pair, TrainedModel, ZooError
from zoo.metrics.bounds import bounds
from zoo.use.inference_data import _arviz, summary, to_arviz, write_netcdf

DRAWS, N = 200, 3
DIGITS = zoo.load_data("digits")
MOONS = zoo.load_data("moons")
arviz = _arviz()


def model(name: str, data: zoo.Dataset = DIGITS) -> TrainedModel:
    return TrainedModel(zoo.build(name, data.event, small(name)), data)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedModel, Any]:
    """A model, and its draws as they are read back from a file."""
    path, made = tmp_path_factory.mktemp("arviz") / "out.nc", model("hvae")
    write_netcdf(to_arviz(made, data=N, draws=DRAWS), path)
    return made, arviz.from_netcdf(path)


@pytest.mark.thorough
def test_the_groups_have_named_dimensions(read: tuple[TrainedModel, Any]) -> None:
    made, found = read
    sizes = {group: {name: dict(v.sizes) for name, v in found[group].items()} for group in found.groups()}
    lead = {"chain": 1, "draw": DRAWS, "datum": N}
    image = {"x_dim_0": 8, "x_dim_1": 8}
    assert sizes == {
        "posterior": {f"z{i}": lead | {f"z{i}_dim_0": size} for i, size in ((2, 2), (1, 3))},
        "log_likelihood": {"x": lead},
        "sample_stats": {"log_weight": lead, "khat": {"datum": N}, "ess": {"datum": N}},
        "posterior_predictive": {"x": lead | image},
        "observed_data": {"x": {"datum": N} | image},
    }
    assert np.array_equal(found.observed_data["x"].values, made.data.test[:N].numpy())
    assert all("not a Markov chain" in found[group].attrs["draws"] for group in found.groups())
    assert "arviz.loo" in found.log_likelihood.attrs["leave_one_out"]


def test_psis_of_the_weights_read_back_is_our_own_khat_and_bound(read: tuple[TrainedModel, Any]) -> None:
    made, found = read
    weights = found.sample_stats["log_weight"].stack(__sample__=("chain", "draw"))
    _, khat = arviz.psislw(weights)
    assert np.allclose(khat, found.sample_stats["khat"], rtol=1e-6)
    theirs = bounds(made.pair, made.data.test[:N], 4000, seed=5)
    largest = torch.logsumexp(torch.from_numpy(weights.values), 1) - np.log(DRAWS)
    assert torch.allclose(largest, theirs.importance, atol=0.7)
    error = torch.from_numpy(weights.values).std(1) / DRAWS**0.5
    assert ((torch.from_numpy(weights.values).mean(1) - theirs.elbo).abs() < 4 * error).all()


def test_draws_and_their_weights_belong_together(read: tuple[TrainedModel, Any]) -> None:
    """log p(x | z) by the decoder at the exported latents."""
    made, found = read
    z = {name: torch.from_numpy(found.posterior[name].values[0, 7]) for name in found.posterior}
    x = made.data.test[:N]
    with made.pair.evaluating():
        trace = pyro.poutine.trace(pyro.poutine.condition(made.pair.model, z)).get_trace(x)
        expected = trace.nodes["x"]["fn"].log_prob(x)
    assert torch.allclose(torch.from_numpy(found.log_likelihood["x"].values[0, 7]).float(), expected, rtol=1e-5)


def linear(scale: float) -> Pair:
    """z ~ N(0, 1), x ~ N(z, 1); the posterior N(x / 2, 1 / 2), which the guide has at a scale of one."""

    def generate(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z[:, None], 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(scale * x[:, 0] / 2, scale * 0.5**0.5))

    return Pair(Event(1, "real"), generate, guide)


@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_weighted_moments_are_the_posteriors(scale: float) -> None:
    x = torch.tensor([[-1.0], [0.5], [2.0]])
    every = torch.randn(60, 1)
    trained = TrainedModel(linear(scale), zoo.Dataset("made up", Event(1, "real"), every, every, every, "made up"))
    table = summary(to_arviz(trained, x.numpy(), draws=4000))
    assert np.allclose(table["mean"], x[:, 0] / 2, atol=0.08)
    assert np.allclose(table["sd"], 0.5**0.5, atol=0.05)
    assert np.allclose(table["guide_mean"], scale * x[:, 0] / 2, atol=0.08)
    assert (table["khat"] < 0.7).all()
    if scale == 1:
        assert (table["ess"] > 3999).all()


def test_real_data_are_in_their_own_units() -> None:
    data = zoo.Dataset("wide", MOONS.event, *(100 * part for part in (MOONS.train, MOONS.validation, MOONS.test)), "")
    made = model("ppca", zoo.standardised(data))  # its guide starts as the exact posterior
    made.pair.extras.initialise(made.data.train)
    found = to_arviz(made, data=N, draws=30)
    assert np.allclose(found.observed_data["x"], data.test[:N], rtol=1e-4)
    assert found.posterior_predictive["x"].values.std() > 20
    exact = made.log_prob(data.test[:N].numpy())
    assert exact.kind == "exact"
    assert np.allclose(found.sample_stats["log_weight"], exact.value, atol=1e-3)


def test_an_exact_model_has_no_posterior() -> None:
    made = model("pixelcnn")
    found = to_arviz(made, data=N, draws=2)
    assert {*found.groups()} == {"log_likelihood", "posterior_predictive", "observed_data"}
    assert found.log_likelihood["x"].shape == (1, 1, N)
    assert np.allclose(found.log_likelihood["x"][0, 0], made.log_prob(made.data.test[:N].numpy()).value)
    with pytest.raises(ZooError, match="no latents with importance weights"):
        summary(found)


@pytest.mark.parametrize("statistic", ["r_hat", "ess_bulk", "ess_tail", "mcse_mean", "mcse_sd"])
def test_statistics_of_a_chain_are_refused(read: tuple[TrainedModel, Any], statistic: str) -> None:
    with pytest.raises(ZooError, match=f"{statistic} .*guide.*; take khat and ess"):
        summary(read[1], ["mean", statistic])


@pytest.mark.parametrize(
    ("name", "data", "reason"), [("gan", "digits", "implicit model"), ("ssvae", "digits:labels=20", "is of a record")]
)
def test_what_has_no_such_draws_is_refused(name: str, data: str, reason: str) -> None:
    with pytest.raises(ZooError, match=reason):
        to_arviz(model(name, zoo.load_data(data)))


@pytest.mark.thorough
def test_the_command_writes_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the page's example runs as written, on what the command wrote."""
    monkeypatch.chdir(tmp_path)
    train("vae", "digits", tmp_path / "runs")
    page = (Path(__file__).parent.parent / "docs" / "arviz.md").read_text()
    [command] = re.findall(r"\.venv/bin/zoo (export .*)", page)
    said = run_zoo(*command.split()).output
    assert "not a Markov chain" in said
    assert re.search(r"k-hat above 0.7: \d+ of 10 data", said)
    [block] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "arviz.md", "exec"), {})
    assert Path("arviz.svg").read_text().startswith("<?xml")
    before = Path("out.nc").read_bytes()
    assert "ends in .nc" in run_zoo("export", "vae", "--arviz", "out.zarr", code=2).output
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "out.nc", "arviz.svg"}
    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(KeyboardInterrupt):
        write_netcdf(to_arviz("vae", data=1, draws=30), Path("out.nc"))
    assert Path("out.nc").read_bytes() == before


def broken(*_: object) -> None:
    raise KeyboardInterrupt
