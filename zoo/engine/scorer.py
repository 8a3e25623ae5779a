"""Scores of many batches of one shape."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from zoo.engine.aot import CompilationError, compiled
from zoo.engine.cost import Mode, counted, fastest_mode
from zoo.engine.machine import load_calibration
from zoo.engine.private import Graph
from zoo.engine.products import Products, use_onednn
from zoo.engine.tracing import UnrecordableError, record_scores
from zoo.pairs.pair import Pair

Score = Callable[[Pair, Tensor], Tensor]
FEWEST_BATCHES = 8
"""With fewer, recording does not pay."""


def compile_scores(pair: Pair, score: Score, batches: int) -> Callable[[Tensor], Tensor]:
    """``score(pair, x)`` as a function of ``x`` in evaluation mode, without gradients, to float rounding.

    It may draw: ``lambda pair, x: sample(pair, len(x))`` gives as many draws as ``x`` has data.

    The first of many batches runs plainly and its operations are counted; those after it run through a recorded graph,
    or a compiled one, where the calibration of the machine expects that to be faster. A batch of another shape, and
    what cannot be recorded, run plainly.

    Args:
        pair: the model and guide, in evaluation mode.
        score: scores of a batch; any shape.
        batches: how many batches like the first there are.
    """
    calibration = load_calibration() if batches >= FEWEST_BATCHES else None
    if calibration is None:
        return lambda x: score(pair, x)
    graphs: dict[torch.Size, Graph | None] = {}

    def scored(x: Tensor) -> Tensor:
        if not graphs:
            first, work = counted(lambda: score(pair, x))
            mode = fastest_mode(work, batches - 1, 1, calibration)
            graphs[x.shape] = None if mode == "eager" else _graph(pair, score, x, mode, calibration.products)
            return first
        graph = graphs.get(x.shape)
        return score(pair, x) if graph is None else graph(x)[0]

    return scored


def _graph(pair: Pair, score: Score, x: Tensor, mode: Mode, products: Products) -> Graph | None:
    try:
        graph = record_scores(pair, score, x)
    except UnrecordableError:
        return None
    run: Graph = use_onednn(graph) if products == "onednn" else graph
    state = list(pair.state().values())
    if mode == "compiled":
        with suppress(CompilationError):
            run = compiled(graph, [*state, x])
    return torch.no_grad()(lambda part: run(*state, part))
