"""Coupling layers: an elementwise map of one part, its parameters computed from the other part."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.mlp import MLP


class Elementwise(Protocol):
    """An increasing map of each number, steered by ``count`` parameters of its own; the identity where they are 0."""

    count: int

    def forward(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The image of each number and log dh'/dh, of its shape; ``parameters`` broadcast to ``(*h.shape, count)``."""

    def inverse(self, h: Tensor, parameters: Tensor) -> Tensor:
        """The number that ``forward`` takes to ``h``, of ``h``'s shape."""


class Affine:
    """h' = (h + t) exp s; s stays within (-2, 2) (Dinh et al. 2016, section 3.2)."""

    count = 2

    def forward(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self._scale_and_shift(parameters)
        return (h + t) * s.exp(), s

    def inverse(self, h: Tensor, parameters: Tensor) -> Tensor:
        s, t = self._scale_and_shift(parameters)
        return h * (-s).exp() - t

    def _scale_and_shift(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        s, t = parameters.unbind(-1)
        return 2 * torch.tanh(s / 2), t


class Additive:
    """h' = h + t, which keeps volume (Dinh et al. 2014, section 3.2)."""

    count = 1

    def forward(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return h + parameters[..., 0], torch.zeros_like(h)

    def inverse(self, h: Tensor, parameters: Tensor) -> Tensor:
        return h - parameters[..., 0]


class Coupling(nn.Module):
    """(a, b) -> (a, f(b)), where the parameters of the elementwise f are a network's of a; it starts as the identity.

    ``order`` is a permutation of the D dimensions; a are its first D // 2. The network is a perceptron with two hidden
    layers of ``hidden`` units, of which a share of ``dropout`` is dropped; it sees a bounded.
    """

    a: Tensor
    b: Tensor
    back: Tensor

    def __init__(self, order: Tensor, f: Elementwise, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        a, b = order.tensor_split([len(order) // 2])
        self.register_buffer("a", a)
        self.register_buffer("b", b)
        self.register_buffer("back", order.argsort())
        self.f = f
        self.net = MLP(len(a), (hidden, hidden), f.count * len(b), dropout)
        for parameter in self.net.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        a, b = h.index_select(1, self.a), h.index_select(1, self.b)
        b, slope = self.f.forward(b, self._steering(a))
        return torch.cat([a, b], 1).index_select(1, self.back), slope.sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        a, b = h.index_select(1, self.a), h.index_select(1, self.b)
        return torch.cat([a, self.f.inverse(b, self._steering(a))], 1).index_select(1, self.back)

    def _steering(self, a: Tensor) -> Tensor:
        parameters: Tensor = self.net(bounded(a)).unflatten(1, (self.f.count, -1))
        return parameters.movedim(1, -1)


def bounded(h: Tensor) -> Tensor:
    """A network's view of ``h``: within (-2, 2), however heavy the tails."""
    return 2 * torch.tanh(h / 4)


def dropout_for(event: Event, dropout: float | None) -> float:
    """The share of hidden units to drop: if not told, 0.4 for integer data, of which there is never enough, else 0."""
    default = 0.0 if event.levels is None else 0.4
    return default if dropout is None else dropout


def orders(event: Event, steps: int) -> list[Tensor]:
    """An order of the dimensions for each step: checkerboard and random splits in turn, each followed by its reverse.

    Raises:
        ZooError: an event of one dimension, whose number depends on no other.
    """
    if event.size < 2:
        raise ZooError(f"this flow makes two or more dimensions depend on each other, got {event}; take another family")
    places = torch.meshgrid(*map(torch.arange, event.shape), indexing="ij")
    parity = torch.stack(places).sum(0).flatten() % 2
    splits = [torch.randperm(len(parity)) if i % 2 else parity.argsort(stable=True) for i in range((steps + 1) // 2)]
    return [order for split in splits for order in (split, split.flip(0))][:steps]
