"""Log-probabilities of pairs with summed or shared latents, by Pyro's parallel enumeration and tensor contraction.

A finite latent that is summed gets a tensor dimension of its own, as in `pyro.infer.TraceEnum_ELBO`. Each site's
log-probability is a factor with a dimension for each plate that it stands in and each summed latent that it depends on.
All data plates are one dimension; the contraction to it is one log-probability per datum.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import opt_einsum
import torch
from pyro import poutine
from pyro.distributions.util import is_identically_one, is_identically_zero, scale_and_mask
from pyro.ops import packed
from pyro.ops.contract import contract_tensor_tree, contract_to_tensor
from pyro.ops.rings import LogRing
from torch import Tensor

from zoo.errors import ContractError
from zoo.pairs.pair import Pair, Program
from zoo.pairs.sites import dequantising_sites, observed_sites, random_sites
from zoo.pairs.structure import listed

Packed: TypeAlias = Any
"""A tensor without dimensions of one entry, whose attribute ``_pyro_dims`` has one symbol for each dimension."""
DATA = opt_einsum.get_symbol(0)
"""The symbol of the data plates' dimension."""


class StableRing(LogRing):
    """Sums of products of logarithms, to rounding whatever their range.

    Pyro's own ring multiplies exponentials, each scaled by its own maximum; products of factors that favour different
    values by more than 87 nats vanish in float32, and their logarithm is minus infinity.
    """

    def sumproduct(self, terms: Sequence[Packed], dims: Iterable[str]) -> Packed:
        """Add the packed ``terms`` in an order that keeps results small, and sum ``dims`` as soon as they are done."""
        kept = set("".join(term._pyro_dims for term in terms)) - set(dims)
        equation = f"{','.join(term._pyro_dims for term in terms)}->{''.join(sorted(kept))}"
        path, _ = opt_einsum.contract_path(equation, *(tuple(term.shape) for term in terms), shapes=True)
        left = list(terms)
        for step in path:
            joined = [left.pop(place) for place in sorted(step, reverse=True)]
            needed = kept.union(*(term._pyro_dims for term in left))
            left.append(_log_sum(_product(joined), needed))
        (total,) = left
        return total


def _product(terms: Sequence[Packed]) -> Packed:
    """The sum of packed logarithms."""
    terms = packed.broadcast_all(*terms)
    total = sum(terms[1:], terms[0].clone())
    total._pyro_dims = terms[0]._pyro_dims
    return total


def _log_sum(value: Packed, kept: Collection[str]) -> Packed:
    """Log-sum-exp over all dimensions but ``kept``; where all is minus infinity so is it, with a gradient of zero."""
    dims: str = value._pyro_dims
    axes = [axis for axis, dim in enumerate(dims) if dim not in kept]
    if axes:
        top = value.detach().amax(axes, keepdim=True)
        top = torch.where(top.isfinite(), top, 0.0)
        total = (value - top).exp().sum(axes)
        smallest = torch.finfo(total.dtype).tiny
        value = torch.where(total > 0, total.clamp(min=smallest).log(), -math.inf) + top.squeeze(axes)
        value._pyro_dims = "".join(dim for dim in dims if dim in kept)
    return value


class Factor(NamedTuple):
    """A packed log-probability, the symbols of its plates, and the scale that the program gives it in training."""

    plates: frozenset[str]
    value: Packed
    scale: Any = 1.0
    of_datum: bool = False
    """It belongs to an observed site, or to one that dequantises it."""


@dataclass
class Factors:
    """The log-probabilities of one run of guide and model on ``n`` data."""

    n: int
    observed: list[Factor] = field(default_factory=list)
    latents: list[Factor] = field(default_factory=list)
    """Of the model's latents, summed ones included."""
    sampled: list[Factor] = field(default_factory=list)
    """Of the guide's sampled sites."""
    averaged: list[Factor] = field(default_factory=list)
    """Of the guide's summed latents."""
    upstream: list[Factor] = field(default_factory=list)
    """What weighs an expectation under the guide: the probabilities of summed latents, and log q - [log q], zero but
    for its gradient, of sampled sites that are not reparameterised."""
    in_guide: set[str] = field(default_factory=set)
    """The dimensions of the guide's summed latents."""
    in_model: set[str] = field(default_factory=set)
    """Those of latents that only the model has."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Of each plate's dimension."""


