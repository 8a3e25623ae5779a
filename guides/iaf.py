"""Inverse autoregressive flow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro.distributions.transforms import ConditionalAffineAutoregressive
from pyro.nn import ConditionalAutoRegressiveNN
from torch import nn

from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, ConditionalFlow
from zoo.pairs.registry import guide


@guide("iaf", paper="Kingma et al. 2016, arXiv:1606.04934")
def iaf(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 2,
    width: int = 128,
    context: int = 32,
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Inverse autoregressive flow: z_0 ~ N(mu(x), diag sigma(x)^2), then z_t = s_t z_(t-1) + (1 - s_t) m_t.

    Kingma et al. 2016, section 4 and algorithm 1, with its gated update: (m_t, logit s_t) is a masked network (MADE)
    of ``width`` units over z_(t-1), given ``context`` numbers h(x) of the encoder; its order is reversed from step to
    step. A draw and its own density take one pass a step, the density of any other value one pass a step and
    dimension. A latent of one dimension has nothing to be autoregressive in and stays normal. Of several latents each
    is also given those drawn before it.
    """

    def site(inputs: int, size: int) -> ConditionalFlow:
        turns = range(steps if size > 1 else 0)
        flow = [_step(size, context, max(width, size), reverse=bool(t % 2)) for t in turns]
        return ConditionalFlow(inputs, size, flow, context, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site)


def _step(size: int, context: int, width: int, reverse: bool) -> ConditionalAffineAutoregressive:
    order = torch.arange(size).flip(0) if reverse else torch.arange(size)
    masked = ConditionalAutoRegressiveNN(size, context, [width], permutation=order, nonlinearity=nn.SiLU())
    return ConditionalAffineAutoregressive(masked, stable=True)
