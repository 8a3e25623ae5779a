"""Latents that all data share: their terms in training, the posterior predictive, and Pyro's AutoGuides."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuide,
    AutoGuideList,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoStructured,
)
from torch import Tensor, nn

import zoo
from zoo import Dataset, Event, Pair, engine
from zoo.codec.lossless import why_not
from zoo.contract.check import ground_laws
from zoo.engine.objectives import elbo, importance_weighted
from zoo.errors import ContractError, ZooError
from zoo.metrics.bounds import bounds
from zoo.pairs.pair import no_guide
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_prob, log_weights
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.seeding import seeded

PLANE = Event(2, "real")
Program = Callable[[Tensor], Any]
SCALE, N = 10.0, 12
with seeded(0):
    DATA = torch.tensor([1.0, -2.0]) + torch.randn(N, 2)


def gaussian(x: Tensor) -> None:
    """mu ~ N(0, SCALE^2 I), x | mu ~ N(mu, I)."""
    mu = pyro.sample("mu", dist.Normal(x.new_zeros(2), SCALE).to_event(1))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu, 1.0).to_event(1), obs=x)


VARIANCE = 1 / (N + SCALE**-2)
MEAN = VARIANCE * DATA.sum(0)


def posterior(x: Tensor, scale: float = math.sqrt(VARIANCE)) -> None:
    pyro.sample("mu", dist.Normal(MEAN, scale).to_event(1))


def evidence() -> Tensor:
    """log p(x_1, ..., x_N)."""
    covariance = torch.eye(N) + SCALE**2 * torch.ones(N, N)
    return dist.MultivariateNormal(torch.zeros(N), covariance).log_prob(DATA.T).sum()


def predictive(x: Tensor) -> Tensor:
    return dist.Normal(MEAN, math.sqrt(1 + VARIANCE)).log_prob(x).sum(-1)


def test_under_the_exact_posterior_every_loss_is_the_evidence() -> None:
    """Minus the ELBO of all N data, divided by N, has no variance."""
    pair = Pair(PLANE, gaussian, posterior)
    for _ in range(3):
        assert torch.allclose(elbo(1, N)(pair, DATA, 1.0)[1], -evidence() / N, atol=1e-5)


def test_losses_of_batches_average_to_that_of_all_data() -> None:
    pair = Pair(PLANE, gaussian, lambda x: posterior(x, 0.5))

    def loss(x: Tensor, beta: float) -> Tensor:
        with seeded(1):
            return elbo(2, N)(pair, x, beta)[1]

    for beta in (1.0, 0.3):
        parts = torch.stack([loss(x, beta) for x in DATA.split(4)])
        assert torch.allclose(parts.mean(), loss(DATA, beta), atol=1e-5)


@pytest.mark.thorough
def test_the_bound_is_of_the_posterior_predictive() -> None:
    pair, x = Pair(PLANE, gaussian, posterior), DATA[:4]
    found = bounds(pair, x, 800)
    errors = (1 / found.ess - 1 / 800).sqrt()
    assert ((found.importance - predictive(x)).abs() < 5 * errors + 1e-4).all()
    assert (found.elbo < predictive(x)).all()
    assert torch.equal(found.kl, torch.zeros(4, dtype=torch.float64))


def test_each_particle_has_a_draw_of_its_own() -> None:
    """One draw for several particles would make their weights equal."""
    pair = Pair(PLANE, gaussian, lambda x: posterior(x, 1.0))
    found = bounds(pair, DATA[:2], 64)
    assert (found.ess < 63).all()
    assert found.khat.isfinite().all()


@pytest.mark.thorough
def test_samples_are_independent_draws_of_the_predictive() -> None:
    """With one draw of mu for all of them, their mean would be off by its deviation."""
    pair = Pair(PLANE, gaussian, lambda x: posterior(x, 2.0))
    with seeded(0):
        drawn = sample(pair, 1500)
    assert torch.allclose(drawn.mean(0), MEAN, atol=0.25)
    assert torch.allclose(drawn.std(0), torch.full((2,), math.sqrt(5.0)), atol=0.2)


def test_capabilities_and_codes() -> None:
    def model(x: Tensor) -> None:
        p = pyro.sample("p", dist.Beta(torch.ones(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Bernoulli(p).to_event(1), obs=x)

    pair = Pair(Event(2, "binary"), model, AutoNormal(model))
    can = capabilities(pair)
    assert (can.likelihood, can.latents, dict(can.shared)) == ("bound", {}, {"p": (2,)})
    assert (can.lossless, can.lossy(pair.event)) == (False, False)
    assert "all data share p" in why_not(pair)
    with pytest.raises(ContractError, match="no exact log-probability"):
        log_prob(pair, torch.zeros(3, 2))
    with pytest.raises(ZooError, match=r"latents are shared; use elbo\(\)"):
        importance_weighted(3)(pair, torch.zeros(3, 2), 1.0)


def clusters(x: Tensor) -> None:
    """A mixture with unknown weights and centres, in a plate of as many entries as a batch may have."""
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("components", 3):
        centres = pyro.sample("centres", dist.Normal(torch.zeros(2), 5.0).to_event(1))
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Categorical(weights))
        pyro.sample("x", dist.Normal(centres[k], 1.0).to_event(1), obs=x)


GUIDES = [
    AutoNormal,
    AutoDiagonalNormal,
    AutoMultivariateNormal,
    AutoLowRankMultivariateNormal,
    AutoIAFNormal,
    AutoStructured,
]


def auto(kind: Callable[[Program], AutoGuide], model: Program) -> tuple[Program, AutoGuide]:
    return model, kind(poutine.block(model, hide=["k"]))


AUTO = [(gaussian, kind) for kind in GUIDES] + [(clusters, kind) for kind in GUIDES if kind is not AutoStructured]


@pytest.mark.parametrize(("model", "kind"), AUTO, ids=[f"{model.__name__}-{kind.__name__}" for model, kind in AUTO])
def test_losses_under_an_auto_guide_are_pyros_own(model: Program, kind: Any) -> None:
    with seeded(0):
        _, guide = auto(kind, model)
        pair = Pair(PLANE, model, guide)
    for_pyro = config_enumerate(model) if model is clusters else model
    loss = TraceEnum_ELBO(max_plate_nesting=1) if model is clusters else Trace_ELBO()
    with seeded(1):
        ours, _ = elbo()(pair, DATA, 1.0)
    with seeded(1), pair.scope():
        theirs = loss.differentiable_loss(for_pyro, guide, DATA) / N
    assert torch.allclose(ours, theirs, atol=1e-4)
    gradients = (torch.autograd.grad(each, pair.parameters()) for each in (ours, theirs))
    assert all(torch.allclose(mine, pyros, atol=1e-4) for mine, pyros in zip(*gradients, strict=True))
    ground_laws(pair, DATA)


def made_up(draw: Callable[[int], Tensor], event: Event = PLANE) -> Dataset:
    with seeded(0):
        return Dataset("made up", event, draw(300), draw(40), draw(40), "made up")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kind", [AutoMultivariateNormal, pytest.param(AutoNormal, marks=pytest.mark.slow)], ids=lambda kind: kind.__name__
)
def test_training_finds_the_posterior(kind: Any) -> None:
    """Mean and deviation of 300 data's posterior: their mean, and 1 / sqrt(300)."""
    with seeded(0):
        pair = Pair(PLANE, *auto(kind, gaussian))
    data = made_up(lambda n: torch.tensor([1.0, -2.0]) + torch.randn(n, 2))
    zoo.fit(pair, data, {"steps": 600, "batch": 100, "lr": 0.03, "schedule": "cosine", "checkpoints": 2})
    with pair.evaluating(), seeded(0):
        draws = torch.stack([poutine.trace(pair.guide).get_trace(DATA).nodes["mu"]["value"] for _ in range(400)])
    assert torch.allclose(draws.mean(0), data.train.mean(0), atol=0.05)
    assert torch.allclose(draws.std(0), torch.full((2,), 300**-0.5), rtol=0.35)


