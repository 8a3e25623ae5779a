"""The precision of training: float32, or matrix products in bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from zoo.engine.private import onednn_in_bf16

Precision = Literal["float32", "bf16"]


@contextmanager
def autocast(precision: Precision, device: torch.device) -> Iterator[None]:
    """`torch.autocast` to bfloat16 for ``bf16``, nothing for ``float32``; parameters and gradients stay float32.

    Casts are not cached, since a recorded graph could not hold a cache.
    """
    if precision == "float32":
        yield
        return
    with onednn_in_bf16(), torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
        yield
