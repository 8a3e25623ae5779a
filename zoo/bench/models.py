"""What the contenders train: one VAE written three times (Pyro, torch by hand, NumPyro), and pairs of the zoo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.pairs.pair import Pair


class Programs(Protocol):
    """A Pyro pair as one module: what it trains, and its two programs."""

    def model(self, x: Tensor) -> Any:
        """Observe a batch ``x``."""

    def guide(self, x: Tensor) -> Any:
        """Draw the latents of a batch ``x``."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """What is trained."""


class HandmadeVAE(nn.Module):
    """z ~ N(0, I), x | z ~ Bernoulli(f(z)), q(z | x) = N(mu(x), diag sigma(x)^2): one hidden ReLU layer each.

    ``model`` and ``guide`` are the Pyro pair, `loss` the same by hand: for the same random numbers they agree.
    """

    def __init__(self, pixels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def loss(self, x: Tensor) -> Tensor:
        """Minus the one-particle ELBO in nats per datum; log q(z | x) - log p(z) is that of the draw, as in Pyro."""
        loc, log_scale = self.encoder(x).chunk(2, -1)
        noise = torch.randn_like(loc)
        z = loc + log_scale.exp() * noise
        reconstruction = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        divergence = 0.5 * (z.square() - noise.square()).sum() - log_scale.sum()
        return (reconstruction + divergence) / len(x)


class OfTheZoo(nn.Module):
    """A pair of the zoo, in training mode."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.parts = nn.ModuleList(pair.modules.values())
        # the bare programs: a pair's own store, entered and left, would cut what ties these parameters to Pyro's. And
        # PyroModules tell their parameters one by one, in a form that `pyro.infer.SVI` cannot use: `parts` are all
        self._model, self._guide = (poutine.block(each, hide_types=["param"]) for each in (pair._model, pair._guide))

    def model(self, x: Tensor) -> Any:
        with pyro.settings.context(module_local_params=True):
            return self._model(x)

    def guide(self, x: Tensor) -> Any:
        with pyro.settings.context(module_local_params=True):
            return self._guide(x)


def in_numpyro(vae: HandmadeVAE) -> tuple[Any, Any]:
    """The model and guide of ``vae`` in NumPyro, from the same initial weights.

    Raises:
        ImportError: NumPyro is not installed.
    """
    import jax
    import numpyro
    import numpyro.distributions as nd

    weights = {name: tensor.detach().numpy().copy() for name, tensor in vae.named_parameters()}

    def linear(name: str, h: Any) -> Any:
        weight = numpyro.param(f"{name}.weight", weights[f"{name}.weight"].T)
        return h @ weight + numpyro.param(f"{name}.bias", weights[f"{name}.bias"])

    def network(name: str, h: Any) -> Any:
        return linear(f"{name}.2", jax.nn.relu(linear(f"{name}.0", h)))

    def model(x: Any) -> None:
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", nd.Normal(jax.numpy.zeros(vae.latent), 1.0).to_event(1))
            numpyro.sample("x", nd.Bernoulli(logits=network("decoder", z)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        loc, log_scale = jax.numpy.split(network("encoder", x), 2, -1)
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", nd.Normal(loc, jax.numpy.exp(log_scale)).to_event(1))

    return model, guide
