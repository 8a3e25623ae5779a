"""Bounds on the log-likelihood by importance weights, one for each datum, and how far they can be trusted."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.engine.private import DispatchMode
from zoo.engine.scorer import compile_scores
from zoo.pairs.pair import Pair
from zoo.pairs.traces import log_prob, weight_parts
from zoo.seeding import seeded

MEMORY = 2**30
"""Bytes that one chunk may take unless told otherwise."""
CHUNK = 2**28
"""Bytes that one chunk takes at most, however many it may: larger ones were up to twice as slow, never quicker."""
LARGEST_KHAT = 0.7
"""Above it importance weights have too heavy a tail for their mean to be trusted (Vehtari et al. 2024, section 3.2)."""
FEWEST_PARTICLES = 25
"""With fewer, the tail is too short to fit."""
EVEN = 1e-3
"""Log-weights that differ by less than this many nats (float32 rounds sums of hundreds so) have no tail to fit."""


@dataclass(frozen=True)
class Bounds:
    """What the importance weights w of ``particles`` draws say of each datum: shapes ``(n,)``, float64, on the CPU.

    ``elbo`` and ``importance`` are lower bounds on log p(x) in nats: the mean of log w, and the log of the mean of w
    (Burda et al. 2016, eq. 8). ``ess`` is (Σw)² / Σw², between 1 and ``particles``. ``khat`` is the Pareto shape of the
    weights' tail, above `LARGEST_KHAT` where the bound cannot be trusted to be tight, NaN below `FEWEST_PARTICLES`.
    ``kl`` is the ELBO's part that is due to the latents, the mean of log q(z|x) - log p(z); the rest of minus the ELBO
    is the reconstruction's (see `zoo.pairs.traces.weight_parts`).
    """

    elbo: Tensor
    importance: Tensor
    ess: Tensor
    khat: Tensor
    kl: Tensor
    particles: int


def bounds(pair: Pair, x: Tensor, particles: int = 512, *, memory: int = MEMORY, seed: int = 0) -> Bounds:
    """Bound log p(x) for each datum of ``x``, shape ``(n, *event.shape)``, by that many draws of the guide for each.

    Draws are made in chunks that fit in ``memory`` bytes; everything in evaluation mode.

    Raises:
        ContractError: log-probabilities that are not per datum (see `zoo.pairs.traces.log_weights`).
    """
    reconstruction, latents = particle_parts(pair, x, particles, memory=memory, seed=seed)
    return summarise(reconstruction + latents, -latents.mean(1))


def particle_weights(pair: Pair, x: Tensor, particles: int, *, memory: int = MEMORY, seed: int = 0) -> Tensor:
    """log p(x, z) - log q(z|x) of each datum's particles: shape ``(n, particles)``, float64, on the CPU."""
    return particle_parts(pair, x, particles, memory=memory, seed=seed).sum(0)


def particle_parts(pair: Pair, x: Tensor, particles: int, *, memory: int = MEMORY, seed: int = 0) -> Tensor:
    """`particle_weights` in the two parts of `zoo.pairs.traces.weight_parts`: shape ``(2, n, particles)``."""
    parts = torch.empty(2, len(x), particles, dtype=torch.float64)
    with pair.evaluating(), seeded(seed):
        rows = rows_within(memory, x, lambda part: _both(pair, part))
        chunks = list(_chunks(len(x), particles, rows))
        score = compile_scores(pair, _both, len(chunks))
        for data, draws in chunks:
            made = score(_repeated(x, data, draws))
            parts[:, data, draws] = made.reshape(2, -1, draws.stop - draws.start).cpu().double()
    return parts


def _both(pair: Pair, x: Tensor) -> Tensor:
    return torch.stack(weight_parts(pair, x))


def _repeated(x: Tensor, data: slice, draws: slice) -> Tensor:
    return x[data].repeat_interleave(draws.stop - draws.start, 0)


def log_probs(pair: Pair, x: Tensor, *, memory: int = MEMORY, seed: int = 0) -> Tensor:
    """The exact log-probabilities of ``x``, in chunks that fit in ``memory``: shape ``(n,)``, nats, float64, CPU."""
    with pair.evaluating(), seeded(seed):
        rows = rows_within(memory, x, lambda part: log_prob(pair, part))
        return torch.cat([log_prob(pair, part).cpu().double() for part in x.split(rows)])


def summarise(weights: Tensor, kl: Tensor) -> Bounds:
    """The bounds of log-weights of shape ``(n, particles)``, with the ``kl`` of each datum."""
    total = weights.logsumexp(1)
    return Bounds(
        elbo=weights.mean(1),
        importance=total - math.log(weights.shape[1]),
        ess=(2 * total - (2 * weights).logsumexp(1)).exp(),
        khat=pareto_shapes(weights),
        kl=kl,
        particles=weights.shape[1],
    )


def pareto_shapes(weights: Tensor) -> Tensor:
    """k-hat of each row of log-weights, shape ``(n, particles)`` to ``(n,)``: one fit a datum, never one for the batch.

    Weights that are all alike have no tail: minus infinity. A row whose largest is not finite is past trust: infinity.
    """
    if weights.shape[1] < FEWEST_PARTICLES:
        return torch.full(weights.shape[:1], torch.nan, dtype=torch.float64)
    return torch.tensor([_pareto_shape(row) for row in weights], dtype=torch.float64)


def rows_within(memory: int, x: Tensor, work: Callable[[Tensor], Any]) -> int:
    """How many rows of ``x`` a call of ``work`` may take at once, as told by all that it allocates for a few.

    ``memory`` is an upper bound, which chunks need not fill (`CHUNK`).
    """
    few, more = (_allocated(work, x[:1].repeat_interleave(n, 0)) for n in (2, 6))
    return max(1, 4 * min(memory, CHUNK) // max(more - few, 1))


def _pareto_shape(row: Tensor) -> float:
    top = float(row.max())
    if not math.isfinite(top):
        return math.inf
    if top - float(row.min()) < EVEN:
        return -math.inf
    return float(_psislw()((row - top).numpy())[1])


def _psislw() -> Callable[..., Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # arviz announces its next major version on import
        from arviz import psislw  # here, because it takes seconds to import
    untyped: Callable[..., Any] = psislw
    return untyped


def _chunks(n: int, particles: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Cut ``n`` data times ``particles`` draws into pieces of at most ``rows``."""
    width = min(n, rows)
    copies = min(particles, rows // width)
    for first in range(0, n, width):
        for drawn in range(0, particles, copies):
            yield slice(first, min(first + width, n)), slice(drawn, min(drawn + copies, particles))


def _allocated(work: Callable[[Tensor], Any], x: Tensor) -> int:
    seen = _Allocated()
    with seen:
        work(x)
    return seen.total


class _Allocated(DispatchMode):
    """Adds up the bytes of every operation's results: more than is ever held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.total: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out: Any = func(*args, **(kwargs or {}))
        results = out if isinstance(out, (tuple, list)) else (out,)
        self.total += sum(each.nbytes for each in results if isinstance(each, Tensor))
        return out
