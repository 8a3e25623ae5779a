"""Variational adversarial active learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from zoo.data import Dataset
from zoo.event import Event, Field
from zoo.experiments.query import Query
from zoo.nn.amortised import positive, scaled
from zoo.nn.decoder import Decoder
from zoo.nn.mlp import MLP
from zoo.pairs.pair import Pair, Player
from zoo.pairs.registry import acquisition
from zoo.seeding import seeded
from zoo.training.loop import fit
from zoo.training.recipe import Recipe

RECIPE = Recipe(steps=500, batch=128, lr=5e-4, checkpoints=1, engine="eager")


@acquisition("vaal", paper="Sinha et al. 2019, arXiv:1904.00370")
def vaal(
    query: Query, *, latent: int = 32, hidden: int = 256, weight: float = 1.0, steps: int = RECIPE.steps
) -> Tensor:
    """The lowest D(mu(x)): data that a discriminator tells from labelled ones by the code of a VAE.

    The VAE and D are trained from scratch, with as many labelled as unlabelled data in a batch; no class is used.

    Args:
        latent: dimensions of the code.
        hidden: width of each hidden layer of encoder, decoder and D.
        weight: lambda, the weight of the adversarial term against the ELBO per dimension.
        steps: of training, each one step of the VAE and one of D.

    Reference:
        Sinha et al. 2019, arXiv:1904.00370, equations 1 to 4 and algorithms 1 and 2.
    """
    event, half = query.classifier.event, min(len(query.pool), steps * RECIPE.batch // 2)
    some = torch.randperm(len(query.pool), generator=query.generator)[:half]
    known = torch.randint(len(query.x), (half,), generator=query.generator)
    with seeded(query.seed):
        net = VAAL(event, latent, hidden, weight)
        pair = Pair(net.record, net.model, net.guide, extras=net)
    flag = query.x.new_ones(half)
    train = net.record.pack(
        {"x": torch.cat([query.x[known], query.pool[some]]), "labelled": torch.cat([flag, torch.zeros_like(flag)])}
    )
    few = train[:: max(1, len(train) // 100)]
    data = Dataset("labelled or not", net.record, train, few, few, "Labelled data and data of the pool, as many.")
    recipe = RECIPE.updated({"steps": steps})
    fit(pair, data, recipe, seed=query.seed, device=str(train.device), unchecked=True)
    with torch.no_grad():
        return query.lowest(torch.cat([net.logit(part) for part in query.pool.split(1000)]))


class VAAL(nn.Module):
    """A VAE whose code hides from a discriminator D whether a datum has a label.

        z ~ N(0, I_L)
        x | z ~ p(x; f(z))
        q(z | x) = N(z; mu(x), diag sigma(x)^2)

        VAE's loss:   - ELBO / size - lambda E log s(D(mu(x)))
        D's loss:     - E_labelled log s(D(mu(x))) - E_unlabelled log (1 - s(D(mu(x))))

    s is the logistic function: the VAE wants all data taken for labelled ones.
    """

    def __init__(self, event: Event, latent: int, hidden: int, weight: float) -> None:
        super().__init__()
        self.event, self.latent, self.weight = event, latent, weight
        self.record = Event.record(
            Field("x", event.shape, event.levels or "real"), Field("labelled", (), "binary", "given")
        )
        self.encoder = MLP(event.size, (hidden,), 2 * latent)
        likelihood = "logistic" if event.support == "levels" else "auto"
        self.decoder = Decoder(event, latent, (hidden,), likelihood=likelihood)
        self.discriminator = MLP(latent, (hidden, hidden), 1)

    def initialise(self, x: Tensor) -> None:
        self.decoder.initialise(self.unpacked(x)[0])

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(x))

    def posterior(self, x: Tensor) -> Any:
        """q(z | x), batch shape ``(n,)``."""
        mu, raw = self.encoder(scaled(self.event, x)).chunk(2, -1)
        return dist.Normal(mu, positive(raw)).to_event(1)

    def logit(self, x: Tensor) -> Tensor:
        """D(mu(x)): ``(n, *event.shape)`` to ``(n,)``, the logit that ``x`` is labelled."""
        found: Tensor = self.discriminator(self.posterior(x).mean).squeeze(-1)
        return found

    def unpacked(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """``x``, and 1 where it is labelled."""
        fields = self.record.unpack(batch)
        x, labelled = fields["x"], fields["labelled"]
        assert x is not None  # a batch has all columns
        assert labelled is not None
        return x, labelled

    def players(self) -> Sequence[Player]:
        """The VAE and the discriminator, in this order."""
        vae = [*self.encoder.parameters(), *self.decoder.parameters()]
        return [
            Player("vae", vae, self.vae_loss),
            Player("discriminator", list(self.discriminator.parameters()), self.discriminator_loss),
        ]

    def vae_loss(self, batch: Tensor) -> Tensor:
        """Minus the ELBO in nats per dimension, and lambda times the cross-entropy of D's error, in nats."""
        x, labelled = self.unpacked(batch)
        posterior = self.posterior(x)
        z = posterior.rsample()
        prior = dist.Normal(torch.zeros_like(z), 1.0).to_event(1)
        elbo = self.decoder(z).log_prob(x) - torch.distributions.kl_divergence(posterior, prior)
        fooled = binary_cross_entropy_with_logits(
            self.discriminator(posterior.mean).squeeze(-1), torch.ones_like(labelled)
        )
        return -elbo.mean() / self.event.size + self.weight * fooled

    def discriminator_loss(self, batch: Tensor) -> Tensor:
        """Cross-entropy of labelled against unlabelled data, in nats (log 2 when D cannot tell)."""
        x, labelled = self.unpacked(batch)
        return binary_cross_entropy_with_logits(self.logit(x), labelled)
