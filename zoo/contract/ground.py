"""Laws without which a pair's numbers are wrong. They are cheap, and checked before a pair is trained or measured."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import biject_to

from zoo.contract.case import Case, players_of
from zoo.contract.findings import BrokenError
from zoo.contract.lines import Changes
from zoo.contract.values import complete, extent, other_data
from zoo.pairs.pair import HasPlayers, Pair
from zoo.pairs.sites import data_first, is_discrete, is_point, latent_sites, layers, random_sites
from zoo.pairs.traces import capabilities, traced

ROUNDING = 1e-5
"""Relative and absolute, between equal log-probabilities that were computed twice."""
NOISE = 0.1
"""Standard deviation of what is added to every parameter: a network that starts at zero then shows what it reads."""
MOST_DRAWS = 64
"""Draws of the latents of one datum."""
FLAT = 1e-4
"""Singular values of draws below this share of the largest count as zero."""
MOST_CHANGED = 500
"""Auxiliary numbers beyond which the determinant of their change of variables is not computed."""

Program = Callable[[Tensor], Any]
Values = Mapping[str, Tensor]


def leaves_x_alone(case: Case) -> None:
    pair = case.pair
    x = case.x(case.sizes[0])
    before = x.clone()
    with pair.evaluating(), Changes(x) as changes:
        guide_trace = poutine.trace(pair.guide).get_trace(x)
        word = "model" if torch.equal(x, before) else "guide"
        pair.structure.forget_plates(guide_trace)
        poutine.replay(pair.model, trace=guide_trace)(x)
    if not torch.equal(x, before):
        raise BrokenError(f"the {word} changes x in place{changes.at}")


def same_twice(case: Case) -> None:
    pair, x = case.pair, case.x(case.sizes[0])
    with pair.evaluating():
        model_trace, guide_trace = traced(pair, x)
        for word, program, trace in (("model", pair.model, model_trace), ("guide", pair.guide, guide_trace)):
            values = values_of(trace)
            first, second = (given(program, x, values) for _ in range(2))
            for name in values:
                if not _same_distribution(name, first, second, values):
                    raise BrokenError(
                        f"run twice on one batch with the same values at its sites, the {word} should give {name!r} "
                        "the same distribution, and it gives two"
                    )


def observes_x(case: Case) -> None:
    pair, x = case.pair, case.x(case.sizes[0])
    if not pair.layout.places:
        return  # an implicit model
    with pair.evaluating():
        observed = pair.layout.assemble(traced(pair, x)[0], x)
    if not torch.equal(observed, x):
        place = tuple((observed != x).nonzero()[0].tolist())
        raise BrokenError(
            f"site {', '.join(map(repr, pair.layout.places))} should observe x; where x is {float(x[place]):g} it "
            f"observes {float(observed[place]):g}"
        )


def nothing_leaks(case: Case) -> None:
    pair, x = case.pair, case.x(case.sizes[0])
    other = other_data(case.event, x)
    for noise in (0.0, NOISE):
        with pair.evaluating(), noisy(pair, noise):
            _compare_on(pair, x, other)


def _compare_on(pair: Pair, x: Tensor, other: Tensor) -> None:
    """The model's distributions given the values of all sites, on two batches."""
    can = capabilities(pair, x)
    model_trace, _ = traced(pair, x)
    values, latents = values_of(model_trace), latent_sites(model_trace)
    ours, theirs = _after_guide(pair, x, values), _after_guide(pair, other, values)
    for name in values:
        if _same_distribution(name, ours, theirs, values):
            continue
        if name in latents:
            raise BrokenError(f"the prior of {name!r} depends on x, which is known only after it is generated")
        raise BrokenError(f"the distribution of {name!r} depends on x: it sees what it should generate")
    if can.likelihood == "none" and not _equal(ours.nodes[can.output]["value"], theirs.nodes[can.output]["value"]):
        raise BrokenError(f"{can.output!r} depends on x: the model sees what it should generate")


