"""One step of SVI at the speed of the hardware: Pyro's handlers run once, and a flat graph remains.

The gradient of an objective is recorded, effect handlers and all, as a graph of tensor operations (``traced``), which
a compiler may then fuse (``compiled``). What a graph cannot hold is noticed, and the plain engine (``eager``) takes
over and says why. Latents draw the same noise in all three, but for ``compiled``, which has its own generator, and for
dropout of channels-last tensors, whose mask a graph lays out in another order.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pyro
import torch
from torch import Tensor, nn
from torch.func import grad_and_value
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.stateless import _reparametrize_module

from zoo.errors import ZooError
from zoo.event import Event
from zoo.objectives import Objective, elbo
from zoo.pair import Pair, Program, no_guide
from zoo.seeding import seeded

Mode = Literal["eager", "traced", "compiled"]
MODES: tuple[Mode, ...] = ("eager", "traced", "compiled")
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Graph:
    """The recorded step ``(parameters, buffers, x, beta) -> (loss, gradients, buffers)``, or why there is none."""

    step: Callable[..., tuple[Tensor, Tensors, Tensors]] | None
    reason: str = ""


class Engine:
    """Losses of batches, and their gradients into the parameters of ``pair``.

    Graphs are recorded anew for another shape, type or device of ``x``, another mode (training or evaluation) or
    another set of trained parameters; each is recorded twice, on other data and other random numbers, and used only if
    both agree. ``reason`` says in one line why the last batch ran on a plainer engine, if it did.

    Raises:
        ZooError: an unknown mode.
    """

    def __init__(
        self, pair: Pair, objective: Objective | None = None, mode: Mode = "traced", bf16: bool = False
    ) -> None:
        if mode not in MODES:
            raise ZooError(f"engine is one of {', '.join(MODES)}; got {mode!r}")
        self.pair, self.objective, self.bf16 = pair, objective or elbo(), bf16
        self.mode, self.reason, self._lack = mode, "", ""
        if mode == "compiled" and not _compiler():
            self.mode, self._lack = "traced", "there is no C++ compiler on this machine: recorded, not compiled"
        self._graphs: dict[Any, Graph] = {}

    def __call__(self, x: Tensor, beta: float = 1.0) -> Tensor:
        """The loss of a batch, a scalar tensor not yet read; gradients are left in ``.grad`` of each parameter."""
        named = self.pair.named_parameters()
        graph = None if self.mode == "eager" else self._graph(named, x)
        self.reason = graph.reason or self._lack if graph else self._lack
        if graph is None or graph.step is None:
            return self._plain(named, x, beta)
        buffers = self._buffers(named)
        parameters = {name: parameter.detach() for name, parameter in named.items()}
        loss, gradients, moved = graph.step(parameters, buffers, x, x.new_tensor(beta))
        for name, parameter in named.items():
            parameter.grad = _laid_out_like(parameter, gradients[name])
        for name, tensor in moved.items():
            buffers[name].copy_(tensor)
        return loss

    def _plain(self, named: Mapping[str, nn.Parameter], x: Tensor, beta: float) -> Tensor:
        with pyro.validation_enabled(False), self._precision(x):
            surrogate, loss = self.objective(self.pair, x, beta)
        for parameter in named.values():
            parameter.grad = None
        if surrogate.requires_grad:
            surrogate.backward(inputs=list(named.values()))
        return loss

    def _graph(self, named: Mapping[str, nn.Parameter], x: Tensor) -> Graph:
        training = tuple(part.training for module in self.pair.modules.values() for part in module.modules())
        key = (x.shape, x.dtype, x.device, training, tuple(named))
        if key not in self._graphs:
            self._graphs[key] = self._record(named, x)
        return self._graphs[key]

    def _record(self, named: Mapping[str, nn.Parameter], x: Tensor) -> Graph:
        try:
            first, second = (self._trace(named, batch, seed) for seed, batch in enumerate((x, x.flip(0))))
        except Exception as error:  # whatever a graph cannot hold: the plain engine runs it, and says why
            return Graph(
                None, f"it cannot be recorded as a graph ({type(error).__name__}: {str(error).splitlines()[0]})"
            )
        difference = _difference(first, second)
        if difference:
            return Graph(None, f"recorded twice, its graph differs ({difference}): it depends on values or on chance")
        return Graph(torch.compile(first, dynamic=False) if self.mode == "compiled" else first)

    def _trace(self, named: Mapping[str, nn.Parameter], x: Tensor, seed: int) -> GraphModule:
        parameters = {name: parameter.detach() for name, parameter in named.items()}
        with seeded(seed):
            moving = self._moving(named, x)

        def scored(
            parameters: Tensors, buffers: Tensors, x: Tensor, beta: Tensor
        ) -> tuple[Tensor, tuple[Tensor, Tensors]]:
            kept = {name: tensor.clone() if name in moving else tensor for name, tensor in buffers.items()}
            with _substituted(self.pair, parameters | kept), pyro.validation_enabled(False), self._precision(x):
                surrogate, loss = self.objective(self.pair, x, beta)
                moved = {name: _current(self.pair, name) for name in moving}
            return surrogate, (loss, moved)

        def step(parameters: Tensors, buffers: Tensors, x: Tensor, beta: Tensor) -> tuple[Tensor, Tensors, Tensors]:
            gradients, (_, (loss, moved)) = grad_and_value(scored, has_aux=True)(parameters, buffers, x, beta)
            return loss, gradients, moved

        with seeded(seed):
            return make_fx(step)(parameters, self._buffers(named), x, x.new_tensor(1.0))

    def _moving(self, named: Mapping[str, nn.Parameter], x: Tensor) -> set[str]:
        """The buffers that a step changes, such as running means."""
        buffers = self._buffers(named)
        before = {name: tensor.clone() for name, tensor in buffers.items()}
        with torch.no_grad(), pyro.validation_enabled(False):
            self.objective(self.pair, x, 1.0)
        changed = {name for name, tensor in self._buffers(named).items() if not torch.equal(tensor, before[name])}
        for name in changed:
            _current(self.pair, name).copy_(before[name])
        return changed

    def _buffers(self, named: Mapping[str, nn.Parameter]) -> Tensors:
        return {name: tensor for name, tensor in self.pair.state().items() if name not in named}

    def _precision(self, x: Tensor) -> Any:
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False)


class CompiledSVI:
    """`pyro.infer.SVI` for a plain Pyro pair, with the step recorded and compiled.

    >>> svi = CompiledSVI(model, guide, lambda parameters: torch.optim.Adam(parameters, lr=1e-3))
    >>> loss = svi.step(x)

    Args:
        model, guide: programs over a batch ``x``; the guide may be left out where nothing is latent.
        optim: makes any torch optimiser of a list of parameters.
        loss: see `zoo.objectives`; the ELBO if not told.
        engine: ``compiled``, ``traced`` or ``eager``.
    """

    def __init__(
        self,
        model: Program,
        guide: Program = no_guide,
        optim: Callable[[list[nn.Parameter]], torch.optim.Optimizer] = torch.optim.Adam,
        loss: Objective | None = None,
        engine: Mode = "compiled",
    ) -> None:
        self.model, self.guide, self.optim, self.loss, self.mode = model, guide, optim, loss, engine
        self._engine: Engine | None = None
        self._optimiser: torch.optim.Optimizer | None = None

    def step(self, x: Tensor, beta: float = 1.0) -> Tensor:
        """Take one step on a batch; the loss in nats per datum, a tensor that is not waited for."""
        if self._engine is None or self._optimiser is None:
            pair = Pair(Event(tuple(x.shape[1:]) or (1,), "real"), self.model, self.guide, example=x)
            self._engine = Engine(pair, self.loss, self.mode)
            self._optimiser = self.optim(pair.parameters())
        loss = self._engine(x, beta)
        self._optimiser.step()
        return loss

    @property
    def reason(self) -> str:
        """Why the last step ran on the plain engine; empty if it did not."""
        return self._engine.reason if self._engine else ""


@contextmanager
def _substituted(pair: Pair, tensors: Tensors) -> Iterator[None]:
    """Inside, the pair's programs compute with ``tensors`` in the place of its own."""
    own = pair.store["params"]
    try:
        with ExitStack() as stack:
            for part, module in pair.modules.items():
                held = {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
                stack.enter_context(_reparametrize_module(module, held))
            pair.store["params"] = {name: tensors.get(f"param.{name}", tensor) for name, tensor in own.items()}
            yield
    finally:
        pair.store["params"] = own


def _laid_out_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in its parameter's memory layout, which fused optimisers take for granted."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _current(pair: Pair, name: str) -> Tensor:
    """The buffer that is called ``name`` in the pair's state, as it is now."""
    part, path = next((part, name.removeprefix(f"{part}.")) for part in pair.modules if name.startswith(f"{part}."))
    return pair.modules[part].get_buffer(path)


def _difference(first: GraphModule, second: GraphModule) -> str:
    """What differs between two graphs, constants included; empty if nothing does."""
    one, other = (list(graph.graph.nodes) for graph in (first, second))
    if len(one) != len(other):
        return f"{len(one)} and {len(other)} operations"
    for a, b in zip(one, other, strict=True):
        if a.format_node() != b.format_node():
            return f"{a.format_node()} and {b.format_node()}"
        if a.op == "get_attr" and not torch.equal(getattr(first, a.target), getattr(second, b.target)):
            return f"the constant {a.target}"
    return ""


def _compiler() -> bool:
    return any(shutil.which(name) for name in ("g++", "clang++", "c++", "cl"))
