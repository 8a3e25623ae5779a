"""All seeds of a small family as one batch: one graph computes the gradients of every member.

    (loss_i, gradients_i) = step(parameters_i, buffers_i, x_i, beta_i, noise_i),  i = 1 ... S

is the recorded step (see `zoo.recording`) mapped over stacked tensors, so that S members cost the overhead of one. The
random draws of a step are lifted out of its graph and made for each member from its own stream, in the order in which
its lone run makes them. All else (order of the data, optimiser, clipping, average, checkpoints, early stopping) is
each member's own training loop, whose parameters are rows of the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.fx import GraphModule, Node

from zoo.compiling import CompilationError, Flat, compiled, has_compiler
from zoo.data import Dataset
from zoo.devices import pick_device
from zoo.engine import laid_out_like
from zoo.errors import ZooError
from zoo.objectives import elbo
from zoo.pace import Mode
from zoo.pair import Pair
from zoo.progress import Keeper, Progress
from zoo.recipe import Recipe
from zoo.recording import UnrecordableError, current, graph_of, record
from zoo.training import Loop, quiet

BLIND = frozenset(
    f"aten.{name}"
    for name in (
        *("rand.default", "randn.default", "randint.default", "randint.low"),
        *("rand_like.default", "randn_like.default", "randint_like.default", "randint_like.low_dtype"),
        *("normal_.default", "uniform_.default", "exponential_.default", "cauchy_.default"),
        *("bernoulli.p", "bernoulli_.float", "random_.default", "random_.from", "random_.to"),
    )
)
"""Draws to which their tensor is a shape only: its values do not matter."""


@dataclass(frozen=True)
class Draw:
    """A random draw that hangs on no value of the step: drawn anew at each call."""

    target: Callable[..., Tensor]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __call__(self) -> Tensor:
        args = [torch.empty_like(each) if isinstance(each, Tensor) else each for each in self.args]
        return self.target(*args, **self.kwargs)


def lift_draws(graph: GraphModule) -> list[Draw]:
    """Make the random draws of a graph its last inputs, in place and in order.

    Raises:
        UnrecordableError: a draw depends on values, as that of a latent that is not reparameterised does.
    """
    last = [node for node in graph.graph.nodes if node.op == "placeholder"][-1]
    draws = []
    for node in [node for node in graph.graph.nodes if _random(node)]:
        draws.append(_draw(node))
        with graph.graph.inserting_after(last):
            last = graph.graph.placeholder(f"noise_{len(draws)}")
        last.meta = dict(node.meta)
        node.replace_all_uses_with(last)
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return draws


def _random(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def _draw(node: Node) -> Draw:
    seen = node.all_input_nodes
    in_place = node.target._schema.is_mutable  # type: ignore[union-attr]  # an overload, see `_random`
    if str(node.target) not in BLIND or any(in_place and len(each.users) > 1 for each in seen):
        raise UnrecordableError(f"its draw {node.format_node()} depends on values: it cannot be made outside the graph")
    likes = {each: each.meta["val"] for each in seen}
    shapes = {
        each: torch.empty_strided(v.shape, v.stride(), dtype=v.dtype, device=v.device) for each, v in likes.items()
    }
    args = tuple(shapes[each] if isinstance(each, Node) else each for each in node.args)
    return Draw(node.target, args, dict(node.kwargs))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Found:
    """What a step comes to for one member."""

    loss: Tensor
    gradients: list[Tensor]
    moved: list[Tensor]


class Ensemble:
    """The gradients of several pairs of one structure, as one graph.

    Every tensor of the pairs is a row of ``rows``, by name, but for the buffers that are the same for all and that no
    step changes: those are shared. `join` makes the pairs compute with those rows.

    Raises:
        UnrecordableError: the step cannot be recorded, its draws cannot be lifted, or the pairs' graphs differ.
    """

    def __init__(self, pairs: Sequence[Pair], x: Tensor, recipe: Recipe, mode: Mode) -> None:
        self.pairs = pairs
        self.recording = record(pairs[0], elbo(recipe.particles), x, recipe.precision == "bf16", pairs[1:])
        self.draws = lift_draws(self.recording.graph)
        named = [pair.named_parameters() for pair in pairs]
        self.parameters = [[each[name] for name in self.recording.parameters] for each in named]
        states = [pair.state() for pair in pairs]
        names = (*self.recording.parameters, *self.recording.buffers)
        alike = {name for name in self.recording.buffers if all(torch.equal(s[name], states[0][name]) for s in states)}
        self.shared = alike - set(self.recording.moving)
        self.rows = {name: torch.stack([s[name] for s in states]) for name in names if name not in self.shared}
        self.inputs = [states[0][name] if name in self.shared else self.rows[name] for name in names]
        self.run = self._made(x, mode)

    def draw(self) -> list[Tensor]:
        """The noise of one member's step, from the stream that is now set."""
        return [draw() for draw in self.draws]

    @torch.no_grad()
    def __call__(self, xs: Sequence[Tensor], betas: Sequence[float], noise: Sequence[Sequence[Tensor]]) -> list[Found]:
        """Loss, gradients and moved buffers of each member, from its batch, weight of the latents, and noise."""
        drawn = [torch.stack(each) for each in zip(*noise, strict=True)]
        outputs = self.run(*self.inputs, torch.stack(list(xs)), xs[0].new_tensor(betas), *drawn)
        n = len(self.recording.parameters)
        members = zip(*(output.unbind() for output in outputs), strict=True)
        return [Found(loss, rest[:n], rest[n:]) for loss, *rest in members]

    def leave(self, member: int, found: Found) -> None:
        """Leave the gradients in ``.grad`` of a member's parameters, and move its buffers."""
        for parameter, gradient in zip(self.parameters[member], found.gradients, strict=True):
            parameter.grad = laid_out_like(parameter, gradient)
        for name, moved in zip(self.recording.moving, found.moved, strict=True):
            self.rows[name][member].copy_(moved)

    def join(self) -> None:
        """Make the pairs' tensors rows of the stack."""
        for member, tensors in enumerate(self._own()):
            for tensor, rows in zip(tensors, self.rows.values(), strict=True):
                tensor.data = rows[member]

    def part(self) -> None:
        """Make them the pairs' own again."""
        for tensor in (tensor for tensors in self._own() for tensor in tensors):
            tensor.data = tensor.data.clone()

    def _own(self) -> Iterator[list[Tensor]]:
        for pair in self.pairs:
            named = pair.named_parameters()
            yield [named[name] if name in named else current(pair, name) for name in self.rows]

    def _made(self, x: Tensor, mode: Mode) -> Flat:
        n = len(self.pairs)
        inputs = [*self.inputs, torch.stack([x] * n), x.new_ones(n)]
        inputs += [torch.stack(each) for each in zip(*[self.draw() for _ in range(n)], strict=True)]
        names = (*self.recording.parameters, *self.recording.buffers)
        mapped = tuple(None if name in self.shared else 0 for name in names) + (0,) * (len(inputs) - len(names))
        graph = self.recording.graph
        mapping: Any = torch._C._functorch  # which has no types
        mapping._set_vmap_fallback_warning_enabled(False)  # of operations that it maps one by one
        try:
            made = graph_of(vmap(lambda *tensors: tuple(graph(*tensors)), in_dims=mapped))(*inputs)
        except RuntimeError as error:  # an operation that torch cannot map
            raise UnrecordableError(f"it cannot be mapped over seeds ({str(error).splitlines()[0]})") from error
        finally:
            mapping._set_vmap_fallback_warning_enabled(True)
        if mode == "compiled" and has_compiler():
            with suppress(CompilationError):
                return compiled(made, inputs)
        return made


