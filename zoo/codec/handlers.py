"""Coding as an effect: two handlers that turn any program into half of a codec.

`Pop` draws each sample site from the stack; `Push` puts the sites' values onto it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.torch_distribution import MaskedDistribution
from pyro.poutine.messenger import Messenger
from torch.distributions import Categorical

from zoo.codec.grids import Grid
from zoo.codec.rules import Code, code
from zoo.codec.stack import Stack
from zoo.errors import ZooError
from zoo.pairs.sites import is_deterministic, layers
from zoo.seeding import seeded


class Pop(Messenger):
    """Inside, each unobserved sample site takes its value from the stack, under its own distribution.

    Values of a categorical have the type of its draws: programs use integers as indices.
    """

    def __init__(self, stack: Stack, grid: Grid | None) -> None:
        super().__init__()
        self.stack, self.grid = stack, grid

    def _pyro_sample(self, msg: Any) -> None:
        if _random(msg) and not msg["is_observed"]:
            with naming(msg):
                value = code_of(msg, self.grid).pop(self.stack)
                msg["value"] = value.to(_dtype(msg["fn"])) if _is_categorical(msg["fn"]) else value
            msg["done"] = True


class Push(Messenger):
    """On exit, pushes the values of the sample sites seen inside, the last one first; on an error, nothing."""

    def __init__(self, stack: Stack, grid: Grid | None) -> None:
        super().__init__()
        self.stack, self.grid = stack, grid
        self.seen: list[tuple[Any, Code]] = []

    def _pyro_post_sample(self, msg: Any) -> None:
        if _random(msg):
            with naming(msg):
                self.seen.append((msg, code_of(msg, self.grid)))

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if error[0] is None:
            for msg, coded in reversed(self.seen):
                with naming(msg):
                    coded.push(self.stack, msg["value"])


def code_of(site: Any, grid: Grid | None) -> Code:
    """The code of a sample site, of which entries that `pyro.poutine.mask` masks take no bits."""
    return code(site["fn"] if site["mask"] is None else MaskedDistribution(site["fn"], site["mask"]), grid)


def _is_categorical(fn: Any) -> bool:
    return any(isinstance(layer, Categorical) for layer in layers(fn))


def _dtype(fn: Any) -> torch.dtype:
    """The type of a distribution's draws."""
    with seeded(0):
        kind: torch.dtype = fn.sample().dtype
    return kind


def _random(msg: Any) -> bool:
    return not (poutine.util.site_is_subsample(msg) or is_deterministic(msg))


@contextmanager
def naming(msg: Any) -> Iterator[None]:
    """Errors inside name the site and its distribution."""
    try:
        yield
    except (ZooError, NotImplementedError) as error:
        why = str(error) or f"it has no cdf; write a coding rule with @zoo.codec.codes({type(msg['fn']).__name__})"
        raise ZooError(f"site {msg['name']!r}, {msg['fn']}, cannot be coded: {why}") from error
