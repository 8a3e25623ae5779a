"""Affine coupling flow."""

from __future__ import annotations

from zoo.event import Event
from zoo.flows.coupling import Affine, dropout_for, mlp_coupling, orders
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.pairs.registry import family


@family("realnvp", group="flow", paper="Dinh et al. 2016, arXiv:1605.08803", recipe=FLOW_RECIPE | {"steps": 2000})
def realnvp(event: Event, *, layers: int = 12, hidden: int = 96, dropout: float | None = None) -> Flow:
    """Real-valued non-volume-preserving transformations: a `Flow` of affine couplings.

        (a, b) -> (a, (b + t(a)) exp s(a))        log|det| = sum s(a)

    The couplings come in pairs: a pair splits the dimensions in two, by checkerboard or at random by turns, and
    transforms each half given the other. Integer data enter by the logit of each dimension's marginal distribution
    function (the paper takes the logit of y/K), so that the flow starts as the model of independent dimensions. There
    are no multi-scale architecture (see ``realnvp-conv``) and no batch normalisation. Density and sampling take one
    pass each.

    Args:
        event: any shape, flattened to D dimensions; any support.
        layers: number of couplings.
        hidden: width of the two hidden layers of each coupling's MLP.
        dropout: share of those units dropped; by default 0.4 for integer data and 0 for real data.

    Raises:
        ZooError: an event of one dimension, which has nothing to couple.

    Reference:
        Dinh et al. 2016, arXiv:1605.08803, sections 3.2-3.5.
    """
    dropout = dropout_for(event, dropout)
    return Flow(event, [mlp_coupling(order, Affine(), hidden, dropout) for order in orders(event, layers)])
