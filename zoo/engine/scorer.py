"""Scoring many batches of one shape, as quickly as their number deserves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from zoo.engine.aot import CompilationError, Flat, compiled, has_compiler
from zoo.engine.cost import choose_engine, work_of
from zoo.engine.products import use_onednn
from zoo.engine.tracing import UnrecordableError, record_scores
from zoo.pairs.pair import Pair

Score = Callable[[Pair, Tensor], Tensor]
FEWEST = 8
"""With fewer batches nothing is worth recording."""


def scorer(pair: Pair, score: Score, x: Tensor, batches: int) -> Callable[[Tensor], Tensor]:
    """``score(pair, x)`` for ``batches`` batches like ``x``, in evaluation mode: the same numbers to float tolerance.

    Many batches run through a recorded graph, compiled where that pays; a batch of another shape, few batches, and
    what a graph cannot hold run as they are.
    """

    def plain(part: Tensor) -> Tensor:
        return score(pair, part)

    if batches < FEWEST:
        return plain
    try:
        graph = use_onednn(record_scores(pair, score, x))
    except UnrecordableError:
        return plain
    state = list(pair.state().values())
    run: Flat = graph
    if has_compiler() and choose_engine(work_of(lambda: plain(x)), batches) == "compiled":
        with suppress(CompilationError):
            run = compiled(graph, [*state, x])

    def quick(part: Tensor) -> Tensor:
        if part.shape != x.shape:
            return plain(part)
        with torch.no_grad():
            (made,) = run(*state, part)
        return made

    return quick