def read_factors(pair: Pair, x: Tensor) -> Factors:
    """Run guide and model on ``x``, with their summed latents enumerated.

    Raises:
        ContractError: the programs do not fit together (see `zoo.pairs.structure.Structure.require_sound`).
    """
    structure = pair.structure
    structure.require_sound()
    guide_trace, model_trace = pair.structure.enumerated_traces(pair.model, pair.guide, x)
    symbols = dict.fromkeys(sorted(structure.plates), DATA)
    run = Factors(len(x))

    def factor(site: Any, value: Tensor, masked: bool = True) -> Factor:
        plates = {frame.dim: frame for frame in site["cond_indep_stack"] if frame.vectorized}
        shape = [plates[dim].size if dim in plates else 1 for dim in range(min(plates, default=0), 0)]
        value = value.expand(torch.broadcast_shapes(value.shape, shape))
        value = scale_and_mask(value, 1.0, site["mask"]) if masked else value
        run.sizes.update((symbols[frame.name], frame.size) for frame in plates.values())
        value = packed.pack(value, site["infer"]["_dim_to_symbol"])
        return Factor(frozenset(symbols[frame.name] for frame in plates.values()), value, site["scale"])

    datum = set(dequantising_sites(model_trace, observed_sites(model_trace)))
    with explained(pair):
        guide_trace.symbolize_dims(symbols)
        for name, site in random_sites(guide_trace):
            parts = site["fn"].score_parts(site["value"], *site["args"], **site["kwargs"])
            if name in structure.enumerated:
                run.averaged.append(factor(site, parts.log_prob))
                run.upstream.append(factor(site, parts.log_prob, masked=False))
                run.in_guide.add(site["infer"]["_enumerate_symbol"])
                continue
            run.sampled.append(factor(site, parts.log_prob)._replace(of_datum=name in datum))
            if not is_identically_zero(parts.score_function):
                run.upstream.append(factor(site, parts.score_function - parts.score_function.detach()))
        model_trace.symbolize_dims(symbols)  # not before: sites of both traces share what it writes
        for name, site in random_sites(model_trace):
            value = _log_prob(site)
            summed = name in structure.enumerated
            # Where it is masked, a latent of the model alone is summed all the same: its probabilities add up to one.
            made = factor(site, value, masked=not summed)._replace(of_datum=site["is_observed"] or name in datum)
            (run.observed if site["is_observed"] else run.latents).append(made)
            if summed and name not in guide_trace.nodes:
                run.in_model.add(site["infer"]["_enumerate_symbol"])
    return run


def misread_sites(pair: Pair, x: Tensor) -> list[str]:
    """Names of the sites that take another distribution when a latent is enumerated than when it has one value.

    A program that counts dimensions from the left, for example, may run on enumerated values and mean something else.
    Each summed latent is fixed to one of its values, chosen at random, and both programs are run without enumeration.

    Args:
        pair: in evaluation mode.
        x: a few data, shape ``(n, *event.shape)``.
    """
    chosen: dict[int, int] = {}
    values: dict[str, Tensor] = {}
    expected: list[tuple[Program, dict[str, Tensor]]] = []

    def at_choice(value: Tensor, site: Any, event_dim: int) -> Tensor:
        """The entry of an enumerated tensor, in the shape of the site's plates."""
        for dim, key in site["infer"]["_dim_to_id"].items():
            place = dim - event_dim
            if value.dim() >= -place and value.shape[place] > 1:
                count = value.shape[place]
                value = value.narrow(place, chosen.setdefault(key, int(torch.randint(count, ()))), 1)
        plates = {frame.dim: frame.size for frame in site["cond_indep_stack"] if frame.vectorized}
        shape = [plates.get(dim, 1) for dim in range(min(plates, default=0), 0)]
        event = value.shape[value.dim() - event_dim :]
        return value.reshape(value.shape[max(0, value.dim() - event_dim - len(shape)) :]).expand([*shape, *event])

    for program, trace in zip(
        (pair.guide, pair.model), pair.structure.enumerated_traces(pair.model, pair.guide, x), strict=True
    ):
        sites = dict(random_sites(trace))
        values |= {name: at_choice(site["value"], site, site["fn"].event_dim) for name, site in sites.items()}
        expected.append((program, {name: at_choice(_log_prob(site), site, 0) for name, site in sites.items()}))
    return [
        name
        for program, log_probs in expected
        for name, site in random_sites(poutine.trace(poutine.condition(program, values)).get_trace(x))
        if not torch.allclose(_log_prob(site), log_probs[name], rtol=1e-4, atol=1e-4, equal_nan=True)
    ]


def _log_prob(site: Any) -> Tensor:
    value: Tensor = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    return value


@contextmanager
def explained(pair: Pair) -> Iterator[None]:
    """Inside, what Pyro says of shapes and plates that cannot be contracted becomes a `ContractError`."""
    try:
        yield
    except (ValueError, NotImplementedError) as error:
        summed = listed(pair.structure.enumerated)
        message = " ".join(str(error).split())
        raise ContractError(
            f"{f'the sum over {summed}' if summed else 'the log-probability'} cannot be computed: {message}; declare "
            "every dimension by a plate or .to_event(...), and index by pyro.ops.indexing.Vindex"
        ) from error


