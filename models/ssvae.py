"""The semi-supervised variational auto-encoder M2: a class and a style generate a datum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.event import Event
from zoo.nn.amortised import diagonal_normal, scaled
from zoo.nn.decoder import Decoder
from zoo.nn.mlp import MLP
from zoo.pairs.pair import Player
from zoo.pairs.records import classes_of, cut
from zoo.pairs.registry import family


@family(
    "ssvae",
    group="prescribed",
    paper="Kingma et al. 2014, arXiv:1406.5298, model M2",
    supports=("record",),
    recipe={
        "steps": 2000,
        "batch": 100,
        "optimiser": "adamw",
        "lr": 2e-3,
        "weight_decay": 0.1,
        "schedule": "onecycle",
        "average": 0.99,
        "checkpoints": 20,
    },
)
class SSVAE(nn.Module):
    """VAE whose latents are a class y, known for some data, and a style z.

        y ~ Cat(1/K)                        q(y | x) = Cat(c(x)), the classifier
        z ~ N(0, I_L)                       q(z | x, y) = N(m(x, y), diag s(x, y)^2)
        x | y, z ~ p(x; f(y, z)), entries independent

    With the ELBO L(x, y) of log p(x, y), the loss of a datum with a label is -L(x, y), and of one without

        -sum_k q(y = k | x) (L(x, k) - log q(y = k | x)),

    summed over all classes. Training adds ``alpha`` times the mean of -log q(y | x) over data with a label, because
    L(x, y) does not depend on q(y | x) (eq. 9 there, where alpha = 0.1). Scores do not contain that term: they are of
    the programs, and of p(x, y) or p(x).

    Args:
        event: a record of a field of any shape and support, and of the label ``y``, a single number of K levels.
        latent: L.
        hidden: width of the hidden layers: two of f, one of (m, s) and of c.
        dropout: share of hidden units dropped in training.
        alpha: weight of the classifier's term.

    Raises:
        UnfitError: another event.

    Reference:
        Kingma et al. 2014, arXiv:1406.5298, sections 2.2 and 3.
    """

    def __init__(
        self, event: Event, *, latent: int = 16, hidden: int = 256, dropout: float = 0.4, alpha: float = 2.0
    ) -> None:
        super().__init__()
        self.event, self.classes, self.latent, self.alpha = event, classes_of(event, "ssvae"), latent, alpha
        self.data = event.array
        self.decoder = Decoder(self.data, self.classes + latent, (hidden, hidden), dropout)
        self.encoder = MLP(self.data.size + self.classes, (hidden,), 2 * latent, dropout)
        self.classifier = MLP(self.data.size, (hidden,), self.classes, dropout)

    def model(self, x: Tensor, y: Tensor | None = None) -> Any:
        """Draw y, z and x for each datum, observing ``x`` and, where it is known, ``y`` of shape ``(n,)``."""
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(logits=x.new_zeros(self.classes)), obs=y)
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1))
            return pyro.sample("x", self.decoder(torch.cat([self.one_hot(y), z], -1)), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """Draw z given ``x`` and ``y``; y too where it is missing."""
        with pyro.plate("data", len(x)):
            if y is None:
                y = pyro.sample("y", dist.Categorical(logits=self.classifier(scaled(self.data, x))))
            pyro.sample("z", self.style(x, self.one_hot(y)))

    def one_hot(self, y: Tensor) -> Tensor:
        """Classes ``(n,)`` as float indicators ``(n, K)``."""
        return F.one_hot(y.long(), self.classes).to(next(self.parameters()).dtype)

    def style(self, x: Tensor, indicators: Tensor) -> Any:
        """q(z | x, y) for ``x`` of shape ``(n, *shape)`` and ``indicators`` of shape ``(n, K)``."""
        inputs = torch.cat([scaled(self.data, x), indicators], -1)
        return diagonal_normal(*self.encoder(inputs).chunk(2, -1))

    def players(self) -> Sequence[Player]:
        """The loss above, of packed data."""
        return [Player("elbo", list(self.parameters()), self.loss)]

    def loss(self, batch: Tensor) -> Tensor:
        """Minus the ELBO, with the classifier's term, of packed data ``(n, event.size)``; nats per datum."""
        total = classified = batch.new_zeros(())
        for _, part in cut(self.event, batch):
            values = self.event.unpack(part)
            x, y = values[self.event.main.name], values["y"]
            assert x is not None  # an observed field
            log_q = self.classifier(scaled(self.data, x)).log_softmax(-1)
            if y is None:
                every = torch.eye(self.classes, device=x.device).repeat(len(x), 1)
                elbos = self.elbo(x.repeat_interleave(self.classes, 0), every).reshape(log_q.shape)
                total = total - (log_q.exp() * (elbos - log_q)).sum()
            else:
                total = total - self.elbo(x, self.one_hot(y)).sum()
                classified = F.nll_loss(log_q, y.long())
        return total / len(batch) + self.alpha * classified

    def elbo(self, x: Tensor, indicators: Tensor) -> Tensor:
        """A draw of L(x, y), shape ``(n,)``; the Kullback-Leibler term of z is analytic."""
        q, prior = self.style(x, indicators), dist.Normal(x.new_zeros(self.latent), 1.0).to_event(1)
        z = q.rsample()
        likelihood: Tensor = self.decoder(torch.cat([indicators, z], -1)).log_prob(x)
        return likelihood - torch.distributions.kl_divergence(q, prior) - torch.tensor(self.classes).log()

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of packed training data ``x``, shape ``(n, event.size)``."""
        self.decoder.initialise(self.event.main_of(x))
