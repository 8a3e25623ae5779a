"""A density of each class, p(x | y) p(y), over any family; and two tied copies of it, for p(y | x) and p(x)."""

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

from zoo.distributions import Floor, dequantise, observe
from zoo.errors import UnfitError, ZooError
from zoo.event import Event
from zoo.flows.flow import FLOW_RECIPE
from zoo.pairs.inner import initialise, inner_pairs, main_and_label
from zoo.pairs.pair import Pair, Player
from zoo.pairs.records import classes_of, cut
from zoo.pairs.registry import family
from zoo.pairs.structure import listed
from zoo.pairs.traces import capabilities, log_weights


@family(
    "classwise",
    paper="Lasserre et al. 2006",
    supports=("record",),
    recipe=FLOW_RECIPE | {"steps": 2000, "batch": 100},
)
def classwise(event: Event, *, x: str = "realnvp", tie: float | str | None = None) -> Classwise:
    """A density of each class: p(x, y) = p(x | y) p(y), with one copy of a family for each class.

        y ~ Cat(p)                                            shares of the training data with a label
        x | y ~ p_y(x), the copy of class y                   p(x) = sum_k p(y = k) p_k(x)

    A class that is missing is summed exactly. Training minimises -log p(x, y), or -log p(x) where the label is missing;
    p(y | x) follows by Bayes' rule. Integer data of a flow are dequantised, y = x + u, by one guide for all classes.
    A batch takes K evaluations of the density.

    With a ``tie`` s there are two such models, of parameters theta and theta~ (Lasserre et al. 2006, section 3):

        x ~ p(x; theta~) = sum_k p(k; theta~) p_k(x; theta~)
        y | x ~ p(y | x; theta) = p(y; theta) p_y(x; theta) / sum_k p(k; theta) p_k(x; theta)

    Training minimises, per datum and without the first term where a label is missing,

        -log p(y | x; theta) - log p(x; theta~) + |theta - theta~|^2 / (2 s^2 N)

    The last term is -log N(theta - theta~; 0, s^2) less its constant, spread over the N training data. As s falls the
    two become one, the generative model without a tie. At ``tie=inf`` they share nothing: p(y | x) is trained as a
    classifier is, and data without a label have no effect on it. Scores are of p(x, y), or of p(x) where the label is
    missing, and contain no tie.

    Args:
        event: a record of a field of any shape and support, and of the label ``y``, a single number of K levels.
        x: a family without latents but that of dequantisation, by name: ``realnvp``, ``pixelcnn`` or ``maf:layers=4``;
            several settings by ``--set x=maf:layers=4,hidden=64``. For one with latents see ``ssvae``.
        tie: s, above 0 and up to ``inf``. A small s needs small steps.

    Raises:
        UnfitError: another event, or a family with latents or without likelihood.
        ZooError: a tie that is not above 0.

    Reference:
        Lasserre, Bishop & Minka 2006, Principled Hybrids of Generative and Discriminative Models, CVPR, sections 2
        and 3.
    """
    if tie is None:
        return Classwise(event, x)
    if not float(tie) > 0:
        raise ZooError(
            f"tie is above 0 and up to inf, got {tie}; leave it out for the generative model, its limit at 0"
        )
    return Tied(event, x, float(tie))


