"""What the sweeps sweep over: every family on every support, every guide on one family, all of them small."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

import pytest

from zoo.pairs.build import find
from zoo.pairs.declarations import SUPPORTS
from zoo.pairs.registry import families, guides, load_shelves

SMALL = {"layers": 2, "couplings": 1, "hidden": 16, "narrow": 8, "width": 8, "blocks": 1, "latent": 3, "top": 2}
SMALL |= {"bottom": 3, "steps": 2, "timesteps": 3, "x": "independent", "sweeps": 4, "moves": 4, "chains": 8}
"""Hyper-parameters that keep a network small, where it has them: the laws are about what it is made of."""

T = TypeVar("T")


def members() -> list[tuple[str, str]]:
    """Names with a support: each family on each support that it takes, and each guide on one family, by turns.

    Families of records are swept in tests/test_ssvae.py, those of sequences in tests/test_dmm.py.
    """
    load_shelves()
    found = [(family.name, support) for family in families for support in family.supports if support in SUPPORTS]
    for turn, guide in enumerate(guides):
        own = [name for name, _ in combinations() if name.endswith(f"+{guide.name}")]
        found.append((own[turn % len(own)], "levels"))
    return [(name, str(support)) for name, support in found]


def combinations() -> list[tuple[str, str]]:
    """Each family that takes guides from the shelf, with each of them that fits its latents, on levels."""
    load_shelves()
    takers = [family for family in families if family.guide]
    return [
        (f"{family.name}+{guide.name}", "levels")
        for family in takers
        for guide in guides
        if family.prior or guide.space == guides[family.guide].space
    ]


def turns(found: Iterable[T], group: Callable[[T], Hashable]) -> list[T]:
    """One of each group: the first of the first group, the second of the second, and so on."""
    groups = defaultdict[Hashable, list[T]](list)
    for each in found:
        groups[group(each)].append(each)
    return [members[turn % len(members)] for turn, members in enumerate(groups.values())]


def in_turn(found: Iterable[T], group: Callable[[T], Hashable]) -> list[Any]:
    """All that is found as parameters of a test; those whose turn it is not are slow."""
    found = list(found)
    now = turns(found, group)
    return [
        pytest.param(*(each if isinstance(each, tuple) else (each,)), marks=() if each in now else pytest.mark.slow)
        for each in found
    ]


def family_of(member: tuple[str, str]) -> Hashable:
    """By which `members` take turns: its supports, and its guides."""
    name, _, guide = member[0].partition("+")
    return name, bool(guide)


def small(name: str) -> dict[str, Any]:
    """Small hyper-parameters of the pair called ``name``."""
    family, guide = find(name)
    own = _taken(family.make)
    return own | ({f"guide.{key}": value for key, value in _taken(guides[guide].make).items()} if guide else {})


def default(name: str) -> dict[str, Any]:
    """Default hyper-parameters of the pair called ``name``, but for the number of its steps in time."""
    return {key: value for key, value in small(name).items() if key in ("timesteps", "sweeps", "moves")}


def _taken(make: Callable[..., Any]) -> dict[str, Any]:
    known = inspect.signature(make).parameters
    return {key: value for key, value in SMALL.items() if key in known}
