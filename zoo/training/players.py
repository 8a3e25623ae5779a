"""One optimiser step per player: the gradients of its loss, and its optimiser.

All that training needs of `zoo.engine` is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo import engine
from zoo.engine.objectives import Objective, doubly_reparameterised, elbo, free_bits, importance_weighted
from zoo.errors import ZooError
from zoo.pairs.pair import HasElbo, HasPlayers, Pair, Player
from zoo.pairs.structure import listed
from zoo.training.callbacks import Progress
from zoo.training.recipe import Recipe

Gradients = Callable[[Tensor, float], Tensor]
OPTIMISERS: dict[str, Any] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "sgd": torch.optim.SGD,
}


class ActivePlayer:
    """The parameters of a player, the gradients of its loss, and its optimiser.

    ``gradients(x, beta)`` is the loss of a batch, the latents' terms weighted by ``beta``; it leaves the gradients in
    ``.grad`` of ``parameters``.
    """

    def __init__(
        self,
        name: str,
        parameters: Sequence[nn.Parameter],
        gradients: Gradients,
        recipe: Recipe,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.parameters, self.gradients = name, list(parameters), gradients
        fused = {"fused": True} if recipe.optimiser in ("adam", "adamw") else {}
        settings = {"lr": recipe.lr, "weight_decay": recipe.weight_decay} | fused | dict(options or {})
        self.lr_factor = settings["lr"] / recipe.lr
        self.optimiser: torch.optim.Optimizer = OPTIMISERS[recipe.optimiser](self.parameters, **settings)
        self._stepper = engine.Stepper(self.optimiser)

    def step(self, lr: float) -> None:
        """Take one optimiser step."""
        for group in self.optimiser.param_groups:
            group["lr"] = lr * self.lr_factor
        self._stepper.step()


def active_players(pair: Pair, recipe: Recipe, progress: Progress, size: int, runs: int) -> list[ActivePlayer]:
    """The family's own players, else one that descends the recipe's objective; none without parameters.

    ``size`` is the number of training data.
    """
    if isinstance(pair.extras, HasPlayers):
        if recipe.kl_warmup:
            raise ZooError(f"{pair.label} has a loss of its own, which takes no KL warm-up; leave out kl_warmup")
        if recipe.objective != "elbo":
            raise ZooError(
                f"{pair.label} has a loss of its own, which objective={recipe.objective} would replace; leave it out"
            )
        if recipe.free_bits:
            raise ZooError(f"{pair.label} has a loss of its own, which takes no free bits; leave out free_bits")
        return [
            ActivePlayer(player.name, player.parameters, own_gradients(pair, player, recipe), recipe, player.options)
            for player in pair.extras.players()
            if player.parameters
        ]
    gradients = engine_gradients(pair, recipe, objective_of(pair, recipe, size), progress, runs)
    return [ActivePlayer("elbo", pair.parameters(), gradients, recipe)] if pair.parameters() else []


def own_gradients(pair: Pair, player: Player, recipe: Recipe) -> Gradients:
    """The gradients of a loss that the family brings."""
    parameters = list(player.parameters)

    def gradients(x: Tensor, beta: float) -> Tensor:
        for parameter in parameters:
            parameter.grad = None
        with pair.scope(), pyro.validation_enabled(False):
            with engine.autocast(recipe.precision, x.device):
                loss = player.loss(x)
            loss.backward(inputs=parameters)
        return loss

    return gradients


def objective_of(pair: Pair, recipe: Recipe, size: int) -> Objective:
    """The objective of a recipe for ``size`` training data.

    Raises:
        ZooError: importance weights for a pair that has none for each datum, or with a KL warm-up; free bits for a pair
            without latents of a datum, or with another objective.
    """
    if recipe.free_bits:
        if recipe.objective != "elbo":
            raise ZooError(f"free_bits are of objective=elbo, got {recipe.objective}; leave one of them out")
        if isinstance(pair.extras, HasElbo) or not (pair.structure.plain and pair.structure.sampled):
            raise ZooError(
                f"free_bits are nats of latents that a guide draws for each datum, and {pair.label} has others or "
                "none; leave them out"
            )
        return free_bits(recipe.free_bits, recipe.particles)
    if recipe.objective == "elbo":
        return elbo(recipe.particles, size)
    word, structure = f"objective={recipe.objective}", pair.structure
    if not structure.sampled:
        raise ZooError(f"{word} weighs draws of a guide, and the guide of {pair.label} draws none; leave it out")
    if isinstance(pair.extras, HasElbo):
        raise ZooError(f"{word} takes importance weights, and {pair.label} estimates its ELBO without; leave it out")
    if structure.enumerated or structure.shared:
        which = "sums" if structure.enumerated else "shares between all data"
        raise ZooError(
            f"{word} weighs latents of a datum, and {pair.label} {which} "
            f"{listed(structure.enumerated or structure.shared)}; use objective=elbo"
        )
    if recipe.kl_warmup:
        raise ZooError(
            f"{word} takes no KL warm-up: with terms weighted by less than one it bounds nothing; set kl_warmup=0"
        )
    return (importance_weighted if recipe.objective == "iwae" else doubly_reparameterised)(recipe.particles)


def engine_gradients(pair: Pair, recipe: Recipe, objective: Objective, progress: Progress, runs: int) -> Gradients:
    """The gradients of an objective, by the engine of a resumed run, else by that of the recipe.

    It is noted in ``progress``: that of ``auto`` is known after the first batch.
    """
    step = engine.compile(
        pair,
        objective,
        mode=progress.engine or recipe.engine,
        products=progress.products or None,
        precision=recipe.precision,
        steps=recipe.steps,
        runs=runs,
    )

    def gradients(x: Tensor, beta: float) -> Tensor:
        loss = step(x, beta)
        progress.engine, progress.products, progress.remark = step.mode, step.products, step.reason
        return loss

    return gradients
