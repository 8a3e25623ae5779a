"""A guide's draws as functions of standard normal numbers: the right density, and the way back."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from members import small
from torch import Tensor
from torch.autograd.functional import jacobian

import zoo
from zoo.metrics.transport import Transport, from_normal, normal_with_moments
from zoo.pairs.registry import guides, load_shelves
from zoo.pairs.sites import data_first, per_datum

load_shelves()
PAIRS = [f"vae+{guide.name}" for guide in guides if guide.name != "vmf"] + ["hvae", "ppca", "realnvp"]


@pytest.mark.parametrize("name", PAIRS)
def test_the_density_of_a_draw_is_that_of_its_numbers_over_the_volume(name: str) -> None:
    """log q(f(e)) = log N(e) - log |det df/de|, by the whole Jacobian; and f has an inverse."""
    torch.manual_seed(0)
    pair = zoo.build(name, zoo.Event((2, 2), 5), small(name))
    x = torch.tensor([[[0.0, 4.0], [2.0, 1.0]]])
    with pair.evaluating():
        transport = Transport(pair, x)
        e = torch.randn(1, transport.size)

        def latents(e: Tensor) -> tuple[Any, dict[str, Tensor]]:
            trace = transport.trace(e)
            return trace, {name: data_first(name, trace.nodes[name], 1) for name in transport.starts}

        trace, z = latents(e)
        slopes = jacobian(lambda e: torch.cat([each.flatten(1) for each in latents(e)[1].values()], 1)[0], e)
        volume = torch.linalg.slogdet(slopes[:, 0])[1]
        found = float(per_datum(trace, 1, transport.starts))
        assert found == pytest.approx(float(dist.Normal(0.0, 1.0).log_prob(e).sum() - volume), abs=2e-3)
        assert torch.allclose(transport.numbers(z), e, atol=2e-3)


def test_what_a_guide_never_draws_has_no_numbers() -> None:
    numbers = from_normal(dist.Uniform(1.0, 3.0))
    assert numbers is not None
    found = numbers.inv(torch.tensor([0.9, 1.0, 2.0, 3.0, 3.1]))
    assert found.isfinite().tolist() == [False, True, True, True, False]


def test_an_unknown_distribution_is_replaced_by_one_with_its_moments() -> None:
    gamma = dist.Gamma(torch.tensor([2.0, 30.0]), 1.0)
    assert from_normal(gamma) is None
    values = gamma.sample((500,))
    start = normal_with_moments(gamma, values)
    assert (start.sample((50,)) > 0).all()
    known = start.base_dist
    assert torch.allclose(known.loc, values.log().mean(0))
    assert torch.allclose(known.scale, values.log().std(0))
    assert from_normal(start) is not None
