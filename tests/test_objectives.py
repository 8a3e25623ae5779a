"""Objectives of importance weights: what they equal, where their gradient vanishes, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from members import small
from pyro import poutine
from pyro.distributions.transforms import AffineTransform
from test_training import Deadly, Tape
from torch import Tensor, nn

import zoo
from zoo import Dataset, Event, Pair, ZooError, engine
from zoo.engine.objectives import Objective, doubly_reparameterised, elbo, importance_weighted
from zoo.training.loop import fit

L, NOISE = 2, 0.7
WEIGHTS = torch.tensor([[1.0, 0.2], [-0.4, 0.8], [0.3, -0.9]])
PLANE = Event(3, "real")
X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


class Linear(nn.Module):
    """A linear Gaussian whose guide draws the second latent given the first; the exact posterior at no ``shift``."""

    def __init__(self, shift: float = 0.0, flow: bool = False) -> None:
        super().__init__()
        covariance = torch.linalg.inv(torch.eye(L) + WEIGHTS.T @ WEIGHTS / NOISE**2)
        self.weights = nn.Parameter(WEIGHTS.clone())
        self.mean = nn.Parameter(covariance @ WEIGHTS.T / NOISE**2 + shift)
        self.slope = nn.Parameter(covariance[1, 0] / covariance[0, 0] + shift)
        deviations = torch.stack([covariance[0, 0], covariance[1, 1] - covariance[1, 0] ** 2 / covariance[0, 0]]).sqrt()
        self.log_scale = nn.Parameter(deviations.log() + shift)
        self.flow = flow

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(x.new_zeros(()), 1.0))
            b = pyro.sample("b", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(torch.stack([a, b], -1) @ self.weights.T, NOISE).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        (first, second), scale = (x @ self.mean.T).T, self.log_scale.exp()
        with pyro.plate("data", len(x)):
            base: Any = dist.Normal(first, scale[0])
            if self.flow:
                step = AffineTransform(first, scale[0], cache_size=1)
                base = dist.TransformedDistribution(dist.Normal(torch.zeros_like(first), 1.0), [step])
            a = pyro.sample("a", base)
            pyro.sample("b", dist.Normal(second + self.slope * (a - first), scale[1]))


OBJECTIVES: dict[str, Callable[[int], Objective]] = {"iwae": importance_weighted, "dreg": doubly_reparameterised}
GUIDE = ("mean", "slope", "log_scale")


def gradients(made: Linear, objective: Objective, x: Tensor = X) -> dict[str, Tensor]:
    pair = Pair(PLANE, made.model, made.guide)
    engine.compile(pair, objective, mode="eager")(x)
    return {name: parameter.grad.clone() for name, parameter in made.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("flow", [False, True])
def test_one_particle_is_the_elbo(flow: bool) -> None:
    found = []
    for objective in (elbo(), importance_weighted(1)):
        with zoo.seeding.seeded(1):
            found.append(gradients(Linear(0.3, flow), objective))
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


@pytest.mark.thorough
@pytest.mark.parametrize("flow", [False, True])
def test_the_doubly_reparameterised_gradient_has_the_same_mean(flow: bool) -> None:
    """Each row is a draw: the same datum many times, of which the gradient is the mean."""
    made, means = Linear(0.5, flow), []
    rows = X[:1].expand(100_000, -1)
    for objective in (importance_weighted(4), doubly_reparameterised(4)):
        with zoo.seeding.seeded(2):
            runs = [gradients(made, objective, part) for part in rows.split(5000)]
        means.append({name: torch.stack([run[name] for run in runs]) for name in runs[0]})
    for name in GUIDE:
        one, other = means[0][name], means[1][name]
        error = (one.var(0) / len(one) + other.var(0) / len(other)).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() < 4.5 * error).all(), name
        assert one.mean(0).abs().max() > 10 * error.max(), "a gradient of zero would prove nothing"
        assert (other.var(0) < one.var(0)).all(), "its noise is less"
    assert torch.allclose(means[0]["weights"], means[1]["weights"], atol=1e-5), "the model's is the same"


def test_a_recorded_engine_falls_back_and_says_why() -> None:
    made = Linear(0.3)
    pair = Pair(PLANE, made.model, made.guide)
    found = []
    for mode in ("traced", "eager"):
        step = engine.compile(pair, doubly_reparameterised(3), mode=mode)
        step(X)
        with zoo.seeding.seeded(1):
            found.append(float(step(X)))
        assert bool(step.reason) == (mode == "traced")
    assert found[0] == found[1]


@pytest.mark.parametrize("particles", [1, 5])
def test_it_vanishes_where_the_guide_is_the_posterior(particles: int) -> None:
    found = {name: gradients(Linear(), each(particles)) for name, each in OBJECTIVES.items()}
    assert all(found["dreg"][name].abs().max() < 1e-5 for name in GUIDE)
    assert all(found["iwae"][name].abs().max() > 1e-2 for name in GUIDE), "the noise of the score function"


def data(n: int = 40) -> Dataset:
    x = dist.MultivariateNormal(torch.zeros(3), WEIGHTS @ WEIGHTS.T + NOISE**2 * torch.eye(3)).sample((n,))
    return zoo.standardised(Dataset("made up", PLANE, x, x[:10], x[:10], "made up"))


@pytest.mark.thorough
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_killed_and_resumed_it_ends_with_the_same_bits(objective: str) -> None:
    recipe = {"steps": 20, "batch": 8, "checkpoints": 4, "objective": objective, "particles": 3}
    with zoo.seeding.seeded(0):
        made = data()
    whole, again = (Pair(PLANE, each.model, each.guide) for each in (Linear(0.3), Linear(0.3)))
    end, tape = fit(whole, made, recipe, seed=1), Tape()
    killed = Linear(0.3)
    deadly = Deadly(**vars(made), lifetime=iter(range(13)))
    with pytest.raises(KeyboardInterrupt):
        fit(Pair(PLANE, killed.model, killed.guide), deadly, recipe, seed=1, callbacks=[tape])
    assert tape.last
    assert 0 < tape.last.step < 20
    resumed = fit(again, made, recipe, seed=1, start=deepcopy(tape.last))
    assert resumed.history == end.history
    assert all(torch.equal(again.state()[name], tensor) for name, tensor in whole.state().items())


def test_the_best_weights_are_kept_by_the_bound_that_is_trained() -> None:
    with zoo.seeding.seeded(0):
        made = data()
    found = Linear(0.8)
    pair = Pair(PLANE, found.model, found.guide)
    scores = [
        fit(pair, made, {"steps": 0, "particles": 64, "objective": word}).best_score
        for word in ("elbo", "iwae", "dreg")
    ]
    assert scores[1] == scores[2] < scores[0] - 0.1, "64 weights bound more tightly than one"


def likelihood(x: Tensor, z: Tensor) -> None:
    pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([len(x), 3]).to_event(1), obs=x)


def discrete(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        likelihood(x, pyro.sample("z", dist.Poisson(x.new_ones(()))))


def discrete_guide(x: Tensor) -> None:
    rate = pyro.param("rate", torch.ones(()))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Poisson(rate.exp()))


def normal(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        likelihood(x, pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0)))


def normal_guide(x: Tensor) -> None:
    loc = pyro.param("loc", torch.ones(()))
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, 1.0))


def moved_guide(x: Tensor) -> None:
    """A change of variables that is written as a point."""
    loc = pyro.param("loc", torch.ones(()))
    with pyro.plate("data", len(x)):
        free = pyro.sample("free", dist.Normal(loc, 1.0), infer={"is_auxiliary": True})
        pyro.sample("z", dist.Delta(2 * free, log_density=-free.new_tensor(2.0).log()))


def summed(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Categorical(logits=x.new_zeros(2)))
        likelihood(x, pyro.sample("z", dist.Normal(k.float(), 1.0)))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    ("model", "guide", "settings", "reason"),
    [
        (discrete, discrete_guide, {}, "'z' of pair is discrete, which has no reparameterised draw"),
        (poutine.scale(normal, scale=0.5), normal_guide, {}, "has a scale of its own"),
        (summed, normal_guide, {}, "pair sums k; use objective=elbo"),
        (normal, normal_guide, {"kl_warmup": 3}, "takes no KL warm-up"),
    ],
)
def test_what_has_no_such_weights_is_refused(
    objective: str, model: Any, guide: Any, settings: dict[str, Any], reason: str
) -> None:
    pair, x = Pair(PLANE, model, guide), torch.randn(20, 3)
    made = zoo.standardised(Dataset("made up", PLANE, x, x, x, "made up"))
    with pytest.raises(ZooError, match=reason):
        fit(pair, made, {"steps": 2, "objective": objective} | settings, unchecked=True)


def test_a_guide_of_points_has_weights_but_no_second_reparameterisation() -> None:
    pair = Pair(PLANE, normal, moved_guide)
    engine.compile(pair, importance_weighted(3), mode="eager")(X)
    with pytest.raises(ZooError, match="sampled by the guide from a density of its own"):
        engine.compile(pair, doubly_reparameterised(3), mode="eager")(X)


@pytest.mark.parametrize(("name", "reason"), [("gan", "has a loss of its own"), ("pixelcnn", "draws none")])
def test_families_without_a_guide_are_refused(name: str, reason: str) -> None:
    event = Event((2, 2), 5)
    x = torch.randint(0, 5, (20, 2, 2)).float()
    with pytest.raises(ZooError, match=reason):
        fit(zoo.build(name, event), Dataset("made up", event, x, x, x, ""), {"steps": 1, "objective": "iwae"})


@pytest.mark.parametrize("name", ["vae+iaf", "vae+planar", "hvae", "vae:guide.tail=5", "realnvp"])
def test_families_of_the_shelves_are_differentiated(name: str) -> None:
    """All of a guide's parameters that the ELBO reaches; the bound is that of plain weights."""
    event = Event((2, 3), 5)
    pair = zoo.build(name, event, small(name) | {"guide.dropout": 0.3} if "vae+" in name else small(name))
    x = torch.randint(0, 5, (6, 2, 3), generator=torch.Generator().manual_seed(0)).float()
    found: dict[str, tuple[float, set[str]]] = {}
    for word, objective in {"elbo": elbo(), "iwae": importance_weighted(4), "dreg": doubly_reparameterised(4)}.items():
        with zoo.seeding.seeded(0):
            loss = engine.compile(pair, objective, mode="eager")(x)
        reached = {n for n, p in pair.named_parameters().items() if p.grad is not None and p.grad.any()}
        found[word] = (float(loss), reached)
    assert found["dreg"] == (pytest.approx(found["iwae"][0], rel=1e-5), found["elbo"][1])


def test_the_tail_is_students() -> None:
    event = Event((2, 3), 5)
    pair = zoo.build("vae", event, small("vae") | {"guide.tail": 3})
    with zoo.seeding.seeded(0):
        site = poutine.trace(pair.guide).get_trace(torch.zeros(1, 2, 3)).nodes["z"]
    student = site["fn"].base_dist
    far = student.loc + 50 * student.scale
    expected = torch.distributions.StudentT(3.0, student.loc, student.scale).log_prob(far).sum(-1)
    assert torch.allclose(site["fn"].log_prob(far), expected)
    with pytest.raises(ZooError, match="above 2 degrees of freedom, got 1"):
        zoo.build("vae", event, {"guide.tail": 1})
