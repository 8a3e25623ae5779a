"""Integer discrete flow."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.distributions import Levels, LogisticMixture, level_counts
from zoo.distributions.integer_transformed import Blocks, IntegerTransformed
from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.flow import FLOW_RECIPE
from zoo.flows.integer import Arrange, Chain, Shift, coarse_to_fine, small_mlp
from zoo.pairs.registry import family


class Mixtures(nn.Module):
    """Mixtures of discretised logistics, one for each of ``size`` entries, given ``inputs`` other entries.

    From ``(n, inputs)``, integers, to batch shape ``(n,)``, event shape ``(size,)``. The components start evenly
    spaced over the levels, weighted by the training data's counts.
    """

    centres: Tensor
    level: Tensor

    def __init__(self, inputs: int, size: int, levels: int, components: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.size, self.levels, self.components = size, levels, components
        self.net = small_mlp(inputs, hidden, 3 * size * components, dropout) if inputs else None
        self.bias = nn.Parameter(torch.zeros(size, 3, components))
        self.register_buffer("centres", torch.linspace(0, levels - 1, components), persistent=False)
        self.register_buffer("level", torch.arange(float(levels))[:, None], persistent=False)

    def initialise(self, counts: Tensor) -> None:
        """Start from how often each level occurs in each entry, shape ``(size, levels)``."""
        width = self.centres[1] - self.centres[0]
        near = (1 - (self.level - self.centres).abs() / width).clamp(min=0)
        self.bias[:, 0] = (counts @ near + 1).log()

    def forward(self, x: Tensor) -> Any:
        """The mixtures, each as a categorical distribution."""
        parameters = self.bias.expand(*x.shape[:-1], *self.bias.shape)
        if self.net:
            parameters = parameters + self.net(x * (2 / (self.levels - 1)) - 1).reshape(parameters.shape)
        weight, loc, log_scale = parameters.unbind(-2)
        loc, scale = self.centres + self.levels / 4 * loc, log_scale.clamp(-5, 3).exp()
        mixture = LogisticMixture(weight.unsqueeze(-2), loc.unsqueeze(-2), scale.unsqueeze(-2), self.levels)
        return Levels(logits=mixture.log_prob(self.level[:, 0])).to_event(1)


@family(
    "idf",
    group="flow",
    paper="Hoogeboom et al. 2019, arXiv:1905.07376",
    supports=("binary", "levels"),
    recipe=FLOW_RECIPE | {"steps": 400, "lr": 2e-3, "weight_decay": 0.1, "average": 0.99},
)
class IDF(nn.Module):
    """Integer discrete flow: integers mapped to integers by couplings that add rounded shifts; exact and lossless.

        (a, b) -> (a, (b + round(t(a))) mod K)            a coupling, its inverse the same with a minus
        x -> f_1 -> (h_1, z_1),   h_1 -> f_2 -> (h_2, z_2),   ...,   z_(L+1) = f_(L+1)(h_L)
        P(x) = P(z_1 | h_1) P(z_2 | h_2) ... P(z_L | h_L) P(z_(L+1))

    Each f is ``rounds`` pairs of couplings of each half given the other. Each level factors out half of the entries,
    z_l, whose distributions given the other half, h_l, are independent mixtures of discretised logistics with
    parameters from an MLP. Gradients pass rounding straight through, here to linear interpolation (see
    `zoo.distributions.integer_transformed`).

    The paper's alphabet is all integers; here it is that of the data, {0, ..., K-1}: sums are modulo K and the edge
    levels take the logistics' tails, so no mass lies outside. The halves are lattices of the grid, coarse and fine;
    MLPs take the place of the paper's dense blocks.

    Not promised: that couplings help where the base is conditional. On small images the factored-out halves do the
    work, and ``rounds=0`` reaches the same log-probability.

    Args:
        event: any shape, flattened to D entries; binary or of K levels.
        depth: L, as far as there are two entries to split; 0 is a flow with an unconditional base.
        rounds: pairs of couplings on each level; 0 leaves only the conditional base.
        components: logistics in each mixture, two or more.
        hidden: width of the two hidden layers of the base's networks.
        narrow: width of the two hidden layers of each t.
        dropout: share of all those units dropped.

    Raises:
        ZooError: an event of one dimension, which has nothing to couple, or fewer than two components.

    Reference:
        Hoogeboom et al. 2019, arXiv:1905.07376, sections 3.2 and 4.
    """

    def __init__(
        self,
        event: Event,
        *,
        depth: int = 3,
        rounds: int = 1,
        components: int = 5,
        hidden: int = 256,
        narrow: int = 128,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if event.size < 2 or components < 2:
            raise ZooError(
                f"idf needs two or more dimensions and components, got {event} and {components}; take another family"
            )
        self.event, self.levels = event, event.levels or 0
        self.arrange = Arrange(event.shape, coarse_to_fine(event.shape))
        sizes = _halved(event.size, depth)
        self.flows = nn.ModuleList(Chain(*_couplings(size, self.levels, narrow, dropout, rounds)) for size in sizes)
        shape = (self.levels, components, hidden, dropout)
        self.given = nn.ModuleList(Mixtures(kept, size - kept, *shape) for size, kept in itertools.pairwise(sizes))
        self.last = Mixtures(0, sizes[-1], *shape)

    def model(self, x: Tensor) -> Any:
        """Observe ``x``, shape ``(n, *event.shape)``; the guide is empty."""
        with pyro.plate("data", len(x)):
            return pyro.sample("x", self.distribution(), obs=x)

    def distribution(self) -> IntegerTransformed:
        """The distribution of a datum, event shape ``event.shape``."""
        flows: list[Any] = list(self.flows)
        vector = IntegerTransformed(self.last(self.last.bias.new_zeros(0)), flows.pop(), self.levels)
        mixtures: list[Any] = list(self.given)
        for flow, given in zip(reversed(flows), reversed(mixtures), strict=True):
            blocks = Blocks(vector, (given.size, given), levels=self.levels)
            vector = IntegerTransformed(blocks, flow, self.levels)
        return IntegerTransformed(vector, self.arrange, self.levels, self.event.shape)

    def initialise(self, x: Tensor) -> None:
        """Start the mixtures at the counts of ``x``, shape ``(n, *event.shape)``."""
        counts, start = level_counts(self.levels, self.arrange(x)), 0
        coarse_first: list[Any] = [self.last, *reversed(self.given)]
        for mixtures in coarse_first:
            mixtures.initialise(counts[start : start + mixtures.size])
            start += mixtures.size


def _halved(size: int, depth: int) -> list[int]:
    """The size, its half, the half of that, ...: at most ``depth`` halvings, down to one."""
    return list(itertools.islice(itertools.takewhile(bool, (size >> i for i in itertools.count())), depth + 1))


def _couplings(size: int, levels: int, hidden: int, dropout: float, rounds: int) -> Iterator[Shift]:
    """The fine half given the coarse one, then the coarse given the fine, ``rounds`` times."""
    halves = torch.arange(size).tensor_split([size // 2])
    for places in [*reversed(halves)] * (rounds if size > 1 else 0):
        yield Shift(places, size, levels, small_mlp(size - len(places), hidden, len(places), dropout))
