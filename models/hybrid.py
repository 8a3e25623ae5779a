"""Joint models of data and their class over any family of the zoo: a classifier and a density, p(y | x) p(x)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import UnfitError, ZooError
from zoo.event import Event
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.nn.amortised import scaled
from zoo.nn.mlp import MLP
from zoo.pairs.inner import initialise, inner_pairs, main_and_label
from zoo.pairs.pair import HasLogProb, Pair, Player
from zoo.pairs.records import classes_of, cut
from zoo.pairs.registry import family
from zoo.pairs.sites import random_sites
from zoo.pairs.traces import capabilities, log_prob, log_weights

RECIPE = FLOW_RECIPE | {"steps": 2000, "batch": 100}


@family(
    "hybrid",
    paper="Lasserre et al. 2006; Nalisnick et al. 2019, arXiv:1902.02767",
    supports=("record",),
    recipe=RECIPE,
)
def hybrid(
    event: Event,
    *,
    x: str = "realnvp",
    shared: bool = False,
    tie: float | None = None,
    weight: float = 1.0,
    hidden: int = 256,
    dropout: float = 0.4,
) -> Hybrid:
    """A classifier p(y | x) and a density p(x) of any family: p(x, y) = p(y | x) p(x).

        x ~ p(x), a family of the zoo, with its guide
        y | x ~ Cat(softmax c(h(x)))                          c an MLP

    The features h(x) are x itself, or, where they are ``shared``, those that the family computes of x: the z of a flow,
    or the mean of the first latent of a guide. Training minimises, per datum,

        -log p(y | x) - a log p(x) + |theta - theta~|^2 / (2 s^2 N)

    with the weight a, without the first term where a label is missing, and with the ELBO where log p(x) has a bound
    only. With a ``tie`` s, features are those of a second copy of the family, whose parameters theta are tied to the
    parameters theta~ of p(x) by the last term, log N(theta - theta~; 0, s^2) spread over the N training data: small s
    approaches ``shared``, large s two separate models. Scores contain neither weight nor tie: they are of p(x, y), or
    of p(x) where the label is missing. Without ``shared`` or ``tie`` no parameter is in both terms of the loss, and the
    weight affects the optimiser only.

    In Lasserre et al. p(y | x) follows by Bayes' rule from a copy of the same p(x, y), and not from a classifier. That
    is ``classwise:tie=0.1``.

    Args:
        event: a record of a field of any shape and support, and of the label ``y``, a single number of K levels.
        x: a family with a likelihood, by name: ``realnvp``, ``vae+iaf`` or ``vae:latent=4``; several settings by
            ``--set x=vae:latent=4,hidden=64``.
        shared: whether the classifier sees the features of p(x).
        tie: s, above 0: whether it sees those of a tied copy.
        weight: a, from 0.
        hidden: width of the hidden layer of c.
        dropout: share of its units dropped in training.

    Raises:
        UnfitError: another event; a family without likelihood, or without features to be shared.
        ZooError: a weight below 0, a tie that is not above 0, or both ``shared`` and ``tie``.

    Reference:
        Lasserre, Bishop & Minka 2006, Principled Hybrids of Generative and Discriminative Models, CVPR, section 3;
        Nalisnick et al. 2019, arXiv:1902.02767 (the weight, and features of a flow).
    """
    if weight < 0 or (tie is not None and tie <= 0):
        raise ZooError(f"weight is 0 or more and tie above 0, got weight={weight}, tie={tie}")
    if shared and tie is not None:
        raise ZooError(f"shared=True has one set of parameters, tie={tie} ties two: give one of them")
    pair, *copies = inner_pairs(event.array, x, 2 if tie else 1, same=True)
    make = Analytic if isinstance(pair.extras, HasLogProb) else Hybrid
    return make(event, pair, copies[0] if tie else None, shared, tie, weight, hidden, dropout)


class Hybrid(nn.Module):
    """See `hybrid`: ``pair`` is p(x), ``copy`` the tied one."""

    size: Tensor

    def __init__(
        self,
        event: Event,
        pair: Pair,
        copy: Pair | None,
        shared: bool,
        tie: float | None,
        weight: float,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.event, self.data, self.classes = event, event.array, classes_of(event, "hybrid")
        self.pair, self.weight, self.tie = pair, weight, tie
        self.output = capabilities(pair).output
        self.x = nn.ModuleList(pair.modules.values())
        self.copy = nn.ModuleList(copy.modules.values() if copy else ())
        self.source = copy or (pair if shared else None)
        self.inferred = _inferred(self.source) if self.source else ""
        with pair.evaluating():
            inputs = self.features(self.data.zeros(1)).shape[1]
        self.classifier = MLP(inputs, (hidden,), self.classes, dropout)
        self.register_buffer("size", torch.ones(()))

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Draw x and the class of each datum, observing ``x`` and, where it is known, ``y`` of shape ``(n,)``."""
        sites = poutine.trace(self.pair.model).get_trace(x.reshape(len(x), *self.data.shape)).nodes
        drawn: Tensor = sites[self.output]["value"]
        logits = self.logits(drawn.to(x.dtype))
        with pyro.plate("labels", len(x)):
            pyro.sample("label", dist.Categorical(logits=logits), obs=y)
        return drawn

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """Draw the latents of p(x); a label that is missing is left out, and so summed."""
        self.pair.guide(x.reshape(len(x), *self.data.shape))

    def logits(self, x: Tensor) -> Tensor:
        """The logits of p(y | x), shape ``(n, K)``."""
        outputs: Tensor = self.classifier(self.features(x))
        return outputs

    def features(self, x: Tensor) -> Tensor:
        """h(x), shape ``(n, H)``."""
        if self.source is None:
            return scaled(self.data, x)
        flow = self.source.extras
        if isinstance(flow, Flow):
            z: Tensor = flow(x.reshape(len(x), -1) + (0.0 if self.data.levels is None else 0.5))[0]
            return z
        with poutine.block():
            mean: Tensor = poutine.trace(self.source.guide).get_trace(x).nodes[self.inferred]["fn"].mean
        return mean.reshape(len(x), -1)

    def players(self) -> Sequence[Player]:
        """The loss above, of packed data."""
        return [Player("joint", list(self.parameters()), self.loss)]

    def loss(self, batch: Tensor) -> Tensor:
        """The loss of packed data ``(n, event.size)``, in nats per datum."""
        total = batch.new_zeros(())
        for _, part in cut(self.event, batch):
            x, y = main_and_label(self.event, part)
            total = total - self.weight * log_weights(self.pair, x).sum()
            if y is not None:
                total = total + F.cross_entropy(self.logits(x), y.long(), reduction="sum")
        return total / len(batch) + self.penalty()

    def penalty(self) -> Tensor:
        """|theta - theta~|^2 / (2 s^2 N), zero without a tie."""
        if self.tie is None:
            return self.size.new_zeros(())
        gaps = [(a - b).square().sum() for a, b in zip(self.copy.parameters(), self.x.parameters(), strict=True)]
        return torch.stack(gaps).sum() / (2 * self.tie**2 * self.size)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start p(x), and its copy, from packed training data ``x``, shape ``(n, event.size)``."""
        self.size.fill_(len(x))
        for pair in filter(None, (self.pair, self.source)):
            initialise(pair, self.event.main_of(x))


class Analytic(Hybrid):
    """A `Hybrid` whose p(x) has an exact log-probability of its own, as ``ppca`` of real data has."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x, y), or log p(x) without labels, of packed data: shape ``(n,)``."""
        main, y = main_and_label(self.event, x)
        value = log_prob(self.pair, main)
        return value if y is None else value - F.cross_entropy(self.logits(main), y.long(), reduction="none")


def _inferred(pair: Pair) -> str:
    """The first latent that a guide infers, whose mean is a feature; ``""`` for a flow, which has its own.

    Raises:
        UnfitError: there is none, or its mean is not known.
    """
    if isinstance(pair.extras, Flow):
        return ""
    dequantising, x = capabilities(pair).dequantising, pair.event.zeros(1)
    with pair.evaluating():
        sites = {n: site["fn"] for n, site in random_sites(poutine.trace(pair.guide).get_trace(x))}
        name = next((name for name in sites if name not in dequantising), "")
        if name and _has_mean(sites[name]):
            return name
    raise UnfitError(
        f"{pair.label} has no features to share: it is no flow, and no guide infers a latent whose mean is known; "
        "leave out shared and tie, or take a flow or vae"
    )


def _has_mean(fn: Any) -> bool:
    """Whether a distribution knows its mean, which a transformed normal does not."""
    try:
        return fn.mean is not None
    except NotImplementedError:
        return False
