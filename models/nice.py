"""Additive coupling flow."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.event import Event
from zoo.flows.coupling import Additive, dropout_for, mlp_coupling, orders
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.pairs.registry import family


@family("nice", group="flow", paper="Dinh et al. 2014, arXiv:1410.8516", recipe=FLOW_RECIPE)
def nice(event: Event, *, layers: int = 12, hidden: int = 96, dropout: float | None = None) -> Flow:
    """Non-linear independent components estimation: a `Flow` of additive couplings and one final scaling.

        (a, b) -> (a, b + t(a))        log|det| = 0
        h -> h exp s                   the last step, one s for each dimension: log|det| = sum s
        z ~ Logistic(0, 1)^D           the base, for real data too

    The couplings come in pairs that transform each half of a split given the other. Integer data enter by the logit of
    each dimension's marginal distribution function; the paper rescales them to [0, 1]. Density and sampling take one
    pass each.

    Args:
        event: any shape, flattened to D dimensions; any support.
        layers: number of couplings.
        hidden: width of the two hidden layers of each coupling's MLP.
        dropout: share of those units dropped; by default 0.4 for integer data and 0 for real data.

    Raises:
        ZooError: an event of one dimension, which has nothing to couple.

    Reference:
        Dinh et al. 2014, arXiv:1410.8516, section 3.
    """
    dropout = dropout_for(event, dropout)
    couplings = [mlp_coupling(order, Additive(), hidden, dropout) for order in orders(event, layers)]
    return Flow(event, [*couplings, Scaling(event.size)], dist.Logistic)


class Scaling(nn.Module):
    """h' = h exp s, with one learned s for each of ``size`` dimensions (section 3.3)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.zeros(size))

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return h * self.s.exp(), self.s.sum().expand(len(h))

    def inverse(self, h: Tensor) -> Tensor:
        return h * (-self.s).exp()
