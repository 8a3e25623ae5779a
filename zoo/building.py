"""From a name to a pair: ``vae``, ``vae+iaf``, with its hyper-parameters and a seed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine

from zoo.errors import UnfitError, ZooError
from zoo.event import Event
from zoo.pair import Pair, no_guide
from zoo.registry import Family, families, guides, load_shelves
from zoo.seeding import seeded
from zoo.traces import Abilities, abilities, latent_sites, random_sites

Hyper = Mapping[str, Any]


def find(name: str) -> tuple[Family, str]:
    """The family and the guide's name (``""`` for a family that brings its own) behind ``family`` or ``family+guide``.

    Raises:
        ZooError: an unknown name, or a guide for a family that brings its own.
    """
    load_shelves()
    family_name, plus, guide_name = name.partition("+")
    family = families[family_name]
    if not plus:
        return family, family.guide or ""
    if family.guide is None:
        takers = [entry.name for entry in families if entry.guide]
        raise ZooError(f"family {family.name!r} brings its own guide; families that take one: {', '.join(takers)}")
    return family, guides[guide_name].name


def fitting_event(family: Family, data: Event) -> Event:
    """The event that ``family`` is built for on data of event ``data``.

    Raises:
        UnfitError: the family does not take that support (the message names those that do).
    """
    event = family.event or data
    if event.support in family.supports:
        return event
    load_shelves()
    fit = [entry.name for entry in families if event.support in entry.supports]
    raise UnfitError(
        f"family {family.name!r} takes {' or '.join(family.supports)} data, got {event.support} ({event}); "
        f"families that fit: {', '.join(fit)}"
    )


def build(name: str, event: Event, hyper: Hyper | None = None, seed: int = 0) -> Pair:
    """Build the pair called ``name`` for ``event``; its parameters depend on ``seed`` alone.

    ``hyper`` are the family's hyper-parameters; those of its guide are written ``guide.NAME``.

    Raises:
        ZooError: an unknown name or hyper-parameter, or an event that the family does not take.
        ContractError: the programs do not run.
    """
    family, guide_name = find(name)
    event = fitting_event(family, event)
    own = {key: value for key, value in (hyper or {}).items() if not key.startswith("guide.")}
    of_guide = {key.removeprefix("guide."): value for key, value in (hyper or {}).items() if key not in own}
    if of_guide and not guide_name:
        raise ZooError(f"family {family.name!r} takes no guide from the shelf, so no guide.{next(iter(of_guide))}")
    with seeded(seed):
        made = _make(f"family {family.name!r}", family.make, own, event)
        model, guide = _programs(made)
        if guide_name:
            maker = guides[guide_name].make
            guide = _make(f"guide {guide_name!r}", maker, of_guide, event, latents(model, event))
        pair = Pair(event, model, guide, extras=made, family=family.name, guide_name=guide_name)
    pair.group = family.group or read_group(abilities(pair))
    return pair


def read_group(can: Abilities) -> str:
    """The row of Tomczak's table that the traces alone tell, ``""`` where it takes more to know it."""
    if can.likelihood == "none":
        return "implicit"
    return "prescribed" if can.latents else ""


def latents(model: Callable[..., Any], event: Event) -> dict[str, tuple[int, ...]]:
    """The latent sites of a model, in its order, with their event shapes."""
    trace = poutine.trace(Pair(event, model).model).get_trace(torch.zeros(3, *event.shape))
    names = latent_sites(trace)
    return {name: tuple(site["fn"].event_shape) for name, site in random_sites(trace) if name in names}


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Read ``name=value`` settings; values are Python literals, anything else is text.

    Raises:
        ZooError: a setting without ``=``.
    """
    return dict(_setting(text) for text in settings)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ZooError(f"a setting is written name=value, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _make(what: str, maker: Callable[..., Any], hyper: Hyper, *args: Any) -> Any:
    known = dict(list(inspect.signature(maker).parameters.items())[len(args) :])
    for name in hyper:
        if name not in known:
            raise ZooError(f"{what} has no hyper-parameter {name!r}; it has: {', '.join(known) or 'none'}")
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in hyper:
            raise ZooError(f"{what} needs its hyper-parameter {name!r}, which has no default: give it, {name}=VALUE")
    try:
        return maker(*args, **hyper)
    except (TypeError, ValueError, RuntimeError) as error:
        if not hyper:
            raise
        given = ", ".join(f"{name}={value!r}" for name, value in hyper.items())
        raise ZooError(f"{what} cannot be made with {given}: {error}") from error


def _programs(made: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    if isinstance(made, tuple):
        model, guide = made
        return model, guide
    return made.model, getattr(made, "guide", no_guide)
