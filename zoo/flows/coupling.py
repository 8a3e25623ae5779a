"""Coupling layers: an elementwise map of one part, whose parameters a network computes from the other part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from pyro.distributions import constraints
from torch import Tensor, nn
from torch.distributions import Transform

from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.mlp import MLP


class Elementwise(Protocol):
    """An increasing map of each number with ``count`` parameters of its own; the identity where they are 0.

    ``parameters`` broadcast to ``(*h.shape, count)``.
    """

    count: int

    def forward(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The image h' of each number and log dh'/dh, both of ``h``'s shape."""

    def inverse(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The number that ``forward`` takes to each ``h``, and the log-slope of the inverse there."""


class Affine:
    """h' = (h + t) exp s, with s bounded to (-2, 2).

    Reference:
        Dinh et al. 2016, arXiv:1605.08803, section 3.2.
    """

    count = 2

    def forward(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, t = parameters.unbind(-1)
        s = _squashed(raw)
        return (h + t) * s.exp(), s

    def inverse(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, t = parameters.unbind(-1)
        s = -_squashed(raw)
        return h * s.exp() - t, s


class Additive:
    """h' = h + t, which keeps volume.

    Reference:
        Dinh et al. 2014, arXiv:1410.8516, section 3.2.
    """

    count = 1

    def forward(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return h + parameters[..., 0], torch.zeros_like(h)

    def inverse(self, h: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return h - parameters[..., 0], torch.zeros_like(h)


class Coupling(nn.Module):
    """An invertible map of the second part of a vector, given the first.

        (a, b) -> (a, f(b; net(a)))        log|det| = sum_d log f'(b_d)

    Leading axes are batch axes.

    Args:
        f: an `Elementwise` map, such as `Affine`.
        net: from a, shape ``(..., kept)``, to the parameters of f, shape ``(..., D - kept, f.count)``; a context that
            the coupling is called with is its second argument.
        kept: the size of a, which is left as it is.
        order: a permutation of the D dimensions, of which a are the first; as they come if not given.

    Example:
        >>> h = torch.tensor([[1.0, 2.0, 3.0]])
        >>> coupling = Coupling(Affine(), Conditioner(1, (8,), 2, Affine.count), kept=1)
        >>> coupling(h)  # the identity before training
        (tensor([[1., 2., 3.]], grad_fn=<CatBackward0>), tensor([0.], grad_fn=<SumBackward1>))

    Reference:
        Dinh et al. 2014, arXiv:1410.8516, section 3.2.
    """

    a: Tensor | None
    b: Tensor
    back: Tensor

    def __init__(self, f: Elementwise, net: nn.Module, kept: int, order: Tensor | None = None) -> None:
        super().__init__()
        self.f, self.net, self.kept = f, net, kept
        a, b = (None, None) if order is None else order.tensor_split([kept])
        self.register_buffer("a", a)
        self.register_buffer("b", b)
        self.register_buffer("back", None if order is None else order.argsort())

    def forward(self, h: Tensor, *context: Tensor) -> tuple[Tensor, Tensor]:
        return self._mapped(self.f.forward, h, context)

    def inverse(self, h: Tensor, *context: Tensor) -> Tensor:
        return self.inverse_and_logdet(h, *context)[0]

    def inverse_and_logdet(self, h: Tensor, *context: Tensor) -> tuple[Tensor, Tensor]:
        """The vector that ``forward`` takes to ``h``, and log|det| of this inverse map."""
        return self._mapped(self.f.inverse, h, context)

    def condition(self, context: Tensor) -> Transform:
        """The map given ``context``, shape ``(n, numbers)``, as a transform of vectors."""
        return ConditionedCoupling(self, context)

    def _mapped(
        self, f: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], h: Tensor, context: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        if self.a is None:
            a, b = h[..., : self.kept], h[..., self.kept :]
        else:
            a, b = h.index_select(-1, self.a), h.index_select(-1, self.b)
        b, slope = f(b, self.net(a, *context))
        h = torch.cat([a, b], -1)
        return h if self.a is None else h.index_select(-1, self.back), slope.sum(-1)


class ConditionedCoupling(Transform):
    """A `Coupling` given a context, as a transform of vectors."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, coupling: Coupling, context: Tensor) -> None:
        super().__init__(cache_size=1)
        self.coupling, self.context = coupling, context
        self._known: tuple[Any, Any] = (None, None)  # the last x, and its log|det|

    def _call(self, x: Tensor) -> Tensor:
        y: Tensor
        y, logdet = self.coupling(x, self.context)
        self._known = (x, logdet)
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        x, logdet = self.coupling.inverse_and_logdet(y, self.context)
        self._known = (x, -logdet)
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if self._known[0] is not x:
            self._call(x)
        logdet: Tensor = self._known[1]
        return logdet


class Conditioner(MLP):
    """An MLP whose outputs are the ``count`` parameters of each of ``moved`` numbers; all are 0 before training.

    From ``(..., inputs)`` to ``(..., moved, count)``. The MLP sees ``view`` of its input, if one is given.
    """

    def __init__(
        self,
        inputs: int,
        hidden: tuple[int, ...],
        moved: int,
        count: int,
        dropout: float = 0.0,
        view: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(inputs, hidden, count * moved, dropout)
        self.count, self.view = count, view
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = super().forward(inputs if self.view is None else self.view(inputs))
        return outputs.view(*outputs.shape[:-1], self.count, -1).mT


def mlp_coupling(order: Tensor, f: Elementwise, hidden: int, dropout: float = 0.0) -> Coupling:
    """A `Coupling` of two halves by an MLP with two hidden layers of ``hidden`` units, which sees a bounded."""
    kept = len(order) // 2
    net = Conditioner(kept, (hidden, hidden), len(order) - kept, f.count, dropout, bounded)
    return Coupling(f, net, kept, order)


def bounded(h: Tensor) -> Tensor:
    """A network's view of ``h``: 2 tanh(h / 4), within (-2, 2) however heavy the tails."""
    return _squashed(0.5 * h)


def _squashed(h: Tensor) -> Tensor:
    """2 tanh(h / 2), by the logistic function, which torch computes in a fifth of tanh's time on a CPU."""
    return torch.rsub(torch.sigmoid(h), -2.0, alpha=-4.0)


def dropout_for(event: Event, dropout: float | None) -> float:
    """The share of hidden units to drop: by default 0.4 for integer data, of which there is never enough, else 0."""
    default = 0.0 if event.levels is None else 0.4
    return default if dropout is None else dropout


def orders(event: Event, steps: int) -> list[Tensor]:
    """An order of the dimensions for each step: checkerboard and random splits by turns, each followed by its reverse.

    Raises:
        ZooError: an event of one dimension, which has nothing to depend on.
    """
    if event.size < 2:
        raise ZooError(f"this flow makes two or more dimensions depend on each other, got {event}; take another family")
    places = torch.meshgrid(*map(torch.arange, event.shape), indexing="ij")
    parity = torch.stack(places).sum(0).flatten() % 2
    splits = [torch.randperm(len(parity)) if i % 2 else parity.argsort(stable=True) for i in range((steps + 1) // 2)]
    return [order for split in splits for order in (split, split.flip(0))][:steps]
