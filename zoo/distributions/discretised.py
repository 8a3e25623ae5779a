"""Continuous variables rounded to levels: logistic, mixture of logistics, normal."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.nn import functional as F

from zoo.distributions.levels import Levels


class Rounded(TorchDistribution):
    """A location-scale variable rounded to {0, ..., levels-1}; the edge levels take the tails.

    Args:
        loc: the mean, in levels.
        scale: in levels, positive; broadcast with ``loc`` to the batch shape.
        levels: K.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"loc": constraints.real, "scale": constraints.positive}

    def __init__(self, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        return type(self)(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.levels)


class DiscretisedLogistic(Rounded):
    """A logistic variable rounded to {0, ..., levels-1}.

        P(x) = s((x + 1/2 - loc) / scale) - s((x - 1/2 - loc) / scale)        s: the logistic function

    The edge levels take the tails, so the mass sums to one.

    Example:
        >>> DiscretisedLogistic(torch.tensor(1.0), torch.tensor(0.1), levels=4).log_prob(torch.tensor(1.0)).exp()
        tensor(0.9866)

    Reference:
        Salimans et al. 2017, arXiv:1701.05517, section 2.1.
    """

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
    """A mixture of `DiscretisedLogistic` variables.

        P(x) = sum_m w_m P(x; loc_m, scale_m)        w = softmax(logits)

    ``logits``, ``loc`` and ``scale`` have shape ``(*batch, components)``; ``loc`` and ``scale`` are in levels.

    Reference:
        Hoogeboom et al. 2019, arXiv:1905.07376, section 4, on a finite alphabet.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
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


class DiscretisedNormal(Rounded):
    """A normal variable rounded down to {0, ..., levels-1}.

        P(x) = Phi((x + 1 - loc) / scale) - Phi((x - loc) / scale)

    The edge levels take the tails, so the mass sums to one: it is the distribution of the `Floor` of a normal ``y``.
    ``loc`` and ``scale`` are in levels.
    """

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            noise = torch.randn(torch.Size(sample_shape) + self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)
            return (self.loc + self.scale * noise).floor().clamp(0, self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        lower, upper = (value - self.loc) / self.scale, (value + 1 - self.loc) / self.scale
        lower = torch.where(value <= 0, upper.clamp(max=0) - MAX_DEVIATIONS, lower)
        upper = torch.where(value >= self.levels - 1, lower.clamp(min=0) + MAX_DEVIATIONS, upper)
        flip = lower + upper > 0  # to the lower tail, where a difference of masses does not cancel
        a, b = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
        below, above = torch.special.log_ndtr(a), torch.special.log_ndtr(b)
        return above + torch.log(-torch.expm1(below - above))

    @property
    def mean(self) -> Tensor:
        """The mean, as the sum of P(x >= k) over k = 1, ..., levels-1."""
        edges = torch.arange(1, self.levels, dtype=self.loc.dtype, device=self.loc.device)
        reached: Tensor = torch.special.ndtr((self.loc.unsqueeze(-1) - edges) / self.scale.unsqueeze(-1)).sum(-1)
        return reached


MAX_DEVIATIONS = 40.0
"""Standard deviations beyond which the mass of a normal is below the smallest float."""