def per_datum_weights(pair: Pair, x: Tensor) -> Tensor:
    """`zoo.pairs.traces.log_weights` given one draw g of the shared latents, with the summed latents k left out.

        log sum_k p(x, z, k | g) - log q(z | x, g)

    Where the guide draws another z_k for each k, it is log sum_k p(x, z_k, k | g) / q(z_k | x, k, g).
    """
    run = read_factors(pair, x)
    with explained(pair):
        return _contracted(run, [*run.observed, *_local_latents(run)])


def per_datum_parts(pair: Pair, x: Tensor) -> tuple[Tensor, Tensor]:
    """`per_datum_weights` in two: log p(x | z, g), and log p(z | g) - log q(z | x, g).

    A latent that dequantises belongs to ``x``.
    """
    run = read_factors(pair, x)
    latents = _local_latents(run)
    with explained(pair):
        weights = _contracted(run, [*run.observed, *latents])
        inferred = [factor for factor in latents if not factor.of_datum]
        sampled = any(DATA in factor.plates and not factor.of_datum for factor in run.sampled)
        prior = _contracted(run, inferred) if sampled else torch.zeros_like(weights)
    return weights - prior, prior


def _local_latents(run: Factors) -> list[Factor]:
    """The factors of log p(z, k | g) - log q(z | x, k, g)."""
    inverse = [factor._replace(value=packed.neg(factor.value)) for factor in run.sampled]
    return [factor for factor in (*run.latents, *inverse) if DATA in factor.plates]


def _contracted(run: Factors, factors: Iterable[Factor]) -> Tensor:
    """Their product, summed over all summed latents and multiplied over inner plates: shape ``(n,)``."""
    ring = StableRing(dim_to_size=run.sizes | {DATA: run.n})
    summed = run.in_model | run.in_guide
    value: Tensor = contract_to_tensor(_tree(factors), summed, target_ordinal=frozenset({DATA}), ring=ring)
    return value


def _tree(factors: Iterable[Factor]) -> OrderedDict[frozenset[str], list[Packed]]:
    tree: OrderedDict[frozenset[str], list[Packed]] = OrderedDict()
    for factor in factors:
        tree.setdefault(factor.plates, []).append(factor.value)
    return tree


def enumerated_elbo(pair: Pair, x: Tensor, beta: Tensor | float, size: int) -> Tensor:
    """The ELBO of a batch by one draw of the guide: a scalar whose gradient estimates that of its mean.

        sum_i [log p(x_i, z_i | g) - log q(z_i | x_i, g)] + (n / N) [log p(g) - log q(g)]

    It is the estimate of `pyro.infer.TraceEnum_ELBO`: latents that the guide leaves out are summed, those that it marks
    are averaged exactly under the guide.

    Args:
        pair: the model and guide.
        x: a batch, shape ``(n, *event.shape)``.
        beta: the weight of the sampled latents' terms; a summed latent that depends on none is part of the likelihood.
        size: N, the number of data over which the terms of the shared latents g are spread.
    """
    run = read_factors(pair, x)
    guided = [*run.sampled, *run.averaged]
    local = any(DATA in factor.plates for factor in guided)
    tempered = run.latents if local else [factor for factor in run.latents if DATA not in factor.plates]
    with explained(pair):
        costs = _reduced(run, [*run.observed, *run.latents])
        if not is_identically_one(beta):  # log p(x, z) = log p(x | z) + beta log p(z)
            costs += [factor._replace(scale=factor.scale * (beta - 1)) for factor in _reduced(run, tempered)]
        costs += [factor._replace(scale=factor.scale * -beta) for factor in guided]
        shares = [1.0 if DATA in cost.plates else run.n / size for cost in costs]
        total = x.new_zeros(())
        for cost, share in zip(costs, shares, strict=True):
            total = total + share * cost.scale * _mean(run, cost)
        return total


def _reduced(run: Factors, factors: list[Factor]) -> list[Factor]:
    """The factors with the latents that only the model has summed out, each product of them in its outermost plates."""
    alone = [factor for factor in factors if run.in_model.isdisjoint(factor.value._pyro_dims)]
    joined = [factor for factor in factors if not run.in_model.isdisjoint(factor.value._pyro_dims)]
    if any(not is_identically_one(factor.scale) for factor in joined):
        raise ValueError("a site that depends on a summed latent has a scale; move poutine.scale off it")
    tree = contract_tensor_tree(_tree(joined), run.in_model, ring=StableRing())
    return alone + [Factor(plates, value) for plates, values in tree.items() for value in values]


def _mean(run: Factors, cost: Factor) -> Tensor:
    """The sum of ``cost`` over its plates, averaged over the guide's summed latents."""
    upstream = [factor.value for factor in run.upstream if factor.plates <= cost.plates]
    if not upstream:
        return cost.value.sum()
    dims = set().union(*(value._pyro_dims for value in upstream)) - cost.plates - set(cost.value._pyro_dims)
    weight = packed.exp(StableRing().sumproduct(upstream, dims))
    value, weight = packed.broadcast_all(cost.value, weight)
    return (weight * torch.where(weight > 0, value, 0.0)).sum()
