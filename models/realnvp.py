"""Affine coupling flow."""

from __future__ import annotations

from zoo.event import Event
from zoo.flows.coupling import Affine, dropout_for, mlp_coupling, orders
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.pairs.registry import family


@family(
    "realnvp",
    group="flow",
    paper="Dinh et al. 2016, arXiv:1605.08803",
    recipe=FLOW_RECIPE | {"steps": 2000},
)
def realnvp(event: Event, *, layers: int = 12, hidden: int = 96, dropout: float | None = None) -> Flow:
    """Real-valued, non-volume-preserving transformations: a flow (`zoo.flows.flow.Flow`) of affine couplings.

        (a, b) -> (a, (b + t(a)) exp s(a))        log|det| = sum s(a)

    The couplings stand in pairs: each pair splits the dimensions in two, by checkerboard and at random in turn, and
    transforms either half given the other (sections 3.2-3.5). Section 4.1 takes the logit of y/K for integer data y;
    here it is that of the marginal distribution function of each dimension of y, so that the flow starts as the model
    of independent dimensions (before `initialise`, as the uniform one, and that is the paper's). There is no
    multi-scale architecture and no batch normalisation, and the couplings' networks are perceptrons. Density and
    sampling take one pass each.

    Args:
        event: any shape, flattened to D dimensions; any support.
        layers: number of couplings.
        hidden: width of the two hidden layers of each coupling's network.
        dropout: share of those units dropped; by default 0.4 for integer data and none for real data.

    Raises:
        ZooError: an event of one dimension, which has nothing to couple.
    """
    dropout = dropout_for(event, dropout)
    return Flow(event, [mlp_coupling(order, Affine(), hidden, dropout) for order in orders(event, layers)])
