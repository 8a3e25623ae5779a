"""Law: a pair runs on another device, a GPU or else the meta device, where tensors have no values."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.overrides import TorchFunctionMode

from zoo.contract.case import Case
from zoo.contract.findings import BrokenError, NotApplicableError
from zoo.pairs.pair import HasPlayers, Pair
from zoo.pairs.parameters import VARIABLES
from zoo.pairs.sites import per_datum
from zoo.pairs.traces import capabilities, log_prob, traced
from zoo.pairs.user_errors import describe


def runs_elsewhere(case: Case) -> None:
    if case.device == "cpu":
        raise NotApplicableError("it is checked for the CPU alone")
    device = "cuda" if torch.cuda.is_available() else "meta"
    pair, x = case.fresh(), case.x(case.sizes[0]).to(device)
    if device == "meta" and VARIABLES in pair.modules:
        raise NotApplicableError(
            "parameters that belong to no module cannot be moved to the meta device; "
            "run this check on a machine with a GPU"
        )
    pair.to(device)
    try:
        with _OneDevice():
            _run_everything(pair, x)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        if device == "meta" and any(sign in str(error) for sign in NEEDS_VALUES):
            raise NotApplicableError(
                f"a program depends on values ({describe(error)}), which the meta device does not have; "
                "run this check on a machine with a GPU"
            ) from error
        raise


NEEDS_VALUES = (
    "called on meta tensors",
    "copy out of meta",
    "data-independent",
    "Meta tensors, but there was no",
    "meta device",
)
"""Parts of torch's messages for a program that depends on values, or an operation that the meta device lacks."""


def _run_everything(pair: Pair, x: Tensor) -> None:
    with pair.evaluating():
        traces = {"model": poutine.trace(poutine.uncondition(pair.model)).get_trace(x)}
        traces["model against the guide"], traces["guide"] = traced(pair, x)
        for word, trace in traces.items():
            drawn = {
                name: site["value"]
                for name, site in trace.nodes.items()
                if site["type"] == "sample" and not poutine.util.site_is_subsample(site)
            }
            _check_device(f"the {word}", drawn, x)
            if word != "model":
                per_datum(trace, len(x), without=pair.structure.outside)
        if capabilities(pair).likelihood == "exact":
            _check_device("log_prob", {"its value": log_prob(pair, x)}, x)
    if isinstance(pair.extras, HasPlayers):  # Pyro's own ELBO reads its value, which meta tensors do not have
        with pyro.validation_enabled(False):
            for player in pair.extras.players():
                player.loss(x)


def _check_device(word: str, values: Mapping[str, Any], x: Tensor) -> None:
    for name, value in values.items():
        if isinstance(value, Tensor) and value.dim() and value.device != x.device:
            raise BrokenError(f"in {word}, {name!r} should be on {x.device} like x; it is on {value.device}")


class _OneDevice(TorchFunctionMode):
    """Refuses operations on tensors of two devices; the meta device accepts some of them."""

    MOVES = frozenset({"to", "copy_", "type_as", "__getitem__", "__setitem__", "__get__", "__set__", "index_put_"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = chain(*((a if isinstance(a, (tuple, list)) else (a,)) for a in (*args, *kwargs.values())))
        devices = {each.device.type for each in given if isinstance(each, Tensor) and each.dim()}
        name = getattr(func, "__name__", "")
        if len(devices) > 1 and name not in self.MOVES:
            raise RuntimeError(f"{name} was given tensors on {' and '.join(sorted(devices))}")
        return func(*args, **kwargs)
