"""Values that a table lacks: its rows left out, or filled in for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.data.files.contents import Floats
from zoo.data.units import places
from zoo.errors import ZooError
from zoo.event import Event

ROUNDS = 200
CHANGE = 1e-6
"""Expectation-maximisation ends after so many rounds, or where no parameter changes by more."""
RIDGE = 1e-6
"""Added to variances, so that columns that depend on each other can be given each other."""


def filled(z: Tensor, generator: torch.Generator) -> Tensor:
    """Data whose missing entries, NaN, are drawn given the others of their row by a Gaussian.

        x_missing | x_present ~ N(m, S),  of the Gaussian of highest likelihood, by expectation-maximisation

    Args:
        z: shape ``(n, d)``, of columns with a mean near 0 and a deviation near 1.
        generator: of the draws.

    Example:
        >>> z = torch.randn(500, 1).expand(500, 2) + 0.1 * torch.randn(500, 2)
        >>> holes = z.clone()
        >>> holes[:100, 1] = torch.nan
        >>> bool((filled(holes, torch.Generator().manual_seed(0)) - z)[:100, 1].std() < 0.3)
        True

    Reference:
        Little & Rubin 2002, Statistical Analysis with Missing Data, section 11.2.
    """
    x = z.double()
    absent = x.isnan()
    patterns, which = absent.unique(dim=0, return_inverse=True)
    groups = [(which == number, pattern) for number, pattern in enumerate(patterns)]
    mean, covariance = x.nanmean(0), torch.eye(x.shape[1], dtype=torch.float64)
    for _ in range(ROUNDS):
        expected, spread = x.clone(), torch.zeros_like(covariance)
        for rows, pattern in groups:
            conditional, rest = _given(x[rows], pattern, mean, covariance)
            expected[rows.nonzero(), pattern.nonzero().T] = conditional
            spread[pattern.nonzero(), pattern.nonzero().T] += rows.sum() * rest
        before, mean = (mean, covariance), expected.mean(0)
        covariance = ((expected - mean).T @ (expected - mean) + spread) / len(x)
        changes = [(new - old).abs().max() for new, old in zip((mean, covariance), before, strict=True)]
        if max(changes) < CHANGE:
            break
    for rows, pattern in groups:
        conditional, rest = _given(x[rows], pattern, mean, covariance)
        root = torch.linalg.cholesky(rest + RIDGE * torch.eye(len(rest), dtype=torch.float64))
        noise = torch.randn(conditional.shape, generator=generator, dtype=torch.float64)
        x[rows.nonzero(), pattern.nonzero().T] = conditional + noise @ root.T
    return x.to(z.dtype)


def _given(x: Tensor, absent: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(n, k)`` and covariance ``(k, k)`` of the ``absent`` entries of rows given the others."""
    ridge = RIDGE * torch.eye(int((~absent).sum()), dtype=torch.float64)
    across = covariance[absent][:, ~absent]
    weights = torch.linalg.solve(covariance[~absent][:, ~absent] + ridge, across.T).T
    conditional = mean[absent] + (x[:, ~absent] - mean[~absent]) @ weights.T
    return conditional, covariance[absent][:, absent] - weights @ across.T


def require_fillable(path: Path, event: Event, array: Floats) -> None:
    """Refuse data that lack values of levels, or steps of sequences, which a Gaussian has no draws of.

    Raises:
        ZooError: they do.
    """
    unlabelled = np.concatenate([np.full(field.size, field.role != "label") for field in event.parts])
    lacking = np.isnan(array.reshape(len(array), -1)).any(0) & unlabelled
    if (lacking & (places(event).numpy() < 0)).any() or any(field.length for field in event.parts):
        raise ZooError(
            f"{path}: missing=impute fills in real numbers, and {event} lacks some of levels; leave such data out by "
            "missing=drop"
        )
