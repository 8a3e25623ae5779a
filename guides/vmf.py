"""The amortised von Mises-Fisher distribution."""

from __future__ import annotations

from collections.abc import Mapping

from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.nn.functional import normalize, softplus

from zoo.distributions.von_mises_fisher import VonMisesFisher
from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, Site
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide


@guide("vmf", paper="Davidson et al. 2018, arXiv:1804.00891", space="sphere")
def vmf(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised von Mises-Fisher distribution on the unit sphere.

        q(z | x) = C(kappa(x)) exp(kappa(x) mu(x)·z)

    One MLP computes the unit vector mu and the concentration kappa > 1. Draws are by rejection, with exact gradients
    (see `zoo.distributions.von_mises_fisher.VonMisesFisher`). It fits a prior on the sphere, ``vae:prior=sphere``.

    Args:
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of each hidden layer of the network.
        layers: number of hidden layers.
        dropout: share of hidden units dropped in training.

    Raises:
        ZooError: a latent of one dimension, whose sphere is two points.

    Reference:
        Davidson et al. 2018, arXiv:1804.00891, section 3.
    """
    for name, shape in latents.items():
        if len(shape) != 1 or shape[0] < 2:
            raise ZooError(f"guide 'vmf' draws vectors of two or more dimensions, {name!r} has shape {shape}")

    def site(inputs: int, size: int) -> Site:
        return Site(inputs, [size, 1], von_mises_fisher, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


def von_mises_fisher(mu: Tensor, raw: Tensor) -> TorchDistribution:
    """The distribution of mean direction ``mu``, normalised, and concentration 1 + softplus(``raw``)."""
    return VonMisesFisher(normalize(mu, dim=-1), 1 + softplus(raw.squeeze(-1)))
