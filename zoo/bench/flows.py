"""Flows: one RealNVP in this project and in three libraries of flows.

All have a standard normal base and ``layers`` affine couplings, each of which scales and shifts half of the dimensions
by a perceptron of two hidden layers of ``hidden`` SiLU units that sees the other half; the halves take turns. They
differ in how a scale is kept in bounds and in how halves are split and merged: that is each library's own way. None is
trained first, and all have as many parameters. A unit of work is one batch of log-densities or of draws, without
gradients.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.bench.task import Contenders, Entrant, SkippedError, Task
from zoo.engine.scorer import compile_scores
from zoo.nn.mlp import MLP
from zoo.pairs.sampling import sample
from zoo.pairs.traces import log_prob

LARGE = 1_000_000
"""Batches of a data set on which any preparation pays."""


@dataclass(frozen=True)
class FlowContender:
    """A density over flattened data: ``log_prob`` of ``(n, D)`` gives ``(n,)``, ``sample(n)`` gives ``(n, D)``."""

    log_prob: Callable[[Tensor], Tensor]
    sample: Callable[[int], Tensor]
    parameters: int


def own(task: Task) -> FlowContender:
    """The row's family, as its traces score it and as the zoo draws from it."""
    pair = task.pair().train(False)

    def density(x: Tensor) -> Tensor:
        with pyro.validation_enabled(False):
            return log_prob(pair, x)

    return FlowContender(density, partial(sample, pair), sum(each.numel() for each in pair.parameters()))


def compiled(task: Task) -> FlowContender:
    """The same for as many batches as a large data set has: by the engine that is expected to be fastest."""
    pair = task.pair().train(False)
    density = compile_scores(pair, log_prob, LARGE)
    drawn = compile_scores(pair, lambda pair, x: sample(pair, len(x)), LARGE)

    def validated(x: Tensor) -> Tensor:
        with pyro.validation_enabled(False):
            return density(x)

    return FlowContender(
        validated,
        lambda n: drawn(task.x.new_zeros(n, task.event.size)),
        sum(each.numel() for each in pair.parameters()),
    )


def in_zuko(task: Task) -> FlowContender:
    """``zuko.flows.RealNVP``."""
    zuko, size = _library("zuko"), task.event.size
    layers, hidden = _size(task)
    flow = zuko.flows.RealNVP(size, transforms=layers, hidden_features=(hidden, hidden), activation=nn.SiLU).eval()
    flow.to(task.device)
    density = flow()
    return FlowContender(density.log_prob, lambda n: density.sample((n,)), _count(flow))


def in_normflows(task: Task) -> FlowContender:
    """``normflows.NormalizingFlow`` of affine coupling blocks; a draw always computes its log-density, too."""
    normflows, size = _library("normflows"), task.event.size
    layers, hidden = _size(task)
    steps: list[Any] = []
    for _ in range(layers):
        net = MLP(size - size // 2, (hidden, hidden), 2 * (size // 2))
        steps += [normflows.flows.AffineCouplingBlock(net), normflows.flows.Permute(size, mode="swap")]
    base = normflows.distributions.DiagGaussian(size, trainable=False)
    flow = normflows.NormalizingFlow(base, steps).eval().to(task.device)
    return FlowContender(flow.log_prob, lambda n: flow.sample(n)[0], _count(flow))


def in_nflows(task: Task) -> FlowContender:
    """``nflows.flows.Flow`` of affine coupling transforms."""
    _library("nflows")
    modules = ("distributions.normal", "flows.base", "transforms.base", "transforms.coupling")
    normal, base, transforms, coupling = (importlib.import_module(f"nflows.{name}") for name in modules)
    size, (layers, hidden) = task.event.size, _size(task)
    masks = [(torch.arange(size) + i) % 2 for i in range(layers)]
    steps = [coupling.AffineCouplingTransform(mask, lambda m, n: _Contextless(m, hidden, n)) for mask in masks]
    flow = base.Flow(transforms.CompositeTransform(steps), normal.StandardNormal([size])).eval().to(task.device)
    return FlowContender(flow.log_prob, flow.sample, _count(flow))


class _Contextless(MLP):
    """An MLP that ignores the context that nflows passes."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__(inputs, (hidden, hidden), outputs)

    def forward(self, inputs: Tensor, context: None = None) -> Tensor:
        return super().forward(inputs)


def density(task: Task, make: Callable[[Task], FlowContender]) -> Entrant:
    """The log-densities of one batch."""
    flow, x = make(task), task.x.flatten(1)
    return Entrant(torch.no_grad()(lambda: flow.log_prob(x).mean()), note=lambda: _apart(flow, task))


def draws(task: Task, make: Callable[[Task], FlowContender]) -> Entrant:
    """One batch of draws."""
    flow, n = make(task), task.row.batch
    return Entrant(torch.no_grad()(lambda: flow.sample(n).mean()), note=lambda: _apart(flow, task))


def _apart(flow: FlowContender, task: Task) -> str:
    """The note on a flow of another size than the zoo's; empty if they are equal."""
    ours = sum(each.numel() for each in task.pair().parameters())
    return "" if flow.parameters == ours else f"has {flow.parameters:,} parameters, the zoo's has {ours:,}"


def _size(task: Task) -> tuple[int, int]:
    return task.row.hyper["layers"], task.row.hyper["hidden"]


def _count(flow: nn.Module) -> int:
    return sum(each.numel() for each in flow.parameters())


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SkippedError(f"{error.name or name} is not installed: pip install 'pyro-zoo[bench]'") from None


FLOWS: dict[str, Callable[[Task], FlowContender]] = {
    "zoo": own,
    "zoo, many batches": compiled,
    "zuko": in_zuko,
    "normflows": in_normflows,
    "nflows": in_nflows,
}
DENSITY: Contenders = {name: partial(density, make=make) for name, make in FLOWS.items()}
DRAWS: Contenders = {name: partial(draws, make=make) for name, make in FLOWS.items()}
