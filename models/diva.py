"""The domain-invariant variational auto-encoder: a domain, a class and a rest generate a datum, each by its latent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.nn import functional as F

from zoo.errors import UnfitError
from zoo.event import Event
from zoo.nn.amortised import RAW_UNIT_SCALE, diagonal_normal, scaled
from zoo.nn.decoder import Decoder
from zoo.nn.mlp import MLP
from zoo.pairs.pair import Player
from zoo.pairs.records import cut
from zoo.pairs.registry import family


class Encoder(nn.Module):
    """From scaled data ``(n, event.size)`` to ``(n, outputs)``: two convolutions if the event is an image, then an MLP.

    Each convolution of 5x5 is followed by SiLU and the greatest of 2x2.

    Example:
        >>> Encoder(Event((8, 8), 17), 4, 16, 6)(torch.zeros(3, 64)).shape
        torch.Size([3, 6])
    """

    def __init__(self, event: Event, channels: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.body, size = nn.Sequential(), event.size
        if len(event.shape) == 2:
            self.body = nn.Sequential(
                nn.Unflatten(1, (1, *event.shape)),
                *(nn.Conv2d(1, channels, 5, padding=2), nn.SiLU(), nn.MaxPool2d(2, ceil_mode=True)),
                *(nn.Conv2d(channels, 2 * channels, 5, padding=2), nn.SiLU(), nn.MaxPool2d(2, ceil_mode=True)),
                nn.Flatten(),
            )
            size = 2 * channels * math.prod(math.ceil(side / 4) for side in event.shape)
        self.head = MLP(size, (hidden,), outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.body(inputs))
        return outputs


def normal(raw: Tensor) -> Any:
    """Independent normals of location and raw scale, the halves of the last axis."""
    return diagonal_normal(*raw.chunk(2, -1))


def prior(levels: int, latent: int) -> nn.Embedding:
    """For each level the `normal` of a latent, at first N(0, I)."""
    initial = torch.cat([torch.zeros(levels, latent), torch.full((levels, latent), RAW_UNIT_SCALE)], -1)
    return nn.Embedding.from_pretrained(initial, freeze=False)


@family(
    "diva",
    group="prescribed",
    paper="Ilse et al. 2020, arXiv:1905.10427",
    supports=("record",),
    example="x=8x8:17,y=:10@label,d=:6@given",
    # The bound has no term of the classifiers, and falls while they are learned: the last weights are kept.
    recipe={"steps": 2000, "batch": 100, "lr": 1e-3, "checkpoints": 1},
)
class DIVA(nn.Module):
    """VAE with a latent for the domain d, one for the class y, and one for all else.

        z_d | d ~ N(mu(d), s(d)^2)     z_x ~ N(0, I)     y ~ Cat(1/K)     z_y | y ~ N(mu(y), s(y)^2)
        x | z_d, z_x, z_y ~ p(x; f(z_d, z_x, z_y)), entries independent
        q(z_d | x) q(z_x | x) q(z_y | x), three networks that share nothing

    The domain is given and a label may be missing, so that scores are bounds on p(x, y | d) or p(x | d). Where y is
    missing, the guide draws it from q(y | x) = Cat(c(m_y(x))), the classifier of the mean of q(z_y | x), which does not
    depend on d. Training sums over it, and adds the means of

        -alpha_d log q(d | z_d) - alpha_y log q(y | z_y)

    over drawn z_d of all data and z_y of data with a label. Scores do not contain these terms. A domain that no
    training datum has keeps the prior N(0, I) of its z_d.

    Args:
        event: a record of an array, of the label ``y`` and of the given domain ``d``, single numbers of finitely many
            levels. An array of two axes is read by convolutions, others by perceptrons.
        latent: size of each of the three latents.
        hidden: width of the hidden layers.
        channels: of the first convolution; the second has twice as many.
        alpha_d: weight of the classifier of domains.
        alpha_y: weight of the classifier of labels.

    Raises:
        UnfitError: another event.

    Reference:
        Ilse et al. 2020, arXiv:1905.10427, sections 2 and 3.
    """

    def __init__(
        self,
        event: Event,
        *,
        latent: int = 64,
        hidden: int = 256,
        channels: int = 16,
        alpha_d: float = 2000.0,
        alpha_y: float = 3500.0,
    ) -> None:
        super().__init__()
        label = event.label
        given = next((each for each in event.fields if each.role == "given"), None)
        if (
            len(event.fields) != 3
            or (label is None or label.name != "y" or label.shape or label.levels is None)
            or (given is None or given.name != "d" or given.shape or given.levels is None)
        ):
            raise UnfitError(
                f"diva takes a record such as x=8x8:17,y=:10@label,d=:6@given, got {event}; see rotated-digits"
            )
        self.event, self.classes, self.latent, self.channels = event, label.levels, latent, channels
        self.alpha_d, self.alpha_y, self.data = alpha_d, alpha_y, event.array
        self.decoder = Decoder(self.data, 3 * latent, (hidden, hidden))
        self.encoder_d, self.encoder_x, self.encoder_y = (
            Encoder(self.data, channels, hidden, 2 * latent) for _ in range(3)
        )
        self.prior_d, self.prior_y = prior(given.levels, latent), prior(label.levels, latent)
        self.domain, self.classifier = nn.Linear(latent, given.levels), nn.Linear(latent, label.levels)

    def model(self, x: Tensor, d: Tensor, y: Tensor | None = None) -> Any:
        """Draw y, the latents and x for each datum, observing ``x`` and, where known, ``y``; ``d`` is given."""
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(logits=x.new_zeros(self.classes)), obs=y)
            z_d = pyro.sample("z_d", normal(self.prior_d(d.long())))
            z_x = pyro.sample("z_x", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            z_y = pyro.sample("z_y", normal(self.prior_y(y.long())))
            return pyro.sample("x", self.decoder(torch.cat([z_d, z_x, z_y], -1)), obs=x)

    def guide(self, x: Tensor, d: Tensor, y: Tensor | None = None) -> None:
        """Draw the latents given ``x``; y too where it is missing."""
        inputs = scaled(self.data, x)
        with pyro.plate("data", len(x)):
            q_y = normal(self.encoder_y(inputs))
            if y is None:
                pyro.sample("y", dist.Categorical(logits=self.classifier(q_y.mean)))
            pyro.sample("z_d", normal(self.encoder_d(inputs)))
            pyro.sample("z_x", normal(self.encoder_x(inputs)))
            pyro.sample("z_y", q_y)

    def log_class(self, x: Tensor) -> Tensor:
        """log q(y = k | x) of each class, shape ``(n, K)``."""
        mean = normal(self.encoder_y(scaled(self.data, x))).mean
        log_q: Tensor = self.classifier(mean).log_softmax(-1)
        return log_q

    def players(self) -> Sequence[Player]:
        """The loss above, of packed data."""
        return [Player("elbo", list(self.parameters()), self.loss)]

    def loss(self, batch: Tensor) -> Tensor:
        """Minus the ELBO, with the classifiers' terms, of packed data ``(n, event.size)``; nats per datum."""
        total = domains = labels = batch.new_zeros(())
        for _, part in cut(self.event, batch):
            values = self.event.unpack(part)
            x, y, d = values[self.event.main.name], values["y"], values["d"]
            assert x is not None  # an observed field
            assert d is not None  # a given field
            inputs = scaled(self.data, x)
            q_d, q_x, raw = normal(self.encoder_d(inputs)), normal(self.encoder_x(inputs)), self.encoder_y(inputs)
            q_y = normal(raw)
            z_d, z_x, z_y = q_d.rsample(), q_x.rsample(), q_y.rsample()
            standard = dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1)
            elbos = self.decoder(torch.cat([z_d, z_x, z_y], -1)).log_prob(x) - math.log(self.classes)
            elbos = elbos - kl_divergence(q_d, normal(self.prior_d(d.long()))) - kl_divergence(q_x, standard)
            domains = domains + F.cross_entropy(self.domain(z_d), d.long(), reduction="sum") / len(batch)
            if y is None:
                log_q = self.classifier(q_y.mean).log_softmax(-1)
                each = kl_divergence(normal(raw[:, None]), normal(self.prior_y.weight))
                elbos = elbos - (log_q.exp() * (each + log_q)).sum(-1)
            else:
                elbos = elbos - kl_divergence(q_y, normal(self.prior_y(y.long())))
                labels = F.cross_entropy(self.classifier(z_y), y.long())
            total = total - elbos.sum()
        return total / len(batch) + self.alpha_d * domains + self.alpha_y * labels

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of packed training data ``x``, shape ``(n, event.size)``."""
        self.decoder.initialise(self.event.main_of(x))
