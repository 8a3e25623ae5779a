"""Summed latents in a code: they are drawn from their exact posterior, so that bits-back takes -log2 of the sum.

    p(k_1, ..., k_L | x, z) = prod_i p(k_i | k_1, ..., k_(i-1), x, z)

Each factor is an evidence with the later latents summed, for every value of k_i.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any, ClassVar

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution, constraints
from pyro.distributions.torch_distribution import MaskedDistribution
from torch import Tensor

from zoo.codec.grids import Grid
from zoo.codec.rules import Code, FiniteCode, Mapped, codes
from zoo.errors import ContractError
from zoo.pairs.enumeration import per_datum_weights
from zoo.pairs.pair import Pair
from zoo.pairs.sites import data_plate, layers, random_sites


class Choice(TorchDistribution):
    """One of K values, shape ``(K, *event)``, by their ``logits``, shape ``(*batch, K)``."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.integer  # of any values: they are coded by their number

    def __init__(self, logits: Tensor, values: Tensor) -> None:
        self.logits, self.values = logits, values
        super().__init__(logits.shape[:-1], values.shape[1:], validate_args=False)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Draw values."""
        drawn: Tensor = self.values[torch.distributions.Categorical(logits=self.logits).sample(sample_shape)]
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """Of values, shape ``(*batch, *event)``."""
        return self.logits.log_softmax(-1).gather(-1, self.index(value).unsqueeze(-1)).squeeze(-1)

    def index(self, value: Tensor) -> Tensor:
        """The number of each value."""
        same = value.reshape(*self.batch_shape, 1, -1) == self.values.reshape(len(self.values), -1)
        return same.all(-1).int().argmax(-1)


@codes(Choice)
def _choice(fn: Choice, grid: Grid | None) -> Code:
    return Mapped(FiniteCode(fn.logits.softmax(-1)), fn.index, lambda index: fn.values[index.long()])


def sampling(pair: Pair) -> Pair:
    """The pair with a guide that samples every latent.

    Those that the guide marks for enumeration it samples itself; those that it leaves out come from their posterior.
    """
    if not pair.structure.enumerated:
        return pair
    other: Any = copy(pair)
    other._guide = _Sampler(pair)
    sampled: Pair = other
    return sampled


class _Sampler:
    """The guide of `sampling`."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def __call__(self, x: Tensor) -> None:
        pair = self.pair
        with poutine.trace() as drawn:
            pair._guide(x)
        values = {name: site["value"] for name, site in random_sites(drawn.trace)}
        with poutine.block():
            sites = dict(random_sites(poutine.trace(poutine.condition(pair.model, data=values)).get_trace(x)))
        for name in [name for name in sites if name in pair.structure.enumerated and name not in values]:
            with poutine.block():
                posterior = _posterior(pair, x, sites, values, name)
            values[name] = pyro.sample(name, posterior)


def _posterior(pair: Pair, x: Tensor, sites: dict[str, Any], values: dict[str, Tensor], name: str) -> Any:
    """p(k | values, x) of one latent, masked as it is in the model."""
    site, fn = sites[name], sites[name]["fn"]
    if fn.batch_shape.numel() != len(x):
        raise ContractError(
            f"{name!r} is summed and has several values for each datum, which only a guide can draw: sample it there"
        )
    support = fn.enumerate_support(expand=False).reshape(-1, *fn.event_shape)
    count = len(support)
    axes = {
        each: data_plate(each, sites[each], len(x), pair.structure.plates).dim - len(sites[each]["fn"].event_shape)
        for each in (*values, name)
    }
    fixed = {each: torch.cat([value] * count, axes[each]) for each, value in values.items()}
    entries = support.repeat_interleave(len(x), 0).reshape(count, *fn.shape())
    fixed[name] = torch.cat(list(entries), axes[name])
    other: Any = copy(pair)
    other._model = poutine.condition(pair._model, data=fixed)
    other._guide = _nothing
    other.structure = replace(
        pair.structure,
        sampled={},
        enumerated={each: n for each, n in pair.structure.enumerated.items() if each not in fixed},
    )
    weights = per_datum_weights(other, x.repeat(count, *[1] * (x.dim() - 1))).reshape(count, len(x))
    posterior: Any = Choice(weights.T.reshape(*fn.batch_shape, count), support)
    masks = [layer._mask for layer in layers(fn) if isinstance(layer, MaskedDistribution)]
    for mask in (*masks, site["mask"]):
        posterior = posterior if mask is None else posterior.mask(mask)
    return posterior


def _nothing(x: Tensor) -> None:
    """The empty guide."""
