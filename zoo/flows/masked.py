"""Masked autoregressive steps: each dimension is mapped given those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.flows.coupling import Elementwise, bounded
from zoo.nn.mlp import MADE


class MaskedAutoregressive(nn.Module):
    """Map each dimension given those before it, by a masked network.

        h'_d = f(h_d; net(h_1, ..., h_(d-1)))

    ``forward`` takes one pass, ``inverse`` and `inverse_and_logdet` D sequential ones. It starts as the identity. The
    network is a `MADE`, which sees h bounded.

    Args:
        order: a permutation, in which dimensions are counted.
        f: an `Elementwise` map.
        hidden: units, about, of each of the network's two hidden layers.
        dropout: share of those units dropped.

    Reference:
        Papamakarios et al. 2017, arXiv:1705.07057.
    """

    order: Tensor
    back: Tensor

    def __init__(self, order: Tensor, f: Elementwise, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())
        self.f = f
        self.net = MADE(len(order), (hidden, hidden), f.count, dropout)
        for parameter in self.net.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = h.index_select(1, self.order)
        h, slope = self.f.forward(h, self.net(bounded(h)))
        return h.index_select(1, self.back), slope.sum(1)

    def inverse(self, h: Tensor) -> Tensor:
        return self.inverse_and_logdet(h)[0]

    def inverse_and_logdet(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The vector that ``forward`` takes to ``h``, and log|det| of this inverse map."""
        stream, entries, total = self.net.stream(len(h)), [], h.new_zeros(len(h))
        parameters = next(stream)
        for target in h.index_select(1, self.order).unbind(1):
            entry, slope = self.f.inverse(target, parameters)
            entries.append(entry)
            total = total + slope
            if len(entries) < h.shape[1]:
                parameters = stream.send(bounded(entry))
        return torch.stack(entries, 1).index_select(1, self.back), total
