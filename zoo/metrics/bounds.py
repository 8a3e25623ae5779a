"""Bounds on the log-likelihood by importance weights, one for each datum, and how far they can be trusted."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zoo.engine.scorer import compile_scores
from zoo.errors import ContractError, ZooError
from zoo.metrics.memory import MEMORY, in_chunks, rows_within
from zoo.pairs.pair import HasElbo, HasSteps, Pair
from zoo.pairs.records import in_parts
from zoo.pairs.traces import capabilities, elbo_step, elbo_terms, log_prob, weight_parts
from zoo.scores import Kind
from zoo.seeding import seeded

LARGEST_KHAT = 0.7
"""Above it the tail of the weights is too heavy for their mean to be trusted (Vehtari et al. 2024, section 3.2)."""
FEWEST_PARTICLES = 25
"""With fewer, the tail is too short to fit."""
CONSTANT = 1e-3
"""Log-weights within this many nats of each other (float32 rounds sums of hundreds so) have no tail to fit."""
MOST_ESTIMATES = 64
"""Of an ELBO that a family estimates itself: a mean, which more of them make less noisy, and no tighter."""


@dataclass(frozen=True)
class Bounds:
    """The bounds that ``particles`` importance weights w of each datum give: shapes ``(n,)``, float64, on the CPU.

    Attributes:
        elbo: a lower bound on log p(x) in nats, the mean of log w.
        importance: a tighter one, the log of the mean of w (Burda et al. 2016, eq. 8).
        ess: the effective sample size (Σw)² / Σw², between 1 and ``particles``.
        khat: the Pareto shape of the weights' tail; above `LARGEST_KHAT` the bound cannot be trusted to be tight. NaN
            below `FEWEST_PARTICLES`.
        kl: the part of minus the ELBO that is due to the latents, the mean of log q(z|x) - log p(z); the rest is the
            reconstruction's (see `zoo.pairs.traces.weight_parts`).
        particles: the number of draws of the guide for each datum.
        stderr: the Monte Carlo error of ``importance``; NaN for one particle.
        terms: of a pair that estimates its ELBO itself (`zoo.pairs.pair.HasElbo`), the mean of each term. Then
            ``importance`` is the ELBO, and ``ess``, ``khat`` and ``kl`` are NaN, as there are no weights.
    """

    elbo: Tensor
    importance: Tensor
    ess: Tensor
    khat: Tensor
    kl: Tensor
    particles: int
    stderr: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


def most_particles(pair: Pair, particles: int) -> int:
    """How many of so many particles serve a bound of ``pair``: `MOST_ESTIMATES` at most, if it estimates its ELBO."""
    return min(MOST_ESTIMATES, particles) if isinstance(pair.extras, HasElbo) else particles


def bounds(pair: Pair, x: Tensor, particles: int = 512, *, memory: int = MEMORY, seed: int = 0) -> Bounds:
    """Bound log p(x) for each datum, in evaluation mode.

    With latents g that all data share, the posterior predictive of the guide is bounded, the mean of p(x | g) under
    q(g). Each particle is another draw of g, for as many data as are computed at once.

    Args:
        pair: a model and its guide.
        x: data, shape ``(n, *event.shape)``.
        particles: draws of the guide for each datum.
        memory: bytes that a chunk of draws may take.
        seed: of the draws.

    Raises:
        ContractError: log-probabilities are not per datum (see `zoo.pairs.traces.log_weights`).

    Example:
        >>> import torch, zoo
        >>> pair = zoo.build("ppca", zoo.Event(2, "real"))
        >>> found = bounds(pair, torch.zeros(3, 2), particles=50)
        >>> found.importance.shape, bool((found.elbo <= found.importance + 1e-6).all())
        (torch.Size([3]), True)
    """
    if isinstance(pair.extras, HasElbo):
        return _of_terms(elbo_draws(pair, x, particles, memory=memory, seed=seed))
    reconstruction, latents = particle_parts(pair, x, particles, memory=memory, seed=seed)
    return summarise(reconstruction + latents, -latents.mean(1))


def elbo_draws(pair: Pair, x: Tensor, draws: int, *, memory: int = MEMORY, seed: int = 0) -> dict[str, Tensor]:
    """``draws`` estimates of each term of the ELBO (`zoo.pairs.traces.elbo_terms`): ``(n, draws)``, float64, CPU."""
    found: dict[str, Tensor] = {}
    with pair.evaluating(), seeded(seed):
        rows = rows_within(memory, x, lambda part: torch.stack(list(elbo_terms(pair, part).values())))
        for data, some in _chunks(len(x), draws, rows, draws):
            count = some.stop - some.start
            wide = x[data].repeat(count, *(1 for _ in x.shape[1:]))  # an estimate may spread its draws over the batch
            for name, term in elbo_terms(pair, wide).items():
                held = found.setdefault(name, torch.empty(len(x), draws, dtype=torch.float64))
                held[data, some] = term.reshape(count, -1).T.cpu().double()
    return found


def elbo_steps(pair: Pair, x: Tensor, draws: int = 1, *, memory: int = MEMORY, seed: int = 0) -> Tensor:
    """The ELBO's terms by step (`zoo.pairs.traces.elbo_step`), each of ``draws`` estimates: ``(n, steps)``, in nats."""
    if not isinstance(pair.extras, HasSteps):
        raise ContractError(f"the ELBO of {pair.label} has no terms by step: it has no elbo_step(x, t)")
    found = torch.empty(len(x), pair.extras.timesteps, dtype=torch.float64)
    with pair.evaluating(), seeded(seed):
        rows = rows_within(memory, x, lambda part: elbo_step(pair, part, 1))
        for t in range(1, found.shape[1] + 1):
            wide = x.repeat_interleave(draws, 0).split(rows)
            terms = torch.cat([elbo_step(pair, part, t).cpu().double() for part in wide])
            found[:, t - 1] = terms.reshape(len(x), draws).mean(1)
    return found


