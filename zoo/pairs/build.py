"""From a name to a pair, with its hyper-parameters and a seed.

A name is ``family``, ``family+guide``, and either with settings behind a colon: ``vae+iaf:prior=flow,latent=2``. The
setting ``prior`` names a registered prior, the others are hyper-parameters.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyro import poutine
from torch import Tensor

from zoo.errors import UnfitError, ZooError
from zoo.event import Event
from zoo.nn.networks import networks_of
from zoo.pairs.declarations import Family
from zoo.pairs.pair import NeedsEncoder, Pair, Program, no_guide
from zoo.pairs.registry import families, guides, load_shelves, priors
from zoo.pairs.shelf import shelf_guide
from zoo.pairs.sites import random_sites
from zoo.pairs.traces import Capabilities, capabilities
from zoo.seeding import seeded

Hyper = Mapping[str, Any]


@dataclass(frozen=True)
class ParsedName:
    """A parsed name: family, guide and prior (``""`` if the family brings its own) and hyper-parameters."""

    family: Family
    guide: str
    prior: str
    hyper: dict[str, Any]

    @property
    def variant(self) -> str:
        """The name without its guide and without a default prior: the scores' column ``family``."""
        named = {"prior": self.prior} if self.prior != (self.family.prior or "") else {}
        settings = ",".join(f"{name}={value}" for name, value in (named | self.hyper).items())
        return f"{self.family.name}:{settings}" if settings else self.family.name

    @property
    def defaults(self) -> dict[str, Any]:
        """The default of each hyper-parameter that has one; those of guide and prior as ``guide.NAME``, ``prior.NAME``.

        Example:
            >>> read_name("vae:prior=mixture").defaults["prior.components"]
            20
        """
        parts = {"": self.family, "guide.": guides.get(self.guide), "prior.": priors.get(self.prior)}
        return {
            prefix + parameter.name: parameter.default
            for prefix, entry in parts.items()
            for parameter in (inspect.signature(entry.make).parameters.values() if entry else ())
            if parameter.default is not inspect.Parameter.empty
        }


def read_name(name: str) -> ParsedName:
    """Parse ``name``; a guide or prior that it leaves out is the family's default, or the first that fits the other.

    Raises:
        ZooError: an unknown name, a guide or a prior for a family that brings its own, or two that do not fit.
    """
    load_shelves()
    pair, _, settings = name.partition(":")
    family_name, plus, guide = pair.partition("+")
    family = families[family_name]
    hyper = parse_settings(settings.split(",")) if settings else {}
    prior = str(hyper.pop("prior", ""))
    for word, named, default in (("guide", plus, family.guide), ("prior", prior, family.prior)):
        if named and default is None:
            takers = [entry.name for entry in families if getattr(entry, word)]
            raise ZooError(f"family {family.name!r} brings its own {word}; families that take one: {', '.join(takers)}")
    guide, prior = _fitting(family, guides[guide].name if plus else "", priors[prior].name if prior else "")
    return ParsedName(family, guide, prior, hyper)


def _fitting(family: Family, guide: str, prior: str) -> tuple[str, str]:
    """A guide and a prior whose latents lie in one space; ``""`` stands for one that was not named."""
    one, other = guide or family.guide or "", prior or family.prior or ""
    if family.guide and not family.prior and guides[one].space != guides[family.guide].space:
        fit = [entry.name for entry in guides if entry.space == guides[family.guide].space]
        raise ZooError(
            f"guide {one!r} lies in the space {guides[one].space!r}, the latents of {family.name!r} in "
            f"{guides[family.guide].space!r}; guides for them: {', '.join(fit)}"
        )
    if family.prior is None or family.guide is None or guides[one].space == priors[other].space:
        return one, other
    takers = [entry.name for entry in guides if entry.space == priors[other].space]
    if not guide and takers:
        return takers[0], other
    fit = [entry.name for entry in priors if entry.space == guides[one].space]
    if not prior and fit:
        return one, fit[0]
    raise ZooError(
        f"prior {other!r} lies in the space {priors[other].space!r}, guide {one!r} in {guides[one].space!r}; "
        f"guides for that prior: {', '.join(takers) or 'none'}; priors for that guide: {', '.join(fit) or 'none'}"
    )


def find(name: str) -> tuple[Family, str]:
    """The family and the guide's name (``""`` for a family that brings its own) of a name: see `read_name`."""
    parsed = read_name(name)
    return parsed.family, parsed.guide


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
    kinds = {"record": "digits:labels=100", "sequence": "chorales"}
    such = "".join(f"; {support} data are such as {kinds[support]}" for support in family.supports if support in kinds)
    if event.label and "record" not in family.supports:
        such += "; labels are left out by labels=0, as in digits:labels=0"
    raise UnfitError(
        f"family {family.name!r} takes {' or '.join(family.supports)} data, got {event.support} ({event}); "
        f"families that fit: {', '.join(fit) or 'none'}{such}"
    )


