"""What each entry of a datum contributes to its log-probability, where that is derivable."""

from __future__ import annotations

from typing import Literal

import torch
from pyro import poutine
from torch import Tensor

from zoo.distributions.autoregressive import Autoregressive
from zoo.metrics.bounds import MEMORY, rows_within
from zoo.pairs.pair import Pair
from zoo.pairs.sites import data_first, entries_of
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
    [name] = can.observed
    places = pair.layout.places[name].argsort()

    def work(part: Tensor) -> Tensor:
        site = poutine.trace(pair.model).get_trace(part).nodes[name]
        fn, value = site["fn"], site["value"]
        if isinstance(fn, Autoregressive):
            picked = fn.logits(value).log_softmax(-1).gather(-1, value.long().unsqueeze(-1)).squeeze(-1)
        else:
            picked = entries_of(fn).log_prob(value)
        found = data_first(name, {**site, "value": picked}, len(part)).reshape(len(part), -1)
        return found[:, places.to(found.device)].cpu().double()

    with pair.evaluating():
        fn = poutine.trace(pair.model).get_trace(x[:1]).nodes[name]["fn"]
        if not isinstance(fn, Autoregressive) and entries_of(fn).event_shape:
            return None
        found = torch.cat([work(part) for part in x.split(rows_within(MEMORY, x, work))])
    return found, "earlier" if isinstance(fn, Autoregressive) else ""