def spreads_as_the_prior(case: Case) -> None:
    pair = case.pair
    can = capabilities(pair, case.x(1))
    shapes = {name: shape for name, shape in can.latents.items() if name not in can.dequantising}
    if can.likelihood == "none" or not shapes:
        return
    n = min(MOST_DRAWS, sum(torch.Size(shape).numel() for shape in shapes.values()) + 4)
    n = next(n for n in range(n, 2 * n + 9) if n not in {*case.event.shape, case.event.size})
    x = complete(case.event, case.x(1))
    x = x.expand(n, *x.shape[1:]).contiguous()
    with pair.evaluating():
        guide = poutine.trace(pair.guide).get_trace(x)
        known = {name: guide.nodes[name]["value"] for name in can.dequantising}
        prior = poutine.trace(poutine.condition(pair.model, known)).get_trace(x)
    free: dict[str, tuple[Tensor, Tensor]] = {}
    for name in shapes:
        site = guide.nodes[name]
        if is_discrete(site["fn"]) or is_point(prior.nodes[name]["fn"]):
            continue
        if is_point(site["fn"]) and not pair.structure.auxiliary:
            raise BrokenError(f"the guide gives {name!r} all mass at a point (Delta) and the model a density")
        free[name] = data_first(name, prior.nodes[name], n).reshape(n, -1), data_first(name, site, n).reshape(n, -1)
    for name, (wide, narrow) in free.items():
        still = (narrow.std(0) == 0) & (wide.std(0) > 0)
        if still.any():
            raise BrokenError(
                f"given one datum, {int(still.sum())} of {len(still)} dimensions of {name!r} take one value only under "
                "the guide, and many under the model"
            )
        if _on_a_sphere(narrow) and not _on_a_sphere(wide):
            raise BrokenError(f"the guide's draws of {name!r} lie on a sphere, which has no volume under the model")
    if free:
        wide, narrow = (torch.cat([pair_of[side] for pair_of in free.values()], 1) for side in (0, 1))
        if _rank(narrow) < _rank(wide):
            raise BrokenError(
                f"given one datum, the guide's draws of {', '.join(map(repr, free))} span {_rank(narrow)} dimensions "
                f"and the model's {_rank(wide)}"
            )


def counts_its_jacobian(case: Case) -> None:
    """That a latent given as a Delta of auxiliary sites has the log-density of that change of variables.

    log_density = -log |det dw/du| - log |det dv/dw|, of auxiliary u, latents v, and their unconstrained values w.
    Any other Delta has none.
    """
    pair, x = case.pair, case.x(case.sizes[0])
    for noise in (0.0, NOISE):
        with pair.evaluating(), noisy(pair, noise):
            model_trace, guide_trace = traced(pair, x)
            _require_no_log_density("model", model_trace)
            if pair.structure.auxiliary:
                _compare_jacobians(pair, x, model_trace, guide_trace)
            else:
                _require_no_log_density("guide", guide_trace)


def _require_no_log_density(word: str, trace: Any) -> None:
    for name, site in random_sites(trace):
        for point in (layer for layer in layers(site["fn"]) if isinstance(layer, Delta)):
            if (torch.as_tensor(point.log_density) != 0).any():
                raise BrokenError(
                    f"the Delta of {name!r} in the {word} is the change of variables of no auxiliary site, and has a "
                    f"log_density of {extent(torch.as_tensor(point.log_density))}, which counts as a probability"
                )


def _compare_jacobians(pair: Pair, x: Tensor, model_trace: Any, guide_trace: Any) -> None:
    deltas = {
        name: site for name, site in random_sites(guide_trace) if is_point(site["fn"]) and not is_discrete(site["fn"])
    }
    maps = {name: biject_to(model_trace.nodes[name]["fn"].support) for name in deltas}
    drawn = {name: guide_trace.nodes[name]["value"] for name in sorted(pair.structure.auxiliary)}
    if sum(value.numel() for value in drawn.values()) > MOST_CHANGED:
        return

    def unconstrained(*values: Tensor) -> Tensor:
        found = given(pair.guide, x, dict(zip(drawn, values, strict=True)))
        return torch.cat([maps[name].inv(found.nodes[name]["value"]).flatten() for name in deltas])

    with torch.enable_grad():
        columns = torch.autograd.functional.jacobian(unconstrained, tuple(drawn.values()))
    volume = torch.cat([part.reshape(len(part), -1) for part in columns], 1).double().slogdet().logabsdet
    free = {name: maps[name].inv(site["value"]) for name, site in deltas.items()}
    volume += sum(
        maps[name].log_abs_det_jacobian(free[name], site["value"]).double().sum() for name, site in deltas.items()
    )
    claimed = torch.stack([_log_prob(site, site["value"]).double().sum() for site in deltas.values()]).sum()
    if not torch.allclose(claimed, -volume, rtol=1e-3, atol=1e-3):
        raise BrokenError(
            f"the Delta of {', '.join(map(repr, deltas))} should have the log_density {float(-volume):g} in all, that "
            f"of its change of variables from {', '.join(map(repr, drawn))}, and has {float(claimed):g}"
        )


