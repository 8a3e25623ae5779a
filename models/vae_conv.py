"""The convolutional variational auto-encoder, for images of many pixels."""

from __future__ import annotations

import itertools
import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from zoo.distributions.discretised import DiscretisedLogistic
from zoo.event import Event
from zoo.nn.amortised import diagonal_normal
from zoo.nn.images import image_shape
from zoo.pairs.registry import family

DEPTH = 4
"""Most halvings of the sides."""


@family(
    "vae-conv",
    group="prescribed",
    paper="Ha & Schmidhuber 2018, arXiv:1803.10122",
    supports=("levels",),
    recipe={
        "steps": 3000,
        "batch": 64,
        "lr": 1e-3,
        "schedule": "onecycle",
        "clip": 1000.0,
        "average": 0.99,
        "checkpoints": 20,
        "patience": 4,
    },
)
class VAEConv(nn.Module):
    """Variational auto-encoder of images, with convolutions in both programs.

        z ~ N(0, I_L)
        x | z ~ a logistic of mean f(z) and scale s, rounded to the levels; entries independent
        q(z | x) = N(m(x), diag s(x)^2)

    f and the guide's network halve or double the sides up to four times, so that an image of 64x64 becomes 4x4. There
    is one scale s for each channel, learned: it sets how the pixels weigh against the latents, as the variance does in
    Rybkin et al. 2021, and the likelihood is a proper one of the levels. The likelihood is known by a lower bound.

    Args:
        event: an image ``(channels, height, width)``, ``(height, width)`` or ``(width,)`` of K levels.
        latent: L.
        width: channels after the first halving; they double until the third.

    Raises:
        ZooError: an event that is no image.

    Reference:
        Ha & Schmidhuber 2018, World Models, arXiv:1803.10122, section 2.1 and appendix A.1; Rybkin et al. 2021,
        arXiv:2006.13202.
    """

    def __init__(self, event: Event, *, latent: int = 32, width: int = 32) -> None:
        super().__init__()
        self.event, self.latent, self.levels = event, latent, event.levels or 0
        self.image = image_shape(event)
        self.sides = [self.image[1:]]
        while len(self.sides) <= DEPTH and max(self.sides[-1]) > 4:
            self.sides.append((math.ceil(self.sides[-1][0] / 2), math.ceil(self.sides[-1][1] / 2)))
        channels = [self.image[0], *(width * 2 ** min(i, 2) for i in range(len(self.sides) - 1))]
        self.down = nn.Sequential()
        for m, n in itertools.pairwise(channels):
            self.down.extend([nn.Conv2d(m, n, 3, stride=2, padding=1), nn.SiLU()])
        self.small = (channels[-1], *self.sides[-1])
        size = math.prod(self.small)
        self.posterior, self.enter = nn.Linear(size, 2 * latent), nn.Linear(latent, size)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(n, m, 4, stride=2, padding=1) for m, n in reversed([*itertools.pairwise(channels)])
        )
        self.base = nn.Parameter(torch.zeros(self.image))
        self.log_scale = nn.Parameter(torch.full((self.image[0], 1, 1), math.log(0.1)))

    def model(self, x: Tensor) -> Tensor:
        """Draw z and x, observing ``x`` of shape ``(n, *event.shape)``."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            half = (self.levels - 1) / 2
            loc, scale = half * (1 + self.means(z)), half * self.log_scale.clamp(-7, 7).exp()
            loc, scale = (part.reshape(len(x), *self.event.shape) for part in torch.broadcast_tensors(loc, scale))
            fn = DiscretisedLogistic(loc, scale, self.levels).to_event(len(self.event.shape))
            return pyro.sample("x", fn, obs=x)

    def guide(self, x: Tensor) -> None:
        """Draw z given ``x``."""
        h = self.down((x * (2 / (self.levels - 1)) - 1).reshape(-1, *self.image))
        with pyro.plate("data", len(x)):
            pyro.sample("z", diagonal_normal(*self.posterior(h.flatten(1)).chunk(2, -1)))

    def means(self, z: Tensor) -> Tensor:
        """f(z) in [-1, 1] where the levels are, shape ``(n, channels, height, width)``."""
        h = self.enter(z).reshape(-1, *self.small)
        for layer, (height, width) in zip(self.up, reversed(self.sides[:-1]), strict=True):
            h = layer(nn.functional.silu(h))[..., :height, :width]
        return (h + self.base).to(z.dtype)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the mean image and the spread of the training data ``x``, shape ``(n, *event.shape)``."""
        half = (self.levels - 1) / 2
        images = x.reshape(-1, *self.image)
        mean = images.mean(0)
        self.base.copy_(mean / half - 1)
        spread = (images.std(0, correction=0) / half).square().mean((-1, -2), keepdim=True).sqrt().clamp(min=0.02)
        self.log_scale.copy_((spread * math.sqrt(3) / math.pi).log())
