"""The controller: a linear map from latents and memory to an action, found by CMA-ES."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import RunError, ZooError
from zoo.files import read_json, write_json

THRESHOLD = 1 / 3
"""Of tanh of the output, beyond which the agent moves to one side or the other."""


def choose(weights: Tensor, z: Tensor, h: Tensor) -> Tensor:
    """The action of linear controllers: 1 if tanh(w . [z, h, 1]) < -1/3, 2 if it is > 1/3, otherwise 0.

    Args:
        weights: shape ``(..., L + H + 1)``.
        z: latents of the frame, shape ``(..., L)``.
        h: output of the memory before the frame, shape ``(..., H)``.

    Returns:
        Shape ``(...)``, int64.

    Example:
        >>> choose(torch.tensor([-9.0, 0.0, 0.0]), torch.tensor([[1.0], [-1.0], [0.0]]), torch.zeros(3, 1))
        tensor([1, 2, 0])

    Reference:
        Ha & Schmidhuber 2018, arXiv:1803.10122, section 2.3 and appendix A.3.
    """
    value = (weights[..., :-1] * torch.cat([z, h], -1)).sum(-1) + weights[..., -1]
    value = value.tanh()
    return torch.where(value < -THRESHOLD, 1, torch.where(value > THRESHOLD, 2, 0))


def evolve(
    size: int,
    fitness: Callable[[Tensor, int], Tensor],
    *,
    population: int,
    generations: int,
    sigma: float,
    seed: int,
    path: Path | None = None,
    watch: Callable[[int, float, float], None] = lambda generation, mean, best: None,
) -> Tensor:
    """Maximise by CMA-ES from zero: the mean of the last generation's distribution, shape ``(size,)``.

    Of each generation only the fitness is stored. The solutions follow from the seed, so that a search that was stopped
    goes on from where it was with the same numbers.

    Args:
        size: numbers of a solution.
        fitness: of solutions ``(population, size)`` in a generation, counted from 0: shape ``(population,)``.
        population: solutions of a generation.
        generations: how many.
        sigma: standard deviation of the first generation.
        seed: of the solutions.
        path: where the fitness is kept after each generation.
        watch: is given generation, mean and best fitness.

    Raises:
        ZooError: the package cma is not installed.
        RunError: the file at ``path`` belongs to another search, or is damaged.

    Reference:
        Hansen 2016, The CMA evolution strategy, arXiv:1604.00772.
    """
    require_cma()
    import cma

    generator = np.random.default_rng(seed)
    options = {"seed": np.nan, "randn": lambda *shape: generator.standard_normal(shape), "verbose": -9}
    search: Any = cma.CMAEvolutionStrategy(np.zeros(size), sigma, options | {"popsize": population})
    settings = {"size": size, "population": population, "sigma": sigma, "seed": seed}
    known = list[list[float]]()
    if path is not None and path.exists():
        stored = read_json(path)
        if stored["settings"] != settings:
            raise RunError(f"{path} belongs to another search; delete its folder to start over")
        known = stored["fitness"]
    for generation in range(generations):
        solutions = np.stack(search.ask())
        if generation == len(known):
            found = fitness(torch.from_numpy(solutions).float(), generation)
            known.append(found.double().tolist())
            if path is not None:
                write_json(path, {"settings": settings, "fitness": known})
            watch(generation, float(np.mean(known[-1])), float(np.max(known[-1])))
        search.tell(list(solutions), [-each for each in known[generation]])
    return torch.from_numpy(search.mean.copy()).float()


def require_cma() -> None:
    """Refuse to go on without the package cma.

    Raises:
        ZooError: it is not installed.
    """
    if find_spec("cma") is None:
        raise ZooError("the controller is found by the package cma: pip install 'pyro-zoo[worlds]'")
