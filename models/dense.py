"""Invertible dense layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.event import Event
from zoo.flows.coupling import Elementwise, orders
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.flows.splines import RationalQuadratic, bound_for
from zoo.pairs.registry import family


@family(
    "dense", group="flow", paper="Rippel & Adams 2013, arXiv:1302.5125", recipe=FLOW_RECIPE | {"steps": 800, "lr": 1e-2}
)
def dense(event: Event, *, layers: int = 4, bins: int = 8, bound: float | None = None) -> Flow:
    """Deep density model: a `Flow` of invertible dense layers with full weight matrices.

        h -> W h + b,  W = P L U        log|det W| = sum log U_dd, exactly
        h_d -> f_d(h_d)                 an increasing rational-quadratic spline for each dimension, between the layers

    P is a fixed random permutation, L lower triangular with a unit diagonal, U upper triangular with a positive one.
    The paper's nonlinearity is a sigmoid, with a prior for well-conditioned weights and a decoder; here it is learned,
    and W is invertible by construction, by two triangular systems a layer. Density and sampling take one pass.

    Args:
        event: any shape, flattened to D dimensions; any support.
        layers: number of dense layers.
        bins: bins of each spline.
        bound: each spline is the identity outside [-bound, bound]; by default 8 for integer data and 3 for real data.

    Raises:
        ZooError: an event of one dimension, which has nothing to mix.

    Reference:
        Rippel & Adams 2013, arXiv:1302.5125.
    """
    f = RationalQuadratic(bins, bound_for(event, bound))
    first, *rest = orders(event, layers)
    steps: list[nn.Module] = [Dense(first)]
    for order in rest:
        steps += [Each(f, event.size), Dense(order)]
    return Flow(event, steps)


class Dense(nn.Module):
    """h' = P L U h + b, where ``order`` is the permutation P; it starts as P."""

    order: Tensor
    back: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())
        self.below = nn.Parameter(torch.zeros(len(order), len(order)))
        self.above = nn.Parameter(torch.zeros(len(order), len(order)))
        self.diagonal = nn.Parameter(torch.zeros(len(order)))
        self.bias = nn.Parameter(torch.zeros(len(order)))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        return F.linear(h, (lower @ upper)[self.order], self.bias), self.diagonal.sum().expand(len(h))

    def inverse(self, h: Tensor) -> Tensor:
        lower, upper = self._factors()
        columns = (h - self.bias)[:, self.back].T
        columns = torch.linalg.solve_triangular(lower, columns, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, columns, upper=True).T

    def _factors(self) -> tuple[Tensor, Tensor]:
        one = torch.ones_like(self.diagonal).diag()
        return self.below.tril(-1) + one, self.above.triu(1) + self.diagonal.exp().diag()


class Each(nn.Module):
    """h'_d = f(h_d), with parameters of f for each of ``size`` dimensions; it starts as the identity."""

    def __init__(self, f: Elementwise, size: int) -> None:
        super().__init__()
        self.f = f
        self.steering = nn.Parameter(torch.zeros(size, f.count))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h, slope = self.f.forward(h, self._steering(h))
        return h, slope.sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        return self.f.inverse(h, self._steering(h))[0]

    def _steering(self, h: Tensor) -> Tensor:
        return torch.zeros_like(h).unsqueeze(-1) + self.steering  # a copy for each datum, as a network would give
