"""The settings of training, as one flat table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zoo.errors import ZooError


class Recipe(BaseModel):
    """Training settings: a family declares its own defaults, a suite or a person overrides them.

    The learning rate is a pure function of the step, so a resumed run needs no scheduler's state.

    Args:
        steps: optimiser steps; 0 for a family that is fitted in closed form.
        batch: data per step; all of them if there are fewer.
        optimiser: one of torch's.
        lr: the peak learning rate.
        weight_decay: of the optimiser.
        schedule: of the learning rate: constant, cosine decay, or one cycle with 20 % warm-up.
        clip: the largest norm of each player's gradient.
        average: decay of the exponential moving average of the weights; the average is scored and kept.
        kl_warmup: steps over which the weight of the latents' terms grows to 1.
        free_bits: nats of the latents' terms, on average over a batch, that cost nothing (Kingma et al. 2016): more
            information than that is paid for, and less earns nothing, so that latents stay in use. Of the ELBO only.
        objective: of a guide: elbo, iwae (the importance-weighted bound of ``particles``), or dreg (the same bound with
            the doubly reparameterised gradient).
        particles: draws of the guide per datum in the objective.
        checkpoints: how often validation score and discrepancy are measured.
        patience: checkpoints without a better validation score before training stops.
        precision: float32, or bf16 for matrix products in bfloat16.
        engine: how steps are computed; ``auto`` chooses the engine that is expected to finish first (docs/speed.md).

    Example:
        >>> recipe = Recipe(steps=100, lr=0.5, schedule="cosine")
        >>> [round(recipe.lr_at(step), 3) for step in (0, 50, 99)]
        [0.5, 0.25, 0.001]
        >>> recipe.updated({"batch": 32}).batch
        32
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=1000, ge=0)
    batch: int = Field(default=128, ge=1)
    optimiser: Literal["adam", "adamw", "adamax", "nadam", "radam", "sgd"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    clip: float | None = Field(default=None, gt=0)
    average: float | None = Field(default=None, gt=0, lt=1)
    kl_warmup: int = Field(default=0, ge=0)
    free_bits: float = Field(default=0.0, ge=0)
    objective: Literal["elbo", "iwae", "dreg"] = "elbo"
    particles: int = Field(default=1, ge=1)
    checkpoints: int = Field(default=20, ge=1)
    patience: int | None = Field(default=None, ge=1)
    precision: Literal["float32", "bf16"] = "float32"
    engine: Literal["auto", "eager", "traced", "compiled"] = "auto"

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> Recipe:
        """A recipe from ``settings``.

        Raises:
            ZooError: an unknown setting or a value out of range, with what was expected.
        """
        try:
            return cls(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            known = f"; settings: {', '.join(cls.model_fields)}" if first["type"] == "extra_forbidden" else ""
            raise ZooError(f"training setting {name!r}: {first['msg']}, got {first['input']!r}{known}") from error

    def updated(self, settings: Mapping[str, Any]) -> Recipe:
        """This recipe with other ``settings`` (see `read`)."""
        return Recipe.read(self.model_dump() | dict(settings))

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        share = step / max(1, self.steps)
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "onecycle" and share < 0.2:
            return self.lr * (0.04 + 0.96 * share / 0.2)
        down = share if self.schedule == "cosine" else (share - 0.2) / 0.8
        return self.lr * (0.001 + 0.999 * (1 + math.cos(math.pi * down)) / 2)

    def kl_weight(self, step: int) -> float:
        """The weight of the latents' terms at a step, counted from 0."""
        return min(1.0, (step + 1) / self.kl_warmup) if self.kl_warmup else 1.0

    @property
    def weighed(self) -> int:
        """The number of importance weights in the bound that is trained: one for the ELBO."""
        return 1 if self.objective == "elbo" else self.particles

    def measured(self, done: int) -> bool:
        """Whether validation score and discrepancy are measured after ``done`` steps."""
        return done == self.steps or done % max(1, self.steps // self.checkpoints) == 0
