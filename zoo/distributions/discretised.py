"""Distributions that Pyro has not, and how an event is observed.

Integer data under a density: the density's draw ``y`` is a latent site and ``x`` its floor, a proper probability
mass; a guide that draws ``y = x + u``, ``u ~ U[0, 1)``, is uniform dequantisation, and its ELBO the dequantisation
bound (Theis et al. 2016, section 3.1).
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from torch import Tensor
from torch.nn import functional as F

from zoo.event import Event


class Floor(TorchDistribution):
    """The integer part of ``y``, kept within {0, ..., levels-1}: all its mass on one value.

    ``log_prob(x)`` is 0 where ``x <= y <= x + 1`` (beyond the edges the first and the last level take everything) and
    minus infinity elsewhere. Batch shape: that of ``y``.
    """

    arg_constraints = {"y": constraints.real}  # noqa: RUF012 (torch's own interface)

    def __init__(self, y: Tensor, levels: int, validate_args: bool | None = None) -> None:
        self.y, self.levels = y, levels
        super().__init__(y.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Floor:
        # the very same tensor where nothing is expanded: `zoo.pairs.traces.Abilities.dequantising` compares by identity
        y = self.y if self.y.shape == torch.Size(batch_shape) else self.y.expand(batch_shape)
        return Floor(y, self.levels)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        value = self.y.detach().floor().clamp(0, self.levels - 1)
        return value.expand(torch.Size(sample_shape) + value.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        below = (value <= self.y) | (value <= 0)
        above = (self.y <= value + 1) | (value >= self.levels - 1)
        return torch.where(below & above, 0.0, -torch.inf).to(self.y.dtype)


class DiscretisedLogistic(TorchDistribution):
    """A logistic variable rounded to {0, ..., levels-1}: P(x) = s((x + 1/2 - loc) / scale) - s((x - 1/2 - loc) /
    scale).

    The edge levels take the tails, so the mass sums to one (Salimans et al. 2017, PixelCNN++, section 2.1). ``loc``
    and ``scale`` are in units of levels.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012 (torch's own interface)

    def __init__(self, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretisedLogistic:
        return DiscretisedLogistic(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.levels)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = torch.Size(sample_shape) + self.loc.shape
        with torch.no_grad():
            u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device).clamp(1e-7, 1 - 1e-7)
            return (self.loc + self.scale * u.logit()).round().clamp(0, self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        upper = torch.where(value >= self.levels - 1, torch.inf, (value + 0.5 - self.loc) / self.scale)
        lower = torch.where(value <= 0, -torch.inf, (value - 0.5 - self.loc) / self.scale)
        # log(s(b) - s(a)) = log s(b) + log s(-a) + log(1 - e^(a-b)), without cancellation in either tail
        return F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(lower - upper))


class LogisticMixture(TorchDistribution):
    """A mixture of `DiscretisedLogistic` variables: P(x) = sum_m w_m P(x; loc_m, scale_m), w = softmax(logits).

    ``logits``, ``loc`` and ``scale`` have the components last, shape ``(*batch, components)``; ``loc`` and ``scale``
    are in units of levels. Hoogeboom et al. 2019, section 4, on a finite alphabet.
    """

    arg_constraints = {  # noqa: RUF012 (torch's own interface)
        "logits": constraints.real_vector,
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None
    ) -> None:
        self.logits, self.loc, self.scale = torch.broadcast_tensors(logits, loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogisticMixture:
        shape = (*batch_shape, self.logits.shape[-1])
        logits, loc, scale = (part.expand(shape) for part in (self.logits, self.loc, self.scale))
        return LogisticMixture(logits, loc, scale, self.levels, validate_args=False)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = torch.Size(sample_shape) + self.logits.shape
        chosen = Levels(logits=self.logits, validate_args=False).sample(sample_shape).long().unsqueeze(-1)
        loc, scale = (part.expand(shape).gather(-1, chosen).squeeze(-1) for part in (self.loc, self.scale))
        return DiscretisedLogistic(loc, scale, self.levels, validate_args=False).sample()

    def log_prob(self, value: Tensor) -> Tensor:
        each = DiscretisedLogistic(self.loc, self.scale, self.levels, validate_args=False).log_prob(value.unsqueeze(-1))
        return torch.logsumexp(self.logits.log_softmax(-1) + each, -1)


class DiscretisedNormal(TorchDistribution):
    """A normal variable rounded down to {0, ..., levels-1}: P(x) = Phi((x + 1 - loc) / scale) - Phi((x - loc) / scale).

    The edge levels take the tails, so the mass sums to one: what `Floor` makes of a normal ``y``, ``y`` summed out.
    ``loc`` and ``scale`` are in units of levels.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012 (torch's own interface)

    def __init__(self, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiscretisedNormal:
        return DiscretisedNormal(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.levels)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            noise = torch.randn(torch.Size(sample_shape) + self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
            return (self.loc + self.scale * noise).floor().clamp(0, self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        lower, upper = (value - self.loc) / self.scale, (value + 1 - self.loc) / self.scale
        lower = torch.where(value <= 0, upper.clamp(max=0) - FAR, lower)
        upper = torch.where(value >= self.levels - 1, lower.clamp(min=0) + FAR, upper)
        flip = lower + upper > 0  # the same mass in the other tail, where a difference keeps its digits
        a, b = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
        below, above = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
        return above + torch.log(-torch.expm1(below - above))

    @property
    def mean(self) -> Tensor:
        """The sum of P(x >= k) over the levels k from 1 up."""
        edges = torch.arange(1, self.levels, dtype=self.loc.dtype, device=self.loc.device)
        reached: Tensor = torch.special.ndtr((self.loc.unsqueeze(-1) - edges) / self.scale.unsqueeze(-1)).sum(-1)
        return reached


FAR = 40.0
"""Standard deviations beyond which a normal has no mass that a float could hold."""


def observe(event: Event, density: TorchDistributionMixin, x: Tensor) -> Tensor:
    """Observe ``x`` under a density: directly if it is real, through the floor of a latent ``y`` if it is integer.

    Call it inside the data plate; ``density`` has event shape ``event.shape``. The guide's part is `dequantise`.
    """
    if event.levels is None:
        return pyro.sample("x", density, obs=x)
    y = pyro.sample("y", density)
    return pyro.sample("x", Floor(y, event.levels).to_event(len(event.shape)), obs=x)


def dequantise(event: Event, x: Tensor) -> Tensor:
    """The guide's part of `observe`: ``x`` itself if it is real, else a draw of ``y = x + u`` with ``u ~ U[0, 1)``."""
    if event.levels is None:
        return x
    return pyro.sample("y", ClosedUniform(x, x + 1.0).to_event(len(event.shape)))


class ClosedUniform(dist.Uniform):
    """`Uniform` that keeps its density at the upper end, which ``x + u`` may round up to."""

    def log_prob(self, value: Tensor) -> Tensor:
        inside = (self.low <= value) & (value <= self.high)
        return torch.where(inside, -(self.high - self.low).log(), -torch.inf)


def parameters_per_entry(event: Event) -> int:
    """How many numbers `likelihood` needs for each entry of ``x``."""
    return {"binary": 1, "levels": event.levels or 0, "real": 2}[event.support]


def likelihood(event: Event, parameters: Tensor) -> TorchDistributionMixin:
    """The factorised likelihood that an event's support calls for.

    Bernoulli logits (binary), categorical logits (levels) or mean and log-scale (real) from ``parameters`` of shape
    ``(n, *event.shape, parameters_per_entry(event))``; event shape ``event.shape``.
    """
    dims = len(event.shape)
    if event.support == "binary":
        return dist.Bernoulli(logits=parameters[..., 0]).to_event(dims)
    if event.support == "levels":
        return Levels(logits=parameters).to_event(dims)
    return dist.Normal(parameters[..., 0], parameters[..., 1].clamp(-7, 7).exp()).to_event(dims)


class Levels(dist.Categorical):
    """`Categorical` whose draws are floats, like the data of this project, by inversion (faster than torch's own)."""

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            cumulative = self.probs.cumsum(-1)
            shape = torch.Size(sample_shape) + cumulative.shape[:-1] + (1,)
            u = torch.rand(shape, dtype=cumulative.dtype, device=cumulative.device) * cumulative[..., -1:]
            return (cumulative <= u).sum(-1).clamp(max=self.probs.shape[-1] - 1).to(cumulative.dtype)


def level_counts(levels: int, x: Tensor) -> Tensor:
    """How often each level occurs in each entry of the data ``x``, shape ``(n, *event.shape)``: shape
    ``(*event.shape, levels)``.

    Intensities between two levels count for both in proportion, which is what a random rounding gives in expectation.
    """
    return torch.stack([(1 - (x - level).abs()).clamp(min=0).sum(0) for level in range(levels)], -1)
