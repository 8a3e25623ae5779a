"""The precision of training: float32, or matrix products in bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["float32", "bf16"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """`torch.autocast` to bfloat16 for ``bf16``, nothing for ``float32``; parameters and gradients stay float32.

    Casts are not cached, since a recorded graph could not hold a cache.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