@pytest.mark.slow
def test_a_mixture_with_unknown_centres_trains_scores_and_samples() -> None:
    with seeded(0):
        pair = Pair(PLANE, *auto(AutoNormal, clusters))
    centres = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
    data = made_up(lambda n: centres[torch.randint(3, (n,))] + torch.randn(n, 2))
    zoo.fit(pair, data, {"steps": 300, "batch": 100, "lr": 0.05, "checkpoints": 2})
    scores = {score.metric: score for score in evaluate("likelihood", [TrainedRun(pair, data, 0, [])], Settings(64))}
    nats = scores["nats"]
    truth = -(dist.Normal(centres, 1.0).log_prob(data.test[:, None]).sum(-1) - math.log(3)).logsumexp(1).mean()
    assert nats.kind == "lower bound"
    assert nats.reason == (
        "k summed exactly; of the posterior predictive of the guide, by 64 draws of weights, centres"
    )
    assert nats.value is not None
    assert abs(nats.value - float(truth)) < 0.3
    assert (scores["elbo"].status, scores["kl"].status) == ("ok", "skipped")
    assert sample(pair, 20).shape == (20, 2)


def test_weights_are_saved_and_loaded() -> None:
    with seeded(0):
        pair, other = (Pair(PLANE, *auto(AutoNormal, clusters)) for _ in range(2))
    assert any(name.startswith("AutoNormal.locs") for name in pair.state())
    other.load(pair.state())
    with seeded(0):
        ours = log_weights(pair, DATA)
    with seeded(0):
        assert torch.equal(log_weights(other, DATA), ours)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [AutoNormal, AutoIAFNormal], ids=lambda kind: kind.__name__)
