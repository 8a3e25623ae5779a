"""Dropout whose mask is cheap to draw and the same in every engine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.errors import ZooError

PIECES = 2**8
"""The number of values of a byte."""


class Dropout(nn.Module):
    """Dropout: x b / (1 - p) with b ~ Bernoulli(1 - p) for each entry in training, x itself in evaluation.

    Each random 64-bit integer gives eight entries a byte, in row-major order whatever the memory layout, so p is
    rounded to a multiple of 2^-8. With it a step of the family ``vae`` takes 0.92 (eager) and 0.74 (compiled) of the
    time with torch's own dropout (docs/speed.md).

    Args:
        p: the probability that an entry is dropped.

    Raises:
        ZooError: ``p`` is not in [0, 1), or rounds to none or all.

    Example:
        >>> import torch
        >>> layer = Dropout(0.5)
        >>> sorted(set(layer(torch.ones(100)).tolist())), bool((layer.eval()(torch.ones(3)) == 1).all())
        ([0.0, 2.0], True)

    Reference:
        Srivastava et al. 2014, JMLR 15.
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