def build(name: str, event: Event, hyper: Hyper | None = None, seed: int = 0) -> Pair:
    """Build the pair called ``name`` for ``event``; its parameters depend on ``seed`` alone.

    Args:
        name: ``family``, ``family+guide``, and either with ``:setting=value,...``; ``zoo list`` prints the choices.
        event: shape and support of one datum.
        hyper: hyper-parameters of the family; those of guide and prior are written ``guide.NAME``, ``prior.NAME``. The
            family's ``net`` is the guide's too, unless ``guide.net`` is another.
        seed: of the initial parameters.

    Returns:
        The pair, in training mode on the CPU.

    Raises:
        ZooError: an unknown name or hyper-parameter, or an event that the family does not take.
        ContractError: the programs do not run.

    Example:
        >>> from zoo import Event, build
        >>> pair = build("vae+iaf:prior=mixture,latent=2", Event((2, 2), 5), {"hidden": 8, "guide.hidden": 8})
        >>> pair.label, pair.group
        ('vae+iaf:prior=mixture,latent=2', 'prescribed')
    """
    parsed = read_name(name)
    family, event = parsed.family, fitting_event(parsed.family, event)
    own, of_guide, of_prior = _split(name, parsed, hyper or {})

    def make_prior(latent: int) -> Any:
        return _make(f"prior {parsed.prior!r}", priors[parsed.prior].make, of_prior, event.array, latent)

    with seeded(seed):
        given = (event, make_prior) if parsed.prior else (event,)
        made = _make(f"family {family.name!r}", family.make, own, *given)
        model, guide = made if isinstance(made, tuple) else (made.model, getattr(made, "guide", no_guide))
        if parsed.guide:
            guide = amortise(parsed.guide, model, event, of_guide)
        pair = Pair(event, model, guide, extras=made, family=parsed.variant, guide_name=parsed.guide)
    _connect_encoder(pair, guide)
    pair.group = family.group or _group(capabilities(pair))
    pair.in_own_units, pair.recipe = family.event is not None, family.recipe
    return pair


def amortise(name: str, model: Program, event: Event, hyper: Hyper | None = None) -> Program:
    """Make a guide from the shelf for any model: its latents are read off its trace.

    The guides of the shelf sample real latents of each datum. A latent of another support is a transform of such,
    finite latents are left to be summed, and latents that all data share get Pyro's `AutoNormal`.

    Args:
        name: of the guide.
        model: the generative program, over batches of ``event``.
        event: shape and support of one datum.
        hyper: hyper-parameters of the guide.

    Returns:
        The guide: a program over batches.

    Raises:
        ZooError: an unknown name or hyper-parameter, or a latent that no guide of the shelf can sample.

    Example:
        >>> import pyro, pyro.distributions as dist, torch, zoo
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         scale = pyro.sample("scale", dist.Gamma(2.0, 1.0))
        ...         pyro.sample("x", dist.Normal(torch.zeros(2), scale[:, None]).to_event(1), obs=x)
        >>> event = zoo.Event(2, "real")
        >>> pair = zoo.Pair(event, model, zoo.amortise("iaf", model, event, {"hidden": 8}))
        >>> zoo.log_weights(pair, torch.zeros(3, 2)).shape
        torch.Size([3])
    """
    load_shelves()
    make = partial(_make, f"guide {name!r}", guides[name].make, hyper or {}, event.array)
    return shelf_guide(make, model, event)


def _split(name: str, parsed: ParsedName, hyper: Hyper) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The hyper-parameters of family, guide and prior, those in the name and those given by ``hyper``."""
    for key, value in sorted(parsed.hyper.items()):
        if key in hyper and hyper[key] != value:
            raise ZooError(f"{name} says {key}={value}, and {key}={hyper[key]} was given as well; give one of them")
    own, of_guide, of_prior = dict[str, Any](), dict[str, Any](), dict[str, Any]()
    for key, value in {**parsed.hyper, **hyper}.items():
        word, _, setting = key.partition(".")
        if not setting or word not in ("guide", "prior"):
            own[key] = value
            continue
        if not (parsed.guide if word == "guide" else parsed.prior):
            raise ZooError(f"family {parsed.family.name!r} takes no {word} from the shelf, so no {key}")
        (of_guide if word == "guide" else of_prior)[setting] = value
    if parsed.guide and own.get("net") in networks_of(guides[parsed.guide].make):
        of_guide.setdefault("net", own["net"])  # both programs by one choice
    return own, of_guide, of_prior


def _make(what: str, maker: Callable[..., Any], hyper: Hyper, *args: Any) -> Any:
    """``maker(*args, **hyper)``, with errors that name the hyper-parameter."""
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


def _connect_encoder(pair: Pair, guide: Callable[..., Any]) -> None:
    """Give the guide's distribution to the modules that need it, by a trace that is hidden from outer handlers."""

    def encode(x: Tensor) -> Any:
        with poutine.block():
            trace = poutine.trace(guide).get_trace(x)
        return next(site["fn"] for _, site in random_sites(trace))

    for part in (part for module in pair.modules.values() for part in module.modules()):
        if isinstance(part, NeedsEncoder):
            part.use_encoder(encode)


def _group(can: Capabilities) -> str:
    """The group in Tomczak's taxonomy if the traces decide it, else ``""``."""
    if can.likelihood == "none":
        return "implicit"
    return "prescribed" if {*can.latents} - {*can.dequantising} else ""


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Read ``name=value`` settings; values are Python literals, anything else is text.

    Raises:
        ZooError: a setting without ``=``, or two values of one.
    """
    parsed: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ZooError(f"a setting is written name=value, got {text!r}")
        found = parse_value(value)
        if parsed.setdefault(name, found) != found:
            raise ZooError(f"the setting {name} is given twice, as {parsed[name]} and {found}")
    return parsed


def parse_value(text: str) -> Any:
    """A Python literal, such as a number; anything else is text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
