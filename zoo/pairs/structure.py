"""Which latents of a pair the guide samples, which are summed, and which all data share; read off a few traces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import biject_to

from zoo.errors import ContractError
from zoo.pairs.sites import energies, is_discrete, random_sites
from zoo.seeding import seeded

Program = Callable[[Tensor], Any]
Sites = Mapping[str, Any]

SIZES = (3, 5)
"""Of the batches that are traced: a plate that has the size of each is the data plate."""


@dataclass(frozen=True)
class Structure:
    """How a pair's latents are treated (see `read_structure`)."""

    plates: frozenset[str]
    """Names of the data plates: those that have one entry per datum."""
    nesting: int
    """Number of dimensions that plates and batches take, counted from the right."""
    sampled: Mapping[str, tuple[int, ...]]
    """Latents of each datum that the guide samples, with their event shapes."""
    enumerated: Mapping[str, int]
    """Latents that are summed, with their number of values: finite, and left out or marked by the guide."""
    shared: Mapping[str, tuple[int, ...]]
    """The guide's latents outside the data plate, with their event shapes: all data share them."""
    unguided: Mapping[str, tuple[int, ...]]
    """The model's latents that the guide should sample and does not, with their event shapes."""
    auxiliary: frozenset[str]
    """Sites of the guide that are no latents of the model but part of log q."""
    auxiliary_outside: frozenset[str]
    """Those of them outside the data plate."""
    fixed: tuple[str, ...] = ()
    """The guide's sites that have the same number of values whatever the batch."""
    mismatch: str = ""
    """Why the guide's sites do not match the model's latents; empty if they do."""
    unnormalised: tuple[str, ...] = ()
    """The model's sites under densities whose log Z is unknown (`zoo.distributions.Unnormalised`)."""
    no_density: str = ""
    """Why the guide's density is none of the latents; empty if it is one."""

    def is_local(self, site: Any) -> bool:
        """Whether a site is in the data plate."""
        return _local(site, self.plates)

    @property
    def plain(self) -> bool:
        """Every latent is local and sampled by the guide."""
        return not (self.enumerated or self.shared or self.auxiliary)

    @property
    def outside(self) -> frozenset[str]:
        """The guide's sites outside the data plate."""
        return self.auxiliary_outside.union(self.shared)

    def enumerated_traces(self, model: Program, guide: Program, x: Tensor) -> tuple[Any, Any]:
        """Traces of guide and model with all values of the summed latents.

        The values of each latent have a dimension of their own to the left of the plates, those of the model to the
        left of the guide's.
        """

        def mark(site: Any) -> dict[str, Any]:
            """Overrides the user's marks: what the guide samples is enumerated in neither program."""
            return {"enumerate": "parallel" if site["name"] in self.enumerated else None}

        guide, model = (poutine.infer_config(program, config_fn=mark) for program in (guide, model))
        with EnumMessenger(first_available_dim=-1 - self.nesting):
            guide_trace = poutine.trace(guide).get_trace(x)
        self.forget_plates(guide_trace)
        model_trace = poutine.trace(poutine.replay(EnumMessenger()(model), trace=guide_trace)).get_trace(x)
        return prune_subsample_sites(guide_trace), prune_subsample_sites(model_trace)

    def forget_plates(self, guide_trace: Any) -> None:
        """Remove the data plates from a trace of the guide that the model is to be replayed against.

        `AutoGuideList` makes every plate of the model, of the size of the batch that it saw first.
        """
        for plate in self.plates.intersection(guide_trace.nodes):
            guide_trace.remove_node(plate)

    def require_amortised(self) -> None:
        """Refuse a guide that fits one batch only.

        Raises:
            ContractError: which latents it does not compute from the data.
        """
        for name in self.fixed:
            raise ContractError(
                f"{name!r} is not amortised: an AutoGuide has parameters for each datum of the batch that it first "
                "saw; write a guide that computes them from x"
            )

    def require_sound(self) -> None:
        """Refuse a pair whose log-probabilities would be wrong.

        Raises:
            ContractError: what is wrong.
        """
        self.require_amortised()
        if problem := self.mismatch or self.no_density:
            raise ContractError(problem)


