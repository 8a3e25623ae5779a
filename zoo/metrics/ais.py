"""Annealed importance sampling between a guide and the posterior: bounds on log p(x) from below and from above.

The guide draws z = f(e; x) of standard normal e (`zoo.metrics.transport`). Between the guide (b = 0) and the posterior
(b = 1) lie the densities

    f_b(e) = N(e; 0, I) (p(x, z) / q(z | x))^b,        b = 0, 1/T, ..., 1

of the numbers e, in which the guide is a standard normal whatever its scales, its correlations and its flow. A chain
starts at e ~ N(0, I), takes a step of Hamiltonian Monte Carlo at each b, and has the weight
w = prod_t f_t(e_t) / f_(t-1)(e_t), whose mean is p(x): the log of the mean of several chains is a lower bound in
expectation. The same chain backwards, from an exact draw of the posterior, has the mean 1/p(x), which gives an upper
bound; there is such a draw for data that the model itself drew. Step sizes come from a pilot run with noise of its own
and are then fixed: sizes that depend on the chains themselves would void both bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import biject_to

from zoo.errors import ZooError
from zoo.metrics.memory import MEMORY, rows_within
from zoo.metrics.transport import Transport
from zoo.pairs.pair import HasSteps, Pair
from zoo.pairs.sites import data_first, per_datum
from zoo.pairs.traces import capabilities, traced
from zoo.seeding import seeded

LEAPFROGS = 2
FARTHEST = math.pi / 2
"""Most of a step: a quarter period at b = 0. At half a period a chain would come back to where it was, mirrored."""
MOST_LATENTS = 5000
"""Latent dimensions of a datum that are annealed."""
MOST_STEPS = 16
"""Steps of a diffusion that is annealed: a gradient takes as many passes for each datum."""
PILOTS = 2
"""Chains of a pilot run for each datum."""
WANTED, RATE, WARM = 0.65, 0.5, 8
"""Acceptance that a pilot run adapts step sizes to, how fast, and steps that it takes at the first temperature."""


@dataclass(frozen=True)
class Annealed:
    """What chains give for each datum: tensors of shape ``(n,)``, float64, on the CPU, in nats.

    Attributes:
        bound: log of the mean weight: at most log p(x) in expectation, or at least, for chains that run backwards.
        log_weights: of each chain, shape ``(n, chains)``.
        acceptance: mean probability that a step is accepted; NaN where there is one temperature.
        ess: effective number of the chains.
        gradients: of the model, for each datum, those of the pilot run included.
    """

    bound: Tensor
    log_weights: Tensor
    acceptance: Tensor
    ess: Tensor
    gradients: int


def why_not(pair: Pair) -> str:
    """Why a pair's latents cannot be annealed; empty if they can."""
    can = capabilities(pair)
    if pair.event.fields:
        return "data are records, whose labels may be latent"
    if not can.observed:
        return "an implicit model: it observes nothing"
    if can.likelihood == "unnormalised":
        return "log Z of its energy is unknown, and an estimate of it is no bound"
    if not can.latents:
        return "no latents: its likelihood is exact"
    if can.enumerated or can.shared or not pair.structure.plain:
        return "latents that are summed, shared by all data or auxiliary"
    if (count := sum(torch.Size(shape).numel() for shape in can.latents.values())) > MOST_LATENTS:
        return f"{count:,} latent dimensions of a datum, more than the {MOST_LATENTS:,} that are annealed"
    if isinstance(pair.extras, HasSteps) and pair.extras.timesteps > MOST_STEPS:
        return f"a path of {pair.extras.timesteps:,} steps, more than the {MOST_STEPS} that are annealed"
    with pair.evaluating():
        _, guide = traced(pair, pair.event.zeros(2).to(pair.device))
    for name in can.latents:
        try:
            if guide.nodes[name]["fn"].support.is_discrete:
                return f"the latent {name!r} is discrete"
            biject_to(guide.nodes[name]["fn"].support)
        except NotImplementedError:
            return f"the latent {name!r} lies on a surface, or its support is not known"
    return ""


