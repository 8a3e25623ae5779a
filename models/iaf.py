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
    """Inverse autoregressive flow as a model of data: ``maf`` with density and sampling exchanged.

        h_d = (z_d + t(z_1, ..., z_(d-1))) exp s(z_1, ..., z_(d-1))

    A step maps from the base to the data. Sampling takes one pass, as a masked network (MADE) gives all s and t at
    once; the density of given data, and so training, is sequential, dimension by dimension. The paper uses the flow for
    posteriors, where only the densities of its own samples are needed.

    Args:
        event: any shape, flattened to D dimensions; any support.
        layers: number of steps.
        hidden: units, about, of each of the two hidden layers of each step's network.
        dropout: share of those units dropped; by default 0.4 for integer data and 0 for real data.

    Raises:
        ZooError: an event of one dimension, which has none before it.

    Reference:
        Kingma et al. 2016, arXiv:1606.04934; Papamakarios et al. 2017, arXiv:1705.07057, section 3.2.
    """
    dropout = dropout_for(event, dropout)
    return Flow(
        event, [Inverse(MaskedAutoregressive(order, Affine(), hidden, dropout)) for order in orders(event, layers)]
    )


class Inverse(nn.Module):
    """An autoregressive step with forward and inverse exchanged."""

    def __init__(self, step: MaskedAutoregressive) -> None:
        super().__init__()
        self.step = step

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.step.inverse_and_logdet(h)

    def inverse(self, h: Tensor) -> Tensor:
        inverse: Tensor = self.step(h)[0]
        return inverse