def read_structure(model: Program, guide: Program, datum: Tensor) -> Structure:
    """Trace both programs on two sizes of batch.

    Args:
        model: the generative program.
        guide: the inference program.
        datum: one datum, shape ``(1, *event.shape)``, which is repeated.
    """
    batches = [datum.expand(n, *datum.shape[1:]).clone() for n in SIZES]
    runs = [[dict(random_sites(poutine.trace(program).get_trace(x))) for program in (model, guide)] for x in batches]
    plates = frozenset.intersection(*(_plates_of(len(x), sites) for x, sites in zip(batches, runs, strict=True)))
    model_sites, guide_sites = runs[0]
    latents = {name: site for name, site in model_sites.items() if not site["is_observed"]}
    has_likelihood = len(latents) < len(model_sites)
    enumerated = {
        name: len(site["fn"].enumerate_support(expand=False))
        for name, site in latents.items()
        if has_likelihood and _finite(site) and _local(site, plates)
        if name not in guide_sites or _marked(guide_sites[name])
    }
    auxiliary = {n for n, site in guide_sites.items() if site["infer"].get("is_auxiliary") and n not in latents}
    guided = {n: tuple(s["fn"].event_shape) for n, s in guide_sites.items() if n not in {*auxiliary, *enumerated}}
    sampled = {name: shape for name, shape in guided.items() if _local(guide_sites[name], plates)}
    shared = {name: shape for name, shape in guided.items() if name not in sampled}
    structure = Structure(
        plates=plates,
        nesting=max(map(_dimensions, (*model_sites.values(), *guide_sites.values())), default=0),
        sampled=sampled,
        enumerated=enumerated,
        shared=shared,
        unguided={
            name: tuple(site["fn"].event_shape)
            for name, site in latents.items()
            if name not in guide_sites and name not in enumerated
        },
        auxiliary=frozenset(auxiliary),
        auxiliary_outside=frozenset(name for name in auxiliary if not _local(guide_sites[name], plates)),
        fixed=tuple(
            name
            for name in guide_sites
            if name not in auxiliary
            and any(_is_fixed(guided.get(name), len(x), plates) for x, (_, guided) in zip(batches, runs, strict=True))
        ),
        mismatch=_unplated(model_sites, plates) or _mismatch(latents, guide_sites, auxiliary, enumerated, plates),
        unnormalised=tuple(n for n, fn in energies(model_sites.items()).items() if not fn.normalised),
        no_density=_no_density(latents, guide_sites, auxiliary, shared) or _reads_data(guide, batches[0], shared),
    )
    if not enumerated or structure.fixed or structure.mismatch:
        return structure
    n = next(n for n in range(SIZES[-1], 100) if n not in enumerated.values())  # a number of values hides mistakes
    try:
        structure.enumerated_traces(model, guide, datum.expand(n, *datum.shape[1:]).clone())
    except Exception as error:  # a user's program may raise anything
        first, _, _ = str(error).strip().partition("\n")
        mismatch = (
            f"the programs do not run on all values of {listed(enumerated)} at once, which have a dimension of their "
            f"own to the left of the plates' ({type(error).__name__}: {first}); count dimensions from the right, as in "
            "k.unsqueeze(-1), let results broadcast instead of .expand(len(x), ...), or sample the latent in the guide"
        )
        return replace(structure, mismatch=mismatch)
    return structure


def listed(names: Iterable[str], most: int = 5) -> str:
    """Names in a sentence, the first few of many."""
    known = list(names)
    return ", ".join(known) if len(known) <= most else f"{', '.join(known[:most])}, ... ({len(known)} latents)"


def _plates_of(n: int, programs: Sequence[Sites]) -> frozenset[str]:
    """Names of the plates of ``n`` entries."""
    frames = (frame for sites in programs for site in sites.values() for frame in site["cond_indep_stack"])
    return frozenset(frame.name for frame in frames if frame.size == n)


def _local(site: Any, plates: frozenset[str]) -> bool:
    return any(frame.vectorized and frame.name in plates for frame in site["cond_indep_stack"])


def _finite(site: Any) -> bool:
    return bool(getattr(site["fn"], "has_enumerate_support", False))


def _marked(site: Any) -> bool:
    """Marked for exact enumeration; several Monte Carlo samples are no enumeration."""
    return bool(site["infer"].get("enumerate")) and site["infer"].get("num_samples") is None


def _dimensions(site: Any) -> int:
    return max(len(site["fn"].batch_shape), *(-frame.dim for frame in site["cond_indep_stack"] if frame.vectorized), 0)


def _is_fixed(site: Any, n: int, plates: frozenset[str]) -> bool:
    """Whether a site of a run on ``n`` data is in a data plate of another size."""
    frames = site["cond_indep_stack"] if site else ()
    return any(frame.name in plates and 0 < frame.size != n for frame in frames)


