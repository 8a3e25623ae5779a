"""WaveNet for sound: dilated causal convolutions over samples, given the samples before."""

from __future__ import annotations

import itertools
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Autoregressive, CosineFeatures, Stream
from zoo.errors import UnfitError, ZooError
from zoo.event import Event
from zoo.pairs.registry import family

SMOOTH = 24
"""Cosines of the level that logits are made of, besides a free weight for each."""


class GatedConvolution(nn.Module):
    """A convolution of two taps ``dilation`` samples apart, gated: tanh(f) * sigmoid(g), section 2.3.

    Each speaker adds a vector of its own to f and g, section 2.5.
    """

    def __init__(self, width: int, skip: int, dilation: int, speakers: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Conv1d(width, 2 * width, 2, dilation=dilation)
        self.keep, self.skip = nn.Conv1d(width, width, 1), nn.Conv1d(width, skip, 1)
        self.speakers: nn.Embedding | None = None
        if speakers:
            self.speakers = nn.Embedding.from_pretrained(torch.zeros(speakers, 2 * width), freeze=False)

    def forward(self, h: Tensor, size: int, speaker: Tensor | None) -> tuple[Tensor, Tensor]:
        """From ``(n, width, length)`` to the next input, ``dilation`` shorter, and the skip connection of the last
        ``size`` samples: ``(n, skip, size)``."""
        z = self._gated(self.taps(h), speaker)
        return h[..., self.dilation :] + self.keep(z), self.skip(z[..., -size:])

    def step(self, past: Tensor, now: Tensor, speaker: Tensor | None) -> tuple[Tensor, Tensor]:
        """The same for one sample, of the inputs ``dilation`` samples ago and now: each ``(n, width)``."""
        z = self._gated(at_one_place(self.taps, torch.stack([past, now], 2))[..., None], speaker)
        return now + at_one_place(self.keep, z), at_one_place(self.skip, z)

    def _gated(self, taps: Tensor, speaker: Tensor | None) -> Tensor:
        if self.speakers is not None and speaker is not None:
            taps = taps + self.speakers(speaker)[..., None]
        signal, gate = taps.chunk(2, 1)
        return signal.tanh() * gate.sigmoid()


def at_one_place(convolution: nn.Conv1d, inputs: Tensor) -> Tensor:
    """A convolution where its kernel fits once, ``(n, channels, taps)`` to ``(n, outputs)``: a matrix product."""
    return F.linear(inputs.flatten(1), convolution.weight.flatten(1), convolution.bias)


@family(
    "wavenet-sound",
    group="autoregressive",
    paper="van den Oord et al. 2016, arXiv:1609.03499",
    supports=("record",),
    example="x=32:256,past=64:256@given",
    recipe={
        "steps": 4500,
        "batch": 4,
        "lr": 4e-3,
        "schedule": "onecycle",
        "clip": 1.0,
        "average": 0.998,
        "checkpoints": 5,
    },
)
class WaveNetSound(nn.Module):
    """Dilated causal convolutions over the samples of sound, alike at all times; exact.

        p(x | past) = prod_t Categorical(x_t | softmax(b + f(x_{t-1}, ..., x_{t-field})))

    What f sees before the first sample is in the given ``past``, so it has its whole receptive field at every sample
    that is scored. f is a stack of gated residual layers of dilations 1, 2, 4, ..., ``longest``, and again from 1 on,
    until it sees ``field`` samples; the last dilation is what is left. The skip connections of all layers are summed.
    Levels enter as cosine features and logits leave as cosines of the level, which makes near levels alike, besides a
    free weight for each. b starts at the log-frequencies of the training data. Where a ``speaker`` is given, each layer
    adds a vector of the speaker.

    A draw keeps a ring buffer of the last ``dilation`` inputs of each layer, filled from the past by one parallel pass,
    so a new sample costs one pass of one sample through each layer.

    Args:
        event: a record of sound ``x`` and of the given ``past``, both ``(samples,)`` of the same levels; also the given
            ``speaker``, a single number of K levels. See ``zoo list``: speech.
        field: how many samples f sees; by default as many as ``past`` has.
        width: channels of the residual path.
        skip: channels of the skip path.
        longest: dilation after which the series begins again.

    Raises:
        UnfitError: another event.
        ZooError: a field that is larger than the past, or sizes below 1.

    Reference:
        van den Oord et al. 2016, arXiv:1609.03499, section 2.
    """

    cosines: Tensor

    def __init__(
        self,
        event: Event,
        *,
        field: int | None = None,
        width: int = 48,
        skip: int = 96,
        longest: int = 256,
    ) -> None:
        super().__init__()
        given = {each.name: each for each in event.fields if each.role == "given"}
        x, past, speaker = event.main, given.pop("past", None), given.pop("speaker", None)
        if (
            (past is None or given or len(event.fields) != 2 + bool(speaker))
            or not (len(x.shape) == len(past.shape) == 1 and x.levels == past.levels and x.levels)
            or (speaker is not None and (speaker.shape or not speaker.levels))
        ):
            raise UnfitError(
                f"wavenet-sound takes a record such as x=2048:256,past=1023:256@given, got {event}; see speech, or "
                "take wavenet for short events of levels"
            )
        self.event, self.sound, self.field = event, event.array, past.size if field is None else field
        if not 1 <= self.field <= past.size or min(width, skip, longest) < 1:
            raise ZooError(
                f"field is from 1 to the {past.size} samples of the past, and width, skip and longest are 1 or more; "
                f"got field={field}, width={width}, skip={skip}, longest={longest}"
            )
        levels, speakers = x.levels, (speaker.levels or 0) if speaker else 0
        self.dilations = dilations(self.field - 1, longest)
        self.encode = CosineFeatures(self.sound)
        self.enter = nn.Conv1d(self.encode.size, width, 1)
        self.layers: Any = nn.ModuleList(GatedConvolution(width, skip, each, speakers) for each in self.dilations)
        self.last = nn.Conv1d(width, skip, 1)
        self.head = nn.Sequential(nn.GELU(), nn.Conv1d(skip, skip, 1), nn.GELU())
        self.smooth, self.free = nn.Conv1d(skip, SMOOTH, 1), nn.Conv1d(skip, levels, 1)
        for each in (self.smooth, self.free):
            nn.init.normal_(each.weight, std=0.01)
        angles = torch.pi / levels * torch.outer(torch.arange(levels) + 0.5, torch.arange(1.0, SMOOTH + 1))
        self.register_buffer("cosines", angles.cos()[..., None], persistent=False)
        self.bias = nn.Parameter(torch.zeros(levels))

    def model(self, x: Tensor, past: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Observe ``x``, shape ``(n, samples)``; ``past`` and, of shape ``(n,)``, ``speaker`` are given."""
        who = None if speaker is None else speaker.long()

        def logits(value: Tensor) -> Tensor:
            return self.logits(value, past, who)

        def stream(n: int) -> Stream:
            return self.stream(past, who)

        with pyro.plate("data", len(x)):
            return pyro.sample("x", Autoregressive(self.sound, logits, stream), obs=x)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the marginal of all samples of packed training data ``x``, shape ``(n, event.size)``."""
        counts = torch.bincount(self.event.main_of(x).long().flatten(), minlength=len(self.bias)) + 1.0
        self.bias.copy_((counts / counts.sum()).log())

    def logits(self, x: Tensor, past: Tensor, speaker: Tensor | None = None) -> Tensor:
        """``(n, samples)`` to ``(n, samples, levels)``, all samples at once; those of a sample see those before it."""
        seen = torch.cat([past[:, past.shape[1] - self.field :], x[:, :-1]], 1)
        h, size = self.enter(self.encode(seen).movedim(-1, 1)), x.shape[1]
        skips = []
        for layer in self.layers:
            h, skip = layer(h, size, speaker)
            skips.append(skip)
        return self._read(sum(skips, self.last(h))).movedim(1, -1)

    def stream(self, past: Tensor, speaker: Tensor | None = None) -> Stream:
        """The same logits sample by sample, without end (see `zoo.distributions.autoregressive`)."""
        value, rings = past[:, -1], [list(h.unbind(-1)) for h in self._before(past, speaker)]
        for t in itertools.count():
            now = at_one_place(self.enter, self.encode(value))
            skips = []
            for layer, ring in zip(self.layers, rings, strict=True):
                slot = t % len(ring)
                (now, skip), ring[slot] = layer.step(ring[slot], now, speaker), now
                skips.append(skip)
            value = yield self._read(sum(skips, at_one_place(self.last, now))[..., None])[..., 0]

    def _before(self, past: Tensor, speaker: Tensor | None) -> list[Tensor]:
        """The last ``dilation`` inputs of each layer before the last sample of the past: ``(n, width, dilation)``."""
        if not self.layers:
            return []
        h = self.enter(self.encode(past[:, past.shape[1] - self.field : -1]).movedim(-1, 1))
        found = [h[..., -self.dilations[0] :]]
        for layer, dilation in zip(self.layers[:-1], self.dilations[1:], strict=True):
            h, _ = layer(h, 1, speaker)
            found.append(h[..., -dilation:])
        return found

    def _read(self, total: Tensor) -> Tensor:
        """Logits from the sum of the skip connections: ``(n, skip, length)`` to ``(n, levels, length)``."""
        top = self.head(total)
        logits: Tensor = self.free(top) + F.conv1d(self.smooth(top), self.cosines) + self.bias[:, None]
        return logits


def dilations(field: int, longest: int) -> list[int]:
    """The dilations 1, 2, 4, ... up to ``longest``, and again, that add up to ``field``; the last is what is left.

    Example:
        >>> dilations(1023, 512), dilations(20, 8)
        ([1, 2, 4, 8, 16, 32, 64, 128, 256, 512], [1, 2, 4, 8, 1, 2, 2])
    """
    found, each = list[int](), 1
    while field:
        found.append(min(each, field))
        field -= found[-1]
        each = 1 if 2 * each > longest else 2 * each
    return found
