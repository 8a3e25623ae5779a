"""Roots of increasing functions, where an inverse has no formula."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

HALVINGS = 64


def increasing_root(
    f: Callable[[Tensor], Tensor], slope: Callable[[Tensor], Tensor], low: Tensor, high: Tensor
) -> Tensor:
    """The s within [low, high] where ``f``, which grows with each entry of s, crosses zero: by bisection.

    ``slope`` is the derivative of ``f``. By it the gradient of the root is that of the implicit function, in whatever
    ``f`` depends on.
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
