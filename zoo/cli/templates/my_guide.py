"""my_guide: say in one sentence what this guide is.

Next: zoo check vae+my_guide --with my_guide.py
"""

import math
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

import zoo


@zoo.guide("my_guide", paper="")  # Author et al. year, arXiv:number
class MyGuide(nn.Module):
    """Independent normals: q(z_1, ..., z_L | x) = prod_l N(z_l; m_l(x), diag s_l(x)^2), all from one MLP."""

    def __init__(self, event: zoo.Event, latents: Mapping[str, tuple[int, ...]], *, hidden: int = 128) -> None:
        super().__init__()
        self.latents = latents  # name of each latent site -> its event shape, in the model's order
        self.sizes = [math.prod(shape) for shape in latents.values()]
        self.levels = event.levels or 1
        self.net = nn.Sequential(nn.Linear(event.size, hidden), nn.SiLU(), nn.Linear(hidden, 2 * sum(self.sizes)))

    def forward(self, x: Tensor) -> None:
        """Draw every latent, given ``x`` of shape ``(n, *event.shape)``."""
        means, log_scales = (part.split(self.sizes, -1) for part in self.net(x.flatten(1) / self.levels).chunk(2, -1))
        with pyro.plate("data", len(x)):
            for (name, shape), mean, log_scale in zip(self.latents.items(), means, log_scales, strict=True):
                normal = dist.Normal(mean.reshape(-1, *shape), log_scale.clamp(-7, 7).exp().reshape(-1, *shape))
                pyro.sample(name, normal.to_event(len(shape)))
