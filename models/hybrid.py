"""Joint models of data and their class over any family of the zoo: p(y | x) p(x), and p(x | y) p(y)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions import dequantise, observe
from zoo.errors import UnfitError, ZooError
from zoo.event import Event
from zoo.flows.flow import FLOW_RECIPE, Flow
from zoo.nn.amortised import scaled
from zoo.nn.mlp import MLP
from zoo.pairs.build import build
from zoo.pairs.pair import HasInitialise, HasLogProb, HasPlayers, Pair, Player
from zoo.pairs.records import classes_of, cut
from zoo.pairs.registry import family
from zoo.pairs.sites import random_sites
from zoo.pairs.structure import listed
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

    Not as in Lasserre et al.: there p(y | x) follows by Bayes' rule from a copy of the same p(x, y), here from a
    classifier of the copy's features.

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
    pair, *copies = _parts(event.array, x, 2 if tie else 1, same=True)
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
            x, y = _fields(self.event, part)
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
            _initialise(pair, self.event.main_of(x))


class Analytic(Hybrid):
    """A `Hybrid` whose p(x) has an exact log-probability of its own, as ``ppca`` of real data has."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x, y), or log p(x) without labels, of packed data: shape ``(n,)``."""
        main, y = _fields(self.event, x)
        value = log_prob(self.pair, main)
        return value if y is None else value - F.cross_entropy(self.logits(main), y.long(), reduction="none")


@family(
    "classwise",
    paper="Lasserre et al. 2006",
    supports=("record",),
    recipe=RECIPE,
)
class Classwise(nn.Module):
    """A density of each class: p(x, y) = p(x | y) p(y), with one copy of a family for each class.

        y ~ Cat(p)                                            shares of the training data with a label
        x | y ~ p_y(x), the copy of class y                   p(x) = sum_k p(y = k) p_k(x)

    A class that is missing is summed exactly. Training minimises -log p(x, y), or -log p(x) where the label is missing;
    p(y | x) follows by Bayes' rule. Integer data of a flow are dequantised, y = x + u, by one guide for all classes.
    A batch takes K evaluations of the density.

    Args:
        event: a record of a field of any shape and support, and of the label ``y``, a single number of K levels.
        x: a family without latents but that of dequantisation, by name: ``realnvp``, ``pixelcnn`` or ``maf:layers=4``;
            several settings by ``--set x=maf:layers=4,hidden=64``. For one with latents see ``ssvae``.

    Raises:
        UnfitError: another event, or a family with latents or without likelihood.

    Reference:
        Lasserre, Bishop & Minka 2006, Principled Hybrids of Generative and Discriminative Models, CVPR, section 2
        (the generative end of that scale).
    """

    shares: Tensor

    def __init__(self, event: Event, *, x: str = "realnvp") -> None:
        super().__init__()
        self.event, self.data, self.classes = event, event.array, classes_of(event, "classwise")
        self.pairs = _parts(self.data, x, self.classes)
        can = capabilities(self.pairs[0])
        if latents := {*can.latents, *can.shared, *can.enumerated} - {*can.dequantising}:
            raise UnfitError(
                f"classwise takes families without latents, and {x} has {listed(sorted(latents))}: take a flow or an "
                "autoregressive family, or ssvae, whose guide infers latents given a class"
            )
        self.dequantised = bool(can.dequantising)
        self.site = can.dequantising[0] if can.dequantising else can.output
        self.x = nn.ModuleList(nn.ModuleList(pair.modules.values()) for pair in self.pairs)
        self.register_buffer("shares", torch.zeros(self.classes))

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Draw class and x of each datum, observing ``x`` and, where it is known, ``y`` of shape ``(n,)``."""
        x = x.reshape(len(x), *self.data.shape)
        densities = [self.density(pair, x) for pair in self.pairs]
        with pyro.plate("data", len(x)):
            label = pyro.sample("label", dist.Categorical(logits=self.shares), obs=y)
            chosen = ByClass(densities, label)
            return observe(self.data, chosen, x) if self.dequantised else pyro.sample("x", chosen, obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        """Dequantise integers under a density; a label that is missing is left out, and so summed."""
        if self.dequantised:
            with pyro.plate("data", len(x)):
                dequantise(self.data, x.reshape(len(x), *self.data.shape))

    def density(self, pair: Pair, x: Tensor) -> Any:
        """p_k(x) as a distribution of batch shape ``(n,)``: that of a site, which does not depend on its value."""
        with poutine.block(), poutine.condition(data={self.site: x}):
            return poutine.trace(pair.model).get_trace(x).nodes[self.site]["fn"]

    def players(self) -> Sequence[Player]:
        """Minus the log-probability, or its bound."""
        return [Player("joint", list(self.parameters()), self.loss)]

    def loss(self, batch: Tensor) -> Tensor:
        """Minus log p(x, y), or log p(x), of packed data ``(n, event.size)``; nats per datum.

        Of a datum with a label only the copy of its class is evaluated.
        """
        total, shares = batch.new_zeros(()), self.shares.log_softmax(0)
        for _, part in cut(self.event, batch):
            x, y = _fields(self.event, part)
            if y is None:
                total = total - self.marginal(x).sum()
                continue
            for k, pair in enumerate(self.pairs):
                own = x if x.is_meta else x[y == k]  # without values, as in `zoo.pairs.records.cut`
                if len(own):
                    total = total - (shares[k] + log_weights(pair, own)).sum()
        return total / len(batch)

    def marginal(self, x: Tensor) -> Tensor:
        """A draw of log p(x), shape ``(n,)``: all classes are of one dequantised datum."""
        y = x + torch.rand_like(x) if self.dequantised else x
        each = [self.density(pair, x).log_prob(y) for pair in self.pairs]
        return (torch.stack(each, -1) + self.shares.log_softmax(0)).logsumexp(-1)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start each copy from packed training data ``x`` of its class, and from all where it has fewer than two."""
        main, y = self.event.main_of(x), self.event.unpack(x)["y"]
        assert y is not None  # packed data have its column
        for k, pair in enumerate(self.pairs):
            own = main[y == k]
            self.shares[k] = len(own) + 1
            _initialise(pair, own if len(own) > 1 else main)
        self.shares.copy_((self.shares / self.shares.sum()).log())


