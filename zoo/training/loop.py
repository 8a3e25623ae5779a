"""The training loop.

The noise of a step is seeded by (seed, step) and the order of the data by (seed, epoch). A step thus depends only on
the weights and on its own number, and a run that was killed and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from zoo.contract.check import ground_laws, require_support
from zoo.data import Dataset
from zoo.data.atoms import require_density
from zoo.devices import pick_device
from zoo.errors import ZooError
from zoo.pairs.pair import HasInitialise, Pair
from zoo.seeding import reseed, seeded
from zoo.training.callbacks import Callback, Progress
from zoo.training.checkpoint import Checkpointer
from zoo.training.players import active_players
from zoo.training.recipe import Recipe

READ_EVERY = 20
"""Steps between two looks at the losses."""
EXPLOSION = 1e4
"""Training has diverged when a loss exceeds this many nats per dimension of the event."""


@contextmanager
def _no_nan_warnings() -> Iterator[None]:
    """Inside, Pyro does not warn of NaN: the status of the run reports it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Encountered", category=UserWarning)
        yield


@_no_nan_warnings()
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
    unchecked: bool = False,
) -> Progress:
    """Train ``pair`` on ``data`` and leave the weights with the best validation score in it.

    NaN, infinity or an explosion of the loss ends training with status ``diverged``: a result, not an error.

    Args:
        pair: trained in place.
        data: its event has the pair's support and number of dimensions.
        recipe: training settings, or a mapping of those that differ from the recipe of the pair's family, by which
            `zoo train` trains it. A pair that is of no registered family has the defaults of `Recipe`.
        seed: of the order of the data and of the noise of every step.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        start: the progress of an unfinished call, to resume from; it is updated in place.
        callbacks: called every few steps and at each checkpoint (see `zoo.training.callbacks.Callback`).
        runs: the number of runs like this one, over which the cost of compiling spreads.
        unchecked: train a pair even if it breaks a law without which its numbers are wrong.

    Returns:
        The progress at the end: status, history of the checkpoints, best validation score (nats per datum; MMD² for
        implicit models), and by which recipe it was trained.

    Raises:
        ZooError: the data's event does not fit the pair's, a setting is wrong, or the device is not available.
        ContractError: the pair breaks a ground law (see `zoo.contract.check.ground_laws`).

    Example:
        >>> import zoo
        >>> data = zoo.load_data("moons")
        >>> pair = zoo.build("ppca", data.event)
        >>> progress = zoo.fit(pair, data, {"steps": 20, "lr": 1e-2})
        >>> progress.status, progress.step, progress.recipe
        ('finished', 20, 'the recipe of ppca, with steps=20, lr=0.01')
    """
    story = "the recipe that was given"
    if not isinstance(recipe, Recipe):
        story = f"the recipe of {pair.label}" if pair.recipe else "the common defaults"
        story += ", with " + ", ".join(f"{name}={value}" for name, value in recipe.items()) if recipe else ""
        recipe = Recipe.read(pair.recipe).updated(recipe or {})
    data = data.given_to(pair).to(pick_device(device))
    pair.to(data.train.device)
    if start is None and isinstance(pair.extras, HasInitialise):
        with seeded(seed), torch.no_grad():
            pair.extras.initialise(data.initial())
    if not unchecked:
        require_density(pair, data)
        ground_laws(pair, data.validation)
        require_support(pair, data)
    pair.train(True)

    progress = start or Progress()
    progress.recipe = story
    batches = Batches(data, recipe.batch, seed)
    players = active_players(pair, recipe, progress, len(data.train), runs)
    checkpointer = Checkpointer(pair, players, recipe, data)
    if start is not None:
        checkpointer.restore(start.tensors)
    steps = recipe.steps if players else 0
    unread: list[Tensor] = []  # losses still on the device
    losses: list[Tensor] = []  # losses since the last checkpoint
    began, first = time.perf_counter(), progress.step

    while progress.status == "running" and progress.step < steps:
        step = progress.step
        x, beta, lr = batches(step), recipe.kl_weight(step), recipe.lr_at(step)
        for player in players:  # each on the same batch
            loss = player.gradients(x, beta)
            if recipe.clip:
                torch.nn.utils.clip_grad_norm_(player.parameters, recipe.clip)
            player.step(lr)
        unread.append(loss.detach())
        checkpointer.update_average(step)
        progress.step += 1

        at_checkpoint = recipe.measured(progress.step)
        if not at_checkpoint and progress.step % READ_EVERY:
            continue
        recent = torch.stack(unread).float().cpu()  # waits for the device
        unread.clear()
        losses.append(recent)
        progress.loss = float(recent.mean()) + checkpointer.train_log_scale
        progress.speed = (progress.step - first) / (time.perf_counter() - began)
        exploded = ~recent.isfinite() | (recent.abs() > EXPLOSION * pair.event.size)
        if exploded.any():
            value = float(recent[exploded][0])
            progress.step += int(exploded.int().argmax()) + 1 - len(recent)
            progress.status = "diverged"
            word = "exploded to" if math.isfinite(value) else "became"
            progress.reason = f"loss {word} {value:g} at step {progress.step}"
            progress.add_row(math.nan, math.nan, math.nan, recipe.lr_at(progress.step - 1))
        elif at_checkpoint:
            checkpointer.measure(progress, losses)
            losses.clear()
        for callback in callbacks:
            callback.on_progress(progress)
            if at_checkpoint:
                callback.on_checkpoint(progress)

    if progress.status == "running":
        if not progress.history:
            checkpointer.measure(progress, losses)
        progress.status = "finished"
    checkpointer.confirm(progress)
    progress.tensors = checkpointer.pack()
    for callback in callbacks:
        callback.on_progress(progress)
        callback.on_checkpoint(progress)
    if checkpointer.best:
        pair.load(checkpointer.best)
    pair.train(False)
    return progress


