"""The one measure that every family has, likelihood or not: how far its samples are from data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.event import Event

SCALES = (0.5, 1.0, 2.0)
"""Bandwidths of the kernel's components, in units of the median distance between data."""
MEDIAN_OF = 300
"""Points that the median distance is taken over."""


@dataclass(frozen=True)
class MMD:
    """Squared maximum mean discrepancy, unbiased, with its standard error; it may come out below zero."""

    value: float
    stderr: float


def features(event: Event, x: Tensor) -> Tensor:
    """The space in which samples are compared: the values themselves, discrete ones scaled to [0, 1].

    Shape ``(n, event.size)``, float64, on the CPU.
    """
    top = 1.0 if event.levels is None else float(event.levels - 1)
    return x.reshape(len(x), -1).cpu().double() / top


def mmd2(a: Tensor, b: Tensor) -> MMD:
    """Unbiased MMD² of two samples of features, shapes ``(m, d)`` and ``(n, d)`` (Gretton et al. 2012, Lemma 6).

    The kernel is a mean of Gaussians whose widths are `SCALES` times the median distance within ``b``. The standard
    error is that of the U-statistic to second order: the first order (the spread over points of their mean kernel
    values) vanishes where the distributions are equal, the second (the spread of what is left of the kernel) remains.
    """
    m, n = len(a), len(b)
    width = _median_distance(b)
    aa, bb, ab = (_kernel(x, y, width) for x, y in ((a, a), (b, b), (a, b)))
    within_a, within_b = _others(aa), _others(bb)
    value = within_a.mean() + within_b.mean() - 2 * ab.mean()
    # the spread of means over finitely many points holds the first order once and the second twice
    spread = 4 * (within_a - ab.mean(1)).var() / m + 4 * (within_b - ab.mean(0)).var() / n
    second = 2 * _rest(aa) / (m * (m - 1)) + 2 * _rest(bb) / (n * (n - 1)) + 4 * _centred(ab).square().mean() / (m * n)
    return MMD(float(value), math.sqrt(float(torch.maximum(spread - second, second))))


def _others(kernel: Tensor) -> Tensor:
    """Mean kernel value of each point with the others of its sample."""
    return (kernel.sum(1) - kernel.diagonal()) / (len(kernel) - 1)


def _rest(kernel: Tensor) -> Tensor:
    """Mean square, off the diagonal, of a sample's kernel after its points' means are taken out."""
    means = _others(kernel)
    rest = kernel - means[:, None] - means[None, :] + means.mean()
    return (rest.square().sum() - rest.diagonal().square().sum()) / (len(kernel) * (len(kernel) - 1))


def _centred(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean(1, keepdim=True) - kernel.mean(0, keepdim=True) + kernel.mean()


def _median_distance(x: Tensor) -> Tensor:
    """The median distance between the first `MEDIAN_OF` points."""
    few = x[:MEDIAN_OF]
    return torch.cdist(few, few)[_off_diagonal(len(few))].median().clamp(min=1e-12)


def _kernel(x: Tensor, y: Tensor, width: Tensor) -> Tensor:
    square = torch.cdist(x, y).square()
    total = torch.zeros_like(square)
    for scale in SCALES:
        total += torch.exp(-square / (2 * (scale * width) ** 2))
    return total / len(SCALES)


def _off_diagonal(n: int) -> Tensor:
    return ~torch.eye(n, dtype=torch.bool)