def test_the_step_is_recorded(kind: Any) -> None:
    with seeded(0):
        pair = Pair(PLANE, *auto(kind, clusters))
    losses = []
    for mode in ("eager", "traced"):
        step = engine.compile(pair, elbo(1, 100), mode=mode)
        with seeded(1):
            losses.append(step(DATA, 0.5))
        assert step.reason == ""
    assert torch.allclose(*losses, atol=1e-5)


class Factors(nn.Module):
    """Bayesian loadings W, shared, and a factor z of each datum: x ~ N(z W, I)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 2)

    def model(self, x: Tensor) -> None:
        w = pyro.sample("w", dist.Normal(x.new_zeros(1, 2), 1.0).to_event(2))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ w, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.sample("w", dist.Normal(torch.tensor([[1.0, -1.0]]), 0.2).to_event(2))
        with pyro.plate("data", len(x)):
            mean, scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, scale.exp()).to_event(1))


@pytest.mark.thorough
def test_shared_and_local_latents_together() -> None:
    """Given w, x ~ N(0, I + w'w); the predictive is its mean over the guide's draws of w."""
    factors = Factors()
    pair, x = Pair(PLANE, factors.model, factors.guide), torch.randn(3, 2)
    found = bounds(pair, x, 1000)
    with seeded(1):
        w = torch.tensor([[1.0, -1.0]]) + 0.2 * torch.randn(20000, 1, 2)
    exact = dist.MultivariateNormal(torch.zeros(2), torch.eye(2) + w.mT @ w).log_prob(x[:, None]).logsumexp(1)
    assert ((found.importance - exact + math.log(20000)).abs() < 5 / found.ess.sqrt() + 0.01).all()
    assert (found.kl > 0).all()
    assert dict(capabilities(pair).latents) == {"z": (1,)}


def scaled(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        s = pyro.sample("s", dist.Exponential(1.0))
        pyro.sample("x", dist.Normal(x.new_zeros(2), 1.0).to_event(1), obs=x * torch.ones_like(s)[:, None])


def test_an_auxiliary_variable_of_each_datum_is_part_of_the_guides_density() -> None:
    """s = exp(u) by an auxiliary u is the LogNormal guide."""

    def direct(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("s", dist.LogNormal(x[:, 0], 0.5))

    def changed(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(x[:, 0], 0.5), infer={"is_auxiliary": True})
            pyro.sample("s", dist.Delta(u.exp(), log_density=-u))

    weights = []
    for guide in (direct, changed):
        with seeded(0):
            weights.append(log_weights(Pair(PLANE, scaled, guide), DATA))
    assert torch.allclose(*weights, atol=1e-5)
    assert capabilities(Pair(PLANE, scaled, changed)).latents == {"s": ()}


def needless(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        u = pyro.sample("u", dist.Normal(0.0, 100.0).expand([len(x)]), infer={"is_auxiliary": True})
        pyro.sample("s", dist.LogNormal(0 * u, 0.5))


def from_data(x: Tensor) -> None:
    pyro.sample("mu", dist.Normal(x.mean(0), 0.1).to_event(1))


def inside(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("mu", dist.Normal(x, 0.1).to_event(1))


REFUSED = [
    (gaussian, AutoDelta(gaussian), "the guide is a point mass in mu: .* no bound"),
    (gaussian, lambda x: pyro.sample("mu", dist.Delta(torch.zeros(2)).to_event(1)), "the guide is a point mass in mu"),
    (gaussian, no_guide, "site 'mu' lies outside the data plate, and the guide does not sample it"),
    (gaussian, from_data, "the guide computes 'mu', which all data share, from x"),
    (gaussian, inside, "latent 'mu' is outside the data plate in the model and inside it in the guide"),
    (scaled, AutoNormal(scaled), "'s' is not amortised: an AutoGuide"),
    (scaled, needless, "auxiliary u is no change of variables"),
]


@pytest.mark.parametrize(("model", "guide", "match"), REFUSED)
def test_what_gives_no_bound_is_refused(model: Program, guide: Program, match: str) -> None:
    pair = Pair(PLANE, model, guide)
    for ask in (lambda: log_weights(pair, DATA), lambda: elbo()(pair, DATA, 1.0), lambda: bounds(pair, DATA, 4)):
        with pytest.raises(ContractError, match=match):
            ask()


def test_an_auto_guide_of_any_first_batch_is_found_not_to_be_amortised() -> None:
    for n in (2, 3, 5, 7):
        guide = AutoNormal(scaled)
        with pyro.get_param_store().scope():
            guide(DATA[:n])
        assert Pair(PLANE, scaled, guide).structure.fixed == ("s",)


def test_lists_of_auto_guides() -> None:
    guide = AutoGuideList(clusters)
    guide.append(AutoNormal(poutine.block(clusters, expose=["weights"])))
    guide.append(AutoMultivariateNormal(poutine.block(clusters, expose=["centres"])))
    pair = Pair(PLANE, clusters, guide)
    assert set(pair.structure.shared) == {"weights", "centres"}
    assert log_weights(pair, DATA).isfinite().all()
    ground_laws(pair, DATA)
