"""A variational auto-encoder whose decoder is autoregressive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.autoregressive import Autoregressive, CosineFeatures, levels, marginal_logits, whole_passes
from zoo.errors import ZooError
from zoo.event import Event
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
    """VAE with a PixelCNN for a decoder: z ~ p(z), then every pixel given z and the pixels before it.

        p(x | z) = prod_ij Categorical(x_ij | softmax(b_ij + f_ij(z, x_<ij)))

    A perceptron makes feature maps of z, which enter every gated layer of masked convolutions (section 3.1). These see
    the pixels before in row-major order, ``reach`` rows and columns far and ``blocks`` more, so that what is near is
    theirs and what is far is left to z. A decoder that could do without z may leave it unused, the collapse of the
    posterior: the score ``kl`` of the evaluation ``likelihood`` shows whether it did. Guide and prior stand on the
    shelves, as the vae's. Sampling takes a pass for each pixel; densities one.

    Raises:
        ZooError: an event that is no image of one channel.
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
        self.event, self.grid, self.width = event, _grid(event), width
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

        def logits(x: Tensor) -> Tensor:
            return self.logits(x, painted)

        return Autoregressive(self.event, logits, whole_passes(self.event, logits, z), (len(z),))

    def logits(self, x: Tensor, painted: Tensor) -> Tensor:
        """``(n, *event.shape)`` and the maps made of z, ``(n, width, *grid)``, to ``(n, *event.shape, levels)``."""
        h = self.first(self.see(x.reshape(-1, *self.grid)).movedim(-1, 1)) + painted
        for layer in self.layers:
            h = layer(h, painted)
        return (self.head(h) + self.bias).movedim(1, -1).reshape(*x.shape, -1)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the training data's marginals, and whatever the prior makes of the data."""
        self.bias.copy_(marginal_logits(self.event, x).reshape(*self.grid, -1).movedim(-1, 0))
        if isinstance(self.prior, HasInitialise):
            self.prior.initialise(x)


class Masked(nn.Conv2d):
    """A convolution of odd ``size`` over the pixels before in row-major order, and (``centre``) the pixel itself."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, centre: bool) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2)
        place = torch.arange(size * size).reshape(size, size)
        before = place <= size * size // 2 if centre else place < size * size // 2
        self.register_buffer("mask", before.to(self.weight.dtype), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.conv2d(inputs, self.weight * self.mask, self.bias, padding=self.padding)


class Gated(nn.Module):
    """A gated residual layer of masked convolution, steered by the maps made of z."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.conv = Masked(width, 2 * width, 3, centre=True)
        self.link = nn.Conv2d(width, 2 * width, 1)
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, painted: Tensor) -> Tensor:
        return h + F.glu(self.conv(self.dropout(F.elu(h))) + self.link(painted), 1)


def _grid(event: Event) -> tuple[int, int]:
    """Height and width."""
    if len(event.shape) == 2 or (len(event.shape) == 3 and event.shape[0] == 1):
        return event.shape[-2], event.shape[-1]
    raise ZooError(f"pixelvae needs an image of shape (height, width) or (1, height, width), got {event}; take vae")
