"""Laws of what a pair computes: gradients, finite numbers, samples, independence of data, reproducibility."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from zoo.contract.case import STEPS, Case
from zoo.contract.findings import BrokenError, NotApplicableError
from zoo.contract.ground import NOISE, noisy
from zoo.contract.values import extent, fits, other_data
from zoo.errors import RunError
from zoo.files import read_tensors, write_tensors
from zoo.pairs.pair import HasElbo, HasSteps, Pair
from zoo.pairs.sampling import contexts, sample, samplers
from zoo.pairs.sites import data_first, data_plate, latent_sites, per_datum, random_sites
from zoo.pairs.traces import capabilities, elbo_step, elbo_terms, log_prob, log_weights, traced
from zoo.seeding import seeded

TOLERANCE = 1e-4
"""Relative and absolute, between equal values that were computed in different batches."""
ROUNDING, LITTLE = 1e-3, 0.02
"""The same between batches of different sizes, whose products are rounded otherwise, and noise that keeps it small."""
COPIES = 4
"""Of a batch twice, in a longer one."""
LEAST_DRAWS = 8
"""Estimates of each step of each datum."""
SURE = 4.5
"""Standard errors by which two means of one value may differ."""


def gradients_reach(case: Case) -> None:
    trained = case.trained
    if not trained.named:
        raise NotApplicableError("it has no parameters")
    unreached = list(trained.unreached())
    if unreached:
        raise BrokenError(
            f"after {STEPS} batches each parameter should have received a gradient; {', '.join(unreached)}"
        )


def finite(case: Case) -> None:
    for name, loss in case.trained.losses:
        if not torch.tensor(loss).isfinite():
            raise BrokenError(f"the {name} loss should be a finite number, got {loss}")
    for word, values in _outcomes(case.pair, case).items():
        if not values.isfinite().all():
            raise BrokenError(f"{word} should be finite, got {extent(values)}")


def steps_add_up(case: Case) -> None:
    pair = case.pair
    if not (isinstance(pair.extras, HasSteps) and isinstance(pair.extras, HasElbo)):
        return
    timesteps, x = pair.extras.timesteps, case.x(case.sizes[0])
    wide = x.repeat(max(1, LEAST_DRAWS * timesteps // len(x)), *(1 for _ in x.shape[1:]))
    few = x.repeat(LEAST_DRAWS, *(1 for _ in x.shape[1:]))
    with pair.evaluating(), seeded(case.seed):
        sums = torch.stack([elbo_step(pair, few, t) for t in range(1, timesteps + 1)]).double().sum(0)
        terms = elbo_terms(pair, wide)["diffusion"].double()
    error = (sums.var() / len(sums) + terms.var() / len(terms)).sqrt() + TOLERANCE * (1 + sums.mean().abs())
    if (sums.mean() - terms.mean()).abs() > SURE * error:
        raise BrokenError(
            f"elbo_step(x, t) should add up over its {timesteps} steps to the term 'diffusion' of elbo_terms(x); it is "
            f"{float(sums.mean()):g} on average, and that term {float(terms.mean()):g}"
        )


def samples_fit(case: Case) -> None:
    pair, n = case.pair, case.sizes[0]
    batches = [case.x(n, 1), other_data(case.event, case.x(n, 1))]
    drawn = {"samples": sample(pair, n, given=contexts(case.event, batches[0], n))}
    drawn |= {f"samples by {name!r}": sample(pair, n, sampler=name, passes=2) for name in samplers(pair)}
    for word, values in drawn.items():
        if not fits(case.event, values):
            raise BrokenError(f"{word} should be of {case.event}, got values {extent(values)}")
    draws = []
    for x in batches:
        with pair.evaluating(), seeded(case.seed):
            trace = poutine.trace(poutine.uncondition(pair.model)).get_trace(x)
            draws.append(trace.nodes[capabilities(pair, x).output]["value"])
    first, second = draws
    if not _close(first, second, TOLERANCE):
        raise BrokenError(
            "run forwards, the model should draw the same whatever batch it is given; it uses the values of x other "
            "than by obs=x, so it sees what it should generate"
        )


def independent(case: Case) -> None:
    pair = case.pair
    for noise in (0.0, NOISE):
        with pair.evaluating(), noisy(pair, noise):
            _compare_with_other_data(case)
    for noise in (0.0, LITTLE):
        with pair.evaluating(), noisy(pair, noise):
            _compare_with_other_batches(pair, case.x(case.sizes[0]))


def _compare_with_other_data(case: Case) -> None:
    """What is computed for a datum, when the other data are others."""
    pair, n = case.pair, case.sizes[0]
    x, mixed = case.x(n), case.x(n, 1)
    implicit = capabilities(pair, x).likelihood == "none"
    draws = _latents(pair, x, implicit)
    before = _for_each(pair, x, draws)
    for place in (0, n - 1):  # what all data share may come from the first or from the last
        batch = mixed.clone()
        batch[place] = x[place]
        others = _latents(pair, batch, implicit)
        for name, site in others.items():
            if name in pair.structure.outside:
                site["value"].copy_(draws[name]["value"])
            else:
                data_first(name, site, n)[place] = data_first(name, draws[name], n)[place]
        after = _for_each(pair, batch, others)
        _require_the_same(before, [place], after, [place], "the other data changed", TOLERANCE)


def _compare_with_other_batches(pair: Pair, x: Tensor) -> None:
    """What is computed for each datum, in a batch of one, and in a longer one in another order."""
    n = len(x)
    implicit = capabilities(pair, x).likelihood == "none"
    draws = _latents(pair, x, implicit)
    before = _for_each(pair, x, draws)
    for order in ([n - 1], [*range(n), *reversed(range(n))] * COPIES):
        rows = torch.tensor(order, device=x.device)
        others = {
            name: site if name in pair.structure.outside else site | {"value": _taken(name, site, n, rows)}
            for name, site in draws.items()
        }
        after, last = _for_each(pair, x[rows], others), len(order) - 1
        places = sorted({0, last // 2, last})
        when = f"it was one of {len(order)} in another order" if last else "it was alone"
        _require_the_same(before, [order[place] for place in places], after, places, when, ROUNDING)


def _taken(name: str, site: Any, n: int, rows: Tensor) -> Tensor:
    """A latent's values for some data."""
    values, dim = data_first(name, site, n), data_plate(name, site, n).dim - len(site["fn"].event_shape)
    return values[rows].movedim(0, dim)


