"""The variational auto-encoder: likelihoods by support, its start, and what training reaches."""

from __future__ import annotations

import pytest
import torch
from draws import data
from members import in_turn, small

from zoo.contract.check import check
from zoo.data import load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.models.vae import VAE
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.registry import guides, load_shelves
from zoo.pairs.traces import capabilities
from zoo.training.loop import fit

load_shelves()
EVENTS = [("2x3:binary", {}), ("2x3:5", {}), ("2x3:5", {"likelihood": "logistic"}), ("2x3:real", {})]


@pytest.fixture(params=EVENTS, ids=str)
def vae(request: pytest.FixtureRequest) -> Pair:
    """A VAE for each support and likelihood."""
    text, hyper = request.param
    return build("vae", Event.parse(text), hyper)


def test_likelihood_is_a_density_over_the_event(vae: Pair) -> None:
    made = vae.extras
    assert isinstance(made, VAE)
    fn = made.decoder(torch.randn(4, made.latent))
    assert (fn.batch_shape, fn.event_shape) == ((4,), (2, 3))
    x = data(vae.event, 4).float()
    assert fn.log_prob(x).shape == (4,)
    if vae.event.levels:
        one = torch.stack([fn.base_dist.log_prob(torch.full((4, 2, 3), float(k))) for k in range(vae.event.levels)])
        assert torch.allclose(one.logsumexp(0), torch.zeros(4, 2, 3), atol=1e-5)


def test_its_likelihood_is_a_bound_with_one_latent(vae: Pair) -> None:
    can = capabilities(vae)
    assert can.likelihood == "bound"
    assert list(can.latents) == ["z"]
    assert can.lossless == (vae.event.levels is not None)


@pytest.mark.thorough
def test_the_contract_holds_for_a_likelihood_that_is_not_the_default() -> None:
    assert [each for each in check("vae", Event.parse("2x3:5"), {"likelihood": "logistic"}) if not each.ok] == []


def test_it_starts_from_the_marginals(vae: Pair) -> None:
    made = vae.extras
    assert isinstance(made, VAE)
    with torch.no_grad():
        x = data(vae.event, 2000).float()
        x[:, 0, 0] = 1.0
        made.initialise(x)
        made.decoder.net.out.weight.zero_()
        drawn = made.decoder(torch.zeros(2000, made.latent)).sample()
    assert (drawn.mean(0) - x.mean(0)).abs().max() < 0.3
    assert (drawn.std(0) - x.std(0)).abs().max() < 0.4


def test_a_likelihood_of_another_support_is_refused() -> None:
    with pytest.raises(ZooError, match="categorical or logistic"):
        build("vae", Event(4, 5), {"likelihood": "normal"})
    with pytest.raises(ZooError, match="bernoulli"):
        build("vae", Event(4, "binary"), {"likelihood": "logistic"})


@pytest.mark.thorough
@pytest.mark.parametrize("guide", in_turn([entry.name for entry in guides], lambda name: guides[name].space))
def test_training_improves_the_bound_and_is_reproducible(guide: str) -> None:
    digits = load_data("digits")

    def trained(steps: int) -> float:
        pair = build(f"vae+{guide}", digits.event, small(f"vae+{guide}") | {"hidden": 64, "guide.hidden": 64}, seed=1)
        recipe = {"steps": steps, "batch": 50, "lr": 2e-2, "checkpoints": 1, "engine": "eager"}
        return fit(pair, digits, recipe, seed=1, device="cpu").best_score

    first, again = trained(2), trained(2)
    assert first == again
    assert trained(60) < first - 1.5
