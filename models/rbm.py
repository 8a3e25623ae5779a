"""Restricted Boltzmann machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from zoo.distributions import level_counts
from zoo.distributions.boltzmann import BoltzmannMachine, Last, Weights
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.pair import Player
from zoo.pairs.registry import family

PSEUDOCOUNT = 1.0
"""Added to the count of each level of a pixel, so that its log-odds are finite."""


@family(
    "rbm",
    group="energy",
    paper="Hinton 2002, Neural Computation 14",
    supports=("binary", "levels"),
    recipe={"steps": 10000, "batch": 100, "lr": 1e-3, "schedule": "cosine", "average": 0.999, "checkpoints": 10},
)
class RBM(nn.Module):
    """Visible units of K levels and binary hidden ones, with pairwise energies between them.

        p(v) = exp(sum_d a_d(v_d) + sum_j softplus(c_j + W_j.v / (K - 1))) / Z        the hidden units are summed out

    Log Z is exact by enumeration up to 20 hidden units; beyond, log-probabilities are known up to a constant, and the
    evaluation ``likelihood`` estimates it (see `zoo.metrics.normaliser`). Training is by persistent contrastive
    divergence: chains that go on from step to step estimate the gradient of log Z. They are buffers, so a resumed run
    goes on with the same chains. Gradients are centred, so they do not depend on which state of a unit is called one. A
    draw takes ``sweeps`` sweeps of block Gibbs sampling, each of two passes, and is approximate.

    Args:
        event: any shape, binary or of levels.
        hidden: H.
        chains: persistent chains of training.
        updates: sweeps of the chains at each step of training.
        sweeps: sweeps of one draw, of which the first half anneals from independent pixels.

    Raises:
        ZooError: a number that is not positive.

    Reference:
        Hinton 2002, Neural Computation 14; the chains: Tieleman 2008, Training restricted Boltzmann machines using
        approximations to the likelihood gradient, ICML; centring: Melchior, Fischer & Wiskott 2016, How to center deep
        Boltzmann machines, JMLR 17.
    """

    persistent: Tensor
    base: Tensor

    def __init__(
        self, event: Event, *, hidden: int = 128, chains: int = 100, updates: int = 1, sweeps: int = 1000
    ) -> None:
        super().__init__()
        if min(hidden, chains, updates, sweeps) < 1:
            raise ZooError(
                f"hidden, chains, updates and sweeps are 1 or more; got {hidden}, {chains}, {updates}, {sweeps}"
            )
        self.event, self.updates, self.sweeps = event, updates, sweeps
        self.levels = event.levels or 2
        self.weight = nn.Parameter(0.01 * torch.randn(hidden, event.size))
        self.hidden = nn.Parameter(torch.zeros(hidden))
        self.visible = nn.Parameter(torch.zeros(event.size * (self.levels - 1)))
        self.register_buffer("base", torch.zeros(event.size * (self.levels - 1)))
        self.register_buffer("persistent", torch.randint(self.levels, (chains, event.size)).float())
        self.last = Last()

    def model(self, x: Tensor) -> Any:
        with pyro.plate("data", len(x)):
            return pyro.sample("x", self.machine(), obs=x)

    def machine(self, parameters: tuple[Tensor, Tensor, Tensor] | None = None) -> BoltzmannMachine:
        """The distribution of the visible units, event shape ``event.shape``, of these W, c and a or of its own."""
        weights = Weights(*(parameters or (self.weight, self.hidden, self.visible)), self.base)
        shape = torch.Size(self.event.shape)
        return BoltzmannMachine(weights, shape, self.levels, self.sweeps, self.persistent, self.last)

    def players(self) -> Sequence[Player]:
        """Gradient ascent on log p(x) with the chains in place of draws."""
        return [Player("energy", list(self.parameters()), self.contrast)]

    def contrast(self, x: Tensor) -> Tensor:
        """Mean log-density of the chains less that of the data ``x``; in training mode the chains move before.

        Its gradients are centred.
        """
        machine = self.machine(self.centred(x))
        states = self.persistent.reshape(-1, *self.event.shape)
        if self.training:
            with torch.no_grad():
                for _ in range(self.updates):
                    states = machine.move(states, 1.0)
                self.persistent.copy_(states.flatten(1))
        return machine.log_density(states).mean() - machine.log_density(x).mean()

    def centred(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The parameters W, c and a, with gradients as if units were counted from their means.

        These are the mean of the base, and of the hidden units given the data ``x``. Without it the gradient of W is
        mostly that of the biases, and learning is slow.
        """
        steps = torch.arange(1, self.levels, dtype=self.base.dtype, device=self.base.device) / (self.levels - 1)
        odds = self.base.reshape(-1, self.levels - 1)
        mean = torch.cat([odds.new_zeros(len(odds), 1), odds], 1).softmax(1)[:, 1:] @ steps
        with torch.no_grad():
            active = linear(x.flatten(1) / (self.levels - 1), self.weight, self.hidden).sigmoid().mean(0)
        centred: tuple[Tensor, Tensor, Tensor] = _Centred.apply(
            self.weight, self.hidden, self.visible, mean, active, steps
        )
        return centred

    def initialise(self, x: Tensor) -> None:
        """Set the visible biases and the base to the log-odds of the training data, and start the chains there."""
        counts = (level_counts(self.levels, x.flatten(1)) + PSEUDOCOUNT).log()
        odds = (counts[:, 1:] - counts[:, :1]).flatten()
        self.visible.copy_(odds)
        self.base.copy_(odds)
        self.persistent.copy_(self.machine().base_sample(len(self.persistent)).flatten(1))


class _Centred(torch.autograd.Function):
    """The identity of W, c and a. Backwards, steps along its gradients are those of the machine whose energy is

    -(v - m).W (h - l) - (v - m).b - (h - l).d        v from 0 to 1, and h counted from their means m and l
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, c: Tensor, a: Tensor, mean: Tensor, active: Tensor, steps: Tensor) -> Any:
        ctx.save_for_backward(mean, active, steps)
        return w.view_as(w), c.view_as(c), a.view_as(a)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (w, c, a), (mean, active, steps) = gradients, ctx.saved_tensors
        w = w - c[:, None] * mean - active[:, None] * (a.reshape(len(mean), -1) @ steps)
        a = a - ((active @ w)[:, None] * steps).flatten()
        return w, c - w @ mean, a, None, None, None