def _of_terms(draws: Mapping[str, Tensor]) -> Bounds:
    total = torch.stack(list(draws.values())).sum(0)
    elbo, unknown, count = total.mean(1), torch.full(total.shape[:1], torch.nan, dtype=torch.float64), total.shape[1]
    terms = {name: term.mean(1) for name, term in draws.items()}
    stderr = total.std(1) / math.sqrt(count)
    return Bounds(elbo, elbo, unknown, unknown, unknown, count, stderr, terms)


def particle_weights(pair: Pair, x: Tensor, particles: int, *, memory: int = MEMORY, seed: int = 0) -> Tensor:
    """log p(x, z) - log q(z|x) of each datum's particles: shape ``(n, particles)``, float64, on the CPU."""
    return particle_parts(pair, x, particles, memory=memory, seed=seed).sum(0)


def particle_parts(pair: Pair, x: Tensor, particles: int, *, memory: int = MEMORY, seed: int = 0) -> Tensor:
    """`particle_weights` in the two parts of `zoo.pairs.traces.weight_parts`: shape ``(2, n, particles)``."""
    return in_parts(pair, x, lambda own, part: _particle_parts(own, part, particles, memory, seed), dim=1)


def _particle_parts(pair: Pair, x: Tensor, particles: int, memory: int, seed: int) -> Tensor:
    def both(pair: Pair, part: Tensor) -> Tensor:
        return torch.stack(weight_parts(pair, part))

    parts = torch.empty(2, len(x), particles, dtype=torch.float64)
    with pair.evaluating(), seeded(seed):
        rows = rows_within(memory, x, lambda part: both(pair, part))
        most = 1 if pair.structure.shared else particles
        chunks = list(_chunks(len(x), particles, rows, most))
        score = compile_scores(pair, both, len(chunks))
        for data, draws in chunks:
            count = draws.stop - draws.start
            made = score(x[data].repeat_interleave(count, 0))
            parts[:, data, draws] = made.reshape(2, -1, count).cpu().double()
    return parts


def log_probs(pair: Pair, x: Tensor, *, memory: int = MEMORY, seed: int = 0) -> Tensor:
    """The exact log-probabilities of ``x`` in nats, in chunks that fit in ``memory``: shape ``(n,)``, float64, CPU."""
    with pair.evaluating(), seeded(seed):
        return in_chunks(x, lambda part: log_prob(pair, part).cpu().double(), memory)


