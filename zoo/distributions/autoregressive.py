"""One distribution over a whole event, entry by entry: p(x) = prod_i p(x_i | x_1, ..., x_{i-1}).

Entries are counted in row-major order. Scoring is parallel: one pass of a causal network gives the logits of all
entries. Sampling is sequential, by a *stream*: a generator that yields the next entry's logits, shape ``(n, levels)``,
and is sent the entries drawn from them, shape ``(n,)``. A stream owns its cache of earlier entries.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.levels import level_counts
from zoo.errors import ZooError
from zoo.event import Event

Logits = Callable[[Tensor], Tensor]
Stream = Generator[Tensor, Tensor, None]
MAX_FEATURES = 16
"""Largest number of `CosineFeatures`."""


class Autoregressive(TorchDistribution):
    """A discrete event whose every entry has a categorical distribution given the entries before it.

        p(x) = prod_i Categorical(x_i; logits_i(x_1, ..., x_{i-1}))

    Values are floats with integer values. ``log_prob`` is in nats. Draws invert the cumulative distribution with one
    uniform number per entry, so two streams of equal logits give equal draws from equal random numbers.

    Args:
        event: what is drawn; its event shape is ``event.shape``.
        logits: a causal network: ``(n, *event.shape)`` to unnormalised log-probabilities ``(n, *event.shape,
            levels)``; those of an entry depend on the entries before it only.
        stream: ``stream(n)`` is a stream (see the module's docstring) of the same logits for ``n`` data;
            `whole_passes` makes one from any ``logits``.
        total: ``(n, *event.shape)`` to log p(x), shape ``(n,)``, in nats, for networks that compute it at a lower cost
            than the logits of all entries, as where most entries are certain.
        batch_shape: independent copies; a ``pyro.plate`` of size ``n`` makes it ``(n,)``.

    Raises:
        ZooError: the event is real.

    Example:
        >>> event = Event(3, "binary")
        >>> def logits(x):
        ...     return torch.zeros(*x.shape, 2)
        >>> coin_flips = Autoregressive(event, logits, whole_passes(event, logits, torch.zeros(())))
        >>> coin_flips.log_prob(torch.tensor([0.0, 1.0, 1.0])).exp()
        tensor(0.1250)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        event: Event,
        logits: Logits,
        stream: Callable[[int], Stream],
        batch_shape: Any = (),
        validate_args: bool | None = None,
        total: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        levels(event)  # refuses a real event
        self.event, self.logits, self.stream, self.total = event, logits, stream, total
        super().__init__(torch.Size(batch_shape), torch.Size(event.shape), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Any:
        return constraints.independent(constraints.integer_interval(0, levels(self.event) - 1), len(self.event.shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Autoregressive:
        wanted = torch.broadcast_shapes(self.batch_shape, batch_shape)
        return Autoregressive(self.event, self.logits, self.stream, wanted, self._validate_args, self.total)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        lead = torch.Size(sample_shape) + self.batch_shape
        with torch.no_grad():
            stream = self.stream(lead.numel())
            entries = [draw(next(stream))]
            while len(entries) < self.event.size:
                entries.append(draw(stream.send(entries[-1])))
        return torch.stack(entries, 1).reshape(lead + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        lead = value.shape[: value.dim() - self.event_dim]
        x = value.reshape(-1, *self.event.shape)
        if self.total is None:
            nats = F.cross_entropy(self.logits(x).flatten(0, -2), x.long().flatten(), reduction="none")
            total = -nats.reshape(len(x), -1).sum(1)
        else:
            total = self.total(x)
        total = total.reshape(lead)
        return total.expand(torch.broadcast_shapes(lead, self.batch_shape))


def greedy(fn: Autoregressive, without: Sequence[int] = ()) -> Tensor:
    """The most probable level of each entry given those before it, one datum for each of the batch shape.

    Args:
        fn: the distribution.
        without: levels that are never chosen.

    Returns:
        Shape ``batch_shape + event.shape``. It is not the most probable datum, which is costly to find.
    """

    def likeliest(logits: Tensor) -> Tensor:
        barred = torch.tensor(list(without), dtype=torch.long, device=logits.device)
        return logits.index_fill(-1, barred, -torch.inf).argmax(-1).to(logits.dtype)

    with torch.no_grad():
        stream = fn.stream(fn.batch_shape.numel())
        entries = [likeliest(next(stream))]
        while len(entries) < fn.event.size:
            entries.append(likeliest(stream.send(entries[-1])))
    return torch.stack(entries, 1).reshape(fn.batch_shape + fn.event_shape)


def draw(logits: Tensor) -> Tensor:
    """Draw a level from each row of ``logits``, ``(n, levels)`` to ``(n,)``, with one uniform number each."""
    u = torch.rand(logits.shape[:-1], dtype=logits.dtype, device=logits.device)
    below = logits.softmax(-1).cumsum(-1)[..., :-1]
    return (below < u.unsqueeze(-1)).sum(-1).to(logits.dtype)


def whole_passes(event: Event, logits: Logits, like: Tensor) -> Callable[[int], Stream]:
    """A stream from any causal network, by a whole pass for each entry. ``like`` gives data type and device."""

    def stream(n: int) -> Stream:
        x = like.new_zeros(n, event.size)
        for i in range(event.size):
            x[:, i] = yield logits(x.reshape(n, *event.shape)).flatten(1, -2)[:, i]

    return stream


class CosineFeatures(nn.Module):
    """Levels as features: cos(pi f (x + 1/2) / levels) for f = 1, 2, ..., shape ``(...)`` to ``(..., size)``.

    Up to `MAX_FEATURES` + 1 levels they are a rotation of one-hot codes (the cosine transform without its constant),
    above that its low frequencies. They are smooth in ``x``, so gradients show the dependencies.
    """

    frequencies: Tensor

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.size = min(levels(event) - 1, MAX_FEATURES)
        angles = torch.pi / levels(event) * torch.arange(1, self.size + 1)
        self.register_buffer("frequencies", angles, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cos((x + 0.5).unsqueeze(-1) * self.frequencies)


def marginal_logits(event: Event, x: Tensor) -> Tensor:
    """Log-frequencies of each entry's levels in data ``x``, one added to each count: ``(*event.shape, levels)``."""
    counts = level_counts(levels(event), x) + 1.0
    return (counts / counts.sum(-1, keepdim=True)).log()


def levels(event: Event) -> int:
    """The number of levels of a discrete event.

    Raises:
        ZooError: the event is real.
    """
    if event.levels is None:
        raise ZooError(f"an autoregressive mass function needs binary data or integer levels, got {event}")
    return event.levels
