"""A variational auto-encoder whose decoder is autoregressive."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Autoregressive, CosineFeatures, levels, marginal_logits, whole_passes
from zoo.event import Event, image_size
from zoo.nn.dropout import Dropout
from zoo.nn.mlp import MLP
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
        p(x | z) = prod_ij Categorical(x_ij | softmax(b_ij + f_ij(z, x_<ij)))

    An MLP maps z to feature maps, which enter every gated layer of masked convolutions. These see the earlier pixels
    in row-major order, up to ``reach`` + ``blocks`` rows and columns away, so local structure is left to them and
    global structure to z. A decoder that does not need z may ignore it (posterior collapse): the score ``kl`` of the
    evaluation ``likelihood`` shows this. Guide and prior are chosen by name, as for the vae. Sampling takes one pass
    per pixel, a density one pass.

    Args:
        event: an image of shape ``(height, width)`` or ``(1, height, width)``, binary or of K levels.
        make_prior: from L to the prior.
        latent: L.
        width: channels of the convolutions.
        blocks: gated residual layers.
        reach: rows and columns to each side that the first convolution sees.
        hidden: width of the MLP's hidden layer.
        dropout: share of hidden units dropped in training.

    Raises:
        ZooError: an event that is not an image of one channel.

    Reference:
        Gulrajani et al. 2016, arXiv:1611.05013, section 3.1.
    """

    def __init__(
        self,
        event: Event,
        make_prior: Callable[[int], Any],
        *,
        latent: int = 8,
        width: int = 32,
        blocks: int = 2,
        reach: int = 2,
        hidden: int = 256,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.event, self.width = event, width
        self.grid = image_size(event, "pixelvae", "take vae")
        self.prior = make_prior(latent)
        self.see = CosineFeatures(event)
        self.first = Masked(self.see.size, width, 2 * reach + 1, centre=False)
        self.paint = MLP(latent, (hidden,), width * self.grid[0] * self.grid[1], dropout)
        self.layers = nn.ModuleList(Gated(width, dropout) for _ in range(blocks))
        self.head = nn.Sequential(nn.ELU(), Dropout(dropout), nn.Conv2d(width, levels(event), 1))
        self.bias = nn.Parameter(torch.zeros(levels(event), *self.grid))

    def model(self, x: Tensor) -> Any:
        """Draw z and x for each datum, observing ``x`` of shape ``(n, *event.shape)``."""
        prior = self.prior()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            return pyro.sample("x", self.likelihood(z), obs=x)

    def likelihood(self, z: Tensor) -> Autoregressive:
        """p(x | z) for ``z`` of shape ``(n, latent)``: batch shape ``(n,)``, event shape ``event.shape``."""
        painted = self.paint(z).reshape(len(z), self.width, *self.grid)
        logits = partial(self.logits, painted=painted)
        return Autoregressive(self.event, logits, whole_passes(self.event, logits, z), (len(z),))

    def logits(self, x: Tensor, painted: Tensor) -> Tensor:
        """``(n, *event.shape)`` and the feature maps of z, ``(n, width, *grid)``, to ``(n, *event.shape, levels)``."""
        h = self.first(self.see(x.reshape(-1, *self.grid)).movedim(-1, 1)) + painted
        for layer in self.layers:
            h = layer(h, painted)
        return (self.head(h) + self.bias).movedim(1, -1).reshape(*x.shape, -1)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of the training data, and initialise the prior."""
        self.bias.copy_(marginal_logits(self.event, x).reshape(*self.grid, -1).movedim(-1, 0))
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
