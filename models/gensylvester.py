"""Generalised Sylvester flow: autoregressive residuals in learnt orthogonal bases."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.coupling import bounded, dropout_for, orders
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.nn.mlp import MADE
from zoo.pairs.registry import family

MAX_ITERATIONS = 500
"""Of the fixed-point iteration of an inverse."""


@family("gensylvester", group="flow", paper="Hoogeboom et al. 2020, arXiv:2006.01910", recipe=FLOW_RECIPE)
def gensylvester(
    event: Event, *, layers: int = 6, hidden: int = 128, slope: float = 0.6, dropout: float | None = None
) -> Flow:
    """Generalised Sylvester flow: a `Flow` of autoregressive residuals, each in a learned orthogonal basis.

        y -> y + Q f(Q' y)                        log|det| = sum_i log(1 + df_i / du_i), u = Q' y
        f_i(u) = slope s_i tanh(r_i u_i + a_i) + b_i       |r_i|, |s_i| < 1; r, s, a, b functions of u_1 ... u_(i-1)

    There are no couplings. In Sylvester flows f is elementwise between two triangular matrices; any autoregressive f
    with slopes df_i / du_i > -1 is invertible too (theorem 1). The functions are a masked MLP's. The paper's bases,
    for large images, are 1x1 and exponential convolutions; here Q = exp(A - A') P, with a permutation P, costs D³ a
    step. Density takes one pass, sampling iterates to a fixed point (see `SylvesterResidual`).

    Args:
        event: any shape, flattened to D dimensions; any support.
        layers: number of residuals; checkerboard and random orders of the dimensions by turns, each and its reverse.
        hidden: width of the two hidden layers of each residual's network.
        slope: upper bound of |df_i / du_i|, below 1.
        dropout: share of hidden units dropped; by default 0.4 for integer data and 0 for real data.

    Raises:
        ZooError: an event of one dimension; a slope outside (0, 1).

    Reference:
        Hoogeboom et al. 2020, arXiv:2006.01910, section 4; van den Berg et al. 2018, arXiv:1803.05649.
    """
    dropout = dropout_for(event, dropout)
    return Flow(event, [SylvesterResidual(order, hidden, slope, dropout) for order in orders(event, layers)])


class SylvesterResidual(nn.Module):
    """h -> h + Q f(Q' h), with Q orthogonal and f autoregressive (see `gensylvester`).

    The Jacobian of u -> u + f(u) is triangular. In that basis the inverse is the fixed point of u <- v - f(u). If
    |df_i / du_i| < slope < 1 and f's other slopes are bounded, as an MLP's are, that is a contraction in the norm
    max_i |u_i| / c^i for a large enough c: it converges from anywhere, though not monotonically in the usual norm. A
    datum that has not converged after `MAX_ITERATIONS` becomes not-a-number, so a wrong inverse is never returned.

    Args:
        order: the permutation P.
        hidden: width of the two hidden layers of f's network.
        slope: upper bound of |df_i / du_i|.
        dropout: share of hidden units dropped.

    Raises:
        ZooError: a slope outside (0, 1).
    """

    order: Tensor

    def __init__(self, order: Tensor, hidden: int, slope: float, dropout: float) -> None:
        super().__init__()
        if not 0 < slope < 1:
            raise ZooError(f"slope should lie between 0 and 1, or the inverse may not converge; got {slope}")
        self.slope = slope
        self.register_buffer("order", order)
        self.skew = nn.Parameter(torch.zeros(len(order), len(order)))
        self.net = MADE(len(order), (hidden, hidden), 4, dropout)
        for parameter in self.net.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        basis = self.basis()
        u = h @ basis
        f, slopes = self.residual(u)
        return h + f @ basis.T, slopes.log1p().sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        basis = self.basis()
        v = h @ basis
        return settle(lambda u: v - self.residual(u)[0], v) @ basis.T

    def basis(self) -> Tensor:
        """Q, shape ``(D, D)``: its columns are the basis."""
        return torch.matrix_exp(self.skew - self.skew.T)[:, self.order]

    def residual(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """f(u) and its slopes f_i' = df_i / du_i, both of the shape of ``u``."""
        r, s, a, b = self.net(bounded(u)).unbind(-1)
        r, s = torch.tanh(1 + r), self.slope * torch.tanh(s)  # with r = s = 0 neither would have a gradient
        bent = torch.tanh(r * u + a)
        return s * bent + b, s * r * (1 - bent**2)


def settle(move: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """The fixed point of ``move`` from ``start``, row by row, shape ``(n, D)``.

    Rows that do not converge within `MAX_ITERATIONS` are not-a-number.
    """
    tolerance = torch.finfo(start.dtype).eps ** (2 / 3)
    point = start
    for _ in range(MAX_ITERATIONS):
        point, last = move(point), point
        moving = (point - last).abs() > tolerance * (1 + point.abs())
        if moving.is_meta or not moving.any():  # the meta device has no values to wait for
            break
    return point.masked_fill(moving.any(1, keepdim=True), torch.nan)
