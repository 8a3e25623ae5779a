"""A network from latents to a factorised likelihood of the event."""

from __future__ import annotations

import math

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from zoo import distributions
from zoo.distributions import DiscretisedLogistic, level_counts
from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.networks import DECODERS, chosen

LIKELIHOODS = {"binary": ("bernoulli",), "levels": ("categorical", "logistic"), "real": ("normal",)}
"""Likelihoods by support; the first is the default."""


class Decoder(nn.Module):
    """p(x; f(z)) with independent entries of x, f a network.

    The likelihood p depends on the event's support:

    - binary: Bernoulli, with f(z) the logits;
    - K levels: categorical with logits a + T f(z) (``likelihood="categorical"``, the default): K free base logits ``a``
      per entry, tilted along ``statistics`` learned functions of the level, the columns of T, which all entries share;
      or a logistic distribution rounded to the levels (``likelihood="logistic"``), with f(z) its mean and log-scale in
      units of half the range;
    - real: normal, with f(z) the mean and the log of the scale.

    Args:
        event: any shape and support.
        inputs: dimensions of z.
        hidden: widths of f's hidden layers; convolutions have their own.
        dropout: share of f's hidden units dropped in training.
        statistics: number of columns of T.
        likelihood: ``"auto"`` for the default.
        net: f, one of `zoo.nn.networks.DECODERS`; ``"auto"`` is an MLP, or convolutions for large images.

    Raises:
        ZooError: a ``likelihood`` that the event's support does not have, another ``net``.

    Example:
        >>> import torch
        >>> from zoo.event import Event
        >>> p = Decoder(Event((2, 2), 5), inputs=3, hidden=(8,))(torch.zeros(7, 3))
        >>> p.batch_shape, p.event_shape
        (torch.Size([7]), torch.Size([2, 2]))
    """

    def __init__(
        self,
        event: Event,
        inputs: int,
        hidden: tuple[int, ...],
        dropout: float = 0.0,
        statistics: int = 2,
        likelihood: str = "auto",
        net: str = "auto",
    ) -> None:
        super().__init__()
        choices = LIKELIHOODS[event.support]
        if likelihood not in ("auto", *choices):
            raise ZooError(
                f"the likelihood of {event.support} data is {' or '.join(choices)} (or auto), got {likelihood!r}"
            )
        self.event, self.levels = event, event.levels or 0
        self.kind = choices[0] if likelihood == "auto" else likelihood
        self.per_entry = {"bernoulli": 1, "categorical": statistics, "logistic": 2, "normal": 2}[self.kind]
        self.net = chosen(DECODERS, net, event)(event, inputs, hidden, self.per_entry, dropout)
        if self.kind == "categorical":
            self.base = nn.Parameter(torch.zeros(*event.shape, self.levels))
            self.tilt = nn.Parameter(2 * _cosines(self.levels, statistics))

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """p(x | z) for ``z`` of shape ``(..., inputs)``: batch shape ``(...)``, event shape ``event.shape``."""
        parameters = self.net(z).reshape(*z.shape[:-1], *self.event.shape, self.per_entry)
        if self.kind == "categorical":
            parameters = self.base + parameters @ self.tilt
        if self.kind != "logistic":
            return distributions.likelihood(self.event, parameters)
        half = (self.levels - 1) / 2
        loc, scale = parameters[..., 0], parameters[..., 1].clamp(-7, 7).exp()
        return DiscretisedLogistic(half * (1 + loc), half * scale, self.levels).to_event(len(self.event.shape))

    def initialise(self, x: Tensor) -> None:
        """Set the output bias from the marginals of the training data ``x``, shape ``(n, *event.shape)``."""
        bias = self.net.out.bias
        if self.kind == "categorical":
            self.base.copy_((level_counts(self.levels, x) + 0.5).log())
            bias.zero_()
        elif self.kind == "logistic":
            half = (self.levels - 1) / 2
            scale = x.std(0).clamp(min=0.2) * math.sqrt(3) / math.pi  # a logistic's deviation is pi / sqrt(3) scales
            bias.copy_(torch.stack([x.mean(0) / half - 1, (scale / half).log()], -1).reshape(-1))
        elif self.kind == "bernoulli":
            bias.copy_(((x.sum(0) + 0.5) / (len(x) + 1)).logit().reshape(-1))
        else:
            bias.copy_(torch.stack([x.mean(0), x.std(0).clamp(min=1e-3).log()], -1).reshape(-1))


def _cosines(levels: int, count: int) -> Tensor:
    """The ``count`` cosines of lowest frequency over the levels, shape ``(count, levels)``."""
    frequency, place = torch.arange(1, count + 1)[:, None], (torch.arange(levels) + 0.5) / levels
    return torch.cos(math.pi * frequency * place)
