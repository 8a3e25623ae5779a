"""Inverse autoregressive flow as a model of data."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.event import Event
from zoo.flows.coupling import Affine, dropout_for, orders
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.flows.masked import MaskedAutoregressive
from zoo.pairs.registry import family


@family(
    "iaf",
    group="flow",
    paper="Kingma et al. 2016, arXiv:1606.04934",
    recipe=FLOW_RECIPE | {"steps": 300, "average": 0.99},
)
def iaf(event: Event, *, layers: int = 2, hidden: int = 256, dropout: float | None = None) -> Flow:
    """A flow (`zoo.flows.flow.Flow`) whose every step, from the base to the data, shifts and scales each dimension
    given the base's before it.

        h_d = (z_d + t(z_1, ..., z_(d-1))) exp s(z_1, ..., z_(d-1))

    Sampling takes one pass, as a masked network (MADE) gives all s and t at once; the density of given data, and so
    training by it, is sequential, dimension by dimension. It is the reverse of the masked autoregressive flow
    (Papamakarios et al. 2017, section 3.2); the paper uses it for posteriors, whose samples' densities come for free.

    Args:
        event: any shape, flattened to D dimensions; any support.
        layers: number of steps.
        hidden: units, about, of the two hidden layers of each step's network.
        dropout: share of those units dropped; by default 0.4 for integer data and none for real data.

    Raises:
        ZooError: an event of one dimension, which has none before it.
    """
    dropout = dropout_for(event, dropout)
    return Flow(
        event, [Inverse(MaskedAutoregressive(order, Affine(), hidden, dropout)) for order in orders(event, layers)]
    )


class Inverse(nn.Module):
    """An autoregressive step the other way round."""

    def __init__(self, step: MaskedAutoregressive) -> None:
        super().__init__()
        self.step = step

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.step.inverse_and_logdet(h)

    def inverse(self, h: Tensor) -> Tensor:
        inverse: Tensor = self.step(h)[0]
        return inverse
