"""Householder flow."""

from __future__ import annotations

from collections.abc import Mapping

from pyro.distributions.transforms.householder import ConditionedHouseholder
from torch import Tensor
from torch.distributions import Transform

from zoo.event import Event
from zoo.nn.amortised import AmortizedFlow, AmortizedGuide, Step
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide


@guide("householder", paper="Tomczak & Welling 2016, arXiv:1611.09630")
def householder(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 8,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Householder flow: reflections of a normal, which keep volumes.

        z_0 ~ N(mu, diag sigma^2),  z_t = z_(t-1) - 2 v_t (v_t·z_(t-1)) / |v_t|^2

    With one reflection fewer than z has dimensions, z is a normal of any covariance. One network computes mu, sigma and
    every v from x (the paper's v_t is a linear layer on v_(t-1), so both are affine in the last hidden layer). A latent
    of one dimension stays as it is. With several latents each also depends on those drawn before it.

    Args:
        event: the data's event.
        latents: the latents' names and shapes, in the model's order.
        steps: number of reflections.
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of the encoder's hidden layers.
        layers: number of those layers.
        dropout: share of their units dropped.

    Reference:
        Tomczak & Welling 2016, arXiv:1611.09630, section 3.2.
    """

    def site(inputs: int, size: int) -> AmortizedFlow:
        reflections = [Step(reflection, (size,))] * (steps if size > 1 else 0)
        return AmortizedFlow(inputs, size, reflections, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


def reflection(v: Tensor) -> Transform:
    """The reflection that maps ``v``, shape ``(..., d)``, to -v."""
    return ConditionedHouseholder(v.unsqueeze(-2))
