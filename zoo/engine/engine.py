"""One step of SVI at the speed of the hardware: Pyro's handlers run once, and a flat graph remains.

The gradient of an objective is recorded, effect handlers and all, as a graph of tensor operations (``traced``), which
a compiler may then fuse (``compiled``). What a graph cannot hold is noticed, and the plain engine (``eager``) takes
over and says why. All three draw the same random numbers, but for dropout of channels-last tensors, whose mask a graph
lays out in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.engine.aot import CompilationError, Flat, compiled, has_compiler
from zoo.engine.cost import Mode, Work, work_of
from zoo.engine.objectives import Objective, elbo
from zoo.engine.precision import precision
from zoo.engine.products import use_onednn
from zoo.engine.stepping import Stepper
from zoo.engine.tracing import Recording, UnrecordableError, record
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.pair import Pair, Program, no_guide
from zoo.seeding import seeded

MODES: tuple[Mode, ...] = ("eager", "traced", "compiled")


@dataclass(frozen=True)
class Graph:
    """A recorded step that is ready to run, or why there is none, or none that is compiled."""

    run: Flat | None = None
    recording: Recording | None = None
    reason: str = ""


@dataclass(frozen=True)
class BoundGraph:
    """A graph with the tensors that it takes; ``held`` keeps alive what the bond is known by."""

    graph: Graph
    parameters: list[nn.Parameter]
    buffers: list[Tensor]
    moving: list[Tensor]
    held: list[Tensor]

    @cached_property
    def tensors(self) -> list[Tensor]:
        """The graph's first inputs."""
        return [*self.parameters, *self.buffers]


class Engine:
    """Losses of batches, and their gradients into the parameters of ``pair``.

    Graphs are recorded anew for another shape, layout, type or device of ``x``, another mode (training or evaluation)
    or another set of trained parameters; each is recorded twice, with other random numbers, and used only if both
    agree. ``reason`` says in one line why the last batch ran on a plainer engine, if it did.

    Raises:
        ZooError: an unknown mode.
    """

    def __init__(
        self, pair: Pair, objective: Objective | None = None, mode: Mode = "traced", bf16: bool = False
    ) -> None:
        self.pair, self.objective, self.bf16 = pair, objective or elbo(), bf16
        self._graphs: dict[Any, Graph] = {}
        self._bonds: dict[Any, BoundGraph] = {}
        self._beta: tuple[Any, Tensor] = None, torch.empty(0)
        self.set_mode(mode)

    def set_mode(self, mode: Mode) -> None:
        """Compute what follows by ``mode``, or by ``traced`` where there is nothing to compile with."""
        if mode not in MODES:
            raise ZooError(f"engine is one of {', '.join(MODES)}; got {mode!r}")
        self.mode, self.reason, self._lack = mode, "", ""
        if mode == "compiled" and not has_compiler():
            self.mode, self._lack = "traced", "there is no C++ compiler on this machine: recorded, not compiled"

    def work(self, x: Tensor) -> Work:
        """What a plain step on a batch does; nothing is left of it."""
        before = {name: tensor.clone() for name, tensor in self.pair.state().items()}
        with seeded(0):
            work = work_of(lambda: self._plain(x, 1.0))
        self.pair.load(before)
        return work

    def __call__(self, x: Tensor, beta: float = 1.0) -> Tensor:
        """The loss of a batch, a scalar tensor not yet read; gradients are left in ``.grad`` of each parameter."""
        if self.mode == "eager":
            return self._plain(x, beta)
        bound = self._bound(x)
        self.reason = bound.graph.reason or self._lack
        if bound.graph.run is None:
            return self._plain(x, beta)
        with torch.no_grad():
            loss, *rest = bound.graph.run(*bound.tensors, x, self._weight(beta, x))
            for parameter, gradient in zip(bound.parameters, rest, strict=False):
                parameter.grad = laid_out_like(parameter, gradient)
            for tensor, moved in zip(bound.moving, rest[len(bound.parameters) :], strict=True):
                tensor.copy_(moved)
        return loss

    def _plain(self, x: Tensor, beta: float) -> Tensor:
        parameters = self.pair.parameters()
        for parameter in parameters:
            parameter.grad = None
        with pyro.validation_enabled(False), precision(self.bf16):
            surrogate, loss = self.objective(self.pair, x, beta)
            if surrogate.requires_grad:
                surrogate.backward(inputs=parameters)
        return loss

    def _bound(self, x: Tensor) -> BoundGraph:
        parts = list(self.pair.modules.values())
        for part in parts:  # and what is added below; torch's own walk takes three times as long
            parts += filter(None, part._modules.values())
        held = [t for part in parts for t in (*part._parameters.values(), *part._buffers.values()) if t is not None]
        held += self.pair.store["params"].values()
        like = (x.shape, x.stride(), x.dtype, x.device, tuple([part.training for part in parts]))
        known_by = (like, tuple([(id(each), each.data_ptr(), each.requires_grad) for each in held]))
        if known_by not in self._bonds:
            self._bonds[known_by] = self._bind(x, like, held)
        return self._bonds[known_by]

    def _bind(self, x: Tensor, like: Any, held: list[Tensor]) -> BoundGraph:
        named, state = self.pair.named_parameters(), self.pair.state()
        key = (like, tuple(named), tuple((name, each.shape, each.stride(), each.dtype) for name, each in state.items()))
        if key not in self._graphs:
            self._graphs[key] = self._made(x)
        graph = self._graphs[key]
        names = graph.recording
        return BoundGraph(
            graph,
            parameters=[named[name] for name in names.parameters] if names else [],
            buffers=[state[name] for name in names.buffers] if names else [],
            moving=[state[name] for name in names.moving] if names else [],
            held=held,
        )

    def _made(self, x: Tensor) -> Graph:
        try:
            recording = record(self.pair, self.objective, x, self.bf16)
        except UnrecordableError as error:
            return Graph(reason=str(error))
        graph = use_onednn(recording.graph)
        if self.mode == "traced":
            return Graph(graph, recording)
        state = self.pair.state()
        inputs = [state[name] for name in (*recording.parameters, *recording.buffers)]
        try:
            return Graph(compiled(graph, [*inputs, x, x.new_tensor(1.0)]), recording)
        except CompilationError as error:
            return Graph(graph, recording, f"{error}: recorded, not compiled")

    def _weight(self, beta: float, x: Tensor) -> Tensor:
        """``beta`` as a tensor, made anew only when it has changed."""
        if self._beta[0] != (beta, x.dtype, x.device):
            self._beta = (beta, x.dtype, x.device), x.new_tensor(beta)
        return self._beta[1]


