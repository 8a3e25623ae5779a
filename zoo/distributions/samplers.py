"""From noise to data in a chosen number of passes of a denoiser (see `zoo.distributions.diffusion`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from zoo.distributions.diffusion import Denoiser

Sampler = Callable[[Denoiser, Tensor, Tensor], Tensor]
"""``sampler(denoise, u, v)`` takes the noise of data ``u``, shape ``(n, D)``, from variance v_T to v_0 in T passes.

``v`` holds increasing variances v_0 ... v_T, shape ``(T + 1,)``.
"""


def ancestral(denoise: Denoiser, u: Tensor, v: Tensor) -> Tensor:
    """Draw each u_s | u_t from the model of T steps: a `DenoisingChain`.

        u_s ~ N(x' + r (u_t - x'), v_s (1 - r) + (1 - r)^2 w),  s = t - 1, r = v_s / v_t, x' and w of u_t

    Reference:
        Ho et al. 2020, arXiv:2006.11239, algorithm 2.
    """
    for after, before in pairwise(v.flip(0)):
        ratio = before / after
        clean, variance = denoise(u, after.expand(len(u)))
        variance = before * (1 - ratio) + (1 - ratio).square() * variance
        u = clean + ratio * (u - clean) + variance.sqrt() * torch.randn_like(u)
    return u


def ddim(denoise: Denoiser, u: Tensor, v: Tensor) -> Tensor:
    """Keep the direction of the noise and shrink it: the probability flow by steps of first order, without new noise.

        u_s = x' + (v_s / v_t)^(1/2) (u_t - x')

    Reference:
        Song et al. 2020, arXiv:2010.02502, eq. 12 with sigma = 0.
    """
    for after, before in pairwise(v.flip(0)):
        clean, _ = denoise(u, after.expand(len(u)))
        u = clean + (before / after).sqrt() * (u - clean)
    return u


def dpm_solver(denoise: Denoiser, u: Tensor, v: Tensor) -> Tensor:
    """`ddim` with x' extrapolated linearly in log v from the pass before: steps of second order, one pass each.

        u_s = x'' + (v_s / v_t)^(1/2) (u_t - x'')
        x'' = x'_t + (x'_t - x'_(t+1)) h_t / (2 h_(t+1)),  h_t = log(v_t / v_(t-1))

    Reference:
        Lu et al. 2022, arXiv:2211.01095, algorithm 2 (DPM-Solver++, 2M).
    """
    last: tuple[Tensor, Tensor] | None = None
    for after, before in pairwise(v.flip(0)):
        (clean, _), step = denoise(u, after.expand(len(u))), (after / before).log()
        ahead = clean if last is None else clean + step / (2 * last[1]) * (clean - last[0])
        u = ahead + (before / after).sqrt() * (u - ahead)
        last = clean, step
    return u


SAMPLERS: Mapping[str, Sampler] = {"ancestral": ancestral, "ddim": ddim, "dpm-solver": dpm_solver}
"""By the names by which users ask for them."""
