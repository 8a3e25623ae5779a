"""Bijections of vectors of integers: rounded coupling shifts modulo K, chains, reordering."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from zoo.distributions.integer_transformed import decoded
from zoo.flows.squeeze import Squeeze
from zoo.nn.images import Shape
from zoo.nn.mlp import MLP


class Shift(nn.Module):
    """A coupling of integers: x_b -> (x_b + round(t(x_a))) mod K, a bijection of {0, ..., K-1}^D.

    Args:
        places: the indices b, distinct, within {0, ..., size-1}; a are all the others, which do not change.
        size: D.
        levels: K.
        net: t, from ``(n, D - len(places))``, levels scaled to [-1, 1], to ``(n, len(places))``, in levels.

    Reference:
        Hoogeboom et al. 2019, arXiv:1905.07376, section 3.
    """

    a: Tensor
    b: Tensor
    back: Tensor

    def __init__(self, places: Tensor, size: int, levels: int, net: nn.Module) -> None:
        super().__init__()
        others = torch.ones(size, dtype=torch.bool).index_fill(0, places, False).nonzero()[:, 0]
        self.levels, self.net = levels, net
        self.register_buffer("a", others)
        self.register_buffer("b", places)
        self.register_buffer("back", torch.cat([others, places]).argsort())

    def forward(self, x: Tensor) -> Tensor:
        return self._moved(x, 1)

    def inv(self, z: Tensor) -> Tensor:
        return self._moved(z, -1)

    def relaxed(self, one_hot: Tensor) -> Tensor:
        a, b = one_hot[:, self.a], one_hot[:, self.b]
        return torch.cat([a, shifted(b, self.amount(decoded(a)))], 1)[:, self.back]

    def amount(self, a: Tensor) -> Tensor:
        """t(a), before rounding."""
        moved: Tensor = self.net(a * (2 / (self.levels - 1)) - 1)
        return moved

    def _moved(self, x: Tensor, sign: int) -> Tensor:
        a, b = x[:, self.a], x[:, self.b]
        moved = (b + sign * self.amount(a).round()).remainder(self.levels)
        return torch.cat([a, moved], 1)[:, self.back]


class ChannelShift(nn.Module):
    """A coupling of integer images by channels: x_b -> (x_b + round(t(x_a))) mod K, in the smooth form.

    Args:
        moved: the channels b, a slice of them at one end; a are the others, which do not change.
        shape: of the images; vectors are these, flat.
        levels: K.
        net: t, from flat images of the channels a, levels scaled to [-1, 1], to ``(n, len(b) * places, 1)``, in
            half-ranges.

    Reference:
        Hoogeboom et al. 2019, arXiv:1905.07376, section 3.
    """

    def __init__(self, moved: slice, shape: Shape, levels: int, net: nn.Module) -> None:
        super().__init__()
        places = shape[1] * shape[2]
        first, last, _ = moved.indices(shape[0])
        self.first, self.last, self.levels, self.net = first * places, last * places, levels, net

    def forward(self, x: Tensor) -> Tensor:
        return self._moved(x, 1)

    def inv(self, z: Tensor) -> Tensor:
        return self._moved(z, -1)

    def _moved(self, x: Tensor, sign: int) -> Tensor:
        before, b, after = x[:, : self.first], x[:, self.first : self.last], x[:, self.last :]
        half = (self.levels - 1) / 2
        t = half * self.net(torch.cat([before, after], 1) / half - 1).squeeze(-1)
        shift = t + (t.round() - t).detach()  # the gradient passes straight through
        return torch.cat([before, (b + sign * shift).remainder(self.levels), after], 1)


class IntegerSqueeze(Squeeze):
    """`Squeeze` of integers, as a bijection of flat images."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override] # it keeps volume, which is not returned
        return super().forward(x)[0]

    def inv(self, z: Tensor) -> Tensor:
        return self.inverse(z)


def small_mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> MLP:
    """An MLP with two hidden layers and outputs near zero, so that rounded shifts start at zero."""
    net = MLP(inputs, (hidden, hidden), outputs, dropout)
    nn.init.normal_(net.out.weight, std=0.01)
    nn.init.zeros_(net.out.bias)
    return net


def shifted(one_hot: Tensor, t: Tensor) -> Tensor:
    """The codes of (x + round(t)) mod K: ``one_hot`` of x, shape ``(..., K)``, and ``t``, shape ``(...)``.

    The gradient of ``t`` is that of interpolation between the shifts by the two nearest integers.
    """
    level = torch.arange(one_hot.shape[-1], dtype=t.dtype, device=t.device)
    whole = t.detach().round().unsqueeze(-1)
    moved = one_hot.gather(-1, (level - whole).remainder(len(level)).long())
    here = moved.detach()
    slope = torch.where(t.detach().unsqueeze(-1) >= whole, here.roll(1, -1) - here, here - here.roll(-1, -1))
    return moved + (t - t.detach()).unsqueeze(-1) * slope


class Chain(nn.Module):
    """Bijections in sequence."""

    def __init__(self, *steps: nn.Module) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x

    def inv(self, z: Tensor) -> Tensor:
        steps: list[Any] = list(self.steps)
        for step in reversed(steps):
            z = step.inv(z)
        return z

    def relaxed(self, one_hot: Tensor) -> Tensor:
        steps: list[Any] = list(self.steps)
        for step in steps:
            one_hot = step.relaxed(one_hot)
        return one_hot


class Arrange(nn.Module):
    """Flatten an event of ``shape`` into a vector with its entries in the given ``order``."""

    order: Tensor
    back: Tensor

    def __init__(self, shape: tuple[int, ...], order: Tensor) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, self.order]

    def inv(self, z: Tensor) -> Tensor:
        return z[:, self.back].reshape(-1, *self.shape)

    def relaxed(self, one_hot: Tensor) -> Tensor:
        return one_hot.flatten(1, -2)[:, self.order]


def coarse_to_fine(shape: tuple[int, ...]) -> Tensor:
    """Row-major indices of a grid, from its coarsest lattice to its finest.

    The finest are the places whose coordinates have an odd sum (a checkerboard), then those of odd coordinates among
    the rest, then the same on the lattice of even coordinates. On a square of side 2^k each refinement doubles the
    number of places.

    Example:
        >>> coarse_to_fine((2, 2))
        tensor([0, 3, 1, 2])
    """
    places = itertools.product(*map(range, shape))
    order = sorted(enumerate(places), key=lambda entry: -_fineness(entry[1]))
    return torch.tensor([index for index, _ in order])


def _fineness(place: tuple[int, ...]) -> int:
    """The number of refinements, counted from the last, that a place does not need; large for the origin."""
    if not any(place):
        return 10**6
    if sum(place) % 2:
        return 0
    return 1 if any(c % 2 for c in place) else 2 + _fineness(tuple(c // 2 for c in place))