class Batches:
    """The batch of each step; asking for it seeds the noise of that step.

    Every batch has as many data with a label, in proportion, and as many without; those with a label come first.
    """

    def __init__(self, data: Dataset, size: int, seed: int) -> None:
        self.data, self.seed = data, seed
        n = len(data.train)
        every = torch.zeros(n, dtype=torch.bool, device=data.train.device)
        missing = data.event.missing(data.train) if data.event.label else every
        self.size = min(size, n)
        strata = [part.nonzero()[:, 0] for part in (~missing, missing) if part.any()]
        if self.size < len(strata):
            raise ZooError(f"a batch needs data with a label and data without: 2 or more, got batch={size}")
        first = min(max(1, round(self.size * len(strata[0]) / n)), self.size - len(strata) + 1)
        counts = [first, self.size - first]
        self.strata = [_Stratum(*each) for each in zip(strata, counts, strict=False)]

    def __call__(self, step: int) -> Tensor:
        device = self.data.train.device
        places = [stratum.places(step, self.seed + 104_729 * index) for index, stratum in enumerate(self.strata)]
        reseed(_mix(self.seed, step), device)
        return self.data.batch(torch.cat(places))


class _Stratum:
    """Data of which each batch has ``count``, in a new order in each epoch."""

    def __init__(self, data: Tensor, count: int) -> None:
        self.data, self.count = data, count
        self.epoch, self.order = -1, data

    def places(self, step: int, seed: int) -> Tensor:
        """The places of a step's data."""
        epoch, place = divmod(step, len(self.data) // self.count)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(_mix(seed, epoch))
            self.epoch = epoch
            self.order = self.data[torch.randperm(len(self.data), generator=generator).to(self.data.device)]
        return self.order[place * self.count : (place + 1) * self.count]


def _mix(seed: int, number: int) -> int:
    """One seed from two numbers, in numpy's range."""
    return (seed * 1_000_003 + number * 7919 + 17) % 2**32
