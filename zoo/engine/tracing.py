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

from zoo.engine.objectives import Objective
from zoo.engine.precision import Precision, autocast
from zoo.engine.private import graph_of, reparametrized
from zoo.errors import ZooError
from zoo.pairs.pair import Pair
from zoo.seeding import seeded

Tensors = dict[str, Tensor]


class UnrecordableError(ZooError):
    """Why a step cannot be recorded as a graph, in one line."""


@dataclass(frozen=True)
class Recording:
    """The step of one shape of batch: ``graph(*parameters, *buffers, x, beta)`` is ``(loss, *gradients, *moved)``.

    ``parameters`` and ``buffers`` are names in `Pair.state`; ``moving`` are the buffers that a step changes, such as
    running means. The tensors themselves are inputs, so one recording serves every pair of the same structure.
    """

    graph: GraphModule
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    moving: tuple[str, ...]


def record(pair: Pair, objective: Objective, x: Tensor, precision: Precision = "float32") -> Recording:
    """Record loss and gradients of ``objective`` with fake tensors, twice, with different random numbers.

    Raises:
        UnrecordableError: tracing fails, or the two graphs differ: there is data-dependent control flow or Python
            randomness, which a graph would freeze.
    """
    aliases = _aliases(pair)
    named = [name for name in pair.named_parameters() if name not in aliases]
    buffers = [name for name in pair.state() if name not in named and name not in aliases]
    moving: list[str] = []

    def step(*flat: Tensor) -> list[Tensor]:
        *tensors, x, beta = flat
        trained = dict(zip(named, tensors, strict=False))
        held = dict(zip(buffers, tensors[len(named) :], strict=True))

        def scored(trained: Tensors) -> tuple[Tensor, tuple[Tensor, list[Tensor]]]:
            kept = {name: tensor.clone() if name in moving else tensor for name, tensor in held.items()}
            with _substituted(pair, trained | kept), pyro.validation_enabled(False), autocast(precision, x.device):
                surrogate, loss = objective(pair, x, beta)
                moved = [_current(pair, name) for name in moving]
            return surrogate, (loss, moved)

        gradients, (_, (loss, moved)) = grad_and_value(scored, has_aux=True)(trained)
        return [loss, *gradients.values(), *moved]

    def trace(seed: int) -> GraphModule:
        state = pair.state()
        with seeded(seed):
            return graph_of(step)(*[state[name] for name in [*named, *buffers]], x, x.new_tensor(1.0))

    def traces() -> list[GraphModule]:
        with seeded(0):
            moving.extend(_moving(pair, objective, x, buffers))
        return [trace(0), trace(1)]

    return Recording(_agreed(traces), tuple(named), tuple(buffers), tuple(moving))


def record_scores(pair: Pair, score: Callable[[Pair, Tensor], Tensor], x: Tensor) -> GraphModule:
    """Record ``score(pair, x)`` in evaluation mode: ``graph(*state, x)`` is ``[scores]``, of `Pair.state`'s values.

    Raises:
        UnrecordableError: see `record`.
    """
    names = list(pair.state())

    def run(*flat: Tensor) -> list[Tensor]:
        with _substituted(pair, dict(zip(names, flat, strict=False))):
            return [score(pair, flat[-1])]

    def trace(seed: int) -> GraphModule:
        with pair.evaluating(), seeded(seed):
            return graph_of(run)(*pair.state().values(), x)

    return _agreed(lambda: [trace(0), trace(1)])


def _agreed(traces: Callable[[], Sequence[GraphModule]]) -> GraphModule:
    """The first of two traces, if both are the same."""
    try:
        first, second = traces()
    except Exception as error:  # a user's program may raise anything: the plain engine runs it, and says why
        line = str(error).splitlines()[0] if str(error) else ""
        raise UnrecordableError(f"it cannot be recorded as a graph ({type(error).__name__}: {line})") from error
    if difference := _difference(first, second):
        raise UnrecordableError(f"recorded twice, its graph differs ({difference}): it depends on values or on chance")
    return first


def _moving(pair: Pair, objective: Objective, x: Tensor, buffers: list[str]) -> list[str]:
    """The buffers that a step changes; they are restored."""
    before = {name: _current(pair, name).clone() for name in buffers}
    with torch.no_grad(), pyro.validation_enabled(False):
        objective(pair, x, 1.0)
    changed = [name for name in buffers if not torch.equal(_current(pair, name), before[name])]
    for name in changed:
        _current(pair, name).copy_(before[name])
    return changed


@contextmanager
def _substituted(pair: Pair, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the pair's programs compute with ``tensors`` instead of its own."""
    own = pair.store["params"]
    homes = _homes(pair)
    tensors = {**tensors, **{alias: tensors[name] for alias, name in _aliases(pair).items()}}
    tensors = {name: tensor for name, tensor in tensors.items() if name in homes or name.startswith("param.")}
    try:
        with ExitStack() as stack:
            for part, module in pair.modules.items():
                held = {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
                stack.enter_context(reparametrized(module, held))
            pair.store["params"] = {name: tensors.get(f"param.{name}", tensor) for name, tensor in own.items()}
            yield
    finally:
        pair.store["params"] = own


def _aliases(pair: Pair) -> dict[str, str]:
    """For tensors that the pair's state holds more than once: each further name -> the first name."""
    first: dict[int, str] = {}
    named = [
        (f"{part}.{name}", tensor)
        for part, module in pair.modules.items()
        for name, tensor in module.state_dict(keep_vars=True).items()
    ]
    return {name: first[id(tensor)] for name, tensor in named if first.setdefault(id(tensor), name) != name}


def _homes(pair: Pair) -> set[str]:
    """Names of all tensors, each under the first name of its module: a module that is held twice is replaced once."""
    seen: set[nn.Module] = set()
    return {
        ".".join(filter(None, (part, path, name)))
        for part, module in pair.modules.items()
        for path, each in module.named_modules(memo=seen)
        for name, _ in (*each.named_parameters(recurse=False), *each.named_buffers(recurse=False))
    }


def _current(pair: Pair, name: str) -> Tensor:
    """The tensor that the module holds now under ``name`` of the pair's state: itself, not detached."""
    part, path = next((part, name.removeprefix(f"{part}.")) for part in pair.modules if name.startswith(f"{part}."))
    home, _, last = path.rpartition(".")
    found: Tensor | nn.Parameter = getattr(pair.modules[part].get_submodule(home), last)
    return found


def _difference(first: GraphModule, second: GraphModule) -> str:
    """The first difference between two graphs, constants included; empty if there is none."""
    one, other = (list(graph.graph.nodes) for graph in (first, second))
    if len(one) != len(other):
        return f"{len(one)} and {len(other)} operations"
    for a, b in zip(one, other, strict=True):
        if a.format_node() != b.format_node():
            return f"{a.format_node()} and {b.format_node()}"
        if a.op == "get_attr" and not torch.equal(getattr(first, a.target), getattr(second, b.target)):
            return f"the constant {a.target}"
    return ""
