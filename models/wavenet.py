"""WaveNet: dilated causal convolutions over the flattened event."""

from __future__ import annotations

import math

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.autoregressive import Autoregressive, Harmonics, Stream, levels
from zoo.event import Event
from zoo.registry import family


class Layer(nn.Module):
    """A causal convolution with two taps, ``dilation`` entries apart, gated: gives the next layer's input and what skips to the end."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.width, self.dilation = width, dilation
        self.taps = nn.Linear(2 * width, 2 * width)
        self.out = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, past: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        signal, gate = self.taps(torch.cat([past, now], -1)).chunk(2, -1)
        residual, skip = self.out(self.dropout(signal.tanh() * gate.sigmoid())).chunk(2, -1)
        return now + residual, skip

    def shifted(self, h: Tensor) -> Tensor:
        """``h``, shape ``(n, size, width)``, as it was ``dilation`` entries ago; zeros before the first."""
        return F.pad(h, (0, 0, self.dilation, 0))[:, : h.shape[1]]


@family(
    "wavenet",
    group="autoregressive",
    paper="van den Oord et al. 2016, arXiv:1609.03499",
    supports=("binary", "levels"),
    recipe={
        "steps": 1200,
        "batch": 50,
        "optimiser": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.1,
        "schedule": "onecycle",
        "clip": 1.0,
        "average": 0.995,
    },
)
class WaveNet(nn.Module):
    """Dilated causal convolutions over the flattened event.
    """

    def __init__(
        self, event: Event, *, width: int = 64, cycles: int = 1, dropout: float = 0.3, in_dropout: float = 0.0, head_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.event = event
        self.encode = Harmonics(event)
        self.enter = nn.Linear(self.encode.size, width)
        self.place = nn.Parameter(0.1 * torch.randn(event.size, width))
        depth = max(1, math.ceil(math.log2(event.size)))
        self.layers = nn.ModuleList(Layer(width, 2**i, dropout) for _ in range(cycles) for i in range(depth))
        self.head = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Dropout(head_dropout), nn.Linear(width, levels(event)))
        self.bias = nn.Parameter(torch.zeros(event.size, levels(event)))
        self.ind = nn.Dropout(in_dropout)

    def model(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            return pyro.sample("x", Autoregressive(self.event, self.logits, self.stream), obs=x)

    def initialise(self, x: Tensor) -> None:
        counts = F.one_hot(x.flatten(1).long(), levels(self.event)).sum(0) + 1.0
        self.bias.copy_((counts / counts.sum(-1, keepdim=True)).log())
        self.head[-1].weight.mul_(0.1)

    def logits(self, x: Tensor) -> Tensor:
        before = F.pad(self.enter(self.ind(self.encode(x.flatten(1)))), (0, 0, 1, 0))[:, :-1]
        h, total = before + self.place, torch.zeros_like(self.place)
        for layer in self.layers:
            h, skip = layer(layer.shifted(h), h)
            total = total + skip
        return (self.head(total) + self.bias).reshape(*x.shape, -1)

    def stream(self, n: int) -> Stream:
        rings = [self.place.new_zeros(layer.dilation, n, layer.width) for layer in self.layers]
        before = self.place.new_zeros(n, self.place.shape[1])
        for i in range(self.event.size):
            h, total = before + self.place[i], torch.zeros_like(self.place[0])
            for layer, ring in zip(self.layers, rings, strict=True):
                slot = ring[i % layer.dilation]
                now = h
                h, skip = layer(slot, now)
                slot.copy_(now)
                total = total + skip
            value = yield self.head(total) + self.bias[i]
            before = self.enter(self.encode(value))
