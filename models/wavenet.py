"""WaveNet: dilated causal convolutions over the flattened event."""

from __future__ import annotations

import math

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Autoregressive, CosineFeatures, Stream, levels, marginal_logits
from zoo.event import Event
from zoo.nn.dropout import Dropout
from zoo.pairs.registry import family


class Layer(nn.Module):
    """A causal convolution of two taps ``dilation`` entries apart, gated: tanh(f) * sigmoid(g), section 2.3.

    ``past`` and ``now`` are its input ``dilation`` entries ago and now, ``(..., width)``. Returns the next layer's
    input and the skip connection to the output.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.taps = nn.Linear(2 * width, 2 * width)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(width, 2 * width)

    def forward(self, past: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        signal, gate = self.taps(torch.cat([past, now], -1)).chunk(2, -1)
        residual, skip = self.out(self.dropout(signal.tanh() * gate.sigmoid())).chunk(2, -1)
        return now + residual, skip


@family(
    "wavenet",
    group="autoregressive",
    paper="van den Oord et al. 2016, arXiv:1609.03499",
    supports=("binary", "levels"),
    recipe={
        "steps": 600,
        "batch": 50,
        "optimiser": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.5,
        "schedule": "onecycle",
        "clip": 1.0,
        "average": 0.995,
    },
)
class WaveNet(nn.Module):
    """Dilated causal convolutions over the event's entries in row-major order; exact.

        p(x) = prod_i Categorical(x_i | softmax(b_i + f_i(x_1, ..., x_{i-1})))

    f is a stack of gated residual layers of dilations 1, 2, 4, ... until all earlier entries are seen, repeated
    ``stacks`` times; the skip connections of all layers are summed. Levels enter as cosine features, the position of
    an entry as a learned vector, and b starts at the log-frequencies of the training data, so training starts from
    independent entries. A draw keeps a ring buffer of the last ``dilation`` inputs of each layer, so a new entry costs
    one pass of one entry through each layer.
    Not promised: that neighbours in different rows of an image are found as easily as those in one row.

    Args:
        event: any shape, binary or of K levels.
        width: channels of the residual and of the skip path.
        stacks: how often the series of dilations is repeated.
        dropout: share of each layer's gated output that is dropped in training.

    Reference:
        van den Oord et al. 2016, arXiv:1609.03499, section 2.
    """

    def __init__(self, event: Event, *, width: int = 48, stacks: int = 1, dropout: float = 0.3) -> None:
        super().__init__()
        self.event = event
        self.encode = CosineFeatures(event)
        self.enter = nn.Linear(self.encode.size, width)
        self.place = nn.Parameter(0.1 * torch.randn(event.size, width))
        self.dilations = [2**i for i in range(max(1, math.ceil(math.log2(event.size))))] * stacks
        self.layers = nn.ModuleList(Layer(width, dropout) for _ in self.dilations)
        last = nn.Linear(width, levels(event))
        nn.init.normal_(last.weight, std=0.01)
        self.head = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.GELU(), last)
        self.bias = nn.Parameter(torch.zeros(event.size, levels(event)))

    def model(self, x: Tensor) -> Tensor:
        """Observe ``x``, shape ``(n, *event.shape)``; the guide is empty."""
        with pyro.plate("data", len(x)):
            return pyro.sample("x", Autoregressive(self.event, self.logits, self.stream), obs=x)

    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of the training data."""
        self.bias.copy_(marginal_logits(self.event, x).flatten(0, -2))

    def logits(self, x: Tensor) -> Tensor:
        """``(n, *event.shape)`` to ``(n, *event.shape, levels)``, all entries at once."""
        h = _delayed(self.enter(self.encode(x.flatten(1))), 1) + self.place
        total = torch.zeros_like(self.place)
        for layer, dilation in zip(self.layers, self.dilations, strict=True):
            h, skip = layer(_delayed(h, dilation), h)
            total = total + skip
        return (self.head(total) + self.bias).reshape(*x.shape, -1)

    def stream(self, n: int) -> Stream:
        """The same logits entry by entry, for ``n`` data (see `zoo.distributions.autoregressive`)."""
        width = self.place.shape[1]
        rings = [self.place.new_zeros(dilation, n, width) for dilation in self.dilations]
        before = self.place.new_zeros(n, width)
        for i in range(self.event.size):
            now, total = before + self.place[i], self.place.new_zeros(width)
            for layer, ring in zip(self.layers, rings, strict=True):
                slot = ring[i % len(ring)]
                (now, skip), entered = layer(slot, now), now
                slot.copy_(entered)
                total = total + skip
            before = self.enter(self.encode((yield self.head(total) + self.bias[i])))


def _delayed(h: Tensor, steps: int) -> Tensor:
    """``h``, shape ``(n, size, width)``, shifted by ``steps`` entries; zeros before the first."""
    return F.pad(h, (0, 0, steps, 0))[:, : h.shape[1]]
