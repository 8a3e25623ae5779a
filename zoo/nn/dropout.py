"""Dropout that is quickly drawn, and alike in every engine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.errors import ZooError

PIECES = 2**8
"""How many values a piece of a random number takes."""


class Dropout(nn.Module):
    """x b / (1 - p), b ~ Bernoulli(1 - p) for each entry, in training; x itself in evaluation (Srivastava et al. 2014).

    Each random 64-bit integer is cut into eight, so p is rounded to a multiple of 2^-8 and a CPU draws a mask in
    a fraction of torch's own time. Entries take their pieces in row-major order, whatever their layout in memory.

    Raises:
        ZooError: ``p`` is not in [0, 1), or rounds to none or all.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = round(p * PIECES) if 0 <= p < 1 else PIECES
        if (p and not self.dropped) or self.dropped == PIECES:
            raise ZooError(f"a share of dropped units is 0, or from 1/512 to 511/512, got {p!r}")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.dropped:
            return x
        words = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 7) // 8,), device=x.device)
        pieces = torch.view_copy(words, torch.int8)[: x.numel()].view(x.shape)  # torch's jit knows no other such view
        kept = (pieces.to(x.dtype) >= self.dropped - PIECES // 2).to(x.dtype)  # compilers vectorise floats
        return x * (kept * (PIECES / (PIECES - self.dropped)))

    def extra_repr(self) -> str:
        return f"p={self.dropped / PIECES:g}"
