"""A small classifier of one array: a convolutional network for images, an MLP for anything else."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.amortised import scaled
from zoo.nn.dropout import Dropout

KINDS = ("auto", "cnn", "mlp")
SMALLEST_IMAGE = 4
"""Pixels of a side, so that two halvings leave one."""
CHUNK = 1000
"""Data in one pass of `Classifier.log_probs` and `Classifier.embed`."""


class Classifier(nn.Module):
    """p(y | x) = softmax(W f(x) + b), with f a small network whose outputs are the features.

    f of images, ``(h, w)`` or ``(colours, h, w)``, is two 3x3 convolutions of stride 2, each with a SiLU, then a
    linear layer with SiLU and dropout (``kind="cnn"``). Anything else is flattened, and f has two linear layers
    with SiLU and dropout (``"mlp"``). Levels are scaled to [-1, 1]; real data enter as they are.

    Args:
        event: of ``x``, one array.
        classes: number of values of y.
        kind: ``"auto"`` for a cnn wherever the event is an image.
        channels: of the first convolution; the second has twice as many.
        width: number of features.
        dropout: share of the features dropped in training.

    Raises:
        ZooError: fewer than two classes, an unknown kind, or a cnn of data that are no images.

    Example:
        >>> classifier = Classifier(Event((8, 8), 17), classes=10)
        >>> classifier(torch.zeros(5, 8, 8)).shape, classifier.features(torch.zeros(5, 8, 8)).shape
        (torch.Size([5, 10]), torch.Size([5, 128]))
    """

    def __init__(
        self,
        event: Event,
        classes: int,
        kind: str = "auto",
        *,
        channels: int = 16,
        width: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        shape = event.shape if len(event.shape) == 3 else (1, *event.shape)
        image = len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= SMALLEST_IMAGE
        if classes < 2:
            raise ZooError(f"a classifier has two classes or more, got {classes}")
        if kind not in KINDS:
            raise ZooError(f"the kind of a classifier is {', '.join(KINDS)}; got {kind!r}")
        if kind == "cnn" and not image:
            raise ZooError(
                f"a cnn takes images of {SMALLEST_IMAGE}x{SMALLEST_IMAGE} or more in one or three colours, got "
                f"{event}; take the mlp"
            )
        self.event, self.classes = event, classes
        self.shape = shape if image and kind != "mlp" else (event.size,)
        if len(self.shape) == 3:
            first, inputs = (
                _convolutions(shape[0], channels),
                2 * channels * math.ceil(shape[1] / 4) * math.ceil(shape[2] / 4),
            )
        else:
            first, inputs = [nn.Linear(event.size, width), nn.SiLU(), Dropout(dropout)], width
        self.body = nn.Sequential(*first, nn.Linear(inputs, width), nn.SiLU(), Dropout(dropout))
        self.out = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """f(x): ``(n, *event.shape)`` to ``(n, width)``."""
        found: Tensor = self.body(scaled(self.event, x).reshape(-1, *self.shape))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """The logits of the classes: ``(n, *event.shape)`` to ``(n, classes)``."""
        logits: Tensor = self.out(self.features(x))
        return logits

    @torch.no_grad()
    def log_probs(self, x: Tensor) -> Tensor:
        """log p(y | x) of every class, without gradients: ``(n, *event.shape)`` to ``(n, classes)``."""
        return torch.cat([self(part).log_softmax(-1) for part in x.split(CHUNK)])

    @torch.no_grad()
    def embed(self, x: Tensor) -> Tensor:
        """`features` without gradients."""
        return torch.cat([self.features(part) for part in x.split(CHUNK)])


def _convolutions(colours: int, channels: int) -> list[nn.Module]:
    sizes = (colours, channels, 2 * channels)
    layers = [(nn.Conv2d(m, n, 3, stride=2, padding=1), nn.SiLU()) for m, n in itertools.pairwise(sizes)]
    return [*itertools.chain.from_iterable(layers), nn.Flatten()]
