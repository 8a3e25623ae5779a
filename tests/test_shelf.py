"""Guides from the shelf on any model: latents of every support, in plates, summed, and shared."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from members import small
from torch import Tensor, nn

import zoo
from zoo import Event, Pair
from zoo.cli.parse import names_of
from zoo.engine.objectives import elbo
from zoo.errors import ZooError
from zoo.event import EXAMPLES
from zoo.metrics.bounds import bounds
from zoo.pairs.build import amortise, build
from zoo.pairs.registry import families, guides, load_shelves
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_weights
from zoo.seeding import seeded

PLANE = Event(2, "real")
SMALL = {"hidden": 8}
load_shelves()
REAL = [guide.name for guide in guides if guide.space == "real"]


def gamma(x: Tensor) -> None:
    """x ~ N(0, 1 / s), s ~ Gamma(a, b): a Student t distribution."""
    with pyro.plate("data", len(x)):
        s = pyro.sample("s", dist.Gamma(2.0, 3.0))
        pyro.sample("x", dist.Normal(x.new_zeros(2), s[:, None] ** -0.5).to_event(1), obs=x)


def topics(x: Tensor) -> None:
    """Shares of three topics for each datum, and a topic for each of its words, in plates."""
    words = pyro.sample("words", dist.Dirichlet(torch.ones(4)).expand([3]).to_event(1))
    with pyro.plate("data", len(x), dim=-2):
        shares = pyro.sample("shares", dist.Dirichlet(x.new_ones(1, 3)))
        with pyro.plate("positions", 2, dim=-1):
            topic = pyro.sample("topic", dist.Categorical(shares))
            pyro.sample("x", dist.Categorical(words[topic]), obs=x)


def plated(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-2), pyro.plate("entries", 2, dim=-1):
        u = pyro.sample("u", dist.Uniform(torch.tensor(-1.0), torch.tensor(3.0)))
        z = pyro.sample("z", dist.Normal(u, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


MODELS = {
    gamma: (PLANE, {"s": ()}, {}, {}),
    topics: (Event(2, 4), {"shares": (3,)}, {"topic": 3}, {"words": (3, 4)}),
    plated: (PLANE, {"u": (2,), "z": (2,)}, {}, {}),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", REAL)
def test_every_guide_fits_every_model(name: str, model: Callable[[Tensor], None]) -> None:
    event, latents, summed, shared = MODELS[model]
    with seeded(0):
        pair = Pair(event, model, amortise(name, model, event, SMALL))
    can = capabilities(pair)
    assert {name: math.prod(shape) for name, shape in can.latents.items()} == {
        name: math.prod(shape) for name, shape in latents.items()
    }
    assert (dict(can.enumerated), dict(can.shared)) == (summed, shared)
    x = sample(pair, 5)
    loss, _ = elbo(1, 100)(pair, x, 1.0)
    assert log_weights(pair, x).isfinite().all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, pair.parameters()))


def test_the_bound_of_a_positive_latent_is_unbiased() -> None:
    with seeded(0):
        pair, x = Pair(PLANE, gamma, amortise("normal", gamma, PLANE, SMALL)), torch.randn(4, 2)
    found = bounds(pair, x, 4000)
    exact = dist.MultivariateStudentT(4.0, torch.zeros(2), math.sqrt(1.5) * torch.eye(2)).log_prob(x)
    assert ((found.importance - exact).abs() < 5 / found.ess.sqrt() + 1e-3).all()


def test_real_latents_are_left_to_the_guide_itself() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    with seeded(0):
        guide = amortise("normal", model, PLANE, SMALL)
    assert type(guide).__name__ == "AmortizedGuide"
    assert Pair(PLANE, model, guide).structure.plain


@pytest.mark.thorough
def test_every_family_of_the_registry_is_plain() -> None:
    """Its latents are of each datum and sampled by its guide, as before there were others."""
    for family in families:
        support = family.supports[0]
        pair = build(family.name, family.example or EXAMPLES[support], small(family.name))
        assert pair.structure.plain, family.name


def refused(x: Tensor, prior: Any) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", prior(len(x)))
        pyro.sample("x", dist.Normal(z.reshape(len(x), -1)[:, :1].expand(-1, 2).float(), 1.0).to_event(1), obs=x)


REFUSED = [
    (lambda n: dist.Categorical(torch.ones(3)), "z is summed exactly: there is nothing for a guide to sample"),
    (lambda n: dist.Poisson(1.0), "latent 'z' is discrete and cannot be summed"),
    (lambda n: dist.Uniform(-1.0, torch.arange(1.0, n + 1)), "the support of latent 'z', .* has several bounds"),
]


@pytest.mark.parametrize(("prior", "match"), REFUSED, ids=["finite", "counts", "bounds"])
def test_what_no_guide_fits_is_refused(prior: Any, match: str) -> None:
    with pytest.raises(ZooError, match=match):
        amortise("normal", lambda x: refused(x, prior), PLANE)


def test_a_plate_to_the_left_of_the_data_is_refused() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1), pyro.plate("entries", 2, dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)

    with pytest.raises(ZooError, match="in plate 'entries' to the left of the data plate"):
        amortise("normal", model, PLANE)


FILE = """
import pyro, pyro.distributions as dist, zoo
event = zoo.Event(2, "real")
def model(x):
    with pyro.plate("data", len(x)):
        s = pyro.sample("s", dist.Gamma(2.0, 3.0))
        pyro.sample("x", dist.Normal(x.new_zeros(2), s[:, None] ** -0.5).to_event(1), obs=x)
"""


def test_a_file_takes_a_guide_from_the_shelf(tmp_path: Path) -> None:
    path = tmp_path / "student.py"
    path.write_text(FILE)
    assert names_of([str(path), f"{path}+iaf", f"{path}+iaf:guide.hidden=8", "vae+iaf"], None) == [
        "student",
        "student+iaf",
        "student+iaf:guide.hidden=8",
        "vae+iaf",
    ]
    pair = build("student+iaf", PLANE, {"guide.hidden": 8})
    assert (pair.label, pair.group, capabilities(pair).likelihood) == ("student+iaf", "prescribed", "bound")
    same = build("student+iaf", PLANE, {"guide.hidden": 8})
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(pair.state().values(), same.state().values(), strict=True)
    )
    with pytest.raises(ZooError, match="'s' is not sampled by the guide"):
        log_weights(build("student", PLANE), torch.zeros(3, 2))


@pytest.mark.thorough
def test_training_with_a_shared_latent_improves_the_bound() -> None:
    class Model(nn.Module):
        def model(self, x: Tensor) -> None:
            topics(x)

    with seeded(0):
        words = torch.tensor([[0.9, 0.1, 0, 0], [0, 0.1, 0.9, 0], [0, 0, 0.1, 0.9]])
        x = torch.multinomial(words[torch.randint(3, (300,))], 2, replacement=True).float()
        model = Model().model
        pair = Pair(Event(2, 4), model, amortise("normal", model, Event(2, 4), SMALL))
    data = zoo.Dataset("words", Event(2, 4), x[:200], x[200:250], x[250:], "made up")
    before = bounds(pair, data.test, 30).importance.mean()
    zoo.fit(pair, data, {"steps": 150, "batch": 100, "lr": 0.02, "checkpoints": 1})
    assert bounds(pair, data.test, 30).importance.mean() > before + 0.1
