"""Pairs that are good, and pairs of which each breaks one law of the contract."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from linear import TwoSites
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

import zoo
from zoo.event import Event
from zoo.pairs.pair import Player

REAL, BITS = Event(3, "real"), Event(3, "binary")


class Good(TwoSites):
    """z ~ N(0, I), x ~ N(f(z), I), and an amortised normal guide."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
        self.encoder = nn.Linear(3, 4)

    def prior(self, x: Tensor) -> Any:
        return dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1)

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(self.decoder(z), 1.0).to_event(1)

    def posterior(self, x: Tensor) -> Any:
        mean, raw = self.encoder(x).chunk(2, -1)
        return dist.Normal(mean, nn.functional.softplus(raw)).to_event(1)


class FixedBatch(Good):
    def prior(self, x: Tensor) -> Any:
        return dist.Normal(x.new_zeros(2, 2), 1.0).to_event(1)


class FailsAtOnce(Good):
    def __init__(self) -> None:
        super().__init__()
        raise ValueError("no such thing")


class ObservesNothing(Good):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.prior(x))


class OutsideThePlate(Good):
    def model(self, x: Tensor) -> None:
        pyro.sample("w", dist.Normal(x.new_zeros(()), 1.0))
        super().model(x)


class SharedPoint(OutsideThePlate):
    def guide(self, x: Tensor) -> None:
        pyro.sample("w", dist.Delta(x.new_zeros(())))
        super().guide(x)


class SharedOfTheData(OutsideThePlate):
    def guide(self, x: Tensor) -> None:
        pyro.sample("w", dist.Normal(x.mean(), 1.0))
        super().guide(x)


class Mixed(Good):
    """A class k besides z, which is summed."""

    def centres(self, k: Tensor) -> Tensor:
        return k.unsqueeze(-1) * torch.ones(3, device=k.device)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(x.new_ones(4)))
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", dist.Normal(self.decoder(z) + self.centres(k), 1.0).to_event(1), obs=x)


class Recentred(Mixed):
    def centres(self, k: Tensor) -> Tensor:
        return super().centres(k) - k.float().mean(0).unsqueeze(-1)


class Shared(Good):
    """A shift and a scale that all data share, under one of Pyro's guides, with the latent of each datum."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = AutoNormal(pyro.poutine.block(self.model, expose=["shift", "scale"]))

    def model(self, x: Tensor) -> None:
        shift = pyro.sample("shift", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
        scale = pyro.sample("scale", dist.Gamma(x.new_tensor(5.0), 5.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(x))
            pyro.sample("x", dist.Normal(self.decoder(z) + shift, scale).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        self.shared(x)
        super().guide(x)


class Positive(Good):
    """A latent on the positive numbers, under a guide from the shelf."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = zoo.amortise("normal", self.model, REAL, {"hidden": 4})

    def prior(self, x: Tensor) -> Any:
        return dist.Gamma(x.new_ones(len(x), 2), 1.0).to_event(1)

    def guide(self, x: Tensor) -> None:
        self.encoder(x)


class NoJacobian(Good):
    def prior(self, x: Tensor) -> Any:
        return dist.Gamma(x.new_ones(len(x), 2), 1.0).to_event(1)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", self.posterior(x), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u.exp(), event_dim=1))


class ScalarLogProb(Good):
    def log_prob(self, x: Tensor) -> Tensor:
        return x.sum()


class WrongElbo(Good):
    def elbo_terms(self, x: Tensor) -> dict[str, Tensor]:
        return {"all": x.new_full((len(x),), 7.0)}


class Estimated(Good):
    def elbo_terms(self, x: Tensor) -> dict[str, Tensor]:
        q = self.posterior(x)
        z = q.rsample()
        return {"diffusion": self.prior(x).log_prob(z) + self.likelihood(z, x).log_prob(x) - q.log_prob(z)}


class StepsOfTheWhole(Estimated):
    timesteps = 3

    def elbo_step(self, x: Tensor, t: Tensor) -> Tensor:
        return self.elbo_terms(x)["diffusion"]


class SamplesNothing(Good):
    def samplers(self) -> dict[str, Callable[[int, int], Tensor]]:
        return {"quick": lambda n, passes: self.encoder.weight.new_full((n, 3), torch.nan)}


class OtherName(Good):
    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("u", self.posterior(x))


class NoGuide(Good):
    def guide(self, x: Tensor) -> None:
        return None


class NormalForGamma(Good):
    def prior(self, x: Tensor) -> Any:
        return dist.Gamma(x.new_ones(len(x), 2), 1.0).to_event(1)

    def posterior(self, x: Tensor) -> Any:
        return dist.Normal(super().posterior(x).mean + 50.0, 1.0).to_event(1)  # no draw shows it


class DensityOfBits(Good):
    """Binary data under a density."""


