"""Masked autoregressive flow."""

from __future__ import annotations

from zoo.event import Event
from zoo.flows.coupling import Affine, dropout_for, orders
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.flows.masked import MaskedAutoregressive
from zoo.pairs.registry import family


@family("maf", group="flow", paper="Papamakarios et al. 2017, arXiv:1705.07057", recipe=FLOW_RECIPE)
def maf(event: Event, *, layers: int = 4, hidden: int = 256, dropout: float | None = None) -> Flow:
    """Masked autoregressive flow: a `Flow` whose steps shift and scale each dimension given those before it.

        h_d -> (h_d + t(h_1, ..., h_(d-1))) exp s(h_1, ..., h_(d-1))        log|det| = sum s

    The density takes one pass, as a masked network (MADE) gives all s and t at once; sampling is sequential, dimension
    by dimension. Each step has another order of the dimensions: by checkerboard or at random by turns, each followed by
    its reverse. There is no batch normalisation.

    Args:
        event: any shape, flattened to D dimensions; any support.
        layers: number of steps.
        hidden: units, about, of each of the two hidden layers of each step's network.
        dropout: share of those units dropped; by default 0.4 for integer data and 0 for real data.

    Raises:
        ZooError: an event of one dimension, which has none before it.

    Reference:
        Papamakarios et al. 2017, arXiv:1705.07057, section 3.
    """
    dropout = dropout_for(event, dropout)
    return Flow(event, [MaskedAutoregressive(order, Affine(), hidden, dropout) for order in orders(event, layers)])
