"""The restricted Boltzmann machine as a distribution of its visible units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.nn import functional as F

from zoo.distributions.unnormalised import Unnormalised

MOST_HIDDEN = 20
"""Hidden units whose 2^H states are enumerated."""
BLOCK = 10
"""Hidden units whose states are computed at once."""


@dataclass(frozen=True)
class Weights:
    """The parameters of K levels, and those of the base.

    W ``(H, D)``, the hidden biases c ``(H,)``, and the biases of the levels 1 ... K - 1 of each visible unit against
    level 0, ``(D (K - 1),)``: those of the machine, a, and those of the base.
    """

    w: Tensor
    hidden: Tensor
    visible: Tensor
    base: Tensor


class Last:
    """The last result of a function of some tensors, without gradients, kept until these change."""

    def __init__(self) -> None:
        self.tensors: tuple[Tensor, ...] = ()
        self.result: Tensor | None = None

    def __call__(self, tensors: tuple[Tensor, ...], compute: Callable[[], Tensor]) -> Tensor:
        if torch.is_grad_enabled() or tensors[0].is_meta:
            return compute()
        known = [(a.device, a.shape) == (b.device, b.shape) for a, b in zip(self.tensors, tensors, strict=False)]
        if self.result is None or not all(known) or not all(map(torch.equal, self.tensors, tensors)):
            self.tensors, self.result = tuple(tensor.detach().clone() for tensor in tensors), compute()
        return self.result


class BoltzmannMachine(Unnormalised):
    """Units v of K levels with binary hidden ones summed out.

        p(v) = exp(sum_d a_d(v_d) + sum_j softplus(c_j + W_j.v / (K - 1))) / Z        a_d(0) = 0

    Each level of a unit has a bias of its own, and levels meet the hidden units in proportion; with two levels these
    are the usual binary units.

    With up to `MOST_HIDDEN` hidden units log Z is computed exactly, as is a draw of `settled`. The path scales the
    hidden units' inputs by b and leads from independent units of the base's biases m:

        log f_b(v) = sum_d (b a + (1 - b) m)_d(v_d) + sum_j softplus(b (c_j + W_j.v / (K - 1))) - (1 - b) constant

    Its transition is a sweep of block Gibbs sampling: all hidden units given the visible ones, then back.

    Args:
        weights: the parameters and the base.
        shape: of the visible units.
        levels: K.
        sweeps: of one draw.
        chains: states that training left, ``(C, D)``, from which `settled` goes on.
        last: of the module that owns the weights: log Z is computed once for them.

    Example:
        >>> zeros = torch.zeros
        >>> weights = Weights(zeros(3, 4), zeros(3), zeros(4), zeros(4))
        >>> machine = BoltzmannMachine(weights, torch.Size([4]), 2, 10, zeros(5, 4), Last())
        >>> round(float(machine.log_normaliser() / math.log(2)), 6), machine.expand([6]).sample().shape
        (7.0, torch.Size([6, 4]))

    Reference:
        Hinton 2002, Neural Computation 14; the path: Salakhutdinov & Murray 2008, On the quantitative analysis of deep
        belief networks, ICML.
    """

    def __init__(
        self, weights: Weights, shape: torch.Size, levels: int, sweeps: int, chains: Tensor, last: Last
    ) -> None:
        self.weights, self.levels, self.chains, self.last = weights, levels, chains, last
        super().__init__(shape, sweeps)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Any:
        values = constraints.boolean if self.levels == 2 else constraints.integer_interval(0, self.levels - 1)
        return constraints.independent(values, len(self.event_shape))

    @property
    def normalised(self) -> bool:
        return len(self.weights.hidden) <= MOST_HIDDEN

    def log_normaliser(self) -> Tensor:
        if not self.normalised:
            return super().log_normaliser()
        w = self.weights
        return self.last(
            (w.w, w.hidden, w.visible),
            lambda: torch.stack([block.logsumexp(0) for block in self._log_states()]).logsumexp(0),
        )

    def base_sample(self, n: int) -> Tensor:
        return self._drawn(self.weights.base.expand(n, -1))

    def log_path(self, value: Tensor, b: float) -> Tensor:
        w = self.weights
        v = value.flatten(value.dim() - len(self.event_shape))
        constant = self._log_sum(w.base) + len(w.hidden) * math.log(2)
        units = F.softplus(b * F.linear(v / (self.levels - 1), w.w.to(v), w.hidden.to(v))).sum(-1)
        biases = (b * w.visible + (1 - b) * w.base).to(v)
        return self._indicators(v) @ biases + units - (1 - b) * constant

    def move(self, x: Tensor, b: float) -> Tensor:
        w = self.weights
        h = (b * F.linear(x.flatten(1) / (self.levels - 1), w.w, w.hidden)).sigmoid().bernoulli()
        return self._drawn(self._visible(h, b))

    def settled(self, n: int) -> Tensor:
        """Exact draws by enumeration of the hidden states; else the chains of training, after ``sweeps`` more."""
        with torch.no_grad():
            if self.normalised:
                log_p = torch.cat(list(self._log_states()))
                state = (log_p - log_p.max()).exp().cumsum(0)
                places = torch.searchsorted(state, state[-1] * torch.rand(n, dtype=state.dtype, device=state.device))
                bits = torch.arange(len(self.weights.hidden), device=state.device)
                h = (places[:, None] >> bits & 1).to(self.weights.w)
                return self._drawn(self._visible(h, 1.0))
            x = self.chains[torch.randint(len(self.chains), (n,), device=self.chains.device)]
            x = x.reshape(-1, *self.event_shape)
            for _ in range(self.moves):
                x = self.move(x, 1.0)
            return x

    def _visible(self, h: Tensor, b: float) -> Tensor:
        """The biases of the levels of the visible units given the hidden ones, ``(n, D (K - 1))``."""
        w = self.weights
        return b * (self._of_levels(h @ w.w) + w.visible) + (1 - b) * w.base

    def _of_levels(self, inputs: Tensor) -> Tensor:
        """What inputs ``(..., D)`` of visible units add to the biases of their levels."""
        levels = torch.arange(1, self.levels, device=inputs.device) / (self.levels - 1)
        return (inputs[..., None] * levels).flatten(-2)

    def _indicators(self, v: Tensor) -> Tensor:
        """Which level each unit of ``v``, ``(..., D)``, has, but level 0: ``(..., D (K - 1))``."""
        if self.levels == 2:
            return v
        return (v[..., None] == torch.arange(1, self.levels, device=v.device)).flatten(-2).to(v)

    def _log_sum(self, biases: Tensor) -> Tensor:
        """The log of the sum over all v of exp of the biases, ``(...)``."""
        if self.levels == 2:
            return F.softplus(biases).sum(-1)
        return F.pad(biases.unflatten(-1, (-1, self.levels - 1)), (1, 0)).logsumexp(-1).sum(-1)

    def _drawn(self, biases: Tensor) -> Tensor:
        if self.levels == 2:
            v = biases.sigmoid().bernoulli()
        else:
            odds = F.pad(biases.unflatten(-1, (-1, self.levels - 1)), (1, 0)).softmax(-1)
            below = odds.cumsum(-1)[..., :-1]  # inverted: multinomial takes most of a step's time
            v = (below < torch.rand_like(below[..., :1])).sum(-1).to(biases)
        return v.reshape(-1, *self.event_shape)

    def _log_states(self) -> Iterator[Tensor]:
        """log sum_v exp(-E(v, h)) of all hidden states h, by the numbers whose bits they are, in float64."""
        w = self.weights
        units, inputs, biases = len(w.hidden), w.w.double(), w.hidden.double()
        low, high = (_states(n, inputs) for n in (min(units, BLOCK), max(units - BLOCK, 0)))
        within, bias, visible = low @ inputs[:BLOCK], low @ biases[:BLOCK], w.visible.double()
        for state in high:
            levels = self._of_levels(within + state @ inputs[BLOCK:]) + visible
            yield bias + state @ biases[BLOCK:] + self._log_sum(levels)


def _states(units: int, like: Tensor) -> Tensor:
    """All states of some binary units, ``(2^units, units)``."""
    numbers = torch.arange(2**units, device=like.device)
    return (numbers[:, None] >> torch.arange(units, device=like.device) & 1).to(like)
