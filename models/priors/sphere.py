"""The uniform distribution on the sphere."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.distributions.von_mises_fisher import SphereUniform
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.registry import prior


@prior("sphere", paper="Davidson et al. 2018, arXiv:1804.00891", space="sphere")
class Sphere(nn.Module):
    """Uniform on the unit sphere, without parameters.

        p(z) = 1 / area,    z in R^L with |z| = 1

    The guide has to draw on the sphere too: ``vae:prior=sphere`` takes ``vmf``, von Mises-Fisher, and is the
    hyperspherical VAE. Between the two, KL = kappa A + log C(kappa) + log area, whatever mu.

    Args:
        latent: L, at least 2.

    Raises:
        ZooError: a latent of one dimension, whose sphere is two points.

    Reference:
        Davidson et al. 2018, arXiv:1804.00891, section 3.2.
    """

    zero: Tensor

    def __init__(self, event: Event, latent: int) -> None:
        super().__init__()
        if latent < 2:
            raise ZooError(f"prior 'sphere' lies in two or more dimensions, got a latent of {latent}")
        self.register_buffer("zero", torch.zeros(latent), persistent=False)

    def forward(self) -> SphereUniform:
        """p(z), event shape ``(latent,)``."""
        return SphereUniform(self.zero)
