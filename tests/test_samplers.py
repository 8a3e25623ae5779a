"""Samplers of a diffusion: their order on a Gaussian in closed form, and what a user is answered."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import zoo
from zoo.distributions.samplers import SAMPLERS, Sampler, ddim, dpm_solver
from zoo.errors import ZooError
from zoo.pairs.sampling import samplers
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.seeding import seeded

SPREAD = 0.5
"""Variance of the data x ~ N(0, SPREAD), of which everything is known."""
LOW, HIGH = -5.0, 4.0


def exact(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of x given u, under noise of variance v."""
    share = SPREAD / (SPREAD + v)[:, None]
    return share * u, (share * v[:, None]).expand_as(u)


def variances(passes: int) -> Tensor:
    return torch.linspace(LOW, HIGH, passes + 1, dtype=torch.float64).exp()


@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (dpm_solver, 2)])
def test_a_deterministic_sampler_converges_to_the_probability_flow_by_its_order(sampler: Sampler, order: int) -> None:
    """The flow of a Gaussian is linear: u_0 = u_T ((s + v_0) / (s + v_T))^(1/2)."""
    u = torch.tensor([[1.0, -3.0]], dtype=torch.float64)
    low, high = math.exp(LOW), math.exp(HIGH)
    wanted = u * math.sqrt((SPREAD + low) / (SPREAD + high))
    coarse, fine = (float((sampler(exact, u, variances(passes)) - wanted).norm()) for passes in (128, 256))
    assert fine < 0.02 * float(wanted.norm())
    assert coarse / fine == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_have_the_variance_of_the_data_and_the_noise_that_is_left(name: str) -> None:
    with seeded(0):
        u = torch.randn(20_000, 1, dtype=torch.float64) * (1 + math.exp(HIGH)) ** 0.5
        drawn = SAMPLERS[name](exact, u, variances(2 if name == "ancestral" else 400))
    assert float(drawn.var()) == pytest.approx(SPREAD + math.exp(LOW), rel=0.05)


@pytest.mark.parametrize("variance", ["fixed", "matched"])
def test_ancestral_sampling_in_all_passes_is_the_model_itself(variance: str) -> None:
    hyper = {"timesteps": 5, "width": 4, "blocks": 1, "variance": variance}
    pair = zoo.build("ddpm", zoo.Event((3, 3), 4), hyper)
    with seeded(1):
        run = zoo.sample(pair, 6)
    with seeded(1):
        assert torch.equal(zoo.sample(pair, 6, sampler="ancestral", passes=5), run)


def test_what_a_pair_cannot_sample_by_is_refused() -> None:
    pair = zoo.build("ddpm", zoo.Event(2, "real"), {"timesteps": 2, "width": 4, "blocks": 1})
    with pytest.raises(ZooError, match=r"ancestral or ddim or dpm-solver with passes=1 or more, got sampler='euler'"):
        zoo.sample(pair, 3, sampler="euler", passes=5)
    with pytest.raises(ZooError, match="passes=0"):
        zoo.sample(pair, 3, sampler="ddim")
    with pytest.raises(ZooError, match="leave out given and latents"):
        zoo.sample(pair, 3, sampler="ddim", passes=5, latents={"z": torch.zeros(3, 3, 2)})
    with pytest.raises(ZooError, match="has no samplers"):
        zoo.sample(zoo.build("ppca", zoo.Event(2, "real"), {"latent": 1}), 3, passes=5)


@pytest.mark.thorough
def test_a_sampler_that_takes_more_passes_than_asked_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.evaluations.samplers.PASSES", (2,))
    monkeypatch.setattr("zoo.evaluations.samplers.MOST", 3)
    data = zoo.load_data("moons")
    pair = zoo.build("ddpm", data.event, {"timesteps": 2, "width": 4, "blocks": 1})
    own = samplers(pair)
    wrong = {"once": own["ddim"], "twice": lambda n, passes: own["ddim"](n, 2 * passes)}
    monkeypatch.setattr(pair.extras, "samplers", lambda: wrong)
    found = evaluate("samplers", [TrainedRun(pair, data, seed=0, history=[])], Settings(samples=20))
    assert {score.metric: score.reason for score in found if score.status == "failed"} == {
        f"{metric}@twice:2": "it took 4 passes instead of 2" for metric in ("mmd2", "c2st")
    }
    assert [score.metric for score in found if score.status == "ok"] == [
        f"{metric}@once:{passes}" for passes in (2, 3) for metric in ("mmd2", "c2st")
    ]
