"""What each entry of a datum contributes to its log-probability, where that is derivable."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pyro import poutine
from torch import Tensor

from zoo.distributions.autoregressive import Autoregressive
from zoo.metrics.memory import in_chunks
from zoo.pairs.pair import Pair
from zoo.pairs.sites import data_first, entries_of, unmasked_entries_of
from zoo.pairs.traces import capabilities
from zoo.use.gaussian import gaussian_marginal

Given = Literal["", "earlier", "rest"]
"""What an entry's log-probability is given: nothing, the entries before it, or all others."""


def entry_log_probs(pair: Pair, x: Tensor) -> tuple[Tensor, Given] | None:
    """log p of each entry of data ``(n, *event.shape)``: shape ``(n, D)``, in nats, and what it is given.

    Independent entries and those of an autoregressive model add up to log p(x); conditionals given all other entries
    (a Gaussian marginal) do not. ``None`` where none of these can be derived.
    """
    can = capabilities(pair)
    if pair.event.fields or can.likelihood != "exact" or not pair.structure.plain or len(can.observed) != 1:
        return None
    if can.latents:
        gaussian = gaussian_marginal(pair)
        return None if gaussian is None else (gaussian.conditionals(x.flatten(1)), "rest")

    def work(part: Tensor) -> Tensor:
        return nats_of_entries(pair, poutine.trace(pair.model).get_trace(part), len(part)).cpu().double()

    with pair.evaluating():
        fn = poutine.trace(pair.model).get_trace(x[:1]).nodes[can.observed[0]]["fn"]
        if not isinstance(fn, Autoregressive) and entries_of(fn).event_shape:
            return None
        found = in_chunks(x, work)
    return found, "earlier" if isinstance(fn, Autoregressive) else ""


def data_sites(pair: Pair) -> dict[str, Tensor]:
    """The places of the entries of each observed site but that of the label."""
    labels = torch.tensor([field.role == "label" for field in pair.event.parts for _ in range(field.size)])
    return {name: places for name, places in pair.layout.places.items() if not labels[places].any()}


def nats_of_entries(pair: Pair, trace: Any, n: int) -> Tensor:
    """log p of each entry of ``n`` data under the only site of a trace that observes x: shape ``(n, D)``.

    Of independent entries it is given the latents; of autoregressive ones also given the entries before. The label and
    the given fields of a record have 0.
    """
    [(name, places)] = data_sites(pair).items()
    site = trace.nodes[name]
    fn, value = site["fn"], site["value"]
    if isinstance(fn, Autoregressive):
        nats = fn.logits(value).log_softmax(-1).gather(-1, value.long().unsqueeze(-1)).squeeze(-1)
    else:
        nats = unmasked_entries_of(fn).log_prob(value)
    found = data_first(name, {**site, "value": nats}, n).reshape(n, -1)
    return found.new_zeros(n, pair.event.size).index_copy(1, places.to(found.device), found)
