"""A pair's step as a flat graph of tensor operations: the effect handlers run once, and only arithmetic remains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor, nn
from torch.func import grad_and_value
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.stateless import _reparametrize_module

from zoo.errors import ZooError
from zoo.objectives import Objective
from zoo.pair import Pair
from zoo.precision import precision
from zoo.seeding import seeded

Tensors = dict[str, Tensor]


class UnrecordableError(ZooError):
    """What a graph cannot hold, in one line."""


@dataclass(frozen=True)
class Recording:
    """The step of one shape of batch: ``graph(*parameters, *buffers, x, beta)`` is ``(loss, *gradients, *moved)``.

    ``parameters`` and ``buffers`` are names in `Pair.state`; ``moving`` those of the buffers that a step changes, such
    as running means. The tensors themselves are inputs, so one recording serves every pair of the same structure.
    """

    graph: GraphModule
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    moving: tuple[str, ...]


def record(pair: Pair, objective: Objective, x: Tensor, bf16: bool = False) -> Recording:
    """Record loss and gradients of ``objective``, twice, on other data and other random numbers.

    Raises:
        UnrecordableError: it fails, or the two differ: something in it hangs on values or on Python's own chance, and
            would be frozen.
    """
    named = pair.named_parameters()
    buffers = [name for name in pair.state() if name not in named]
    moving: list[str] = []

    def trace_twice() -> list[GraphModule]:
        with seeded(0):
            moving.extend(_moving(pair, objective, x, buffers))
        names = (list(named), buffers, moving)
        return [_trace(pair, objective, batch, names, bf16, seed) for seed, batch in enumerate((x, x.flip(0)))]

    first = _agreed(trace_twice)
    return Recording(first, tuple(named), tuple(buffers), tuple(moving))


def record_scores(pair: Pair, score: Callable[[Pair, Tensor], Tensor], x: Tensor) -> GraphModule:
    """Record ``score(pair, x)`` in evaluation mode: ``graph(*state, x)`` is a list of it, of `Pair.state`'s values.

    Raises:
        UnrecordableError: see `record`.
    """
    names = list(pair.state())

    def run(*flat: Tensor) -> list[Tensor]:
        with _substituted(pair, dict(zip(names, flat, strict=False))):
            return [score(pair, flat[-1])]

    def trace(x: Tensor, seed: int) -> GraphModule:
        with pair.evaluating(), seeded(seed):
            return make_fx(run)(*pair.state().values(), x)

    return _agreed(lambda: [trace(batch, seed) for seed, batch in enumerate((x, x.flip(0)))])


def _agreed(trace_twice: Callable[[], Sequence[GraphModule]]) -> GraphModule:
    """The first of two traces, if both are the same."""
    try:
        first, second = trace_twice()
    except Exception as error:  # a stranger's program may raise anything: the plain engine runs it, and says why
        line = str(error).splitlines()[0] if str(error) else ""
        raise UnrecordableError(f"it cannot be recorded as a graph ({type(error).__name__}: {line})") from error
    if difference := _difference(first, second):
        raise UnrecordableError(f"recorded twice, its graph differs ({difference}): it depends on values or on chance")
    return first


def _trace(
    pair: Pair, objective: Objective, x: Tensor, names: tuple[list[str], list[str], list[str]], bf16: bool, seed: int
) -> GraphModule:
    parameters, buffers, moving = names
    state = pair.state() | {name: tensor.detach() for name, tensor in pair.named_parameters().items()}

    def scored(trained: Tensors, held: Tensors, x: Tensor, beta: Tensor) -> tuple[Tensor, tuple[Tensor, list[Tensor]]]:
        kept = {name: tensor.clone() if name in moving else tensor for name, tensor in held.items()}
        with _substituted(pair, trained | kept), pyro.validation_enabled(False):
            surrogate, loss = objective(pair, x, beta)
            moved = [_current(pair, name) for name in moving]
        return surrogate, (loss, moved)

    def step(*flat: Tensor) -> list[Tensor]:
        *tensors, x, beta = flat
        trained = dict(zip(parameters, tensors, strict=False))
        held = dict(zip(buffers, tensors[len(parameters) :], strict=True))
        with precision(bf16):
            gradients, (_, (loss, moved)) = grad_and_value(scored, has_aux=True)(trained, held, x, beta)
        return [loss, *gradients.values(), *moved]

    with seeded(seed):
        return make_fx(step)(*[state[name] for name in [*parameters, *buffers]], x, x.new_tensor(1.0))


def _moving(pair: Pair, objective: Objective, x: Tensor, buffers: list[str]) -> list[str]:
    """The buffers that a step changes; they are left as they were."""
    before = {name: _current(pair, name).clone() for name in buffers}
    with torch.no_grad(), pyro.validation_enabled(False):
        objective(pair, x, 1.0)
    changed = [name for name in buffers if not torch.equal(_current(pair, name), before[name])]
    for name in changed:
        _current(pair, name).copy_(before[name])
    return changed


@contextmanager
def _substituted(pair: Pair, tensors: Mapping[str, Tensor]) -> Iterator[None]:
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


def _current(pair: Pair, name: str) -> Tensor:
    """The buffer (or frozen parameter) that is called ``name`` in the pair's state, as it is now."""
    part, path = next((part, name.removeprefix(f"{part}.")) for part in pair.modules if name.startswith(f"{part}."))
    home, _, last = path.rpartition(".")
    found: Tensor | nn.Parameter = getattr(pair.modules[part].get_submodule(home), last)
    return found


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
