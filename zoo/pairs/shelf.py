"""A guide from the shelf for any model: which latents it samples is read off the model's trace.

The shelf's guides draw real numbers for each datum. A latent of another support is a transform of such numbers, finite
latents are left to be summed, and what all data share gets Pyro's `AutoNormal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import pyro
import pyro.distributions as dist
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn
from torch.distributions import Transform, biject_to, constraints

from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.pair import Pair, Program
from zoo.pairs.sites import is_discrete, latent_sites, random_sites

Shapes = dict[str, tuple[int, ...]]


def shelf_guide(make: Callable[[Shapes], Program], model: Program, event: Event) -> Program:
    """A guide of ``model`` by ``make``, which is given the names and shapes of real latents in the model's order.

    Args:
        make: makes a guide that samples these latents in ``pyro.plate("data", len(x))``.
        model: the generative program.
        event: shape and support of one datum.

    Raises:
        ZooError: the model has no latents but finite ones, which need no guide, or one that no guide of the shelf fits.
    """
    probe = Pair(event, model)
    trace = poutine.trace(probe.model).get_trace(event.zeros(3))
    latents = {name: site for name, site in random_sites(trace) if name in latent_sites(trace)}
    guided = {name: site for name, site in latents.items() if name not in probe.structure.enumerated}
    local = {name: site for name, site in guided.items() if probe.structure.is_local(site)}
    if latents and not guided:
        raise ZooError(f"{', '.join(latents)} is summed exactly: there is nothing for a guide to sample")
    changes = {name: change for name, site in local.items() if (change := _change_of_variables(name, site))}
    shapes = {}
    for name, site in local.items():
        shape = _inner_plates(name, site, probe.structure.plates) + tuple(site["fn"].event_shape)
        if name in changes:
            shapes[_free(name)] = tuple(changes[name].inverse_shape(shape))
        else:
            shapes[name] = shape
    guide = make(shapes) if shapes or not guided else None
    shared = [name for name in guided if name not in local]
    if guide is not None and not (changes or shared):
        return guide
    return ShelfGuide(guide, changes, AutoNormal(poutine.block(model, expose=shared)) if shared else None)


class ShelfGuide(nn.Module):
    """A guide from the shelf, with what it does not sample itself: latents of other supports, and shared ones.

    Args:
        real: samples real latents of each datum, if there are any.
        changes: for each latent of another support, the transform from ``NAME_unconstrained``, which ``real`` samples.
        shared: samples what all data share.
    """

    def __init__(self, real: Program | None, changes: Mapping[str, Transform], shared: Program | None) -> None:
        super().__init__()
        self.real, self.changes, self.shared = real, dict(changes), shared

    def forward(self, x: Tensor) -> None:
        """Draw every latent given ``x``, shape ``(n, *event.shape)``."""
        if self.shared is not None:
            self.shared(x)
        if self.real is None:
            return
        auxiliary = {_free(name) for name in self.changes}
        with (
            poutine.trace() as drawn,
            poutine.infer_config(config_fn=lambda s: {"is_auxiliary": s["name"] in auxiliary}),
        ):
            self.real(x)
        with pyro.plate("data_of_changes", len(x)):  # the guide has a plate called "data"
            for name, change in self.changes.items():
                free = drawn.trace.nodes[_free(name)]["value"]
                value = change(free)
                volume = change.log_abs_det_jacobian(free, value).reshape(len(x), -1).sum(1)
                pyro.sample(name, dist.Delta(value, log_density=-volume, event_dim=value.dim() - 1))


def _free(name: str) -> str:
    return f"{name}_unconstrained"


def _inner_plates(name: str, site: Any, plates: frozenset[str]) -> tuple[int, ...]:
    """The sizes of the plates within the data plate, whose entries the shelf draws as one event."""
    frames = sorted((frame for frame in site["cond_indep_stack"] if frame.vectorized), key=lambda frame: frame.dim)
    if frames[0].name not in plates:
        raise ZooError(
            f"latent {name!r} is in plate {frames[0].name!r} to the left of the data plate; for a guide of the shelf "
            "let the data plate be the leftmost dimension, pyro.plate('data', len(x), dim=-2)"
        )
    sizes = {frame.dim: frame.size for frame in frames[1:]}
    return tuple(sizes.get(dim, 1) for dim in range(frames[0].dim + 1, 0))


def _change_of_variables(name: str, site: Any) -> Transform | None:
    """The transform from real numbers to the support of a latent; none where they are the same, or none is known."""
    if is_discrete(site["fn"]):
        raise ZooError(
            f"latent {name!r} is discrete and cannot be summed, and no guide of the shelf samples it: give the guide "
            "yourself, or put the entries of a finite latent in a plate, to have them summed"
        )
    try:
        support = _without_batch(name, site["fn"].support)
        change: Transform = biject_to(support)
    except NotImplementedError:
        return None  # such as a sphere, which has guides of its own
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return None if isinstance(support, type(constraints.real)) else change


def _without_batch(name: str, support: Any) -> Any:
    """A support whose bounds are one number for all data."""
    if isinstance(support, constraints.independent):
        return constraints.independent(_without_batch(name, support.base_constraint), support.reinterpreted_batch_ndims)
    alone = copy(support)
    for key, value in vars(support).items():
        if isinstance(value, Tensor):
            first = value.flatten()[0]
            if not (value == first).all():
                raise ZooError(
                    f"the support of latent {name!r}, {support}, has several bounds; give the guide yourself"
                )
            setattr(alone, key, float(first))
    return alone