class ByClass(TorchDistribution):
    """The distribution of the class of each datum.

    Args:
        densities: p_1 ... p_K, of one batch shape ``(n,)`` and one event shape.
        y: classes, shape ``(..., n)`` or ``(..., 1)``.
        batch_shape: by default that of ``y`` and the densities together.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, densities: Sequence[Any], y: Tensor, batch_shape: torch.Size | None = None) -> None:
        self.densities, self.y = list(densities), y.long()
        shape = torch.broadcast_shapes(y.shape, densities[0].batch_shape)
        super().__init__(batch_shape or shape, densities[0].event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.densities[0].support

    def expand(self, batch_shape: Any, _instance: Any = None) -> ByClass:
        return ByClass(self.densities, self.y, torch.Size(batch_shape))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        lead = shape[: len(shape) - len(self.densities[0].batch_shape)]
        every = torch.stack([each.sample(lead) for each in self.densities])
        index = self.y.expand(shape).reshape(1, *shape, *(1 for _ in self.event_shape))
        return every.gather(0, index.expand(1, *every.shape[1:]))[0]

    def log_prob(self, value: Tensor) -> Tensor:
        every = torch.stack([each.log_prob(value) for each in self.densities], -1)
        shape = torch.broadcast_shapes(every.shape[:-1], self.batch_shape)
        index = self.y.expand(shape)[..., None]
        return every.expand(*shape, len(self.densities)).gather(-1, index)[..., 0]


def _parts(data: Event, name: str, count: int, same: bool = False) -> list[Pair]:
    """So many pairs called ``name`` of p(x), with initial parameters of their own unless they are the ``same``.

    Raises:
        UnfitError: it has no likelihood, observes x in several sites, or is trained by no likelihood.
    """
    seeds = torch.randint(2**31, (1 if same else count,)).tolist()
    pairs = [build(name, data, seed=seeds[place % len(seeds)]) for place in range(count)]
    can = capabilities(pairs[0])
    if len(can.observed) != 1:
        raise UnfitError(f"p(x) takes a family that observes x, in one site; {name} has {len(can.observed)} of them")
    if isinstance(pairs[0].extras, HasPlayers):
        raise UnfitError(f"p(x) takes a family that is trained by its likelihood, and {name} has a loss of its own")
    held = {id(tensor) for module in pairs[0].modules.values() for tensor in module.parameters()}
    if loose := [key for key, tensor in pairs[0].named_parameters().items() if id(tensor) not in held]:
        raise UnfitError(f"p(x) takes a family whose parameters are in modules; {loose[0]} of {name} is in none")
    return pairs


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


def _fields(event: Event, batch: Tensor) -> tuple[Tensor, Tensor | None]:
    """x as data of the main field's event, and y, ``None`` where it is missing."""
    return event.main_of(batch), event.unpack(batch)["y"]


def _initialise(pair: Pair, x: Tensor) -> None:
    if isinstance(pair.extras, HasInitialise):
        with pair.scope():
            pair.extras.initialise(x)
