"""Rational-quadratic coupling flow."""

from __future__ import annotations

from zoo.event import Event
from zoo.flows.coupling import dropout_for, mlp_coupling, orders
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.flows.splines import RationalQuadratic, bound_for
from zoo.pairs.registry import family


@family("spline", group="flow", paper="Durkan et al. 2019, arXiv:1906.04032", recipe=FLOW_RECIPE | {"steps": 800})
def spline(
    event: Event,
    *,
    layers: int = 8,
    hidden: int = 96,
    bins: int = 8,
    bound: float | None = None,
    dropout: float | None = None,
) -> Flow:
    """Neural spline flow: a `Flow` of couplings by monotone rational-quadratic splines.

        (a, b) -> (a, f(b; net(a)))        f: a spline for each dimension of b

    Within [-B, B] each spline (`RationalQuadratic`) has K bins, outside it is the identity. The couplings come in pairs
    that transform each half of a split given the other; changing splits take the place of the paper's linear layers.
    Density and sampling take one pass each.

    Args:
        event: any shape, flattened to D dimensions; any support.
        layers: number of couplings.
        hidden: width of the two hidden layers of each coupling's MLP.
        bins: K.
        bound: B; by default 8 for integer data (logistic as they enter) and 3 for real data (standardised).
        dropout: share of hidden units dropped; by default 0.4 for integer data and 0 for real data.

    Raises:
        ZooError: an event of one dimension, which has nothing to couple.

    Reference:
        Durkan et al. 2019, arXiv:1906.04032.
    """
    dropout, f = dropout_for(event, dropout), RationalQuadratic(bins, bound_for(event, bound))
    return Flow(event, [mlp_coupling(order, f, hidden, dropout) for order in orders(event, layers)])
