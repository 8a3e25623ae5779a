"""Roots of increasing functions, for inverses without a closed form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

HALVINGS = 64
"""Steps of a bisection."""


def increasing_root(
    f: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], low: Tensor, high: Tensor
) -> Tensor:
    """The root of ``f`` by bisection, with the gradients of the implicit function.

    Args:
        f: an increasing function of each entry, which may depend on tensors with gradients.
        slope: its derivative.
        low: below the root.
        high: above the root.

    Returns:
        The root of each entry, of the shape of ``low``.

    Example:
        >>> a = torch.tensor([4.0], requires_grad=True)
        >>> root = increasing_root(lambda s: s**2 - a, lambda s: 2 * s, torch.zeros(1), torch.full((1,), 9.0))
        >>> root, torch.autograd.grad(root, a)
        (tensor([2.], grad_fn=<SubBackward0>), (tensor([0.2500]),))
    """
    with torch.no_grad():
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            above = f(middle) > 0
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        root = (low + high) / 2
        steepness = slope(root)
    rest = f(root)
    return root - (rest - rest.detach()) / steepness