def _require_the_same(
    before: Mapping[str, Tensor],
    ours: list[int],
    after: Mapping[str, Tensor],
    theirs: list[int],
    when: str,
    tolerance: float,
) -> None:
    """Refuse values that differ between the places of two batches where the same data are."""
    for word in {**before, **after}:
        for mine, other in zip(ours, theirs, strict=True):
            # Only the batch of the longer sequences may have a site, masked for this datum.
            known = next(values[word] for values in (before, after) if word in values)
            first, second = (
                values[word][place] if word in values else known.new_zeros(())
                for values, place in ((before, mine), (after, other))
            )
            if not _close(first, second, tolerance):
                raise BrokenError(f"{word} for x[{mine}] changed from {extent(first)} to {extent(second)} when {when}")


def _latents(pair: Pair, x: Tensor, implicit: bool) -> dict[str, Any]:
    """The sites of the latents, whose values may be written."""
    model_trace, guide_trace = traced(pair, x)
    trace = model_trace if implicit else guide_trace
    found = {name: trace.nodes[name] for name in latent_sites(trace)}
    found |= {name: model_trace.nodes[name] for name in pair.structure.enumerated}
    return {name: {**site, "value": site["value"].clone()} for name, site in found.items()}


def _for_each(pair: Pair, x: Tensor, latents: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the programs compute for each datum with the latents held fixed."""
    values = {name: site["value"] for name, site in latents.items()}
    can, fixed = capabilities(pair, x), partial(poutine.condition, data=values)
    computed = dict[str, Tensor]()
    for word, program in (("guide", pair.guide), ("model", pair.model)):
        trace = poutine.trace(fixed(program)).get_trace(x)
        for name, _ in random_sites(trace):
            if name not in pair.structure.outside:
                computed[f"log-probability of {name!r} under the {word}"] = per_datum(trace, len(x), {name})
    if can.likelihood == "exact":
        computed["log_prob"] = log_prob(pair, x)
    if can.likelihood == "none":
        computed[f"output {can.output!r}"] = trace.nodes[can.output]["value"]
    return computed


def repeats(case: Case) -> None:
    first, second = case.fresh(), case.fresh()
    ours, theirs = first.state(), second.state()
    for name in sorted(set(ours) | set(theirs)):
        if name not in ours or name not in theirs or not _close(ours[name], theirs[name]):
            raise BrokenError(f"built twice with one seed, {name!r} should have the same values; it does not")
    _alike(_outcomes(first, case), _outcomes(second, case), "with one seed")


def survives_saving(case: Case) -> None:
    pair, other = case.trained.pair, case.make(case.seed + 1)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        write_tensors(path, pair.state(), {})
        try:
            other.load(read_tensors(path)[0])
        except RunError as error:
            raise BrokenError(str(error)) from error
    _alike(_outcomes(pair, case), _outcomes(other, case), "after saving and loading")


def _outcomes(pair: Pair, case: Case) -> dict[str, Tensor]:
    """Log-probabilities and samples, with fixed noise."""
    x, values = case.x(case.sizes[0]), {}
    with pair.evaluating():
        can = capabilities(pair, x)
        if can.likelihood != "none":
            with seeded(case.seed):
                values["log-probabilities"] = log_weights(pair, x)
        if can.likelihood == "exact":
            values["log_prob"] = log_prob(pair, x)
    with seeded(case.seed):
        drawn = sample(pair, len(x), given=contexts(case.event, x, len(x)))
    unknown = case.event.label and case.event.label.name not in pair.takes
    values["samples"] = case.event.drop_label(drawn) if unknown else drawn
    return values


def _alike(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], when: str) -> None:
    for word, value in ours.items():
        other = theirs[word]
        if not _close(value, other):
            shapes = f"shapes {value.shape}, {other.shape}"
            gap = f"{float((value - other).abs().max()):g}" if value.shape == other.shape else shapes
            raise BrokenError(f"{when}, {word} should have the same values; they differ by {gap}")


def _close(ours: Tensor, theirs: Tensor, tolerance: float = 0.0) -> bool:
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)
