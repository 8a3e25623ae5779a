"""The amortised diagonal normal."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.event import Event
from zoo.nn.amortised import AmortizedFlow, AmortizedGuide
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide


@guide("normal", paper="Kingma & Welling 2013, arXiv:1312.6114")
def normal(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
    tail: float | None = None,
) -> AmortizedGuide:
    """Amortised diagonal normal, or Student's t.

        q(z | x) = N(z; mu(x), diag sigma(x)^2)
        q(z | x) = prod_d t_tail(z_d; mu_d(x), sigma_d(x))

    One MLP computes mu and sigma. Student's t has heavier tails than a posterior under a normal prior, so that
    importance weights are bounded along each dimension; see docs/certificates.md for what this is worth.

    Args:
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of each hidden layer of the network.
        layers: number of hidden layers.
        dropout: share of hidden units dropped in training.
        tail: degrees of freedom of Student's t, above 2 so that it has a variance; ``None`` is the normal.

    Raises:
        ValueError: ``tail`` of 2 or less.

    Reference:
        Kingma & Welling 2013, arXiv:1312.6114, section 3 and appendix C.2.
    """
    if tail is not None and tail <= 2:
        raise ValueError(f"tail is above 2 degrees of freedom, got {tail}; leave it out for the normal")
    return AmortizedGuide(
        event, latents, lambda inputs, size: AmortizedFlow(inputs, size, [], (hidden,) * layers, dropout, tail), net
    )
