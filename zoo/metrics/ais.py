"""Annealed importance sampling between a guide and the posterior: bounds on log p(x) from below and from above.

Between a Gaussian q with the guide's moments (b = 0) and the posterior (b = 1) lie the densities

    log f_b(u) = (1 - b) log q(u | x) + b log p(x, z(u)),        b = 0, 1/T, ..., 1

of the unconstrained latents u. A chain starts at q, takes a step of Hamiltonian Monte Carlo at each b, and has the
weight w = prod_t f_t(u_t) / f_(t-1)(u_t), whose mean is p(x): the log of the mean of several chains is a lower bound in
expectation. The same chain backwards, from an exact draw of the posterior, has the mean 1/p(x), which gives an upper
bound; there is such a draw for data that the model itself drew. Step sizes come from a pilot run with noise of its own
and are then fixed: sizes that depend on the chains themselves would void both bounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import Normal, biject_to

from zoo.errors import ZooError
from zoo.metrics.bounds import MEMORY, rows_within
from zoo.pairs.pair import Pair
from zoo.pairs.sites import data_first, data_plate, entries_of, per_datum
from zoo.pairs.traces import capabilities, traced
from zoo.seeding import seeded

MOMENTS = 64
"""Draws of the guide whose mean and deviation start the chains."""
WANTED, RATE = 0.65, 0.5
"""Acceptance that a pilot run adapts step sizes to, and how fast."""
LEAPFROGS = 10
SMALLEST = 1e-4
"""Least deviation of a start."""


@dataclass(frozen=True)
class Annealed:
    """What chains give for each datum: tensors of shape ``(n,)``, float64, on the CPU, in nats.

    Attributes:
        bound: log of the mean weight: at most log p(x) in expectation, or at least, for chains that run backwards.
        log_weights: of each chain, shape ``(n, chains)``.
        acceptance: mean share of accepted steps; NaN where there is one temperature.
        ess: effective number of the chains.
        gradients: of the model, for each datum.
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
    if not can.latents:
        return "no latents: its likelihood is exact"
    if can.enumerated or can.shared or not pair.structure.plain:
        return "latents that are summed, shared by all data or auxiliary"
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
        temperatures: T; with one, the bound is that of as many particles of q.
        leapfrogs: steps of each proposal.
        seed: of the moments and of the pilot run.

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
        Neal 2001, Annealed importance sampling; Grosse et al. 2015, arXiv:1511.02543 (bounds from both sides); Wu et
        al. 2017, arXiv:1611.04273.
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
        self.x = x.repeat_interleave(chains, 0)
        with seeded(seed), pair.evaluating():
            draws = [traced(pair, x)[1] for _ in range(MOMENTS)]
            moments = _Coordinates(pair, draws[0], len(x)).moments(draws)
            self.mean, self.deviation = (each.repeat_interleave(chains, 0) for each in moments)
            self.coordinates = _Coordinates(pair, traced(pair, self.x)[1], len(self.x))
            self.sizes = self._pilot()

    def forward(self, seed: int, start: Tensor | None = None) -> Annealed:
        """Chains from q to the posterior: a lower bound on log p(x) in expectation.

        Args:
            seed: of the chains.
            start: standard values of the first latents instead of draws, shape ``(n * chains, d)``.
        """
        with seeded(seed), self.pair.evaluating():
            e = torch.randn_like(self.mean)
            state = self._state(e if start is None else start)
            weights, accepted = self._zeros(), self._zeros()
            for step, (last, beta) in enumerate(zip(self.betas[:-1], self.betas[1:], strict=True)):
                weights += (beta - last) * state.log_ratio.double()
                if step < len(self.sizes):
                    state, moved = self._move(state, beta, self.sizes[step])
                    accepted += moved
        return self._annealed(weights, accepted, 1.0)

    def backward(self, z: Mapping[str, Tensor], seed: int) -> Annealed:
        """Chains from an exact draw of each posterior to q: an upper bound on log p(x) in expectation.

        Args:
            z: by site, one exact draw for each datum, shape ``(n, ...)``: of data that the model drew, its latents.
            seed: of the chains.
        """
        with seeded(seed), self.pair.evaluating():
            axes = self.coordinates.axes
            rows = {name: z[name].repeat_interleave(self.chains, 0).movedim(0, axis) for name, axis in axes.items()}
            u = self.coordinates.vectors(rows)
            inside = u.isfinite().all(1)
            e = (u - self.mean) / self.deviation
            state = self._state(torch.where(inside[:, None], e, 0.0))
            weights, accepted = self._zeros(), self._zeros()
            for step in reversed(range(len(self.betas) - 1)):
                if step < len(self.sizes):
                    state, moved = self._move(state, self.betas[step + 1], self.sizes[step])
                    accepted += moved
                weights -= (self.betas[step + 1] - self.betas[step]) * state.log_ratio.double()
            weights = weights.where(inside, -torch.inf)  # a draw that q never makes
        return self._annealed(weights, accepted, -1.0)

    def _annealed(self, weights: Tensor, accepted: Tensor, sign: float) -> Annealed:
        found = weights.nan_to_num(nan=-math.inf).reshape(-1, self.chains).cpu()
        total = found.logsumexp(1)
        shares = accepted.reshape(-1, self.chains).mean(1).cpu()
        return Annealed(
            bound=sign * (total - math.log(self.chains)),
            log_weights=found,
            acceptance=shares / len(self.sizes) if self.sizes else torch.full_like(shares, math.nan),
            ess=(2 * total - (2 * found).logsumexp(1)).exp(),
            gradients=self.chains * (1 + self.leapfrogs * len(self.sizes)),
        )

    def _zeros(self) -> Tensor:
        return torch.zeros(len(self.x), dtype=torch.float64, device=self.x.device)

    def _pilot(self) -> list[Tensor]:
        """A step size for each temperature and datum, by which about `WANTED` of its chains are accepted."""
        state = self._state(torch.randn_like(self.mean))
        size = torch.full((len(self.x), 1), 0.5 * self.mean.shape[1] ** -0.25, device=self.x.device)
        found = list[Tensor]()
        for beta in self.betas[1:-1]:
            state, accepted = self._move(state, beta, size)
            share = accepted.reshape(-1, self.chains).mean(1).repeat_interleave(self.chains)
            size = size * (RATE * (share - WANTED)).exp()[:, None].to(size)
            found.append(size)
        return found

    def _state(self, e: Tensor) -> _State:
        """Standard values of the latents, with log p(x, z) - log q and its gradient."""
        e = e.detach().requires_grad_()
        with torch.enable_grad():
            values, volume = self.coordinates.values(self.mean + self.deviation * e)
            latents = poutine.Trace()
            for name, value in values.items():
                latents.add_node(name, name=name, type="sample", is_observed=False, value=value, infer={})
            model = poutine.trace(poutine.replay(self.pair.model, trace=latents)).get_trace(self.x)
            log_q = Normal(0.0, 1.0).log_prob(e).sum(1) - self.deviation.log().sum(1)
            log_ratio = per_datum(model, len(self.x)) + volume - log_q
            [gradient] = torch.autograd.grad(log_ratio.sum(), e)
        return _State(e.detach(), log_ratio.detach(), gradient)

    def _move(self, state: _State, beta: float, size: Tensor) -> tuple[_State, Tensor]:
        """A step of Hamiltonian Monte Carlo that keeps f_b, and which chains took it."""
        momentum = torch.randn_like(state.e)
        new, p = state, momentum + 0.5 * size * state.force(beta)
        for step in range(self.leapfrogs):
            new = self._state(new.e + size * p)
            p = p + (1.0 if step < self.leapfrogs - 1 else 0.5) * size * new.force(beta)
        change = new.energy(beta, p) - state.energy(beta, momentum)
        accepted = torch.rand(len(change), device=change.device).log() < -change  # not where the energy is NaN
        return state.where(~accepted, new), accepted.double()


