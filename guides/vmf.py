"""The amortised von Mises-Fisher distribution."""

from __future__ import annotations

from collections.abc import Mapping

from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from zoo.distributions.von_mises_fisher import VonMisesFisher
from zoo.errors import ZooError
from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide
from zoo.nn.mlp import MLP
from zoo.pairs.registry import guide


@guide("vmf", paper="Davidson et al. 2018, arXiv:1804.00891", space="sphere")
def vmf(
    event: Event, latents: Mapping[str, tuple[int, ...]], *, hidden: int = 1024, layers: int = 1, dropout: float = 0.1
) -> AmortizedGuide:
    """Amortised von Mises-Fisher: q(z | x) = C(kappa) exp(kappa mu·z) on the sphere, mu and kappa from one
    network.

    Davidson et al. 2018, section 3: mu(x) is a unit vector, kappa(x) > 1 the concentration. Draws by rejection, with
    exact gradients (see `zoo.distributions.von_mises_fisher.VonMisesFisher`). It fits a prior on the sphere:
    ``vae:prior=sphere``. Of several latents each is also given those drawn before it.

    Raises:
        ZooError: a latent of one dimension, whose sphere is two points.
    """
    for name, shape in latents.items():
        if len(shape) != 1 or shape[0] < 2:
            raise ZooError(f"guide 'vmf' draws vectors of two or more dimensions, {name!r} has shape {shape}")
    return AmortizedGuide(event, latents, lambda inputs, size: VMFSite(inputs, size, (hidden,) * layers, dropout))


class VMFSite(nn.Module):
    """The network of one latent of ``size`` numbers."""

    def __init__(self, inputs: int, size: int, hidden: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.split = [size, 1]
        self.net = MLP(inputs, hidden, size + 1, dropout)

    def forward(self, inputs: Tensor) -> TorchDistribution:
        mu, raw = self.net(inputs).split(self.split, -1)
        return VonMisesFisher(normalize(mu, dim=-1), 1 + softplus(raw.squeeze(-1)))