class CompiledSVI:
    """`pyro.infer.SVI` for a plain Pyro pair, with the step recorded and compiled.

    >>> svi = CompiledSVI(model, guide, lambda parameters: torch.optim.Adam(parameters, lr=1e-3))
    >>> loss = svi.step(x)

    Args:
        model, guide: programs over a batch ``x``; the guide may be left out where nothing is latent.
        optim: makes any torch optimiser of a list of parameters.
        loss: see `zoo.engine.objectives`; the ELBO if not told.
        engine: ``compiled``, ``traced`` or ``eager``.
        clip: the largest norm of the gradient, if it is to be clipped.

    After the first step ``optimiser`` and ``pair`` are there: schedulers of torch take the one, and
    ``pair.named_parameters()`` of the other are what one averages.
    """

    def __init__(
        self,
        model: Program,
        guide: Program = no_guide,
        optim: Callable[[list[nn.Parameter]], torch.optim.Optimizer] = torch.optim.Adam,
        loss: Objective | None = None,
        engine: Mode = "compiled",
        clip: float | None = None,
    ) -> None:
        self.model, self.guide, self.optim, self.loss, self.mode, self.clip = model, guide, optim, loss, engine, clip
        self._begun: tuple[Engine, Stepper] | None = None

    def step(self, x: Tensor, beta: float = 1.0) -> Tensor:
        """Take one step on a batch; the loss in nats per datum, a tensor that is not waited for."""
        self._begun = self._begun or self._begin(x)
        engine, stepper = self._begun
        loss = engine(x, beta)
        if self.clip:
            torch.nn.utils.clip_grad_norm_(engine.pair.parameters(), self.clip)
        stepper.step()
        return loss

    @property
    def pair(self) -> Pair:
        """What is trained (after the first step)."""
        return self._after_the_first_step()[0].pair

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """What trains it (after the first step)."""
        return self._after_the_first_step()[1].optimiser

    @property
    def reason(self) -> str:
        """Why the last step ran on the plain engine; empty if it did not."""
        return self._begun[0].reason if self._begun else ""

    def _begin(self, x: Tensor) -> tuple[Engine, Stepper]:
        pair = Pair(Event(tuple(x.shape[1:]) or (1,), "real"), self.model, self.guide, example=x)
        return Engine(pair, self.loss, self.mode), Stepper(self.optim(pair.parameters()))

    def _after_the_first_step(self) -> tuple[Engine, Stepper]:
        if self._begun is None:
            raise ZooError("parameters are made by the first step: call step(x) before")
        return self._begun


def laid_out_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in its parameter's memory layout, which fused optimisers take for granted."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
