"""The deep Markov model: a nonlinear state space model of sequences, with a guide that reads each from its end."""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.distributions.markov import MarkovNormal
from zoo.errors import UnfitError
from zoo.event import Event
from zoo.nn.decoder import Decoder
from zoo.nn.mlp import MLP
from zoo.pairs.registry import family

SMALLEST_SCALE = 1e-3


@family(
    "dmm",
    group="prescribed",
    paper="Krishnan et al. 2017, arXiv:1609.09869",
    supports=("sequence",),
    recipe={
        "steps": 3000,
        "batch": 20,
        "optimiser": "adamw",
        "lr": 6e-3,
        "schedule": "onecycle",
        "clip": 10.0,
        "kl_warmup": 300,
        "average": 0.99,
        "checkpoints": 20,
    },
)
class DMM(nn.Module):
    """State space model whose transitions and emissions are networks.

        z_t ~ N(m(z_{t-1}), diag s(z_{t-1})^2)      m = (1 - g) W z + g h, gates g and proposals h of z
        x_t | z_t ~ p(x_t; f(z_t)), entries independent
        q(z_t | z_{t-1}, x_t, ..., x_T): normal, of (tanh(V z_{t-1}) + r_t) / 2, where r is a GRU's state at t

    The GRU reads a sequence from its last step to its first. All z are one site: given them, all steps are computed at
    once. Steps beyond a sequence's length are hidden by a mask, and their z are standard normals in both programs.

    Args:
        event: a record of one sequence ``x``, of any support, and its length ``n``.
        latent: dimensions of z_t.
        hidden: width of the hidden layers of f, of the gate and of the proposal.
        rnn: size of the GRU's state.
        dropout: share of the hidden units of f dropped in training.

    Raises:
        UnfitError: another event.

    Reference:
        Krishnan et al. 2017, arXiv:1609.09869, sections 3 and 4 (the guide is ST-R, "DKS").
    """

    def __init__(
        self, event: Event, *, latent: int = 32, hidden: int = 128, rnn: int = 128, dropout: float = 0.1
    ) -> None:
        super().__init__()
        x = event.main
        if len(event.fields) != 2 or x.name != "x" or x.length != "n":
            raise UnfitError(f"dmm takes a sequence and its length, such as x=20x3:binary~n,n=:21@given; got {event}")
        self.event, self.steps = event, x.shape[0]
        self.step = Event(x.size // self.steps, x.levels or "real")
        self.emitter = Decoder(self.step, latent, (hidden, hidden), dropout)
        self.gate, self.proposal = MLP(latent, (hidden,), latent), MLP(latent, (hidden,), latent)
        self.linear, self.spread = nn.Linear(latent, latent), nn.Linear(latent, latent)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.rnn = nn.GRU(self.step.size, rnn, batch_first=True)
        self.combine, self.posterior = nn.Linear(latent, rnn), nn.Linear(rnn, 2 * latent)
        self.z_0, self.q_0 = nn.Parameter(torch.zeros(latent)), nn.Parameter(torch.zeros(latent))

    def model(self, x: Tensor, n: Tensor) -> None:
        """Draw z and x, observing ``x`` of shape ``(batch, T, ...)`` up to the lengths ``n``, shape ``(batch,)``."""
        within = self.within(n)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", MarkovNormal(self.z_0, self.transition, x.new_zeros(len(x), self.steps, 0), within))
            pyro.sample("x", self.emitter(z).mask(within).to_event(1), obs=x.reshape(len(x), self.steps, -1))

    def guide(self, x: Tensor, n: Tensor) -> None:
        """Draw z given ``x``."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", MarkovNormal(self.q_0, self.combined, self.futures(x, n), self.within(n)))

    def within(self, n: Tensor) -> Tensor:
        """Which steps are no padding, shape ``(batch, T)``."""
        return torch.arange(self.steps, device=n.device) < n[:, None]

    def transition(self, z: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of z_t given z_{t-1}, each of shape ``(..., latent)``."""
        gate, proposal = self.gate(z).sigmoid(), self.proposal(z)
        mean = (1 - gate) * self.linear(z) + gate * proposal
        return mean, F.softplus(self.spread(F.relu(proposal))) + SMALLEST_SCALE

    def combined(self, z: Tensor, future: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of z_t given z_{t-1} and the GRU's state at t, shape ``(..., rnn)``."""
        mean, raw = self.posterior((self.combine(z).tanh() + future) / 2).chunk(2, -1)
        return mean, F.softplus(raw) + SMALLEST_SCALE

    def futures(self, x: Tensor, n: Tensor) -> Tensor:
        """The GRU's state after x_T, ..., x_t, for each t: shape ``(batch, T, rnn)``."""
        steps = torch.arange(self.steps, device=x.device)
        last = n.long()[:, None] - 1
        backwards = torch.where(steps <= last, last - steps, steps).unsqueeze(-1)  # its own inverse
        flat = x.reshape(len(x), self.steps, -1)
        states, _ = self.rnn(flat.gather(1, backwards.expand_as(flat)))
        return states.gather(1, backwards.expand_as(states))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Start from the marginals of all steps of packed training data ``x``, shape ``(n, event.size)``."""
        sequences, lengths = x[:, : self.event.main.size], self.event.steps(x)
        assert lengths is not None  # x is a sequence
        self.emitter.initialise(sequences.reshape(len(x), self.steps, -1)[self.within(lengths)])
