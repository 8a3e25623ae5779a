"""What the guides of the shelf share: latents drawn site by site from distributions that networks make of ``x``."""

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

MakeSite = Callable[[int, int], nn.Module]
SMALLEST_SCALE = 1e-5


class AmortizedGuide(nn.Module):
    """The guide q(z1, ..., zL | x) = prod_l q(z_l | x, z_1, ..., z_(l-1)), in the order of the model's latent sites.

    ``make(inputs, size)`` gives the network of one site: from ``(n, inputs)``, the scaled ``x`` and the latents drawn
    before it, to a distribution of batch shape ``(n,)`` and event shape ``(size,)``, reshaped to the site's own.
    """

    def __init__(self, event: Event, latents: Mapping[str, tuple[int, ...]], make: MakeSite) -> None:
        super().__init__()
        self.event, self.latents = event, dict(latents)
        sizes = [math.prod(shape) for shape in self.latents.values()]
        self.sites = nn.ModuleList(make(event.size + sum(sizes[:i]), size) for i, size in enumerate(sizes))

    def forward(self, x: Tensor) -> None:
        """Draw every latent, given ``x`` of shape ``(n, *event.shape)``."""
        inputs = scaled(self.event, x)
        with pyro.plate("data", len(x)):
            for (name, shape), site in zip(self.latents.items(), self.sites, strict=True):
                z = pyro.sample(name, reshaped(site(inputs), shape))
                inputs = torch.cat([inputs, z.reshape(len(x), -1)], -1)


@dataclass(frozen=True)
class Step:
    """A flow that an encoder steers: ``make(*parts)`` is a transform, the i-th part being ``(n, numbers[i])``."""

    make: Callable[..., Transform]
    numbers: tuple[int, ...]


class AmortizedFlow(nn.Module):
    """A diagonal normal of ``size`` numbers pushed through ``steps``.

    One network computes mu, sigma and all that the steps take.
    """

    def __init__(self, inputs: int, size: int, steps: Sequence[Step], hidden: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.steps = list(steps)
        self.split = [size, size, *(number for step in steps for number in step.numbers)]
        self.net = MLP(inputs, hidden, sum(self.split), dropout)

    def forward(self, inputs: Tensor) -> TorchDistributionMixin:
        loc, raw, *rest = self.net(inputs).split(self.split, -1)
        parts = iter(rest)
        steps = [step.make(*islice(parts, len(step.numbers))) for step in self.steps]
        return flowed(diagonal_normal(loc, raw), steps)


class ConditionalFlow(nn.Module):
    """A diagonal normal of ``size`` numbers pushed through ``steps`` that are networks themselves.

    One network, the encoder, computes mu, sigma and ``context`` numbers; each step is a module whose
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
    """A network's view of ``x``, shape ``(n, event.size)``: levels spread over [-1, 1], real data as they are."""
    flat = x.reshape(len(x), -1)
    return flat if event.levels is None else flat * (2 / (event.levels - 1)) - 1


def reshaped(vector: Any, shape: tuple[int, ...]) -> Any:
    """The distribution of a vector as one of event shape ``shape``."""
    if vector.event_shape == shape:
        return vector
    # with a cache, or a draw of a flow would come back as a stranger to the transform that made it
    reshape = transforms.ReshapeTransform(vector.event_shape, torch.Size(shape), cache_size=1)
    return dist.TransformedDistribution(vector, [reshape])


def diagonal_normal(loc: Tensor, raw: Tensor) -> TorchDistributionMixin:
    """Independent normals of event shape ``(d,)``; the scale is ``softplus(raw)``, one where ``raw`` is 0.54."""
    return dist.Normal(loc, positive(raw)).to_event(1)


def positive(raw: Tensor) -> Tensor:
    """A scale for any number."""
    return nn.functional.softplus(raw) + SMALLEST_SCALE


def flowed(base: TorchDistributionMixin, steps: Sequence[Any]) -> TorchDistributionMixin:
    """``base`` pushed through ``steps``, made anew for every batch, because a transform keeps its last arguments."""
    return dist.TransformedDistribution(base, list(steps)) if steps else base


def turned(step: Transform, size: int, device: torch.device) -> Transform:
    """``step``, after which the order of the ``size`` dimensions is reversed, so that the next takes the other half."""
    return ComposeTransform([step, transforms.Permute(torch.arange(size, device=device).flip(0))])