class Classwise(nn.Module):
    """See `classwise`: ``pairs`` are the densities of the classes."""

    shares: Tensor

    def __init__(self, event: Event, x: str) -> None:
        super().__init__()
        self.event, self.data, self.classes = event, event.array, classes_of(event, "classwise")
        self.pairs = inner_pairs(self.data, x, self.classes)
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
            x, y = main_and_label(self.event, part)
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
        return self.log_joint(self.pairs, self.shares, x, y).logsumexp(-1)

    def log_joint(self, pairs: Sequence[Pair], shares: Tensor, x: Tensor, inside: Tensor) -> Tensor:
        """log p(y = k) + log p_k(x), shape ``(n, K)``, by a pair for each class.

        Args:
            pairs: the densities.
            shares: log p(y) up to a constant, shape ``(K,)``.
            x: data, shape ``(n, *shape)``.
            inside: where the densities are evaluated: ``x``, or dequantised ``x + u``.
        """
        each = [self.density(pair, x).log_prob(inside) for pair in pairs]
        return torch.stack(each, -1) + shares.log_softmax(0)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start each copy from packed training data ``x`` of its class, and from all where it has fewer than two."""
        main, y = self.event.main_of(x), self.event.unpack(x)["y"]
        assert y is not None  # packed data have its column
        for k, pair in enumerate(self.pairs):
            own = main[y == k]
            self.shares[k] = len(own) + 1
            initialise(pair, own if len(own) > 1 else main)
        self.shares.copy_((self.shares / self.shares.sum()).log())


class Tied(Classwise):
    """See `classwise`: ``pairs`` are of theta~ and ``copies`` of theta; ``offsets`` are learned parts of p(y)."""

    size: Tensor

    def __init__(self, event: Event, x: str, tie: float) -> None:
        super().__init__(event, x)
        self.tie = tie
        self.copies = inner_pairs(self.data, x, self.classes)
        self.copy = nn.ModuleList(nn.ModuleList(pair.modules.values()) for pair in self.copies)
        self.copy.load_state_dict(self.x.state_dict())
        self.offsets = nn.ParameterList(torch.zeros(self.classes) for _ in range(2))
        self.register_buffer("size", torch.ones(()))

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Draw x and the class of each datum, observing ``x`` and, where it is known, ``y`` of shape ``(n,)``."""
        x = x.reshape(len(x), *self.data.shape)
        marginal = Marginal([self.density(pair, x) for pair in self.pairs], self.shares + self.offsets[0])
        with pyro.plate("data", len(x)):
            if self.dequantised:
                inside = pyro.sample("y", marginal)
                drawn: Tensor = pyro.sample(
                    "x", Floor(inside, self.data.levels or 0).to_event(len(self.data.shape)), obs=x
                )
            else:
                inside = drawn = pyro.sample("x", marginal, obs=x)
        logits = self.logits(x, inside)
        with pyro.plate("labels", len(x)):
            pyro.sample("label", dist.Categorical(logits=logits), obs=y)
        return drawn

    def logits(self, x: Tensor, inside: Tensor) -> Tensor:
        """log p(x, y = k; theta) of real or dequantised ``inside``, shape ``(n, K)``."""
        if self.dequantised:  # a draw of another density may lie beyond the levels, where this one has no support
            inside = inside.clamp(0, self.data.levels)
        return self.log_joint(self.copies, self.shares + self.offsets[1], x, inside)

    def loss(self, batch: Tensor) -> Tensor:
        """The loss of packed data ``(n, event.size)``, in nats per datum."""
        total = batch.new_zeros(())
        for _, part in cut(self.event, batch):
            x, y = main_and_label(self.event, part)
            inside = x + torch.rand_like(x) if self.dequantised else x
            joint = self.log_joint(self.pairs, self.shares + self.offsets[0], x, inside)
            total = total - joint.logsumexp(1).sum()
            if y is not None:
                total = total + F.cross_entropy(self.logits(x, inside), y.long(), reduction="sum")
        return total / len(batch) + self.penalty()

    def penalty(self) -> Tensor:
        """|theta - theta~|^2 / (2 s^2 N)."""
        theta, other = (
            [*half.parameters(), offset] for half, offset in zip((self.x, self.copy), self.offsets, strict=True)
        )
        gaps = [(a - b).square().sum() for a, b in zip(theta, other, strict=True)]
        return torch.stack(gaps).sum() / (2 * self.tie**2 * self.size)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start both copies from packed training data ``x``, as one without a tie starts."""
        super().initialise(x)
        self.copy.load_state_dict(self.x.state_dict())
        self.size.fill_(len(x))


class Marginal(TorchDistribution):
    """A mixture of densities: p(x) = sum_k softmax(logits)_k p_k(x).

    Args:
        densities: p_1 ... p_K, of one batch shape ``(n,)`` and one event shape.
        logits: shape ``(K,)``.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, densities: Sequence[Any], logits: Tensor, batch_shape: torch.Size | None = None) -> None:
        self.densities, self.log_shares = list(densities), logits.log_softmax(-1)
        shape = densities[0].batch_shape if batch_shape is None else batch_shape
        super().__init__(shape, densities[0].event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return self.densities[0].support

    def expand(self, batch_shape: Any, _instance: Any = None) -> Marginal:
        return Marginal(self.densities, self.log_shares, torch.Size(batch_shape))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        y = torch.distributions.Categorical(logits=self.log_shares).sample(torch.Size(sample_shape) + self.batch_shape)
        return ByClass(self.densities, y, y.shape).sample()

    def log_prob(self, value: Tensor) -> Tensor:
        each = [density.log_prob(value) for density in self.densities]
        total: Tensor = (torch.stack(each, -1) + self.log_shares).logsumexp(-1)
        return total.expand(torch.broadcast_shapes(total.shape, self.batch_shape))


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
        if not self.y.is_meta and (self.y == self.y.flatten()[0]).all():  # as each class is scored in turn
            of_class: Tensor = self.densities[int(self.y.flatten()[0])].log_prob(value)
            return of_class.expand(torch.broadcast_shapes(of_class.shape, self.batch_shape))
        every = torch.stack([each.log_prob(value) for each in self.densities], -1)
        shape = torch.broadcast_shapes(every.shape[:-1], self.batch_shape)
        index = self.y.expand(shape)[..., None]
        return every.expand(*shape, len(self.densities)).gather(-1, index)[..., 0]