@dataclass(frozen=True)
class _State:
    """Where chains are: standard latents ``(rows, d)``, log p(x, z) - log q(z | x) there, and its gradient."""

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


class _Coordinates:
    """The latents of ``n`` data as vectors of real numbers, laid out as a trace of the guide has them."""

    def __init__(self, pair: Pair, guide: Any, n: int) -> None:
        self.n, self.names = n, list(capabilities(pair).latents)
        self.sites = {name: guide.nodes[name] for name in self.names}
        self.axes = {
            name: data_plate(name, site, n).dim - len(site["fn"].event_shape) for name, site in self.sites.items()
        }
        self.transforms = {name: biject_to(site["fn"].support) for name, site in self.sites.items()}
        free = {name: self.transforms[name].inv(site["value"]) for name, site in self.sites.items()}
        self.shapes = {name: u.movedim(self.axes[name], 0).shape[1:] for name, u in free.items()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]

    def flat(self, values: Mapping[str, Tensor]) -> Tensor:
        """Values laid out as the sites', side by side: shape ``(n, d)``."""
        return torch.cat([values[name].movedim(self.axes[name], 0).reshape(self.n, -1) for name in self.names], 1)

    def vectors(self, values: Mapping[str, Tensor]) -> Tensor:
        """Latents as vectors ``(n, d)``; not finite where they are out of the guide's support."""
        return self.flat({name: self.transforms[name].inv(values[name]) for name in self.names})

    def values(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Latents of vectors ``(n, d)``, and the log of the volume that a vector's neighbourhood takes, ``(n,)``."""
        found, volume = dict[str, Tensor](), torch.zeros(self.n, device=u.device)
        for name, part in zip(self.names, u.split(self.sizes, 1), strict=True):
            free = part.reshape(self.n, *self.shapes[name]).movedim(0, self.axes[name])
            value = self.transforms[name](free)
            log_slope = self.transforms[name].log_abs_det_jacobian(free, value)
            axis = self.axes[name] + free.dim() - log_slope.dim()
            volume = volume + log_slope.movedim(axis, 0).reshape(self.n, -1).sum(1)
            found[name] = value
        return found, volume

    def moments(self, draws: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the vectors that traces of the guide draw, each of shape ``(n, d)``.

        Of independent normals, whose parameters do not depend on draws, they are these parameters.
        """
        read = [self._normal(trace) for trace in draws[:2]]
        if read[0] is not None and read[1] is not None and all(map(torch.equal, read[0], read[1])):
            return read[0]
        drawn = torch.stack(
            [self.vectors({name: trace.nodes[name]["value"] for name in self.names}) for trace in draws]
        )
        return drawn.mean(0), drawn.std(0).clamp(min=SMALLEST)

    def _normal(self, guide: Any) -> tuple[Tensor, Tensor] | None:
        fns = {name: entries_of(guide.nodes[name]["fn"]) for name in self.names}
        if not all(isinstance(fn, Normal) for fn in fns.values()):
            return None
        shapes = {name: guide.nodes[name]["value"].shape for name in self.names}
        loc, scale = (
            self.flat({name: getattr(fn, word).expand(shapes[name]) for name, fn in fns.items()})
            for word in ("loc", "scale")
        )
        return loc, scale


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
        return Annealer(pair, part, chains=1, temperatures=2, leapfrogs=1).forward(0).bound

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
