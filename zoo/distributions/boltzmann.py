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
    """W ``(H, D)``, the hidden biases c ``(H,)``, the visible biases a ``(D,)``, and the base's log-odds ``(D,)``."""

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
    """Binary units v with hidden ones summed out.

        p(v) = exp(a.v + sum_j softplus(c_j + W_j.v)) / Z

    With up to `MOST_HIDDEN` hidden units log Z is computed exactly, as is a draw of `settled`. The path scales the
    hidden units' inputs by b and leads from independent units of the base's log-odds m:

        log f_b(v) = (b a + (1 - b) m).v + sum_j softplus(b (c_j + W_j.v)) - (1 - b) constant

    Its transition is a sweep of block Gibbs sampling: all hidden units given the visible ones, then back.

    Args:
        weights: the parameters and the base.
        shape: of the visible units.
        sweeps: of one draw.
        chains: states that training left, ``(C, D)``, from which `settled` goes on.
        last: of the module that owns the weights: log Z is computed once for them.

    Example:
        >>> zeros = torch.zeros
        >>> weights = Weights(zeros(3, 4), zeros(3), zeros(4), zeros(4))
        >>> machine = BoltzmannMachine(weights, torch.Size([4]), 10, zeros(5, 4), Last())
        >>> round(float(machine.log_normaliser() / math.log(2)), 6), machine.expand([6]).sample().shape
        (7.0, torch.Size([6, 4]))

    Reference:
        Hinton 2002, Neural Computation 14; the path: Salakhutdinov & Murray 2008, On the quantitative analysis of deep
        belief networks, ICML.
    """

    def __init__(self, weights: Weights, shape: torch.Size, sweeps: int, chains: Tensor, last: Last) -> None:
        self.weights, self.chains, self.last = weights, chains, last
        super().__init__(shape, sweeps)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> Any:
        return constraints.independent(constraints.boolean, len(self.event_shape))

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
        return self._shaped(self.weights.base.sigmoid().expand(n, -1).bernoulli())

    def log_path(self, value: Tensor, b: float) -> Tensor:
        w = self.weights
        v = value.flatten(value.dim() - len(self.event_shape))
        constant = F.softplus(w.base).sum() + len(w.hidden) * math.log(2)
        units = F.softplus(b * F.linear(v, w.w.to(v), w.hidden.to(v))).sum(-1)
        return v @ (b * w.visible + (1 - b) * w.base).to(v) + units - (1 - b) * constant

    def move(self, x: Tensor, b: float) -> Tensor:
        w = self.weights
        h = (b * F.linear(x.flatten(1), w.w, w.hidden)).sigmoid().bernoulli()
        return self._shaped(self._visible(h, b).sigmoid().bernoulli())

    def settled(self, n: int) -> Tensor:
        """Exact draws by enumeration of the hidden states; else the chains of training, after ``sweeps`` more."""
        with torch.no_grad():
            if self.normalised:
                log_p = torch.cat(list(self._log_states()))
                state = (log_p - log_p.max()).exp().cumsum(0)
                places = torch.searchsorted(state, state[-1] * torch.rand(n, dtype=state.dtype, device=state.device))
                bits = torch.arange(len(self.weights.hidden), device=state.device)
                h = (places[:, None] >> bits & 1).to(self.weights.w)
                return self._shaped(self._visible(h, 1.0).sigmoid().bernoulli())
            x = self._shaped(self.chains[torch.randint(len(self.chains), (n,), device=self.chains.device)])
            for _ in range(self.moves):
                x = self.move(x, 1.0)
            return x

    def _visible(self, h: Tensor, b: float) -> Tensor:
        w = self.weights
        return b * F.linear(h, w.w.T, w.visible) + (1 - b) * w.base

    def _shaped(self, v: Tensor) -> Tensor:
        return v.reshape(-1, *self.event_shape)

    def _log_states(self) -> Iterator[Tensor]:
        """log sum_v exp(-E(v, h)) of all hidden states h, by the numbers whose bits they are, in float64."""
        w = self.weights
        units, inputs, biases = len(w.hidden), w.w.double(), w.hidden.double()
        low, high = (_states(n, inputs) for n in (min(units, BLOCK), max(units - BLOCK, 0)))
        zero = inputs.new_zeros(())
        within, bias = low @ inputs[:BLOCK] + w.visible.double(), low @ biases[:BLOCK]
        for state in high:
            yield bias + state @ biases[BLOCK:] + torch.logaddexp(within + state @ inputs[BLOCK:], zero).sum(1)


def _states(units: int, like: Tensor) -> Tensor:
    """All states of some binary units, ``(2^units, units)``."""
    numbers = torch.arange(2**units, device=like.device)
    return (numbers[:, None] >> torch.arange(units, device=like.device) & 1).to(like)