class TooManyLevels(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Binomial(9, logits=self.decoder(z)).to_event(1)


class Unused(Good):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


class Detached(Good):
    def posterior(self, x: Tensor) -> Any:
        mean = super().posterior(x).mean.detach()
        return dist.Normal(mean, 1.0).to_event(1)


class NoWidth(Good):
    def posterior(self, x: Tensor) -> Any:
        wide = super().posterior(x)
        return dist.Normal(wide.mean, 1e-30 + 0.0 * wide.stddev).to_event(1)


class WithoutNoise(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(super().likelihood(z, x).mean, 0.0).to_event(1)


class Infinite(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(super().likelihood(z, x).mean + 1e30, 1.0).to_event(1)


class Doubled(dist.Normal):  # type: ignore[misc] # Pyro is not typed
    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + 1.0


class OfItsOwn(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return Doubled(super().likelihood(z, x).mean, 1.0).to_event(1)


class Peeks(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(self.decoder(z) + 0.5 * x, 1.0).to_event(1)


class GuideOverBatch(Good):
    def posterior(self, x: Tensor) -> Any:
        return super().posterior(x - x.mean(0))


class ModelOverBatch(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return super().likelihood(z - z.mean(0), x)


class SeedOfItsOwn(Good):
    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.encoder.bias.fill_(secrets.randbelow(2**20) / 2**20)


class NotInTheState(Good):
    def __init__(self) -> None:
        super().__init__()
        self.shift = float(torch.randn(()))

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return super().likelihood(z + self.shift, x)


class ForgetsWhatItLearnt(Good):
    """A running mean that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = 0.0

    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        if self.training:
            self.mean += 0.1
        return super().likelihood(z + self.mean, x)


class OnTheCPU(Good):
    def prior(self, x: Tensor) -> Any:
        return dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1)


class MatrixOnTheCPU(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return super().likelihood(z @ torch.eye(2), x)


class SamplerOnTheCPU(Good):
    """Its programs run anywhere."""

    def samplers(self) -> dict[str, Callable[[int, int], Tensor]]:
        return {"own": lambda n, passes: self.decoder(torch.randn(n, 2))}


class TermsOnTheCPU(Estimated):
    """Its programs run anywhere; a step of training, which takes these terms, does not."""

    def elbo_terms(self, x: Tensor) -> dict[str, Tensor]:
        noise = torch.zeros(len(x)) if self.training else 0.0
        return {name: term + noise for name, term in super().elbo_terms(x).items()}


class InPlace(Good):
    def posterior(self, x: Tensor) -> Any:
        x /= 16
        return super().posterior(x)


class NoiseOfItsOwn(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return super().likelihood(z + torch.randn_like(z), x)


class Scaled(Good):
    def model(self, x: Tensor) -> None:
        super().model(x / 16)


class HalfOfTheData(Good):
    def model(self, x: Tensor) -> None:
        with pyro.poutine.mask(mask=torch.arange(len(x)) % 2 == 0):
            super().model(x)


class PriorOfTheData(Good):
    def prior(self, x: Tensor) -> Any:
        return self.posterior(x)


class PointMass(Good):
    def posterior(self, x: Tensor) -> Any:
        return dist.Delta(super().posterior(x).mean).to_event(1)


class OnALine(Good):
    def posterior(self, x: Tensor) -> Any:
        wide = super().posterior(x)
        loadings = torch.ones(2, 1).expand(len(x), 2, 1)
        return dist.LowRankMultivariateNormal(wide.mean, loadings, torch.full((2,), 1e-12))


class HidesItsNet(Good):
    def likelihood(self, z: Tensor, x: Tensor) -> Any:
        return dist.Normal(self.decoder(z) + SHIFT, 1.0).to_event(1)


class WrongEvidence(nn.Module):
    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.zeros_like(x), 1.0).to_event(1), obs=x)

    def log_prob(self, x: Tensor) -> Tensor:
        return -(x**2).sum(1) / 2


class OfAnAutoGuide:
    def __init__(self) -> None:
        self.model = Good().model
        self.guide = AutoNormal(self.model)


SHIFT = torch.zeros(3, requires_grad=True)
"""A trainable tensor that is no parameter of anything."""


class Implicit(nn.Module):
    """Two players over bits."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = nn.Linear(2, 3), nn.Linear(3, 1)

    def shape(self, raw: Tensor) -> Tensor:
        smooth = raw.sigmoid()
        return smooth + (smooth.round() - smooth).detach()

    def model(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            return pyro.deterministic("x", self.shape(self.generator(z)), event_dim=1)

    def generator_loss(self, x: Tensor) -> Tensor:
        return -self.critic(self.model(x)).mean()

    def critic_loss(self, x: Tensor) -> Tensor:
        fake, real = self.critic(self.model(x).detach()), self.critic(x)
        return nn.functional.softplus(fake).mean() + nn.functional.softplus(-real).mean()

    def players(self) -> list[Player]:
        return [
            Player("critic", list(self.critic.parameters()), self.critic_loss),
            Player("generator", list(self.generator.parameters()), self.generator_loss),
        ]


class Fractions(Implicit):
    def shape(self, raw: Tensor) -> Tensor:
        return raw.sigmoid()


class Rounded(Implicit):
    def shape(self, raw: Tensor) -> Tensor:
        return raw.sigmoid().round()


class OverTheBatch(Implicit):
    def shape(self, raw: Tensor) -> Tensor:
        return raw - raw.mean(0) / 2


class NobodysChild(Implicit):
    def players(self) -> list[Player]:
        return super().players()[:1]
