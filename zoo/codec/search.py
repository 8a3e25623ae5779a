"""The encoder's search: latents with a smaller error for the same bytes.

Only the encoder runs it, so a decoder does not depend on it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.codec.bottleneck import CHUNK, Bottleneck, Inferred
from zoo.seeding import seeded

STEPS = 20
"""Optimizer steps of the search."""
RATE = 0.4
"""Learning rate of the search, in units of the guide's scale."""


def search(model: Bottleneck, x: Tensor, latents: Inferred, width: float) -> Inferred:
    """The latents z of ``x`` after `STEPS` steps of Adam.

        minimise |x - E(x | z)|² - λ log p(z),    λ = s² width² / 6

    s² is the mean squared error without rounding. Rounding a latent on a grid of that width costs s² width² / 12 in
    squared error, so λ is twice that: what a nat is worth. The search starts from ``latents``.
    """
    error = ((model.reconstruct(latents.location) - x.cpu().double().numpy()) ** 2).mean()
    starts, scale = torch.from_numpy(latents.location).to(x), torch.from_numpy(latents.scale).to(x)
    with model.pair.evaluating(), seeded(0):
        found = [
            _searched(model, part, start, scale, error * width**2 / 6)
            for part, start in zip(x.split(CHUNK), starts.split(CHUNK), strict=True)
        ]
    return Inferred(torch.cat(found).cpu().double().numpy(), latents.scale)


def _searched(model: Bottleneck, x: Tensor, start: Tensor, scale: Tensor, price: float) -> Tensor:
    shift = torch.zeros_like(start, requires_grad=True)
    adam = torch.optim.Adam([shift], lr=RATE)
    for _ in range(STEPS):
        with torch.enable_grad():
            trace = model.trace(start + scale * shift)
            cost = ((model.mean(trace) - x) ** 2).sum()
            for name in model.shapes:
                cost = cost - price * trace.nodes[name]["fn"].log_prob(trace.nodes[name]["value"]).sum()
        (shift.grad,) = torch.autograd.grad(cost, [shift])
        adam.step()
    return start + scale * shift.detach()
