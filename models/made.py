"""MADE: a masked autoencoder of binary data."""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn

from zoo.distributions.autoregressive import Autoregressive, Stream, marginal_logits
from zoo.errors import UnfitError
from zoo.event import Event
from zoo.nn.mlp import MADE
from zoo.pairs.registry import family


@family(
    "made",
    group="autoregressive",
    paper="Germain et al. 2015, arXiv:1502.03509",
    supports=("binary",),
    recipe={
        "steps": 1500,
        "batch": 50,
        "optimiser": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.3,
        "schedule": "onecycle",
        "average": 0.99,
        "patience": 5,
    },
)
class MaskedAutoencoder(nn.Module):
    """A masked MLP over the event's entries in row-major order; exact.

        p(x) = prod_i Bernoulli(x_i | sigmoid(b_i + f_i(x_1, ..., x_{i-1})))

    One pass of the network gives all conditionals, as masks leave out every path from a later entry. b starts at the
    log-odds of the training data. There is one order and one set of masks; hidden units are shared evenly between the
    entries. A draw computes each hidden unit once.
    Not promised: an ensemble over orders, by which the paper gains up to two nats.

    Args:
        event: any shape, binary, of two entries or more.
        hidden: units, about, of each hidden layer.
        layers: number of hidden layers.
        dropout: share of hidden units dropped in training.

    Raises:
        UnfitError: an event of one entry, which has nothing to depend on.

    Reference:
        Germain et al. 2015, arXiv:1502.03509, sections 3 and 4.
    """

    def __init__(self, event: Event, *, hidden: int = 512, layers: int = 1, dropout: float = 0.2) -> None:
        super().__init__()
        if event.size < 2:
            raise UnfitError(f"made takes two or more entries that depend on each other, got {event}; take independent")
        self.event = event
        self.net = MADE(event.size, (hidden,) * layers, 1, dropout)

    def model(self, x: Tensor) -> Tensor:
        """Observe ``x``, shape ``(n, *event.shape)``; the guide is empty."""
        with pyro.plate("data", len(x)):
            return pyro.sample("x", Autoregressive(self.event, self.logits, self.stream), obs=x)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start the biases at the log-odds of the training data."""
        marginal = marginal_logits(self.event, x).flatten(0, -2)
        odds = marginal[:, 1] - marginal[:, 0]
        self.net.first.copy_(odds[:1])
        self.net.out.bias.copy_(odds[1:])

    def logits(self, x: Tensor) -> Tensor:
        """``(n, *event.shape)`` to ``(n, *event.shape, 2)``, all entries at once."""
        return _of_two(self.net(2 * x.flatten(1) - 1)).reshape(*x.shape, 2)

    def stream(self, n: int) -> Stream:
        """The same logits entry by entry, for ``n`` data (see `zoo.distributions.autoregressive`)."""
        inner = self.net.stream(n)
        odds = next(inner)
        for _ in range(self.event.size - 1):
            odds = inner.send(2 * (yield _of_two(odds)) - 1)
        yield _of_two(odds)


def _of_two(odds: Tensor) -> Tensor:
    """Log-odds, ``(..., 1)``, as logits of two levels, the first of which is zero."""
    return torch.cat([torch.zeros_like(odds), odds], -1)
