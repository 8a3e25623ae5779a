"""The GAN: an implicit model with two players, each with a network of its own."""

import math
from typing import Any

import pytest
import torch

from zoo.data import load_data
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.sampling import sample
from zoo.pairs.traces import capabilities
from zoo.training.loop import fit
from zoo.training.validation import discrepancy


def make(event: Event, hidden: int = 16) -> Any:
    return build("gan", event, {"hidden": hidden})


def test_the_players_own_every_parameter_once() -> None:
    pair = make(Event(5, 17))
    players = pair.extras.players()
    owned = [id(parameter) for player in players for parameter in player.parameters]
    assert [player.name for player in players] == ["discriminator", "generator"]
    assert sorted(owned) == sorted(map(id, pair.parameters()))


def test_the_discriminators_loss_does_not_reach_the_generator() -> None:
    gan = make(Event(5, 17)).extras
    gradients = torch.autograd.grad(
        gan.discriminator_loss(torch.zeros(8, 5)), list(gan.generator.parameters()), allow_unused=True
    )
    assert all(gradient is None for gradient in gradients)


def test_losses_where_the_discriminator_cannot_tell() -> None:
    gan = make(Event(5, 17)).extras
    with torch.no_grad():
        for parameter in gan.discriminator.parameters():
            parameter.zero_()
        x = torch.zeros(8, 5)
        assert float(gan.discriminator_loss(x)) == pytest.approx(2 * math.log(2))
        assert float(gan.generator_loss(x)) == pytest.approx(math.log(2))


def test_it_is_implicit() -> None:
    can = capabilities(make(Event(5, 17)))
    assert (can.likelihood, can.output, can.observed) == ("none", "x", ())
    assert not can.lossless


@pytest.mark.thorough
def test_training_lowers_the_discrepancy() -> None:
    digits = load_data("digits")
    pair = make(digits.event, hidden=64)
    before = discrepancy(pair, digits.validation)
    fit(pair, digits, {"steps": 150, "lr": 1e-3, "checkpoints": 1}, device="cpu")
    assert discrepancy(pair, digits.validation) < 0.7 * before


def test_real_data_are_standardised() -> None:
    pair = make(Event(2, "real"))
    x = 1000 + 50 * torch.randn(500, 2)
    pair.extras.initialise(x)
    assert (sample(pair, 500).mean(0) - 1000).abs().max() < 50
