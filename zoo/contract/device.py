"""Law: a pair runs on another device, a GPU or else one that is pretended (see `zoo.contract.pretend`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from zoo.contract.case import BATCH, Case, Trained
from zoo.contract.findings import BrokenError, NotApplicableError
from zoo.contract.pretend import second_device
from zoo.pairs.pair import HasElbo, HasSteps, Pair
from zoo.pairs.sampling import contexts, sample, samplers
from zoo.pairs.sites import per_datum
from zoo.pairs.traces import capabilities, elbo_step, elbo_terms, log_prob, traced

PASSES = 2
"""Of each of the pair's own samplers."""


def runs_elsewhere(case: Case) -> None:
    if case.device == "cpu":
        raise NotApplicableError("it is checked for the CPU alone")
    n = case.sizes[0]
    x, batch = case.x(n), case.x(BATCH, 1)
    with _another_device() as device:
        pair = case.fresh(device)
        _run_programs(pair, x.to(device))
        _run_extras(pair, x.to(device))
        _check_device("samples", {"the draws": sample(pair, n, given=contexts(case.event, x, n))}, pair.device)
        _take_steps(pair, batch.to(device))


@contextmanager
def _another_device() -> Iterator[torch.device]:
    if torch.cuda.is_available():
        yield torch.device("cuda", torch.cuda.current_device())
        return
    with second_device() as device:
        yield device


def _run_programs(pair: Pair, x: Tensor) -> None:
    with pair.evaluating():
        traces = {"model": poutine.trace(poutine.uncondition(pair.model)).get_trace(x)}
        traces["model against the guide"], traces["guide"] = traced(pair, x)
        for word, trace in traces.items():
            drawn = {
                name: site["value"]
                for name, site in trace.nodes.items()
                if site["type"] == "sample" and not poutine.util.site_is_subsample(site)
            }
            _check_device(f"the {word}", drawn, x.device)
            if word != "model":
                per_datum(trace, len(x), without=pair.structure.outside)


def _run_extras(pair: Pair, x: Tensor) -> None:
    """The optional methods."""
    with pair.evaluating():
        if capabilities(pair).likelihood == "exact":
            _check_device("log_prob", {"its value": log_prob(pair, x)}, x.device)
        if isinstance(pair.extras, HasElbo):
            _check_device("elbo_terms", elbo_terms(pair, x), x.device)
        if isinstance(pair.extras, HasSteps):
            _check_device("elbo_step", {"its value": elbo_step(pair, x, 1)}, x.device)
        for name in samplers(pair):
            _check_device(f"sampler {name!r}", {"its value": sample(pair, 2, sampler=name, passes=PASSES)}, x.device)


def _take_steps(pair: Pair, x: Tensor) -> None:
    """One step of each player, and the gradient of the pair's own estimate of the ELBO."""
    Trained(pair, [x])
    if isinstance(pair.extras, HasElbo):
        loss = torch.stack([term.mean() for term in elbo_terms(pair.train(True), x).values()]).sum()
        if loss.requires_grad:
            loss.backward()


def _check_device(word: str, values: Mapping[str, Any], device: torch.device) -> None:
    for name, value in values.items():
        if isinstance(value, Tensor) and value.dim() and value.device != device:
            raise BrokenError(f"in {word}, {name!r} should be on {device} like x; it is on {value.device}")
