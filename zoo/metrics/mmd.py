"""The distance between samples and data: the one measure that every family has, with or without a likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.event import Event

SCALES = (0.5, 1.0, 2.0)
"""Bandwidths of the kernel's components, in units of the median distance between data."""
MEDIAN_OF = 300
"""Number of points for the median distance."""


@dataclass(frozen=True)
class MMD:
    """Squared maximum mean discrepancy, unbiased (so it may be negative), with its standard error."""

    value: float
    stderr: float


def features(event: Event, x: Tensor) -> Tensor:
    """The space in which samples are compared: the values themselves, discrete ones scaled to [0, 1].

    Records are compared by their main field.

    Args:
        event: what a datum is.
        x: a batch, shape ``(n, *event.shape)``.

    Returns:
        Shape ``(n, event.main.size)``, float64, on the CPU.
    """
    top = (event.main.levels or 2) - 1.0
    return event.main_of(x).reshape(len(x), -1).cpu().double() / top


def mmd2(a: Tensor, b: Tensor) -> MMD:
    """Unbiased MMD² of two samples of features.

        MMD² = E k(a, a') + E k(b, b') - 2 E k(a, b)

    The kernel is a mean of Gaussians with widths `SCALES` times the median distance within ``b``. The standard error is
    that of the U-statistic to second order: the first order (the spread over points of their mean kernel values)
    vanishes where the distributions are equal, the second (the spread of the residual kernel) remains.

    Args:
        a: shape ``(m, d)``, m > 1.
        b: shape ``(n, d)``, n > 1.

    Reference:
        Gretton et al. 2012, A kernel two-sample test, Lemma 6.
    """
    m, n = len(a), len(b)
    few = b[:MEDIAN_OF]
    off_diagonal = ~torch.eye(len(few), dtype=torch.bool)
    width = torch.cdist(few, few)[off_diagonal].median().clamp(min=1e-12)
    aa, bb, ab = (_kernel(x, y, width) for x, y in ((a, a), (b, b), (a, b)))
    within_a, within_b = _others(aa), _others(bb)
    value = within_a.mean() + within_b.mean() - 2 * ab.mean()
    # the spread of means over finitely many points contains the first order once and the second twice
    spread = 4 * (within_a - ab.mean(1)).var() / m + 4 * (within_b - ab.mean(0)).var() / n
    centred = ab - ab.mean(1, keepdim=True) - ab.mean(0, keepdim=True) + ab.mean()
    second = 2 * _rest(aa) / (m * (m - 1)) + 2 * _rest(bb) / (n * (n - 1)) + 4 * centred.square().mean() / (m * n)
    return MMD(float(value), math.sqrt(float(torch.maximum(spread - second, second))))


def _others(kernel: Tensor) -> Tensor:
    """Mean kernel value of each point with the other points of its sample."""
    return (kernel.sum(1) - kernel.diagonal()) / (len(kernel) - 1)


def _rest(kernel: Tensor) -> Tensor:
    """Mean square, off the diagonal, of a sample's kernel after its points' means are removed."""
    means = _others(kernel)
    rest = kernel - means[:, None] - means[None, :] + means.mean()
    return (rest.square().sum() - rest.diagonal().square().sum()) / (len(kernel) * (len(kernel) - 1))


def _kernel(x: Tensor, y: Tensor, width: Tensor) -> Tensor:
    square = torch.cdist(x, y).square()
    total = torch.zeros_like(square)
    for scale in SCALES:
        total += torch.exp(-square / (2 * (scale * width) ** 2))
    return total / len(SCALES)
