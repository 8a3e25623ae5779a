"""What `zoo show` says about a family: its declaration, and what is read off its programs."""

from __future__ import annotations

from typing import Any

from zoo.codec.bottleneck import no_bottleneck
from zoo.event import EXAMPLES, Event
from zoo.pairs.build import build, fitting_event, read_name
from zoo.pairs.declarations import Family
from zoo.pairs.traces import capabilities
from zoo.training.recipe import Recipe


def example_event(family: Family) -> Event:
    """An event that the family takes: its own, else 8x8:17, 8x8:binary or 2:real."""
    given = family.event or family.example
    return given or next(event for support, event in EXAMPLES.items() if support in family.supports)


def describe(name: str, event: Event | None = None) -> dict[str, Any]:
    """Docstring, paper, hyper-parameters, training recipe and the capabilities found on ``event``, as plain values.

    Raises:
        ZooError: an unknown name, or an event that the family does not take.
    """
    called = read_name(name)
    family = called.family
    event = fitting_event(family, event or example_event(family))
    pair = build(name, event)
    can = capabilities(pair)
    return {
        "name": pair.label,
        "group": pair.group,
        "paper": family.paper,
        "doc": family.doc,
        "takes": list(family.supports),
        "hyper": called.defaults | called.hyper,
        "recipe": Recipe.read(family.recipe).model_dump(),
        "event": str(event),
        "parameters": sum(parameter.numel() for parameter in pair.parameters()),
        "likelihood": can.likelihood + (" (analytic)" if can.analytic else ""),
        "latents": {site: list(shape) for site, shape in can.latents.items()},
        "enumerated": dict(can.enumerated),
        "shared": {site: list(shape) for site, shape in can.shared.items()},
        "observed": list(can.observed),
        "lossless": can.lossless,
        "lossy": not no_bottleneck(pair),
    }


def text(about: dict[str, Any]) -> str:
    """`describe` for reading."""
    latents = ", ".join(f"{site} {tuple(shape)}" for site, shape in about["latents"].items()) or "none"
    lines = [
        f"{about['name']}  [{about['group'] or 'unsorted'}]",
        "",
        about["doc"] or "(no docstring)",
        "",
        f"paper       {about['paper'] or 'none given'}",
        f"takes       {', '.join(about['takes'])}",
        f"settings    {_pairs(about['hyper'])}   (--set name=value)",
        f"training    {_pairs(about['recipe'])}   (--train name=value)",
        f"read off its programs on {about['event']}:",
        f"  parameters  {about['parameters']}",
        f"  likelihood  {about['likelihood']}",
        f"  latents     {latents}",
        *(f"  summed      {site}, over {count} values" for site, count in about["enumerated"].items()),
        *(f"  shared      {site} {tuple(shape)}, by all data" for site, shape in about["shared"].items()),
        f"  lossless    {'a code, directly or by bits-back' if about['lossless'] else 'no'}",
        f"  lossy       {'a code of the latents' if about['lossy'] else 'no'}",
    ]
    return "\n".join(lines)


def _pairs(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "none"
