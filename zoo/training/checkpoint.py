"""Checkpoints: the moving average of the weights, its validation score, the best weights, and the resume tensors."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zoo.data import Dataset
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities
from zoo.training.callbacks import Progress
from zoo.training.players import ActivePlayer
from zoo.training.recipe import Recipe
from zoo.training.validation import (
    checkpoint_data,
    checkpoint_samples,
    discrepancy,
    estimates_per_datum,
    validation_score,
)


class Checkpointer:
    """Averages the weights, scores them on validation data, keeps the best, and packs the tensors to resume from.

    Of many validation data each checkpoint scores a fixed part; the best weights are scored on all at the end. Scores,
    and losses that are likelihoods, are in the data's own units.
    """

    def __init__(self, pair: Pair, players: Sequence[ActivePlayer], recipe: Recipe, data: Dataset) -> None:
        self.pair, self.players, self.recipe, self.validation = pair, players, recipe, data.validation
        self.can = capabilities(pair, data.validation)
        self.scored, self.estimates = checkpoint_data(data.validation, recipe, estimates_per_datum(pair, self.can))
        self.data, self.samples = data, checkpoint_samples(data.validation, recipe)
        self.train_log_scale = self._log_scale(data.train)
        self.averaged = pair.named_parameters() if recipe.average else {}
        self.average = {name: tensor.detach().clone() for name, tensor in self.averaged.items()}
        self.best: dict[str, Tensor] = {}

    def update_average(self, step: int) -> None:
        """Move the average towards the weights that ``step`` left, faster during the first steps."""
        if self.recipe.average and self.average:
            update = get_ema_multi_avg_fn(min(self.recipe.average, (1 + step) / (10 + step)))
            update(list(self.average.values()), [tensor.detach() for tensor in self.averaged.values()], step)

    def measure(self, progress: Progress, losses: Sequence[Tensor]) -> None:
        """Score the averaged weights, keep them if they are the best, and add a row to the history.

        ``losses`` are those of training since the last checkpoint.
        """
        with self._weights(self.average):
            score = self._score(self.scored)
            gap = discrepancy(self.pair, self.validation, self.samples) if self.can.likelihood != "none" else score
        train = float(torch.cat(list(losses)).mean()) + self.train_log_scale if losses else math.nan
        progress.add_row(train, score, gap, self.recipe.lr_at(max(0, progress.step - 1)))
        if score < progress.best_score:
            progress.best_score, progress.best_step, progress.stale = score, progress.step, 0
            self.best = self._averaged_state()
        else:
            progress.stale += 1
        if math.isnan(score) and progress.step:
            progress.status, progress.reason = "diverged", f"validation score became nan at step {progress.step}"
        elif self.recipe.patience and progress.stale >= self.recipe.patience:
            progress.status = "finished"
            progress.reason = f"stopped early: no better validation score in {progress.stale} checkpoints"
        progress.tensors = self.pack()

    def confirm(self, progress: Progress) -> None:
        """Score the best weights on all validation data, where the checkpoints scored a part of them."""
        if len(self.scored) == len(self.validation) or not self.best:
            return
        with self._weights(self.best):
            progress.best_score = self._score(self.validation)
        progress.drawn = self.samples
        progress.scored = (
            f"checkpoints scored {len(self.scored):,} of {len(self.validation):,} validation data and drew "
            f"{self.samples} samples"
        )

    def _score(self, x: Tensor) -> float:
        score = validation_score(self.pair, x, self.can, self.estimates, self.recipe.weighed)
        return score + self._log_scale(x)

    def _log_scale(self, x: Tensor) -> float:
        """What takes scores to the data's own units."""
        return 0.0 if self.can.likelihood == "none" else float(self.data.log_scale(self.pair, x).mean())

    def pack(self) -> dict[str, Tensor]:
        """The tensors that `restore` takes, not copied."""
        kinds = {"weights": self.pair.state(), "average": self.average, "best": self.best}
        tensors = {f"{kind}/{name}": tensor for kind, named in kinds.items() for name, tensor in named.items()}
        for player in self.players:
            for index, state in player.optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser/{player.name}/{index}/{key}": value for key, value in state.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from the tensors of an earlier `pack`."""
        kinds: dict[str, dict[str, Tensor]] = defaultdict(dict)
        states: dict[str, dict[int, dict[str, Tensor]]] = defaultdict(lambda: defaultdict(dict))
        for path, tensor in tensors.items():
            kind, name = path.split("/", 1)
            if kind == "optimiser":
                owner, index, key = name.split("/")
                states[owner][int(index)][key] = tensor
            else:
                kinds[kind][name] = tensor.to(self.validation.device)
        self.pair.load(kinds["weights"])
        self.average = {name: kinds["average"][name] for name in self.average}  # in the order of the parameters
        self.best = kinds["best"]
        for player in self.players:
            state: dict[str, Any] = player.optimiser.state_dict() | {"state": states[player.name]}
            player.optimiser.load_state_dict(state)

    def _averaged_state(self) -> dict[str, Tensor]:
        """Copies of the averaged parameters and of the buffers; without an average, of the parameters themselves."""
        return {name: tensor.clone() for name, tensor in (self.pair.state() | self.average).items()}

    @contextmanager
    def _weights(self, others: Mapping[str, Tensor]) -> Iterator[None]:
        """Put ``others`` in the place of the pair's own weights inside the block."""
        own = {name: tensor.clone() for name, tensor in self.pair.state().items()}
        self.pair.load(own | dict(others))
        try:
            yield
        finally:
            self.pair.load(own)
