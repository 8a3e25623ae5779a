"""Training a pair: one readable loop.

The noise of a step is seeded by (seed, step) and the order of the data by (seed, epoch): a step depends on the
weights and on its own number only, so a run that was killed and resumed takes the very steps of one that was not.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.data import Dataset
from zoo.devices import pick_device
from zoo.engine.cost import Mode
from zoo.engine.engine import Engine, choose_engine, compile
from zoo.engine.objectives import elbo
from zoo.engine.precision import autocast
from zoo.engine.stepping import Stepper
from zoo.pairs.pair import HasInitialise, HasPlayers, Pair, Player
from zoo.pairs.traces import capabilities
from zoo.seeding import reseed, seeded
from zoo.training.callbacks import Callback, Progress
from zoo.training.recipe import Recipe
from zoo.training.validation import discrepancy, validation_score

READ_EVERY = 20
"""Steps between two looks at the loss (each look waits for the device)."""
EXPLOSION = 1e4
"""A loss this many nats per dimension of the event is an explosion."""


def fit(
    pair: Pair,
    data: Dataset,
    recipe: Recipe | Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    start: Progress | None = None,
    callbacks: Sequence[Callback] = (),
    runs: int = 1,
) -> Progress:
    """Train ``pair`` on ``data`` and leave the weights with the best validation score in it.

    ``start`` is the progress of an earlier, unfinished call to go on from; ``runs`` tells how many runs like this one
    are made, over which the cost of compiling spreads. Not-a-number, infinity or an explosion of
    the loss ends training with status ``diverged``: a result, not an error.

    Raises:
        ZooError: the data's event is not the pair's, or the device is not there.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.read(recipe or {})
    data = data.reshaped(pair.event).to(pick_device(device))
    pair.to(data.train.device)
    loop = Loop(pair, data, recipe, seed, start, runs)
    with quiet():
        for _ in loop.run():
            loop.tell(callbacks)
    return loop.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, nothing is said of not-a-number: the status tells it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered", category=UserWarning)
        yield