def _unplated(model_sites: Sites, plates: frozenset[str]) -> str:
    for name, site in model_sites.items():
        if site["is_observed"] and not _local(site, plates):
            return (
                f"site {name!r} lies outside the data plate; put it under `with pyro.plate('data', len(x)):` and "
                "declare inner dimensions with .to_event(...)"
            )
    return ""


def _mismatch(
    latents: Sites, guide_sites: Sites, auxiliary: Container[str], enumerated: Container[str], plates: frozenset[str]
) -> str:
    if observed := [name for name, site in guide_sites.items() if site["is_observed"]]:
        return (
            f"the guide observes {listed(map(repr, observed))}, and log q is the density of what it draws; leave obs= "
            f"and pyro.factor out of the guide, or hide these sites, poutine.block(guide, hide={observed})"
        )
    for name, site in latents.items():
        if name in guide_sites and _local(site, plates) != _local(guide_sites[name], plates):
            ours, theirs = ("inside", "outside") if _local(site, plates) else ("outside", "inside")
            return (
                f"latent {name!r} is {ours} the data plate in the model and {theirs} it in the guide; in both, a "
                "latent of each datum is inside `with pyro.plate('data', len(x)):`, and one that all data share outside"
            )
        if name in guide_sites or name in enumerated:
            continue
        if not _local(site, plates):
            return (
                f"site {name!r} lies outside the data plate, and the guide does not sample it; put it under "
                "`with pyro.plate('data', len(x)):`, or, if all data share it, sample it in the guide, outside the "
                "plate, as AutoNormal does"
            )
        return (
            f"the model's latent {name!r} is not sampled by the guide, and without it there is no bound on the "
            f"likelihood; it cannot be summed: {_name(site)} is not finite, or has several entries in one event, which "
            "a plate would make a latent each"
        )
    for name in guide_sites:
        if name not in latents and name not in auxiliary:
            return (
                f"the guide samples {name!r}, which is no latent of the model ({', '.join(latents) or 'none'}); sample "
                "the same names in both, or mark an auxiliary variable by infer={'is_auxiliary': True}"
            )
    return ""


def _no_density(latents: Sites, guide_sites: Sites, auxiliary: Collection[str], shared: Container[str]) -> str:
    """Whether log q is no density of the latents.

    A Delta of a continuous latent stands for a density if auxiliary sites draw as many numbers as it has free
    dimensions: it is then a change of variables, and its ``log_density`` the Jacobian's.
    """
    points = [name for name, site in guide_sites.items() if name in latents and _is_point_mass(latents[name], site)]
    free = sum(biject_to(latents[name]["fn"].support).inverse_shape(_shape(latents[name])).numel() for name in points)
    drawn = sum(_shape(guide_sites[name]).numel() for name in auxiliary)
    if drawn < free and (auxiliary or any(name in shared for name in points)):
        return (
            f"the guide is a point mass in {', '.join(points)}: a point has no "
            "density, so there is no bound (MAP gives none); sample it from a distribution, such as AutoNormal's"
        )
    if drawn > free:
        return (
            f"the guide's auxiliary {', '.join(sorted(auxiliary))} is no change of variables for a latent, so log q "
            "would not be the density of the latents: give the latent as a Delta of it with its log_density"
        )
    return ""


def _is_point_mass(latent: Any, guided: Any) -> bool:
    base = guided["fn"]
    while hasattr(base, "base_dist"):
        base = base.base_dist
    return isinstance(base, Delta) and not is_discrete(latent["fn"])


def _shape(site: Any) -> torch.Size:
    shape: torch.Size = site["fn"].shape()
    return shape


def _reads_data(guide: Program, x: Tensor, shared: Collection[str]) -> str:
    """Whether the guide computes shared latents from the batch, which would show it the data that are to be scored."""
    values = []
    for batch in (x, 1 - x) if shared else ():
        with seeded(0):
            trace = poutine.trace(guide).get_trace(batch)
        values.append({name: trace.nodes[name]["value"] for name in shared})
    for name in shared:
        if not torch.equal(values[0][name], values[1][name]):
            return (
                f"the guide computes {name!r}, which all data share, from x, so it would see the data that it is "
                "scored on; let it depend on parameters only, or put it in the data plate"
            )
    return ""


def _name(site: Any) -> str:
    base = site["fn"]
    while hasattr(base, "base_dist"):
        base = base.base_dist
    return type(base).__name__
