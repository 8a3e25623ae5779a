"""The amortised diagonal normal."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.event import Event
from zoo.nn.amortised import AmortizedFlow, AmortizedGuide
from zoo.pairs.registry import guide


@guide("normal", paper="Kingma & Welling 2013, arXiv:1312.6114")
def normal(
    event: Event, latents: Mapping[str, tuple[int, ...]], *, hidden: int = 1024, layers: int = 1, dropout: float = 0.1
) -> AmortizedGuide:
    """Amortised diagonal normal.

        q(z | x) = N(z; mu(x), diag sigma(x)^2)

    One MLP computes mu and sigma.

    Args:
        hidden: width of each hidden layer of the network.
        layers: number of hidden layers.
        dropout: share of hidden units dropped in training.

    Reference:
        Kingma & Welling 2013, arXiv:1312.6114, section 3 and appendix C.2.
    """
    return AmortizedGuide(
        event, latents, lambda inputs, size: AmortizedFlow(inputs, size, [], (hidden,) * layers, dropout)
    )