class Loop:
    """One run's training."""

    def __init__(
        self, pair: Pair, data: Dataset, recipe: Recipe, seed: int, start: Progress | None, runs: int = 1
    ) -> None:
        self.pair, self.data, self.recipe, self.seed = pair, data, recipe, seed
        if start is None and isinstance(pair.extras, HasInitialise):
            with seeded(seed), torch.no_grad():
                pair.extras.initialise(data.batch(torch.arange(len(data.train), device=data.train.device)))
        self.can = capabilities(pair)
        pair.train(True)
        self.progress = start or Progress()
        self.beta, self.epoch = 1.0, -1
        self.order, self.x = torch.empty(0, dtype=torch.long), torch.empty(0)
        self.engine = None if isinstance(pair.extras, HasPlayers) else self._engine(runs)
        self.players = self._players()
        self.optimisers = [_optimiser(player, recipe) for player in self.players]
        self.steppers = [Stepper(optimiser) for optimiser in self.optimisers]
        self.averaged = pair.named_parameters() if recipe.average else {}
        self.average = {name: tensor.detach().clone() for name, tensor in self.averaged.items()}
        self.best: dict[str, Tensor] = {}
        self.losses: list[Tensor] = []
        self.unread: list[Tensor] = []
        self.at_checkpoint = False
        self.begun, self.first = time.perf_counter(), self.progress.step
        if start is not None:
            self._restore(start.tensors)

    def run(self) -> Iterator[Progress]:
        """Take the steps that are left, yielding now and then."""
        if self.progress.status != "running":
            return
        while self.going:
            self.prepare()
            self.step()
            if self.counted():
                yield self.progress
        self.end()
        yield self.progress

    @property
    def going(self) -> bool:
        """Whether a step is left to take."""
        steps = self.recipe.steps if any(player.parameters for player in self.players) else 0
        return self.progress.step < steps and self.progress.status == "running"

    def prepare(self) -> None:
        """Lay out the batch of the next step and seed its noise."""
        step = self.progress.step
        self.beta = self.recipe.kl_weight(step)
        self.x = self._batch(step)

    def step(self, known: Tensor | None = None) -> None:
        """One move of each player on the batch that was laid out; of a ``known`` loss the gradients are there."""
        step = self.progress.step
        for player, stepper in zip(self.players, self.steppers, strict=True):
            for group in stepper.optimiser.param_groups:
                group["lr"] = self.recipe.lr_at(step) * group["lr_factor"]
            loss = self._loss(player, stepper.optimiser) if known is None else known
            if self.recipe.clip:
                torch.nn.utils.clip_grad_norm_(player.parameters, self.recipe.clip)
            stepper.step()
        self.unread.append(loss.detach())
        self._update_average(step)

    def counted(self) -> bool:
        """Count the step that was taken; whether there is something to tell."""
        progress = self.progress
        progress.step += 1
        self.at_checkpoint = self.recipe.measured(progress.step)
        if not self.at_checkpoint and progress.step % READ_EVERY:
            return False
        self._read_losses()
        progress.remark = self.engine.reason if self.engine else ""
        progress.speed = (progress.step - self.first) / (time.perf_counter() - self.begun)
        if self.at_checkpoint and progress.status == "running":
            self._measure()
        return True

    def end(self) -> None:
        """No step is left."""
        if self.progress.status == "running":
            if not self.progress.history:
                self._measure()
            self.progress.status = "finished"
        self.at_checkpoint = True
        self._pack()

    def tell(self, callbacks: Sequence[Callback]) -> None:
        """Tell ``callbacks`` where training stands."""
        for callback in callbacks:
            callback.watch(self.progress)
            if self.at_checkpoint:
                callback.keep(self.progress)

    def close(self) -> Progress:
        """Leave the best weights in the pair."""
        if self.best:
            self.pair.load(self.best)
        self.pair.train(False)
        return self.progress

    def _batch(self, step: int) -> Tensor:
        n = len(self.data.train)
        size = min(self.recipe.batch, n)
        epoch, place = divmod(step, n // size)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(_mix(self.seed, epoch))
            self.epoch, self.order = epoch, torch.randperm(n, generator=generator).to(self.data.train.device)
        reseed(_mix(self.seed, step), self.data.train.device)
        return self.data.batch(self.order[place * size : (place + 1) * size])

    def _engine(self, runs: int) -> Engine:
        recipe, told = self.recipe, self.progress
        mode = told.engine or (self._what_pays(runs) if recipe.engine == "auto" else recipe.engine)
        engine = compile(self.pair, elbo(recipe.particles), mode=mode, precision=recipe.precision)
        told.engine = engine.mode
        return engine

    def _what_pays(self, runs: int) -> Mode:
        """The engine that has the steps done choose_engine, told by one plain step on the first data."""
        objective = elbo(self.recipe.particles)
        return choose_engine(self.pair, self._batch(0), self.recipe.steps, objective=objective, runs=runs)

    def _players(self) -> Sequence[Player]:
        """The family's own players, else one whose engine leaves the gradients of the ELBO."""
        if self.engine is None:
            assert isinstance(self.pair.extras, HasPlayers)
            return [replace(player, loss=self._scoped(player.loss)) for player in self.pair.extras.players()]
        engine = self.engine
        return [Player("elbo", self.pair.parameters(), lambda x: engine(x, self.beta))]

    def _scoped(self, loss: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def scoped(x: Tensor) -> Tensor:
            with self.pair.scope(), pyro.validation_enabled(False):
                return loss(x)

        return scoped

    def _loss(self, player: Player, optimiser: torch.optim.Optimizer) -> Tensor:
        return player.loss(self.x) if self.engine else self._played(player, optimiser, self.x)

    def _played(self, player: Player, optimiser: torch.optim.Optimizer, x: Tensor) -> Tensor:
        """The loss of one of the family's own players, its gradients left where the optimiser looks for them."""
        optimiser.zero_grad(set_to_none=True)
        with autocast(self.recipe.precision, x.device):
            loss = player.loss(x)
            loss.backward(inputs=list(player.parameters))
        return loss

    def _update_average(self, step: int) -> None:
        if self.average:
            decay = min(self.recipe.average or 0.0, (1 + step) / (10 + step))
            live = [tensor.detach() for tensor in self.averaged.values()]
            torch._foreach_lerp_(list(self.average.values()), live, 1 - decay)

    def _averaged_state(self) -> dict[str, Tensor]:
        """The averaged parameters (the last ones, if the recipe does not average) with the buffers as they are."""
        state = {name: tensor.clone() for name, tensor in self.pair.state().items()}
        return state | {name: tensor.clone() for name, tensor in self.average.items()}

    def _read_losses(self) -> None:
        if not self.unread:
            return
        losses = torch.stack(self.unread).float().cpu()
        bad = ~losses.isfinite() | (losses.abs() > EXPLOSION * self.pair.event.size)
        if bad.any():
            step = self.progress.step - len(losses) + int(bad.int().argmax()) + 1
            worst = float(losses[bad][0])
            self.progress.status, self.progress.step = "diverged", step
            word = "exploded to" if math.isfinite(worst) else "became"
            self.progress.reason = f"loss {word} {worst:g} at step {step}"
            self._note(math.nan, math.nan, math.nan)
        self.losses.append(losses)
        self.progress.loss = float(losses.mean())
        self.unread = []

    def _measure(self) -> None:
        """Validation score and discrepancy of the averaged weights; the best are kept."""
        progress = self.progress
        with self._averaged():
            score = validation_score(self.pair, self.data.validation, self.can)
            gap = discrepancy(self.pair, self.data.validation) if self.can.likelihood != "none" else score
        self._note(float(torch.cat(self.losses).mean()) if self.losses else math.nan, score, gap)
        self.losses = []
        if math.isnan(score) and progress.step:
            progress.status, progress.reason = "diverged", f"validation score became nan at step {progress.step}"
        if score < progress.best_score:
            progress.best_score, progress.best_step, progress.stale = score, progress.step, 0
            self.best = self._averaged_state()
        else:
            progress.stale += 1
        if progress.status == "running" and self.recipe.patience and progress.stale >= self.recipe.patience:
            progress.status = "finished"
            progress.reason = f"stopped early: no better validation score in {progress.stale} checkpoints"
        self._pack()

    def _note(self, train: float, validation: float, discrepancy: float) -> None:
        """Add a row to the history."""
        step, lr = self.progress.step, self.recipe.lr_at(max(0, self.progress.step - 1))
        row = {"step": step, "train": train, "validation": validation, "discrepancy": discrepancy, "lr": lr}
        self.progress.history.append(row)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        own = {name: tensor.clone() for name, tensor in self.pair.state().items()}
        self.pair.load(self._averaged_state())
        try:
            yield
        finally:
            self.pair.load(own)

    def _pack(self) -> None:
        """Put what a resumed run needs into the progress."""
        kinds = {"weights": self.pair.state(), "average": self.average, "best": self.best}
        tensors = {f"{kind}/{name}": tensor for kind, named in kinds.items() for name, tensor in named.items()}
        for player, optimiser in zip(self.players, self.optimisers, strict=True):
            for index, memory in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser/{player.name}/{index}/{key}": value for key, value in memory.items()}
        self.progress.tensors = tensors

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        device = self.data.train.device
        kinds: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "best": {}}
        memory: dict[str, dict[int, dict[str, Tensor]]] = {player.name: {} for player in self.players}
        for path, tensor in tensors.items():
            kind, name = path.split("/", 1)
            if kind == "optimiser":
                owner, index, key = name.split("/")
                memory[owner].setdefault(int(index), {})[key] = tensor
            else:
                kinds[kind][name] = tensor.to(device)
        self.pair.load(kinds["weights"])
        self.average = {name: kinds["average"][name] for name in self.average}  # in the order of the parameters
        self.best = kinds["best"]
        for player, optimiser in zip(self.players, self.optimisers, strict=True):
            optimiser.load_state_dict(optimiser.state_dict() | {"state": memory[player.name]})


def _optimiser(player: Player, recipe: Recipe) -> torch.optim.Optimizer:
    makers: dict[str, Any] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "adamax": torch.optim.Adamax,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
    }
    fused = {"fused": True} if recipe.optimiser in ("adam", "adamw") else {}
    options = {"lr": recipe.lr, "weight_decay": recipe.weight_decay} | fused | dict(player.options)
    factor = options["lr"] / recipe.lr
    parameters = list(player.parameters) or [nn.Parameter(torch.zeros(1))]
    optimiser: torch.optim.Optimizer = makers[recipe.optimiser](parameters, **options)
    for group in optimiser.param_groups:
        group["lr_factor"] = factor
    return optimiser


def _mix(seed: int, number: int) -> int:
    """One seed of two numbers, in numpy's range."""
    return (seed * 1_000_003 + number * 7919 + 17) % 2**32
