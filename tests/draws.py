"""Data and parameters that several tests draw."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from zoo.event import Event


def data(event: Event, n: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Independent entries, standard normal or uniform over the levels: shape ``(n, *event.shape)``."""
    generator = torch.Generator().manual_seed(seed)
    if event.levels is None:
        return torch.randn(n, *event.shape, generator=generator, dtype=dtype)
    return torch.randint(event.levels, (n, *event.shape), generator=generator).to(dtype)


def every(event: Event) -> Tensor:
    """Each value that a discrete event can take: shape ``(levels ** size, *event.shape)``, float64."""
    assert event.levels
    levels = torch.arange(event.levels, dtype=torch.float64)
    return torch.cartesian_prod(*[levels] * event.size).reshape(-1, *event.shape)


@torch.no_grad()
def perturb(parameters: Iterable[Tensor], scale: float, seed: int = 2) -> None:
    """Add normal noise of the given scale, so that nothing stays as it was initialised."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
