"""Is the volume of a change of variables counted? Its log|det| against the Jacobian that gradients give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.contract.findings import BrokenError
from zoo.flows.flow import FlowDensity

MOST_ENTRIES = 100
"""Dimensions beyond which no Jacobian is computed."""
EXACT = 1e-2
"""By which logarithms of volumes, and values that were mapped and mapped back, may differ, absolute and relative."""
FEWEST_BACK = 0.75
"""Share of data that have to come back: an inverse may be inexact far out."""


@dataclass(frozen=True)
class Change:
    """A map of some data, shape ``(n, d)`` where flattened, its claimed log|det|, shape ``(n,)``, and its inverse."""

    word: str
    x: Tensor
    forward: Callable[[Tensor], Tensor]
    volume: Callable[[Tensor, Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


def changes(fn: Any) -> Iterator[Change]:
    """Changes of variables in a distribution that no library answers for, at draws of it."""
    if isinstance(fn, FlowDensity):
        owner = getattr(fn.forward, "__self__", fn.forward)
        if isinstance(owner, nn.Module) and any(_foreign(part) for part in owner.modules()):
            y = fn.sample().reshape(-1, fn.event_shape.numel())
            yield Change("flow", y, lambda h: fn.forward(h)[0], lambda h, _: fn.forward(h)[1], fn.inverse)
    elif isinstance(fn, torch.distributions.TransformedDistribution):
        yield from changes(fn.base_dist)
        x = fn.base_dist.sample()
        for each in fn.transforms if any(map(_unproven, fn.transforms)) else ():
            if _unproven(each):
                yield _of_transform(each, x, len(fn.batch_shape))
            x = each(x)
    elif hasattr(fn, "base_dist"):
        yield from changes(fn.base_dist)


def _of_transform(transform: Any, x: Tensor, batch: int) -> Change:
    def volume(h: Tensor, image: Tensor) -> Tensor:
        logs: Tensor = transform.log_abs_det_jacobian(h, image)
        return logs.reshape(*logs.shape[:batch], -1).sum(-1)

    named = transform.inv if _of_library(transform) and not _of_library(transform.inv) else transform
    return Change(type(named).__name__, x, transform, volume, transform.inv)


def counts_volume(name: str, change: Change) -> None:
    """Refuse a change of variables at the site ``name`` whose log|det| or inverse is another's."""
    x = change.x.detach().clone()
    with torch.enable_grad():
        image = change.forward(x.requires_grad_())
        if image.numel() != x.numel() or not image.requires_grad:
            return
        claimed = change.volume(x, image).detach().double()
        n = claimed.numel()
        if x.numel() // n > MOST_ENTRIES:
            return
        columns = image.reshape(n, -1).unbind(1)
        rows = [torch.autograd.grad(column.sum(), x, retain_graph=True)[0].reshape(n, -1) for column in columns]
    exact = torch.stack(rows, 1).double().slogdet().logabsdet
    claimed = claimed.reshape(n)
    worst = int((claimed - exact).abs().nan_to_num(torch.inf).argmax())
    if not torch.allclose(claimed[worst], exact[worst], rtol=EXACT, atol=EXACT):
        raise BrokenError(
            f"the {change.word} at {name!r} should count the volume of its change of variables, log|det| = "
            f"{float(exact[worst]):.4g}, and counts {float(claimed[worst]):.4g}"
        )
    with suppress(KeyError, NotImplementedError):  # some of Pyro's transforms are not inverted
        back = change.inverse(image.detach().clone()).reshape(n, -1)
        there = x.detach().reshape(n, -1)
        share = torch.isclose(back, there, rtol=EXACT, atol=EXACT).all(1).double().mean()
        if share < FEWEST_BACK:
            raise BrokenError(f"the inverse of the {change.word} at {name!r} should map its values back, and does not")


def _foreign(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] not in ("torch", "pyro", "zoo", "models")


def _unproven(transform: Any) -> bool:
    """Whether a transform is no library's, or may hold a network of the user's."""
    inside = [*getattr(transform, "parts", ()), getattr(transform, "base_transform", None)]
    return not (_of_library(transform) and _of_library(transform.inv)) or any(
        _unproven(part) for part in inside if part is not None
    )


def _of_library(transform: Any) -> bool:
    return type(transform).__module__.partition(".")[0] in ("torch", "zoo")
