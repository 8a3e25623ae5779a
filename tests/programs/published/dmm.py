"""A deep Markov model of chords (Krishnan et al. 2017): z_t | z_{t-1} is a gated normal, x_t | z_t are bits."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn

import zoo


class Transition(nn.Module):
    def __init__(self, z_dim):
        super().__init__()
        self.gate, self.proposal, self.linear = (nn.Linear(z_dim, z_dim) for _ in range(3))
        self.scale = nn.Linear(z_dim, z_dim)

    def forward(self, z):
        gate, proposal = torch.sigmoid(self.gate(z)), self.proposal(z)
        loc = (1 - gate) * self.linear(z) + gate * proposal
        return loc, nn.functional.softplus(self.scale(torch.relu(proposal)))


class DMM(nn.Module):
    def __init__(self, notes=3, z_dim=2, rnn_dim=5):
        super().__init__()
        self.emitter, self.transition = nn.Linear(z_dim, notes), Transition(z_dim)
        self.rnn = nn.RNN(notes, rnn_dim, batch_first=True)
        self.combine = nn.Linear(z_dim, rnn_dim)
        self.loc, self.scale = nn.Linear(rnn_dim, z_dim), nn.Linear(rnn_dim, z_dim)
        self.z_0, self.z_q_0 = nn.Parameter(torch.zeros(z_dim)), nn.Parameter(torch.zeros(z_dim))

    def model(self, chords, reversed_chords, mask, annealing_factor=1.0):
        pyro.module("dmm", self)
        z = self.z_0.expand(len(chords), -1)
        with pyro.plate("z_minibatch", len(chords)):
            for t in pyro.markov(range(chords.size(1))):
                loc, scale = self.transition(z)
                with poutine.scale(scale=annealing_factor):
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, scale).mask(mask[:, t : t + 1]).to_event(1))
                notes = dist.Bernoulli(logits=self.emitter(z)).mask(mask[:, t : t + 1]).to_event(1)
                pyro.sample(f"obs_x_{t}", notes, obs=chords[:, t])

    def guide(self, chords, reversed_chords, mask, annealing_factor=1.0):
        pyro.module("dmm", self)
        future = self.rnn(reversed_chords)[0].flip(1)
        z = self.z_q_0.expand(len(chords), -1)
        with pyro.plate("z_minibatch", len(chords)):
            for t in pyro.markov(range(chords.size(1))):
                hidden = (torch.tanh(self.combine(z)) + future[:, t]) / 2
                normal = dist.Normal(self.loc(hidden), nn.functional.softplus(self.scale(hidden)))
                with poutine.scale(scale=annealing_factor):
                    z = pyro.sample(f"z_{t}", normal.mask(mask[:, t : t + 1]).to_event(1))


# adapter
event = zoo.Event((4, 3), "binary")
dmm = DMM()
model = lambda x: dmm.model(x, x.flip(1), x.new_ones(len(x), 4).bool())
guide = lambda x: dmm.guide(x, x.flip(1), x.new_ones(len(x), 4).bool())