def log_likelihoods(
    pair: Pair, x: Tensor, particles: int = 512, *, memory: int = MEMORY, seed: int = 0
) -> tuple[Tensor, Kind]:
    """log p(x) of each datum where it is derivable, else its importance-weighted bound; and which of both it is.

    Args:
        pair: a model and its guide. One whose log Z is unknown has to be `zoo.pairs.pair.Pair.relative`: values, and
            their kind, are then up to a constant.
        x: data, shape ``(n, *event.shape)``.
        particles: draws of the guide for each datum, for the bound.
        memory: bytes that a chunk may take.
        seed: of the draws.

    Returns:
        In nats, shape ``(n,)``, float64, on the CPU; and ``exact`` or ``lower bound``.

    Raises:
        ZooError: an implicit model, or one whose log Z is unknown.

    Example:
        >>> import torch, zoo
        >>> values, kind = log_likelihoods(zoo.build("uniform", zoo.Event(2, "binary")), torch.zeros(3, 2))
        >>> values.exp(), kind
        (tensor([0.2500, 0.2500, 0.2500], dtype=torch.float64), 'exact')
    """
    can = capabilities(pair, x)
    known = can.likelihood
    if known == "none":
        raise ZooError(f"{pair.label} is an implicit model: it observes nothing, so it has no likelihood")
    if known == "unnormalised" and not pair.is_relative:
        raise ZooError(
            f"{pair.label} has log-probabilities up to a constant; where differences between data are enough, take "
            "those of pair.relative"
        )
    if known == "exact" or not (can.latents or can.shared):
        return log_probs(pair, x, memory=memory, seed=seed), "exact"
    return bounds(pair, x, particles, memory=memory, seed=seed).importance, "lower bound"


def summarise(weights: Tensor, kl: Tensor) -> Bounds:
    """The bounds of log-weights of shape ``(n, particles)``, with the ``kl`` of each datum."""
    total, particles = weights.logsumexp(1), weights.shape[1]
    ess = (2 * total - (2 * weights).logsumexp(1)).exp()
    return Bounds(
        elbo=weights.mean(1),
        importance=total - math.log(particles),
        ess=ess,
        khat=pareto_shapes(weights),
        kl=kl,
        particles=particles,
        stderr=relative_error(ess, particles),
    )


def relative_error(ess: Tensor, particles: int) -> Tensor:
    """The standard error of the log of a mean of weights, from their effective sample size; NaN for one particle."""
    if particles == 1:
        return torch.full_like(ess, torch.nan)
    return ((1 / ess - 1 / particles).clamp(min=0) * particles / (particles - 1)).sqrt()


def sub_bounds(weights: Tensor, particles: int) -> Tensor:
    """The bound of fewer ``particles``, as the mean over groups of a fixed set of draws.

        L_K = mean over groups g of  log (1/K) sum_{k in g} w_k,    with floor(P / K) groups of K draws

    Its expectation is that of K new particles. With K = 1 it is the ELBO of all draws, with K = P the bound of all. A
    group of a larger K that holds whole groups of a smaller one is never below their mean.

    Args:
        weights: log-weights, shape ``(n, P)``.
        particles: K, from 1 to P.

    Returns:
        In nats, shape ``(n,)``.

    Raises:
        ZooError: more particles than there are draws.

    Example:
        >>> weights = torch.tensor([[0.0, 2.0, 1.0, 3.0]])
        >>> [round(float(sub_bounds(weights, k)), 3) for k in (1, 2, 4)]
        [1.5, 1.934, 2.054]

    Reference:
        Burda et al. 2016, arXiv:1509.00519, theorem 1 (the bound rises with K).
    """
    n, drawn = weights.shape
    if not 1 <= particles <= drawn:
        raise ZooError(f"a bound of {particles} particles takes as many draws, at least 1; there are {drawn}")
    groups = weights[:, : drawn // particles * particles].reshape(n, -1, particles)
    return groups.logsumexp(2).mean(1) - math.log(particles)


def pareto_shapes(weights: Tensor) -> Tensor:
    """k-hat of each row of log-weights, shape ``(n, particles)`` to ``(n,)``: one fit per datum, not one per batch.

    Constant weights have no tail: minus infinity. A row whose largest weight is not finite cannot be trusted: infinity.
    """
    if weights.shape[1] < FEWEST_PARTICLES:
        return torch.full(weights.shape[:1], torch.nan, dtype=torch.float64)
    return torch.tensor([_pareto_shape(row) for row in weights], dtype=torch.float64)


def _pareto_shape(row: Tensor) -> float:
    top = float(row.max())
    if not math.isfinite(top):
        return math.inf
    if top - float(row.min()) < CONSTANT:
        return -math.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # arviz announces its next major version on import
        from arviz import psislw  # here, because it takes seconds to import
    return float(psislw((row - top).numpy())[1])


def _chunks(n: int, particles: int, rows: int, most: int) -> Iterator[tuple[slice, slice]]:
    """Cut ``n`` data times ``particles`` draws into pieces of at most ``rows``, with at most ``most`` draws each."""
    width = min(n, rows)
    copies = min(most, rows // width)
    for first in range(0, n, width):
        for drawn in range(0, particles, copies):
            yield slice(first, min(first + width, n)), slice(drawn, min(drawn + copies, particles))
