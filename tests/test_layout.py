"""Where x is found in what a program observes: near an example, and under Pyro's reparametrisations."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import transforms
from pyro.infer.reparam import LocScaleReparam, TransformReparam
from torch import Tensor

from zoo.contract.check import ground_laws
from zoo.errors import ContractError
from zoo.event import Event
from zoo.pairs.pair import Pair
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities, log_prob, log_weights
from zoo.seeding import seeded

PLANE = Event(2, "real")
POSTERIOR = math.sqrt(0.5)


def normal(mean: Any, scale: Any) -> Any:
    return dist.Normal(mean, scale).to_event(1)


def reals(n: int = 20) -> Tensor:
    with seeded(0):
        return torch.randn(n, 2)


# --- programs that do not run on any numbers --------------------------------------------------------------------------


def looks_up(x: Tensor) -> None:
    """A guide of two classes: an entry of x from 0 to 2 is their index."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", normal(torch.eye(2)[(1000 * x[:, 0]).long()], 1.0))


def of_a_latent(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", normal(x.new_zeros(2), 1.0))
        pyro.sample("x", normal(z, 1.0), obs=x.flip(1))


def test_the_layout_is_learnt_near_the_example_if_not_on_any_numbers() -> None:
    """Zeros, and an example of one's own."""
    for example in (None, torch.full((3, 2), 5e-4)):
        pair = Pair(PLANE, of_a_latent, looks_up, example=example)
        assert pair.layout.places["x"].tolist() == [1, 0]


def test_a_program_that_does_not_run_near_its_example_is_refused_for_that() -> None:
    def guide(x: Tensor) -> None:
        assert (x == 0).all(), "only zeros"
        looks_up(x)

    with pytest.raises(ContractError, match=r"does not run on made-up data, by which .*only zeros.* clamp what is an"):
        sample(Pair(PLANE, of_a_latent, guide), 2)


# --- Pyro's reparametrisations ----------------------------------------------------------------------------------------


@poutine.reparam(config={"z": LocScaleReparam(0.0)})
def decentred(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", normal(x.new_full((2,), 3.0), 2.0))
        pyro.sample("x", normal(z, 2.0), obs=x)


@poutine.reparam(config={"z": TransformReparam()})
def by_its_base(x: Tensor) -> None:
    affine = transforms.AffineTransform(3.0, 2.0, event_dim=1)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.TransformedDistribution(normal(x.new_zeros(2), 1.0), affine))
        pyro.sample("x", normal(z, 2.0), obs=x)


def guide_of(name: str) -> Any:
    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample(name, normal((x - 3) / 4, POSTERIOR))

    return guide


@pytest.mark.parametrize(("model", "latent"), [(decentred, "z_decentered"), (by_its_base, "z_base")])
def test_a_reparametrised_latent_has_the_exact_evidence(model: Any, latent: str) -> None:
    """z ~ N(3, 4 I), x ~ N(z, 4 I); the guide is the posterior of (z - 3) / 2."""
    pair, x = Pair(PLANE, model, guide_of(latent)), reals()
    ground_laws(pair, x)
    assert list(capabilities(pair).latents) == [latent]
    assert torch.allclose(log_weights(pair, x), normal(torch.tensor([3.0, 3.0]), math.sqrt(8)).log_prob(x), atol=1e-5)
    with seeded(0):
        assert torch.allclose(sample(pair, 4000).mean(0), torch.tensor(3.0), atol=0.2)


def doubled(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        affine = transforms.AffineTransform(0.0, 2.0, event_dim=1)
        pyro.sample("x", dist.TransformedDistribution(normal(x.new_zeros(2), 1.0), affine), obs=x)


def halved(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", normal(x.new_zeros(2), 1.0), obs=x / 2)
        pyro.factor("jacobian", x.new_full((len(x),), -2 * math.log(2)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (poutine.reparam(doubled, {"x": TransformReparam()}), "leaves out the Jacobian of 'x': do without it there"),
        (halved, "the Jacobian of a change of variables is counted by dist.TransformedDistribution"),
    ],
)
def test_a_change_of_variables_of_x_is_that_of_its_distribution(model: Any, words: str) -> None:
    """Nothing in a trace would prove the Jacobian, or lead from what is drawn back to x."""
    with pytest.raises(ContractError, match=words):
        ground_laws(Pair(PLANE, model), reals())
    pair, x = Pair(PLANE, doubled), reals()
    ground_laws(pair, x)
    assert torch.allclose(log_prob(pair, x), normal(torch.zeros(2), 2.0).log_prob(x))
