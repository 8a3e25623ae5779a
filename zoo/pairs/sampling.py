"""Draws of a pair: by running its model forwards, or by a sampler of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from pyro import poutine
from torch import Tensor

from zoo.errors import ContractError, ZooError
from zoo.event import Event
from zoo.pairs.pair import HasSamplers, Pair
from zoo.pairs.sites import data_first, output_site


def sample(
    pair: Pair,
    n: int,
    chunk: int = 1000,
    *,
    given: Mapping[str, Tensor] | None = None,
    latents: Mapping[str, Tensor] | None = None,
    sampler: str = "",
    passes: int = 0,
) -> Tensor:
    """Draw data in evaluation mode and without gradients: by running the model forwards, or by a sampler of the pair.

    Latents that all data share are drawn from the guide, separately for each datum, so that data are independent draws
    of the posterior predictive.

    Args:
        pair: any pair.
        n: number of data.
        chunk: at most this many are drawn at once, which bounds the memory.
        given: the fields that the model is given, each of shape ``(n, *field.shape)``.
        latents: values of latents of each datum by site, each of shape ``(n, *shape)``; the others are drawn.
        sampler: one of the pair's own, by name (`zoo.pairs.pair.HasSamplers`). Its draws are not those of the
            likelihood's model, only close to them.
        passes: network passes of the sampler, one after the other.

    Returns:
        Shape ``(n, *event.shape)``, within the event's support. A record is packed, with the fields that were given.

    Raises:
        ContractError: the model draws something that is not ``n`` data of the event's shape, or ``given`` are not the
            fields that it is given.
        ZooError: the pair does not have the sampler, or it is given no passes, fields or latents.

    Example:
        >>> from zoo import Event, build, sample
        >>> sample(build("independent", Event((2, 2), 5)), 3).shape
        torch.Size([3, 2, 2])
    """
    if sampler or passes:
        if given or latents:
            raise ZooError("a sampler draws all latents itself and is given no fields: leave out given and latents")
        with pair.evaluating():
            return _draw_by(pair, sampler, passes, n, chunk)
    event, values = pair.event, dict(given or {})
    needed = {field.name: (n, *field.shape) for field in event.fields if field.role == "given"}
    if {name: tuple(value.shape) for name, value in values.items()} != needed:
        wanted = ", ".join(f"{name} of shape {shape}" for name, shape in needed.items())
        got = ", ".join(f"{name} of shape {tuple(value.shape)}" for name, value in values.items())
        raise ContractError(
            f"samples of {pair.label} depend on {wanted or 'nothing'}; given={{...}} has {got or 'nothing'}"
        )
    x = torch.zeros(n, *event.shape)
    if event.fields:
        x = event.pack({field.name: values.get(field.name, torch.zeros(n, *field.shape)) for field in event.fields})
    parts = [{name: z[first : first + chunk] for name, z in (latents or {}).items()} for first in range(0, n, chunk)]
    with pair.evaluating():
        return torch.cat([_draw(pair, *each) for each in zip(x.to(pair.device).split(chunk), parts, strict=True)])


def samplers(pair: Pair) -> Mapping[str, Callable[[int, int], Tensor]]:
    """The samplers of a pair by name (`zoo.pairs.pair.HasSamplers`); empty if it has none."""
    return pair.extras.samplers() if isinstance(pair.extras, HasSamplers) else {}


def _draw_by(pair: Pair, name: str, passes: int, n: int, chunk: int) -> Tensor:
    known = samplers(pair)
    if not known:
        raise ZooError(f"{pair.label} samples by running its model and has no samplers: leave out sampler and passes")
    if name not in known or passes < 1:
        raise ZooError(
            f"{pair.label} takes sampler={' or '.join(known)} with passes=1 or more, got sampler={name!r} and "
            f"passes={passes}"
        )
    sizes = [min(chunk, n - first) for first in range(0, n, chunk)]
    with pair.scope():
        drawn = torch.cat([known[name](size, passes) for size in sizes])
    if drawn.shape != (n, *pair.event.shape):
        raise ContractError(f"sampler {name!r} should give shape {(n, *pair.event.shape)}, got {tuple(drawn.shape)}")
    return drawn.to(torch.get_default_dtype())


def contexts(event: Event, x: Tensor, n: int) -> dict[str, Tensor]:
    """What ``n`` samples are given: that of the data ``x``, from the first on again where there are fewer."""
    values = event.unpack(x[torch.arange(n, device=x.device) % len(x)])
    given = {field.name: values[field.name] for field in event.fields if field.role == "given"}
    return {name: value for name, value in given.items() if value is not None}


def _draw(pair: Pair, x: Tensor, latents: Mapping[str, Tensor]) -> Tensor:
    event, n, shared = pair.event, len(x), pair.structure.shared
    if shared and n > 1:
        rows = ({name: z[row : row + 1] for name, z in latents.items()} for row in range(n))
        return torch.cat([_draw(pair, *each) for each in zip(x.split(1), rows, strict=True)])
    drawn = poutine.trace(poutine.block(pair.guide, expose=list(shared))).get_trace(x) if shared else poutine.Trace()
    for name, value in latents.items():
        drawn.add_node(name, name=name, type="sample", is_observed=False, value=value.to(x.device), infer={})
    trace = poutine.trace(poutine.replay(poutine.uncondition(pair.model), trace=drawn)).get_trace(x)
    if pair.layout.places:
        found = pair.layout.assemble(trace, x)
    else:
        name = output_site(trace, event)
        site = trace.nodes[name]
        value = data_first(name, site, n) if site["cond_indep_stack"] else site["value"]
        if value.numel() != n * event.main.size:
            raise ContractError(
                f"sampling should give {n} data of shape {event.main.shape}, got a tensor of shape {tuple(value.shape)}"
            )
        value = value.reshape(n, *event.main.shape).to(x.dtype)
        found = event.pack({**event.unpack(x), event.main.name: value}).to(x) if event.fields else value
    found = event.without_padding(found)
    if event.label and event.label.name not in pair.takes:
        return event.pack({**event.unpack(found), event.label.name: None}).to(x)
    return found
