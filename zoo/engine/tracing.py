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

from zoo.engine.objectives import Objective
from zoo.engine.precision import precision
from zoo.errors import ZooError
from zoo.pairs.pair import Pair
from zoo.seeding import seeded

Tensors = dict[str, Tensor]


class UnrecordableError(ZooError):
    """What a graph cannot hold, in one line."""


def graph_of(program: Callable[..., object]) -> Callable[..., GraphModule]:
    """``graph_of(program)(*tensors)`` is the graph of its tensor operations.

    The tensors are told by their shapes only: nothing is computed, nothing large is held, and what hangs on a value of
    theirs raises an error.
    """
    return make_fx(program, tracing_mode="fake", _allow_non_fake_inputs=True)


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


def record(pair: Pair, objective: Objective, x: Tensor, bf16: bool = False, others: Sequence[Pair] = ()) -> Recording:
    """Record loss and gradients of ``objective`` from shapes alone, twice, with other random numbers.

    Of ``others``, pairs of the same structure, the graph must be the same, constants included.

    Raises:
        UnrecordableError: it fails, as what hangs on a value does, or the two differ: something in it hangs on Python's
            own chance, and would be frozen.
    """
    aliases = _aliases(pair)
    named = [name for name in pair.named_parameters() if name not in aliases]
    buffers = [name for name in pair.state() if name not in named and name not in aliases]
    moving: list[str] = []

    def traces() -> list[GraphModule]:
        with seeded(0):
            moving.extend(_moving(pair, objective, x, buffers))
        names = (named, buffers, moving)
        return [_trace(each, objective, x, names, bf16, seed) for seed, each in enumerate((pair, *(others or (pair,))))]

    first = _agreed(traces)
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

    def trace(seed: int) -> GraphModule:
        with pair.evaluating(), seeded(seed):
            return graph_of(run)(*pair.state().values(), x)

    return _agreed(lambda: [trace(seed) for seed in (0, 1)])


def _agreed(traces: Callable[[], Sequence[GraphModule]]) -> GraphModule:
    """The first of two or more traces, if all are the same."""
    try:
        first, *rest = traces()
    except Exception as error:  # a stranger's program may raise anything: the plain engine runs it, and says why
        line = str(error).splitlines()[0] if str(error) else ""
        raise UnrecordableError(f"it cannot be recorded as a graph ({type(error).__name__}: {line})") from error
    if difference := next(filter(None, (_difference(first, other) for other in rest)), ""):
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
            moved = [current(pair, name) for name in moving]
        return surrogate, (loss, moved)

    def step(*flat: Tensor) -> list[Tensor]:
        *tensors, x, beta = flat
        trained = dict(zip(parameters, tensors, strict=False))
        held = dict(zip(buffers, tensors[len(parameters) :], strict=True))
        with precision(bf16):
            gradients, (_, (loss, moved)) = grad_and_value(scored, has_aux=True)(trained, held, x, beta)
        return [loss, *gradients.values(), *moved]

    with seeded(seed):
        return graph_of(step)(*[state[name] for name in [*parameters, *buffers]], x, x.new_tensor(1.0))


def _moving(pair: Pair, objective: Objective, x: Tensor, buffers: list[str]) -> list[str]:
    """The buffers that a step changes; they are left as they were."""
    before = {name: current(pair, name).clone() for name in buffers}
    with torch.no_grad(), pyro.validation_enabled(False):
        objective(pair, x, 1.0)
    changed = [name for name in buffers if not torch.equal(current(pair, name), before[name])]
    for name in changed:
        current(pair, name).copy_(before[name])
    return changed


@contextmanager
def _substituted(pair: Pair, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the pair's programs compute with ``tensors`` in the place of its own."""
    own = pair.store["params"]
    homes = _homes(pair)
    tensors = {**tensors, **{alias: tensors[name] for alias, name in _aliases(pair).items()}}
    tensors = {name: tensor for name, tensor in tensors.items() if name in homes or name.startswith("param.")}
    try:
        with ExitStack() as stack:
            for part, module in pair.modules.items():
                held = {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
                stack.enter_context(_reparametrize_module(module, held))
            pair.store["params"] = {name: tensors.get(f"param.{name}", tensor) for name, tensor in own.items()}
            yield
    finally:
        pair.store["params"] = own


def _aliases(pair: Pair) -> dict[str, str]:
    """Further names in the pair's state of tensors that it holds more than once, with the first name of each."""
    first: dict[int, str] = {}
    named = [
        (f"{part}.{name}", tensor)
        for part, module in pair.modules.items()
        for name, tensor in module.state_dict(keep_vars=True).items()
    ]
    return {name: first[id(tensor)] for name, tensor in named if first.setdefault(id(tensor), name) != name}


def _homes(pair: Pair) -> set[str]:
    """The names of the tensors under the first name of each module: a module that is held twice is replaced in once."""
    seen: set[nn.Module] = set()
    return {
        ".".join(filter(None, (part, path, name)))
        for part, module in pair.modules.items()
        for path, each in module.named_modules(memo=seen)
        for name in (*each._parameters, *each._buffers)
    }


def current(pair: Pair, name: str) -> Tensor:
    """The module's tensor that is called ``name`` in the pair's state, itself, as it is now."""
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
