"""The one measure that every family has, likelihood or not: how far its samples are from data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.event import Event

SCALES = (0.5, 1.0, 2.0)
"""Bandwidths of the kernel's components, in units of the median distance between data."""


@dataclass(frozen=True)
class MMD:
    """Squared maximum mean discrepancy, unbiased, with its standard error; it may come out below zero."""

    value: float
    stderr: float


def features(event: Event, x: Tensor) -> Tensor:
    """The space in which samples are compared, shape ``(n, event.size)``: the values themselves, discrete ones scaled to [0, 1]."""
    top = 1.0 if event.levels is None else float(event.levels - 1)
    return x.reshape(len(x), -1).double() / top


def mmd2(a: Tensor, b: Tensor) -> MMD:
    """Unbiased MMD² of two samples of features, shapes ``(m, d)`` and ``(n, d)`` (Gretton et al. 2012, Lemma 6).

    The kernel is a mean of Gaussians whose widths are `SCALES` times the median distance within ``b``. The standard error is that of the
    first-order (Hoeffding) term: the spread over points of their mean kernel values.
    """
    width = torch.cdist(b, b)[_off_diagonal(len(b))].median().clamp(min=1e-12)
    aa, bb, ab = (_kernel(x, y, width) for x, y in ((a, a), (b, b), (a, b)))
    within_a = (aa.sum(1) - aa.diagonal()) / (len(a) - 1)
    within_b = (bb.sum(1) - bb.diagonal()) / (len(b) - 1)
    value = within_a.mean() + within_b.mean() - 2 * ab.mean()
    variance = 4 * (within_a - ab.mean(1)).var() / len(a) + 4 * (within_b - ab.mean(0)).var() / len(b)
    return MMD(float(value), math.sqrt(float(variance)))


def _kernel(x: Tensor, y: Tensor, width: Tensor) -> Tensor:
    square = torch.cdist(x, y) ** 2
    return torch.stack([torch.exp(-square / (2 * (scale * width) ** 2)) for scale in SCALES]).mean(0)


def _off_diagonal(n: int) -> Tensor:
    return ~torch.eye(n, dtype=torch.bool)
