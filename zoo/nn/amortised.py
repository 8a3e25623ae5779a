"""Amortised guides: latents drawn site by site from distributions that a network computes from ``x``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import ComposeTransform, Transform

from zoo.event import Event
from zoo.nn.mlp import MLP
from zoo.nn.networks import ENCODERS, chosen

MakeSite = Callable[[int, int], nn.Module]
SMALLEST_SCALE = 1e-5
RAW_UNIT_SCALE = 0.5413
"""The number whose softplus is one."""


class AmortizedGuide(nn.Module):
    """A guide that draws the model's latent sites from the last to the first, each given ``x`` and those drawn before.

        q(z_1, ..., z_L | x) = prod_l q(z_l | x, z_(l+1), ..., z_L)

    The last latent of a hierarchy is the nearest to ``x``. What a latent further up stands for is a simpler function of
    those below than of ``x`` itself.

    Args:
        event: shape and support of ``x``.
        latents: event shape of each latent site, by name.
        make: ``make(inputs, size)`` is the network of one site, from ``(n, inputs)``, the features of ``x`` and the
            latents drawn before, to a distribution of batch shape ``(n,)`` and event shape ``(size,)``, which is
            reshaped.
        net: what the features are, one of `zoo.nn.networks.ENCODERS`: the scaled ``x`` itself for ``mlp``.
            ``"auto"`` is that, or convolutions for large images.
    """

    def __init__(self, event: Event, latents: Mapping[str, tuple[int, ...]], make: MakeSite, net: str = "auto") -> None:
        super().__init__()
        self.features = chosen(ENCODERS, net, event)(event)
        self.event, self.latents = event, dict(reversed([*latents.items()]))
        sizes = [math.prod(shape) for shape in self.latents.values()]
        self.sites = nn.ModuleList(make(self.features.features + sum(sizes[:i]), size) for i, size in enumerate(sizes))

    def forward(self, x: Tensor) -> None:
        """Sample every latent given ``x``, shape ``(n, *event.shape)``."""
        inputs = self.features(scaled(self.event, x))
        with pyro.plate("data", len(x)):
            for (name, shape), site in zip(self.latents.items(), self.sites, strict=True):
                z = pyro.sample(name, reshaped(site(inputs), shape))
                inputs = torch.cat([inputs, z.reshape(len(x), -1)], -1)


class Site(nn.Module):
    """The distribution of one latent given the inputs, its parameters computed by one MLP.

    Args:
        inputs: size of the inputs.
        split: sizes of the MLP's outputs.
        make: from these outputs, each of shape ``(n, size)``, to the distribution.
        hidden: widths of the hidden layers.
        dropout: share of hidden units dropped in training.
    """

    def __init__(
        self,
        inputs: int,
        split: Sequence[int],
        make: Callable[..., TorchDistributionMixin],
        hidden: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.split, self.make = list(split), make
        self.net = MLP(inputs, hidden, sum(split), dropout)

    def forward(self, inputs: Tensor) -> TorchDistributionMixin:
        return self.make(*self.net(inputs).split(self.split, -1))


@dataclass(frozen=True)
class Step:
    """An amortised flow: ``make(*parts)`` is a transform, from encoder outputs of shapes ``(n, numbers[i])``."""

    make: Callable[..., Transform]
    numbers: tuple[int, ...]


class AmortizedFlow(nn.Module):
    """A diagonal normal in ``size`` dimensions, transformed by ``steps`` whose parameters depend on the inputs.

    One MLP computes mu, sigma and the parameters of all steps. With a ``tail`` the base is Student's t of so many
    degrees of freedom in each dimension.
    """

    def __init__(
        self,
        inputs: int,
        size: int,
        steps: Sequence[Step],
        hidden: tuple[int, ...],
        dropout: float,
        tail: float | None = None,
    ) -> None:
        super().__init__()
        self.steps, self.tail = list(steps), tail
        self.split = [size, size, *(number for step in steps for number in step.numbers)]
        self.net = MLP(inputs, hidden, sum(self.split), dropout)

    def forward(self, inputs: Tensor) -> TorchDistributionMixin:
        loc, raw, *rest = self.net(inputs).split(self.split, -1)
        parts = iter(rest)
        steps = [step.make(*islice(parts, len(step.numbers))) for step in self.steps]
        if self.tail is None:
            return flowed(diagonal_normal(loc, raw), steps)
        return flowed(dist.StudentT(loc.new_tensor(self.tail), loc, positive(raw)).to_event(1), steps)


class ConditionalFlow(nn.Module):
    """A diagonal normal in ``size`` dimensions, transformed by ``steps`` that have networks of their own.

    One MLP, the encoder, computes mu, sigma and a context vector of size ``context``; each step is a module whose
    ``condition(context)`` is a transform.
    """

    def __init__(
        self, inputs: int, size: int, steps: Sequence[nn.Module], context: int, hidden: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.split = [size, size, context if steps else 0]
        self.net = MLP(inputs, hidden, sum(self.split), dropout)
        self.flow: Any = nn.ModuleList(steps)

    def forward(self, inputs: Tensor) -> TorchDistributionMixin:
        loc, raw, context = self.net(inputs).split(self.split, -1)
        return flowed(diagonal_normal(loc, raw), [step.condition(context) for step in self.flow])


def scaled(event: Event, x: Tensor) -> Tensor:
    """``x`` as input of a network, shape ``(n, event.size)``: levels scaled to [-1, 1], real data unchanged."""
    flat = x.reshape(len(x), -1)
    return flat if event.levels is None else flat * (2 / (event.levels - 1)) - 1


def reshaped(vector: Any, shape: tuple[int, ...]) -> Any:
    """The distribution of a vector as one of event shape ``shape``."""
    if vector.event_shape == shape:
        return vector
    # the cache returns the same tensor that the flow made, so that the flow's own cache finds it
    reshape = transforms.ReshapeTransform(vector.event_shape, torch.Size(shape), cache_size=1)
    return dist.TransformedDistribution(vector, [reshape])


def diagonal_normal(loc: Tensor, raw: Tensor) -> TorchDistributionMixin:
    """Independent normals, event shape ``(d,)``; the scale is `positive` of ``raw``."""
    return dist.Normal(loc, positive(raw)).to_event(1)


def positive(raw: Tensor) -> Tensor:
    """The scale ``softplus(raw)``, bounded away from zero."""
    return nn.functional.softplus(raw) + SMALLEST_SCALE


def flowed(base: TorchDistributionMixin, steps: Sequence[Any]) -> TorchDistributionMixin:
    """``base`` transformed by ``steps``, new ones for every batch, because a transform caches its last argument."""
    return dist.TransformedDistribution(base, list(steps)) if steps else base


def turned(step: Transform, size: int, device: torch.device) -> Transform:
    """``step``, then a reversal of the ``size`` dimensions, so that the next step transforms the other half."""
    return ComposeTransform([step, transforms.Permute(torch.arange(size, device=device).flip(0))])
