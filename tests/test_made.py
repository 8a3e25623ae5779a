"""MADE: what its masks leave out, and draws that compute each hidden unit once."""

from __future__ import annotations

import pytest
import torch
from draws import data, every

from zoo.distributions.autoregressive import Autoregressive
from zoo.errors import UnfitError
from zoo.event import Event
from zoo.models.made import MaskedAutoencoder
from zoo.seeding import seeded


def network(event: Event, layers: int) -> MaskedAutoencoder:
    """Untrained, in double precision, its output far from uniform, without dropout."""
    with seeded(0):
        net = MaskedAutoencoder(event, hidden=4 * event.size, layers=layers).double().eval()
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
    return net


def distribution(net: MaskedAutoencoder, n: int = 1) -> Autoregressive:
    return Autoregressive(net.event, net.logits, net.stream, (n,))


@pytest.mark.parametrize("layers", [1, 2])
def test_the_mass_sums_to_one_and_draws_follow_it(layers: int) -> None:
    net = network(Event((2, 2), "binary"), layers)
    masses = distribution(net).log_prob(every(net.event)).exp()
    assert masses.sum().item() == pytest.approx(1, abs=1e-10)
    with seeded(0):
        x = distribution(net, 20_000).sample()
    shares = (x.flatten(1).unsqueeze(1) == every(net.event).flatten(1)).all(2).double().mean(0)
    assert (shares - masses).abs().max() < 5 * 0.5 / 20_000**0.5


@pytest.mark.parametrize("layers", [1, 2])
def test_logits_depend_on_every_entry_before_and_on_none_after(layers: int) -> None:
    event = Event((3, 5), "binary")
    net, x = network(event, layers), data(event, 1, seed=1).requires_grad_()
    odds = net.logits(x).reshape(event.size, 2)[:, 1]
    rows = [torch.autograd.grad(each, x, retain_graph=True)[0].flatten() for each in odds]
    assert torch.equal(torch.stack(rows) != 0, torch.ones(event.size, event.size).tril(-1).bool())


@pytest.mark.parametrize("layers", [1, 2])
def test_the_stream_gives_the_logits_of_one_pass(layers: int) -> None:
    event = Event((3, 4), "binary")
    net, x = network(event, layers), data(event, 6, seed=1)
    stream, entries = net.stream(len(x)), x.flatten(1).T
    logits = [next(stream)] + [stream.send(entry) for entry in entries[:-1]]
    torch.testing.assert_close(torch.stack(logits, 1), net.logits(x).flatten(1, 2))


def test_training_starts_at_the_marginals() -> None:
    event = Event(3, "binary")
    net = MaskedAutoencoder(event)
    for weight in net.net.parameters():
        torch.nn.init.zeros_(weight)
    net.initialise(torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]))
    marginals = net.logits(torch.zeros(1, 3)).softmax(-1)[0, :, 1]
    torch.testing.assert_close(marginals, torch.tensor([0.25, 0.5, 0.75]))


def test_a_single_entry_is_refused() -> None:
    with pytest.raises(UnfitError, match=r"two or more entries .* take independent"):
        MaskedAutoencoder(Event(1, "binary"))
