"""Integer discrete flow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.distributions import Levels, LogisticMixture, level_counts
from zoo.distributions.integer_transformed import Blocks, IntegerTransformed
from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.flow import FLOW_RECIPE
from zoo.flows.integer import Arrange, Chain, ChannelShift, IntegerSqueeze, Shift, coarse_to_fine, small_mlp
from zoo.flows.squeeze import squeezable, squeezed
from zoo.nn.images import Shape, image_shape, is_large_image
from zoo.nn.maps import ResidualConvolutions
from zoo.nn.networks import INTEGER_FLOWS, IntegerNet, chosen
from zoo.pairs.registry import family


class Mixtures(nn.Module):
    """Mixtures of discretised logistics, one for each of ``size`` entries, given ``inputs`` other entries.

    From ``(n, inputs)``, integers, to batch shape ``(n,)``, event shape ``(size,)``; without a network the same for all
    data. The components start evenly spaced over the levels, weighted by the training data's counts.

    Args:
        size: entries.
        levels: K.
        components: of each mixture.
        net: from the other entries, scaled to [-1, 1], to three numbers of each component of each entry.
        smooth: give the mixtures themselves, whose masses have slopes in the values, instead of their logits.
    """

    centres: Tensor
    level: Tensor

    def __init__(
        self, size: int, levels: int, components: int, net: nn.Module | None = None, smooth: bool = False
    ) -> None:
        super().__init__()
        self.size, self.levels, self.components, self.smooth = size, levels, components, smooth
        self.net = net
        self.bias = nn.Parameter(torch.zeros(size, 3, components))
        self.register_buffer("centres", torch.linspace(0, levels - 1, components), persistent=False)
        self.register_buffer("level", torch.arange(float(levels))[:, None], persistent=False)

    def initialise(self, counts: Tensor) -> None:
        """Start from how often each level occurs in each entry, shape ``(size, levels)``."""
        width = self.centres[1] - self.centres[0]
        near = (1 - (self.level - self.centres).abs() / width).clamp(min=0)
        self.bias[:, 0] = (counts @ near + 1).log()
        if self.smooth:
            self.bias[:, 2] = (width / 3).log()

    def forward(self, x: Tensor) -> Any:
        """The mixtures, each as a categorical distribution unless they are to be smooth."""
        parameters = self.bias.expand(*x.shape[:-1], *self.bias.shape)
        if self.net:
            parameters = parameters + self.net(x * (2 / (self.levels - 1)) - 1).reshape(parameters.shape)
        weight, loc, log_scale = parameters.unbind(-2)
        loc = self.centres + self.levels / 4 * loc
        if self.smooth:
            widest = max(3.0, math.log(self.levels / 4))
            return LogisticMixture(weight, loc, log_scale.clamp(-5, widest).exp(), self.levels).to_event(1)
        scale = log_scale.clamp(-5, 3).exp()
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

    ``net="conv"`` is for images of even sides: each level squeezes 2x2 pixels into channels, its couplings move half of
    the channels given the other, by residual convolutions, and half of the channels are factored out. Gradients then
    are of the logistics' slopes in their values (see `zoo.distributions.integer_transformed`), as in the paper.

    Not promised: that couplings help where the base is conditional. On small images the factored-out halves do the
    work, and ``rounds=0`` reaches the same log-probability.

    Args:
        event: any shape, flattened to D entries; binary or of K levels.
        net: ``mlp`` or ``conv``; by default convolutions for colours and for sides of 32 or more, if sides are even.
        depth: L, as far as there are two entries to split, or even sides; 0 is a flow with an unconditional base.
        rounds: pairs of couplings on each level; 0 leaves only the conditional base.
        components: logistics in each mixture, two or more.
        hidden: width of the two hidden layers of the base's networks; convolutions have an eighth as many channels.
        narrow: width of the two hidden layers of each t; convolutions have a fourth as many channels.
        blocks: residual blocks of each network of convolutions.
        dropout: share of all those units dropped.

    Raises:
        ZooError: an event of one dimension, which has nothing to couple, fewer than two components, another ``net``,
            or convolutions of what is no image of even sides.

    Reference:
        Hoogeboom et al. 2019, arXiv:1905.07376, sections 3.2 and 4.
    """

    def __init__(
        self,
        event: Event,
        *,
        net: IntegerNet = "auto",
        depth: int = 3,
        rounds: int = 1,
        components: int = 5,
        hidden: int = 256,
        narrow: int = 128,
        blocks: int = 2,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if event.size < 2 or components < 2:
            raise ZooError(
                f"idf needs two or more dimensions and components, got {event} and {components}; take another family"
            )
        self.event, self.levels = event, event.levels or 0
        if net == "auto" and is_large_image(event) and not squeezable(image_shape(event)):
            net = "mlp"
        levels, self.smooth = self.levels, bool(chosen(INTEGER_FLOWS, net, event))
        self.shapes = _scales(image_shape(event), depth) if self.smooth else []
        if self.smooth:
            self.arrange = Arrange(event.shape, torch.arange(event.size))
            sizes = [math.prod(shape) for shape in self.shapes]
            self.flows = nn.ModuleList(
                Chain(*_of_channels(shape, levels, narrow // 4, blocks, dropout, rounds, squeeze=i + 1 < len(sizes)))
                for i, shape in enumerate(self.shapes)
            )
            nets: Iterator[nn.Module] = (
                ResidualConvolutions(shape, hidden // 8, blocks, 3 * components, dropout) for shape in self.shapes[1:]
            )
        else:
            self.arrange = Arrange(event.shape, coarse_to_fine(event.shape))
            sizes = _halved(event.size, depth)
            self.flows = nn.ModuleList(Chain(*_couplings(size, levels, narrow, dropout, rounds)) for size in sizes)
            nets = (
                small_mlp(kept, hidden, 3 * (size - kept) * components, dropout)
                for size, kept in itertools.pairwise(sizes)
            )
        self.given = nn.ModuleList(
            Mixtures(size - kept, levels, components, net, self.smooth)
            for (size, kept), net in zip(itertools.pairwise(sizes), nets, strict=True)
        )
        self.last = Mixtures(sizes[-1], levels, components, smooth=self.smooth)

    def model(self, x: Tensor) -> Any:
        """Observe ``x``, shape ``(n, *event.shape)``; the guide is empty."""
        with pyro.plate("data", len(x)):
            return pyro.sample("x", self.distribution(), obs=x)

    def distribution(self) -> IntegerTransformed:
        """The distribution of a datum, event shape ``event.shape``."""
        flows: list[Any] = list(self.flows)
        transformed = partial(IntegerTransformed, levels=self.levels, smooth=self.smooth)
        vector = transformed(self.last(self.last.bias.new_zeros(0)), flows.pop())
        mixtures: list[Any] = list(self.given)
        for flow, given in zip(reversed(flows), reversed(mixtures), strict=True):
            blocks = Blocks(vector, (given.size, given), levels=self.levels, smooth=self.smooth)
            vector = transformed(blocks, flow)
        return transformed(vector, self.arrange, shape=self.event.shape)

    def initialise(self, x: Tensor) -> None:
        """Start the mixtures at the counts of ``x``, shape ``(n, *event.shape)``."""
        counts, start = level_counts(self.levels, self.arrange(x)[:, _coarse_first(self.shapes, x)]), 0
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


def _scales(shape: Shape, depth: int) -> list[Shape]:
    """The shape on each level: of a squeezed image half of the channels go on, up to ``depth`` times."""
    shapes = [shape]
    while len(shapes) <= depth and squeezable(shapes[-1]):
        channels, *sides = squeezed(shapes[-1])
        shapes.append((channels // 2, sides[0], sides[1]))
    if len(shapes) == 1:
        raise ZooError(
            f"net=conv of idf squeezes an image of even sides on a level or more, got {'x'.join(map(str, shape))} and "
            f"depth={depth}; take net=mlp"
        )
    return shapes


def _of_channels(
    shape: Shape, levels: int, hidden: int, blocks: int, dropout: float, rounds: int, squeeze: bool
) -> Iterator[nn.Module]:
    """A squeeze, except on the last level, then the second half of the channels given the first and the reverse."""
    if squeeze:
        yield IntegerSqueeze(shape)
        shape = squeezed(shape)
    half = shape[0] // 2
    for moved in [slice(half, None), slice(0, half)] * (rounds if half else 0):
        count = len(range(*moved.indices(shape[0])))
        seen = (shape[0] - count, *shape[1:])
        net = ResidualConvolutions(seen, hidden, blocks, 1, dropout, outputs=count)
        yield ChannelShift(moved, shape, levels, net)


def _coarse_first(shapes: list[Shape], x: Tensor) -> Tensor:
    """The order in which the entries of a flat image stand in the base, that of the last level first."""
    going, parts = torch.arange(x[0].numel(), device=x.device)[None], list[Tensor]()
    for shape in shapes[:-1]:
        going, done = IntegerSqueeze(shape)(going).chunk(2, 1)
        parts.insert(0, done)
    return torch.cat([going, *parts], 1)[0]