class Annealer:
    """Chains of a pair for one batch of data, whose starts and step sizes are fixed once.

    Args:
        pair: trained; its latents are continuous and inside the data plate (see `why_not`).
        x: data, shape ``(n, *event.shape)``.
        chains: for each datum.
        temperatures: T; with one, the bound is that of as many particles of the guide.
        leapfrogs: of each step.
        seed: of the pilot run.

    Raises:
        ZooError: latents that cannot be annealed.

    Example:
        >>> import zoo
        >>> data = zoo.load_data("moons")
        >>> pair = zoo.build("ppca", data.event, {"latent": 1})
        >>> annealer = Annealer(pair, data.test[:5], chains=4, temperatures=5)
        >>> found = annealer.forward(seed=1)
        >>> found.bound.shape, found.log_weights.shape
        (torch.Size([5]), torch.Size([5, 4]))

    Reference:
        Neal 2001, Annealed importance sampling, Statistics and Computing 11; Grosse et al. 2015, arXiv:1511.02543
        (bounds from both sides); Wu et al. 2017, arXiv:1611.04273.
    """

    def __init__(
        self,
        pair: Pair,
        x: Tensor,
        *,
        chains: int = 16,
        temperatures: int = 100,
        leapfrogs: int = LEAPFROGS,
        seed: int = 0,
    ) -> None:
        if reason := why_not(pair):
            raise ZooError(f"{pair.label} cannot be annealed: {reason}")
        if min(chains, temperatures, leapfrogs) < 1:
            raise ZooError(
                f"chains, temperatures and leapfrogs are 1 or more; got {chains}, {temperatures}, {leapfrogs}"
            )
        self.pair, self.chains, self.leapfrogs = pair, chains, leapfrogs
        self.betas = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64).tolist()
        with seeded(seed), self._evaluating():
            self.sizes = self._pilot(x)
            self.path = _Path(pair, x.repeat_interleave(chains, 0))

    def forward(self, seed: int, start: Tensor | None = None) -> Annealed:
        """Chains from the guide to the posterior: a lower bound on log p(x) in expectation.

        Args:
            seed: of the chains.
            start: the first e instead of draws, shape ``(n * chains, d)``.
        """
        with seeded(seed), self._evaluating():
            state = self.path.state(self.path.normal() if start is None else start)
            weights, accepted = self._zeros(), self._zeros()
            for step, (last, beta) in enumerate(zip(self.betas[:-1], self.betas[1:], strict=True)):
                weights += (beta - last) * state.log_ratio.double()
                if step < len(self.sizes):
                    state, probability = self._move(state, step)
                    accepted += probability
        return self._annealed(weights, accepted, 1.0)

    def backward(self, z: Mapping[str, Tensor], seed: int) -> Annealed:
        """Chains from an exact draw of each posterior to the guide: an upper bound on log p(x) in expectation.

        Args:
            z: by site, one exact draw for each datum, shape ``(n, ...)``: of data that the model drew, its latents.
            seed: of the chains.
        """
        with seeded(seed), self._evaluating():
            e = self.path.transport.numbers({name: z[name].repeat_interleave(self.chains, 0) for name in z})
            inside = e.isfinite().all(1)
            state = self.path.state(torch.where(inside[:, None], e, 0.0))
            weights, accepted = self._zeros(), self._zeros()
            for step in reversed(range(len(self.betas) - 1)):
                if step < len(self.sizes):
                    state, probability = self._move(state, step)
                    accepted += probability
                weights -= (self.betas[step + 1] - self.betas[step]) * state.log_ratio.double()
            weights = weights.where(inside, -torch.inf)  # a draw that the guide never makes
        return self._annealed(weights, accepted, -1.0)

    def _annealed(self, weights: Tensor, accepted: Tensor, sign: float) -> Annealed:
        found = weights.nan_to_num(nan=-math.inf).reshape(-1, self.chains).cpu()
        total = found.logsumexp(1)
        shares = accepted.reshape(-1, self.chains).mean(1).cpu()
        steps, warm = len(self.sizes), WARM if self.sizes else 0
        return Annealed(
            bound=sign * (total - math.log(self.chains)),
            log_weights=found,
            acceptance=shares / steps if steps else torch.full_like(shares, math.nan),
            ess=(2 * total - (2 * found).logsumexp(1)).exp(),
            gradients=self.chains * (1 + self.leapfrogs * steps) + PILOTS * (1 + self.leapfrogs * (steps + warm)),
        )

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode, without checks of values: where they are out of range, a step is not accepted."""
        with self.pair.evaluating(), pyro.validation_enabled(False), torch.no_grad():
            yield

    def _zeros(self) -> Tensor:
        return torch.zeros(len(self.path.x), dtype=torch.float64, device=self.path.x.device)

    def _move(self, state: _State, step: int) -> tuple[_State, Tensor]:
        size = self.sizes[step].repeat_interleave(self.chains, 0)
        return self.path.move(state, self.betas[step + 1], size, self.leapfrogs)

    def _pilot(self, x: Tensor) -> list[Tensor]:
        """A step size for each temperature and datum, shape ``(n, 1)``, at which about `WANTED` steps are accepted."""
        inner = self.betas[1:-1]
        if not inner:
            return []
        path = _Path(self.pair, x.repeat_interleave(PILOTS, 0))
        state, longest = path.state(path.normal()), FARTHEST / self.leapfrogs
        size, found = torch.full((len(x), 1), longest, device=x.device), list[Tensor]()
        for beta in inner[:1] * WARM + inner:
            state, probability = path.move(state, beta, size.repeat_interleave(PILOTS, 0), self.leapfrogs)
            share = probability.reshape(-1, PILOTS).mean(1, keepdim=True).to(size)
            size = (size * (RATE * (share - WANTED)).exp()).clamp(max=longest)
            found.append(size)
        return found[WARM:]


class _Path:
    """The densities f_b between guide and posterior, for rows ``x`` of data, and steps that keep them."""

    def __init__(self, pair: Pair, x: Tensor) -> None:
        self.pair, self.x, self.transport = pair, x, Transport(pair, x)

    def normal(self) -> Tensor:
        """Draws of e at b = 0."""
        return torch.randn(len(self.x), self.transport.size, device=self.x.device)

    @torch.enable_grad()
    def state(self, e: Tensor) -> _State:
        """Chains at ``e``."""
        e = e.detach().requires_grad_()
        guide = self.transport.trace(e)
        model = poutine.trace(poutine.replay(self.pair.model, trace=guide)).get_trace(self.x)
        log_ratio = per_datum(model, len(self.x)) - per_datum(guide, len(self.x), self.transport.starts)
        [gradient] = torch.autograd.grad(log_ratio.sum(), e)
        return _State(e.detach(), log_ratio.detach(), gradient)

    def move(self, state: _State, beta: float, size: Tensor, leapfrogs: int) -> tuple[_State, Tensor]:
        """A step of Hamiltonian Monte Carlo that keeps f_b, and the probability that each row's is accepted."""
        momentum = torch.randn_like(state.e)
        new, p = state, momentum + 0.5 * size * state.force(beta)
        for leapfrog in range(leapfrogs):
            new = self.state(new.e + size * p)
            p = p + (1.0 if leapfrog < leapfrogs - 1 else 0.5) * size * new.force(beta)
        change = new.energy(beta, p) - state.energy(beta, momentum)
        probability = (-change).clamp(max=0).exp().nan_to_num(nan=0.0)
        accepted = torch.rand(len(change), device=change.device) < probability
        return state.where(~accepted, new), probability.double()


