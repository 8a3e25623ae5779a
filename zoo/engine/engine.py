"""Steps of SVI in three modes: ``eager`` (Pyro's handlers at every step), ``traced`` and ``compiled``.

The gradient of an objective, effect handlers and all, is recorded as a graph of tensor operations (``traced``), which a
compiler may fuse (``compiled``). A step that a graph cannot represent runs eagerly, and ``reason`` says why. All modes
draw the same random numbers, except dropout of channels-last tensors, whose mask a graph fills in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import pyro
import torch
from torch import Tensor, nn

from zoo.engine.aot import CompilationError, compiled, has_compiler
from zoo.engine.cost import FEWEST_STEPS, MODES, Mode, Work, counted, fastest_mode
from zoo.engine.machine import load_calibration
from zoo.engine.objectives import Objective, elbo
from zoo.engine.precision import Precision, autocast
from zoo.engine.private import Graph, walk
from zoo.engine.products import Products, use_onednn
from zoo.engine.tracing import UnrecordableError, record
from zoo.errors import ZooError
from zoo.pairs.pair import Pair
from zoo.pairs.records import cut
from zoo.seeding import seeded


@dataclass(frozen=True)
class _Recorded:
    """A recorded step with the names of its inputs, and why it is not compiled, or why there is none."""

    run: Graph | None = None
    reason: str = ""
    parameters: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    moving: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Bound:
    """A recorded step with its first inputs; ``held`` keeps the tensors alive whose addresses are in the cache key."""

    recorded: _Recorded
    parameters: list[nn.Parameter]
    strides: list[tuple[int, ...]]
    buffers: list[Tensor]
    moving: list[Tensor]
    held: list[Tensor]

    def step(self, run: Graph, x: Tensor, beta: Tensor) -> Tensor:
        """Run the graph; gradients are left in ``.grad`` in the layout of their parameters, as fused Adam assumes."""
        with torch.no_grad():
            loss, *rest = run(*self.parameters, *self.buffers, x, beta)
            for parameter, stride, gradient in zip(self.parameters, self.strides, rest, strict=False):
                same = gradient.stride() == stride
                parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
            if self.moving:
                for tensor, moved in zip(self.moving, rest[len(self.parameters) :], strict=True):
                    tensor.copy_(moved)
        return loss


class Engine:
    """``engine(x, beta)`` is the loss of a batch; gradients are left in ``.grad`` of the parameters of ``pair``.

    Made by `compile`. A graph is recorded for each shape, layout, type and device of ``x``, each mode (training or
    evaluation) and each set of trained parameters. Each is recorded twice, with different random numbers, and used only
    if both agree.

    Attributes:
        mode: ``eager``, ``traced`` or ``compiled``.
        products: the library of large products in recorded steps.
        reason: why the last batch ran in a plainer mode, in one line; empty if it did not.
    """

    def __init__(
        self,
        pair: Pair,
        objective: Objective,
        mode: Mode,
        products: Products,
        precision: Precision,
        decide: Callable[[Work], Mode] | None = None,
    ) -> None:
        self.pair, self.objective, self.products, self.precision = pair, objective, products, precision
        self._decide = decide
        self._take(mode)
        self._recorded: dict[Any, _Recorded] = {}
        self._bound: dict[Any, _Bound] = {}
        self._beta: tuple[Any, Tensor] = None, torch.empty(0)

    def _take(self, mode: Mode) -> None:
        if mode not in MODES:
            raise ZooError(f"engine is one of auto, {', '.join(MODES)}; got {mode!r}")
        self.mode, self.reason, self._no_compiler = mode, "", ""
        if mode == "compiled" and not has_compiler():
            self.mode, self._no_compiler = "traced", "there is no C++ compiler on this machine: recorded, not compiled"

    def __call__(self, x: Tensor, beta: float = 1.0) -> Tensor:
        """The loss of a batch in nats per datum, a scalar tensor that has not been waited for.

        Data with a label and data without are two steps, of which loss and gradients are averaged.

        Args:
            x: a batch, shape ``(n, *event.shape)``.
            beta: the weight of the latents' terms.
        """
        if self._decide is None:
            return self._batch(x, beta)
        loss, work = counted(lambda: self._batch(x, beta))
        self._take(self._decide(work))
        self._decide = None
        self.__dict__.pop("_unlabelled", None)  # made by an eager step
        return loss

    def _batch(self, x: Tensor, beta: float) -> Tensor:
        if self.pair.event.label is None:
            return self._step(x, beta)
        loss, gradients, reasons = x.new_zeros(()), dict[nn.Parameter, Tensor](), []
        for _, part in cut(self.pair.event, x):
            engine, share = self if part.shape[1:] == x.shape[1:] else self._unlabelled, len(part) / len(x)
            loss = loss + share * engine._step(part, beta)
            reasons.append(engine.reason)
            for parameter in self.pair.parameters():
                if parameter.grad is not None:
                    gradients[parameter] = gradients.get(parameter, 0) + share * parameter.grad
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        self.reason = "; ".join(dict.fromkeys(filter(None, reasons)))
        return loss

    @cached_property
    def _unlabelled(self) -> Engine:
        return Engine(self.pair.unlabelled, self.objective, self.mode, self.products, self.precision)

    def _step(self, x: Tensor, beta: float) -> Tensor:
        if self.mode == "eager":
            return self._eager(x, beta)
        bound = self._find(x)
        self.reason = bound.recorded.reason or self._no_compiler
        if bound.recorded.run is None:
            return self._eager(x, beta)
        if self._beta[0] != (beta, x.dtype, x.device):
            self._beta = (beta, x.dtype, x.device), x.new_tensor(beta)
        return bound.step(bound.recorded.run, x, self._beta[1])

    def _eager(self, x: Tensor, beta: float) -> Tensor:
        parameters = self.pair.parameters()
        for parameter in parameters:
            parameter.grad = None
        with pyro.validation_enabled(False):
            with autocast(self.precision, x.device):
                surrogate, loss = self.objective(self.pair, x, beta)
            if surrogate.requires_grad:
                surrogate.backward(inputs=parameters)
        return loss

    def _find(self, x: Tensor) -> _Bound:
        parts, held = walk(self.pair.modules.values())
        held += self.pair.store["params"].values()
        like = (x.shape, x.stride(), x.dtype, x.device, tuple([part.training for part in parts]))
        key = (like, tuple([(id(each), each.data_ptr(), each.requires_grad) for each in held]))
        if key not in self._bound:
            self._bound[key] = self._bind(x, like, held)
        return self._bound[key]

    def _bind(self, x: Tensor, like: Any, held: list[Tensor]) -> _Bound:
        named, state = self.pair.named_parameters(), self.pair.state()
        key = (like, tuple(named), tuple((name, each.shape, each.stride(), each.dtype) for name, each in state.items()))
        if key not in self._recorded:
            self._recorded[key] = self._record(x, state)
        recorded = self._recorded[key]
        parameters = [named[name] for name in recorded.parameters]
        return _Bound(
            recorded,
            parameters,
            strides=[each.stride() for each in parameters],
            buffers=[state[name] for name in recorded.buffers],
            moving=[state[name] for name in recorded.moving],
            held=held,
        )

    def _record(self, x: Tensor, state: dict[str, Tensor]) -> _Recorded:
        try:
            recording = record(self.pair, self.objective, x, self.precision)
        except UnrecordableError as error:
            return _Recorded(reason=str(error))
        graph = use_onednn(recording.graph) if self.products == "onednn" else recording.graph
        names = (recording.parameters, recording.buffers, recording.moving)
        if self.mode == "traced":
            return _Recorded(graph, "", *names)
        inputs = [state[name] for name in (*recording.parameters, *recording.buffers)]
        try:
            return _Recorded(compiled(graph, [*inputs, x, x.new_tensor(1.0)]), "", *names)
        except CompilationError as error:
            return _Recorded(graph, f"{error}: recorded, not compiled", *names)


def compile(
    pair: Pair,
    objective: Objective | None = None,
    *,
    mode: Mode | Literal["auto"] = "traced",
    products: Products | None = None,
    precision: Precision = "float32",
    steps: int = 0,
    runs: int = 1,
) -> Engine:
    """Make a function that computes losses of batches and leaves their gradients in ``.grad``.

    What cannot be recorded or compiled runs in a plainer mode, and ``reason`` of the result says why.

    Args:
        pair: the model and guide whose parameters are trained.
        objective: see `zoo.engine.objectives`; the ELBO with one particle by default.
        mode: ``eager``, ``traced``, ``compiled``, or ``auto``: the first batch runs eagerly and its operations are
            counted, and those after it run in the mode that is expected to finish first. That depends on the
            calibration of the machine and on the count, not on timing, so it can be repeated. It is ``eager`` without a
            calibration, and on devices other than the CPU, which are not calibrated.
        products: the library of large float32 products; by default the one that the calibration of the machine found
            faster, and torch's own without a calibration.
        precision: ``float32``, or ``bf16`` for matrix products in bfloat16.
        steps: of ``auto``: the number of steps of a run.
        runs: of ``auto``: the number of runs that share the cost of compiling.

    Returns:
        ``step(x, beta=1.0) -> loss``, in nats per datum, with attributes ``mode``, ``products`` and ``reason``.

    Raises:
        ZooError: an unknown mode.

    Example:
        >>> import torch, zoo
        >>> from zoo import engine
        >>> pair = zoo.build("ppca", zoo.Event(2, "real"))
        >>> step = engine.compile(pair, mode="traced")
        >>> step(torch.zeros(8, 2)).shape, step.mode, step.reason
        (torch.Size([]), 'traced', '')
    """
    known = load_calibration()
    products = products or (known.products if known else "torch")
    if mode != "auto":
        return Engine(pair, objective or elbo(), mode, products, precision)
    pays = known is not None and pair.device.type == "cpu" and pair.parameters() and steps * runs >= FEWEST_STEPS
    decide = partial(fastest_mode, steps=steps, runs=runs, calibration=known) if pays else None
    return Engine(pair, objective or elbo(), "eager", products, precision, decide)


def choose_engine(pair: Pair, x: Tensor, steps: int, *, objective: Objective | None = None, runs: int = 1) -> Mode:
    """The mode that ``auto`` takes; see `compile`.

    Args:
        pair: the model and guide to train; it is left as it was.
        x: a batch like those of the steps to come.
        steps: the number of steps of a run.
        objective: see `zoo.engine.objectives`; the ELBO with one particle by default.
        runs: the number of runs that share the cost of compiling.
    """
    before = {name: tensor.clone() for name, tensor in pair.state().items()}
    step = compile(pair, objective, mode="auto", steps=steps, runs=runs)
    with seeded(0):
        step(x)
    pair.load(before)
    return step.mode
