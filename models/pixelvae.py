"""A variational auto-encoder whose decoder is autoregressive."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Autoregressive, CosineFeatures, Stream, whole_passes
from zoo.event import Event
from zoo.nn.dropout import Dropout
from zoo.nn.networks import DECODERS, DecoderNet, chosen
from zoo.nn.pixels import Pixel
from zoo.pairs.pair import HasInitialise
from zoo.pairs.registry import family


@family(
    "pixelvae",
    group="prescribed",
    paper="Gulrajani et al. 2016, arXiv:1611.05013",
    supports=("binary", "levels"),
    guide="normal",
    prior="standard",
    recipe={
        "steps": 1500,
        "batch": 50,
        "optimiser": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.3,
        "schedule": "onecycle",
        "clip": 5.0,
        "average": 0.99,
        "checkpoints": 20,
        "patience": 5,
    },
)
class PixelVAE(nn.Module):
    """VAE with a PixelCNN decoder, in which a pixel depends on z and on the pixels before it.

        z ~ p(z)                                                            latent, shape (L,)
        p(x | z) = prod_ij P(x_ij; b_ij + f_ij(z, x_<ij))

    P is categorical; of colours it is a mixture of logistics, in which a channel is given those before it
    (`zoo.nn.pixels.Pixel`). A network maps z to feature maps, which enter every gated layer of masked convolutions.
    These see the earlier pixels in row-major order, up to ``reach`` + ``blocks`` rows and columns away, so local
    structure is left to them and global structure to z. A decoder that does not need z may ignore it (posterior
    collapse): the score ``kl`` of the evaluation ``likelihood`` shows this. Guide and prior are chosen by name, as for
    the vae. Sampling takes one pass per pixel, a density one pass; of large images a pixel's pass is over the part that
    it depends on.

    Args:
        event: an image of shape ``(height, width)`` or ``(channels, height, width)``, binary or of K levels.
        make_prior: from L to the prior.
        net: the network from z to the feature maps: ``mlp``, ``gated``, ``conv`` or ``resnet``
            (`zoo.nn.networks.DECODERS`); the guide takes its own by ``guide.net``, or the same.
        latent: L.
        width: channels of the convolutions.
        blocks: gated residual layers.
        reach: rows and columns to each side that the first convolution sees.
        hidden: width of the hidden layer, where the network has one.
        dropout: share of hidden units dropped in training.
        likelihood: ``auto``, ``categorical`` or ``mixture`` (see `zoo.nn.pixels.Pixel`).
        components: of the mixture.

    Raises:
        ZooError: an event that is not an image, another ``net`` or ``likelihood``.

    Reference:
        Gulrajani et al. 2016, arXiv:1611.05013, section 3.1.
    """

    def __init__(
        self,
        event: Event,
        make_prior: Callable[[int], Any],
        *,
        net: DecoderNet = "auto",
        latent: int = 8,
        width: int = 32,
        blocks: int = 2,
        reach: int = 2,
        hidden: int = 256,
        dropout: float = 0.2,
        likelihood: str = "auto",
        components: int = 10,
    ) -> None:
        super().__init__()
        self.event, self.width, self.radius = event, width, reach + blocks
        self.pixel = Pixel(event, likelihood, components, "pixelvae")
        self.grid = self.pixel.grid
        self.prior = make_prior(latent)
        self.see = CosineFeatures(event)
        self.first = Masked(self.pixel.channels * self.see.size, width, 2 * reach + 1, centre=False)
        self.paint = chosen(DECODERS, net, event)(Event((width, *self.grid), "real"), latent, (hidden,), 1, dropout)
        self.layers = nn.ModuleList(Gated(width, dropout) for _ in range(blocks))
        self.head = nn.Sequential(nn.ELU(), Dropout(dropout), nn.Conv2d(width, self.pixel.count, 1))
        self.bias = nn.Parameter(torch.zeros(self.pixel.count, *self.grid))

    def model(self, x: Tensor) -> Any:
        """Draw z and x for each datum, observing ``x`` of shape ``(n, *event.shape)``."""
        prior = self.prior()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            return pyro.sample("x", self.likelihood(z), obs=self.pixel.drawn_from(x))

    def likelihood(self, z: Tensor) -> Autoregressive:
        """p(x | z) for ``z`` of shape ``(n, latent)``: batch shape ``(n,)``, event shape ``pixel.drawn.shape``."""
        painted = self.paint(z).reshape(len(z), self.width, *self.grid)
        logits = partial(self.logits, painted=painted)
        window = (self.radius + 1) * (2 * self.radius + 1)
        stream: Callable[[int], Stream] = whole_passes(self.pixel.drawn, logits, z)
        if 2 * window < math.prod(self.grid):
            stream = partial(self._windows, painted=painted)
        total = partial(self._total, painted=painted) if self.pixel.is_mixture else None
        return Autoregressive(self.pixel.drawn, logits, stream, (len(z),), total=total)

    def logits(self, x: Tensor, painted: Tensor) -> Tensor:
        """As drawn and the feature maps of z, ``(n, width, *grid)``, to ``(n, *drawn.shape, levels)``."""
        return self.pixel.logits(self._parameters_of(x.reshape(len(x), *self.grid, -1), painted, self.bias), x)

    def _total(self, x: Tensor, painted: Tensor) -> Tensor:
        return self.pixel.total(self._parameters_of(x, painted, self.bias), x)

    def _parameters_of(self, x: Tensor, painted: Tensor, bias: Tensor) -> Tensor:
        """Of a part of the image, ``(n, rows, columns, channels)``: ``(n, rows, columns, count)``."""
        h = self.first(self.see(x).flatten(3).movedim(-1, 1)) + painted
        for layer in self.layers:
            h = layer(h, painted)
        return (self.head(h) + bias).movedim(1, -1)

    def _windows(self, n: int, painted: Tensor) -> Stream:
        """The logits entry by entry, by a pass over the part of the image that a pixel depends on."""
        (rows, columns), r = self.grid, self.radius
        x = painted.new_zeros(n, rows, columns, self.pixel.channels)
        for i in range(rows):
            top = max(0, i - r)
            for j in range(columns):
                first, last = max(0, j - r), min(columns, j + r + 1)
                maps, bias = (part[..., top : i + 1, first:last] for part in (painted, self.bias))
                parameters = self._parameters_of(x[:, top : i + 1, first:last], maps, bias)[:, -1, j - first]
                x[:, i, j] = (yield from self.pixel.stream(parameters)).reshape(n, -1)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of the training data, and initialise the prior."""
        self.bias.copy_(self.pixel.start(self.event, x))
        if isinstance(self.prior, HasInitialise):
            self.prior.initialise(x)


class Masked(nn.Conv2d):
    """A convolution of odd ``size`` over the earlier pixels in row-major order, and (``centre``) the pixel itself."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, centre: bool) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2)
        place = torch.arange(size * size).reshape(size, size)
        before = place <= size * size // 2 if centre else place < size * size // 2
        self.register_buffer("mask", before.to(self.weight.dtype), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.conv2d(inputs, self.weight * self.mask, self.bias, padding=self.padding)


class Gated(nn.Module):
    """A gated residual layer of masked convolution, conditioned on the feature maps of z."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.conv = Masked(width, 2 * width, 3, centre=True)
        self.link = nn.Conv2d(width, 2 * width, 1)
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, painted: Tensor) -> Tensor:
        return h + F.glu(self.conv(self.dropout(F.elu(h))) + self.link(painted), 1)