@dataclass(frozen=True)
class _State:
    """Where chains are: e ``(rows, d)``, log p(x, z) - log q(z | x) there, and its gradient."""

    e: Tensor
    log_ratio: Tensor
    gradient: Tensor

    def force(self, beta: float) -> Tensor:
        """The gradient of log f_b."""
        return beta * self.gradient - self.e

    def energy(self, beta: float, momentum: Tensor) -> Tensor:
        """Potential and kinetic energy, up to a constant."""
        return 0.5 * (self.e.square() + momentum.square()).sum(1) - beta * self.log_ratio

    def where(self, kept: Tensor, other: _State) -> _State:
        """This state in the rows that are ``kept``, the other in the rest."""
        rows = kept[:, None]
        return _State(
            torch.where(rows, self.e, other.e),
            torch.where(kept, self.log_ratio, other.log_ratio),
            torch.where(rows, self.gradient, other.gradient),
        )


def simulated(pair: Pair, n: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Data that the model draws, shape ``(n, *event.shape)``, and the latents they are drawn from, each ``(n, ...)``.

    Given the data, the latents are an exact draw of the posterior.
    """
    with seeded(seed), pair.evaluating():
        zeros = pair.event.zeros(n).to(pair.device)
        trace = poutine.trace(poutine.uncondition(pair.model)).get_trace(zeros)
        latents = {name: data_first(name, trace.nodes[name], n) for name in capabilities(pair).latents}
        return pair.layout.assemble(trace, zeros), latents


def anneal(
    pair: Pair,
    x: Tensor,
    z: Mapping[str, Tensor] | None = None,
    *,
    chains: int = 16,
    temperatures: int = 100,
    leapfrogs: int = LEAPFROGS,
    seed: int = 0,
    memory: int = MEMORY,
) -> list[Annealed]:
    """Forward chains of data, and backward ones from exact draws ``z`` of their posteriors, in chunks of ``memory``.

    Args:
        pair, x, chains, temperatures, leapfrogs: see `Annealer`.
        z: see `Annealer.backward`.
        seed: of all noise.
        memory: bytes that a chunk may take.

    Returns:
        What forward chains give, and backward ones where there is a ``z``.

    Raises:
        ZooError: latents that cannot be annealed.
    """

    def work(part: Tensor) -> Tensor:
        path = _Path(pair, part)
        return path.state(path.normal()).gradient

    with pair.evaluating(), seeded(seed):
        rows = max(1, rows_within(memory, x, work) // chains)
    found = list[list[Annealed]]()
    # No seed is that of another chunk, nor ``seed`` itself, by which the data may have been drawn.
    seeds = iter(torch.randint(2**31, (3 * len(x),), generator=torch.Generator().manual_seed(seed)).tolist())
    for first in range(0, len(x), rows):
        part, pilot, there, back = slice(first, first + rows), next(seeds), next(seeds), next(seeds)
        annealer = Annealer(pair, x[part], chains=chains, temperatures=temperatures, leapfrogs=leapfrogs, seed=pilot)
        found.append([annealer.forward(there)])
        if z is not None:
            found[-1].append(annealer.backward({name: value[part] for name, value in z.items()}, back))
    return [_joined(parts) for parts in zip(*found, strict=True)]


def _joined(parts: Sequence[Annealed]) -> Annealed:
    bound, weights, acceptance, ess = (
        torch.cat([getattr(part, word) for part in parts]) for word in ("bound", "log_weights", "acceptance", "ess")
    )
    return Annealed(bound, weights, acceptance, ess, parts[0].gradients)