@dataclass(frozen=True)
class Together:
    """How each member ended; ``reason`` says in one line why they were trained one by one, if they were."""

    members: list[Progress]
    reason: str = ""


def fit_together(
    pairs: Sequence[Pair],
    data: Dataset,
    recipe: Recipe | Mapping[str, Any] | None = None,
    *,
    seeds: Sequence[int],
    device: str = "auto",
    starts: Sequence[Progress | None] = (),
    keepers: Sequence[Sequence[Keeper]] = (),
) -> Together:
    """Train ``pairs``, one family built with several seeds, as `zoo.training.fit` would train each with its seed.

    Weights, scores and history are those of the lone runs to float tolerance. Members that have ended wait for the
    others. Members whose steps make no common graph are trained one after another, by the engine of the recipe.

    Raises:
        ZooError: not as many seeds as pairs, the data's event is not the pairs', or the device is not there.
    """
    if not pairs or len(pairs) != len(seeds):
        raise ZooError(f"an ensemble takes a seed for each of its pairs, got {len(pairs)} pairs and {len(seeds)} seeds")
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe or {})
    data = data.reshaped(pairs[0].event).to(pick_device(device))
    begun = starts or [None] * len(pairs)
    loops = [
        Loop(pair.to(data.train.device), data, recipe, seed, start)
        for pair, seed, start in zip(pairs, seeds, begun, strict=True)
    ]
    told = list(zip(loops, keepers or [()] * len(pairs), strict=True))
    with quiet():
        reason = _take_steps([(loop, each) for loop, each in told if loop.going])
        for loop, each in told:
            for _ in loop.run():  # what is left, if there was a reason
                loop.tell(each)
    return Together([loop.close() for loop in loops], reason)


def _take_steps(told: Sequence[tuple[Loop, Sequence[Keeper]]]) -> str:
    """Take the steps of all members at once; why they could not be taken so, if they could not."""
    if len(told) < 2:
        return ""
    for loop, _ in told:
        loop.prepare()
    loops = [loop for loop, _ in told]
    try:
        if (engine := loops[0].engine) is None:
            raise UnrecordableError("it has an objective of its own")
        ensemble = Ensemble([loop.pair for loop in loops], loops[0].x, loops[0].recipe, engine.mode)
    except UnrecordableError as error:
        return str(error)
    ensemble.join()
    try:
        _step_together(ensemble, told)
    finally:
        ensemble.part()
    return ""


def _step_together(ensemble: Ensemble, told: Sequence[tuple[Loop, Sequence[Keeper]]]) -> None:
    loops = [loop for loop, _ in told]
    noise: list[list[Tensor]] = [[] for _ in loops]
    while any(loop.going for loop in loops):
        for member, loop in enumerate(loops):
            if loop.going:  # the others' last batches stay, and what they come to is not used
                loop.prepare()
                noise[member] = ensemble.draw()
        found = ensemble([loop.x for loop in loops], [loop.beta for loop in loops], noise)
        for member, (loop, keepers) in enumerate(told):
            if loop.going:
                ensemble.leave(member, found[member])
                loop.step(found[member].loss)
                _count(loop, keepers)


def _count(loop: Loop, keepers: Sequence[Keeper]) -> None:
    """Count a member's step and tell what there is to tell."""
    if loop.counted():
        loop.tell(keepers)
    if not loop.going:
        loop.end()
        loop.tell(keepers)