def trains_what_it_uses(case: Case) -> None:
    pair, x = case.pair, case.x(case.sizes[0])
    known = {id(parameter) for parameter in pair.parameters()}
    with pair.evaluating(), pair.scope(), torch.enable_grad():
        if isinstance(pair.extras, HasPlayers):
            losses = [player.loss(x) for player in players_of(pair)]
        else:
            losses = [
                _log_prob(site, site["value"]).sum() for trace in traced(pair, x) for _, site in random_sites(trace)
            ]
    strays = {id(leaf): leaf for loss in losses for leaf in _leaves(loss) if id(leaf) not in known and leaf is not x}
    if strays:
        named = ", ".join(f"{_name_of(leaf)} of shape {tuple(leaf.shape)}" for leaf in strays.values())
        raise BrokenError(f"the programs use trainable tensors that would be neither trained nor saved: {named}")


def values_of(trace: Any) -> dict[str, Tensor]:
    return {name: site["value"] for name, site in random_sites(trace)}


def given(program: Program, x: Tensor, values: Values) -> Any:
    """The trace of a program whose sites take these values."""
    return poutine.trace(poutine.condition(program, dict(values))).get_trace(x)


def _after_guide(pair: Pair, x: Tensor, values: Values) -> Any:
    """The trace of a model whose sites take these values, after the guide, which may have kept some of ``x``."""
    with poutine.block():
        pair.guide(x)
    return given(pair.model, x, values)


def _same_distribution(name: str, ours: Any, theirs: Any, values: Values) -> bool:
    """Whether a site has the same log-probabilities in two traces, at its value and at those of other data."""
    if name not in ours.nodes or name not in theirs.nodes:
        return False
    value = values[name]
    points = (value, value.roll(1, 0)) if value.dim() else (value,)
    return all(_equal(*(_log_prob(trace.nodes[name], at) for trace in (ours, theirs))) for at in points)


def _log_prob(site: Any, value: Tensor) -> Tensor:
    result: Tensor = site["fn"].log_prob(value, *site["args"], **site["kwargs"])
    return result


def _equal(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)


@contextmanager
def noisy(pair: Pair, noise: float) -> Iterator[None]:
    """Noise of this standard deviation on every parameter inside the block."""
    before = {name: tensor.clone() for name, tensor in pair.state().items()}
    try:
        for parameter in pair.parameters() if noise else []:
            parameter.add_(noise * torch.randn_like(parameter))
        yield
    finally:
        pair.load(before)


def _on_a_sphere(draws: Tensor) -> bool:
    """Whether draws ``(n, d)`` of two or more dimensions are all of one length."""
    length = draws.norm(dim=1)
    return draws.shape[1] > 1 and bool(length.std() <= ROUNDING * length.mean())


def _rank(draws: Tensor) -> int:
    """The number of dimensions that draws ``(n, d)`` span around their mean."""
    draws = draws.cpu().double()
    centred = draws - draws.mean(0)
    scale = centred.std(0)
    singular = torch.linalg.svdvals(centred[:, scale > 0] / scale[scale > 0])
    return int((singular > FLAT * singular.max()).sum()) if len(singular) else 0


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """The tensors that a backward pass from ``loss`` gives gradients to."""
    waiting, seen = [loss.grad_fn], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [following for following, _ in node.next_functions]


def _name_of(tensor: Tensor) -> str:
    """The variable, attribute or key that holds a tensor, as far as it can be found."""
    names = (
        str(name)
        for holder in gc.get_referrers(tensor)
        if isinstance(holder, dict)
        for name, value in holder.items()
        if value is tensor and isinstance(name, str)
    )
    return next(names, "one without a name")
