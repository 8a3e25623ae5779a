"""Inverse autoregressive flow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro.distributions.transforms import ConditionalAffineAutoregressive
from pyro.nn import ConditionalAutoRegressiveNN
from torch import nn

from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, ConditionalFlow
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide


@guide("iaf", paper="Kingma et al. 2016, arXiv:1606.04934")
def iaf(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 2,
    width: int = 128,
    context: int = 32,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Inverse autoregressive flow of a normal.

        z_0 ~ N(mu(x), diag sigma(x)^2),  z_t = s_t z_(t-1) + (1 - s_t) m_t
        (m_t, logit s_t) = MADE_t(z_(t-1), h(x))

    The order of the dimensions is reversed from step to step. A draw and its own density take one pass a step, the
    density of any other value one pass a step and dimension. A latent of one dimension stays normal. With several
    latents each also depends on those drawn before it.

    Args:
        event: the data's event.
        latents: the latents' names and shapes, in the model's order.
        steps: number of autoregressive steps.
        width: hidden units of each step's masked network; at least as many as dimensions are used.
        context: dimensions of h, which the encoder computes along with mu and sigma.
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of the encoder's hidden layers.
        layers: number of those layers.
        dropout: share of their units dropped.

    Reference:
        Kingma et al. 2016, arXiv:1606.04934, section 4 and algorithm 1, with its gated update.
    """

    def site(inputs: int, size: int) -> ConditionalFlow:
        turns = range(steps if size > 1 else 0)
        flow = [_step(size, context, max(width, size), reverse=bool(t % 2)) for t in turns]
        return ConditionalFlow(inputs, size, flow, context, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


def _step(size: int, context: int, width: int, reverse: bool) -> ConditionalAffineAutoregressive:
    order = torch.arange(size).flip(0) if reverse else torch.arange(size)
    masked = ConditionalAutoRegressiveNN(size, context, [width], permutation=order, nonlinearity=nn.SiLU())
    return ConditionalAffineAutoregressive(masked, stable=True)
