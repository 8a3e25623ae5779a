"""Attend, infer, repeat (Eslami et al. 2016), in one dimension: up to two bumps on a line of eight pixels."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn

import zoo


class AIR(nn.Module):
    def __init__(self, steps=2, pixels=8, z_what=1, hidden=8):
        super().__init__()
        self.steps, self.pixels, self.z_what = steps, pixels, z_what
        self.decode = nn.Linear(z_what, 1)
        self.rnn = nn.GRUCell(pixels + 2 + z_what, hidden)
        self.predict, self.encode = nn.Linear(hidden, 3), nn.Linear(pixels + hidden, 2 * z_what)

    def bump(self, where, what):
        grid = torch.linspace(-1, 1, self.pixels, device=where.device)
        return self.decode(what).exp() * torch.exp(-8 * (grid - where) ** 2)

    def model(self, data):
        pyro.module("decode", self.decode)
        n = len(data)
        with pyro.plate("data", n):
            canvas, present = data.new_zeros(n, self.pixels), data.new_ones(n, 1)
            for t in range(self.steps):
                present = pyro.sample(f"z_pres_{t}", dist.Bernoulli(0.5 * present).to_event(1))
                with poutine.mask(mask=present.squeeze(-1).bool()):
                    where = pyro.sample(f"z_where_{t}", dist.Normal(data.new_zeros(n, 1), 1.0).to_event(1))
                    what = pyro.sample(f"z_what_{t}", dist.Normal(data.new_zeros(n, self.z_what), 1.0).to_event(1))
                canvas = canvas + self.bump(where, what) * present
            pyro.sample("obs", dist.Normal(canvas, 0.3).to_event(1), obs=data)

    def guide(self, data):
        pyro.module("air", self)
        n = len(data)
        with pyro.plate("data", n):
            state, present = data.new_zeros(n, self.rnn.hidden_size), data.new_ones(n, 1)
            where, what = data.new_zeros(n, 1), data.new_zeros(n, self.z_what)
            for t in range(self.steps):
                state = self.rnn(torch.cat([data, present, where, what], -1), state)
                logit, loc, raw = self.predict(state).split(1, -1)
                present = pyro.sample(f"z_pres_{t}", dist.Bernoulli(logit.sigmoid() * present).to_event(1))
                with poutine.mask(mask=present.squeeze(-1).bool()):
                    where = pyro.sample(f"z_where_{t}", dist.Normal(loc, torch.exp(raw)).to_event(1))
                    mean, log_scale = self.encode(torch.cat([data, state], -1)).chunk(2, -1)
                    what = pyro.sample(f"z_what_{t}", dist.Normal(mean, log_scale.exp()).to_event(1))


# adapter
event = zoo.Event(8, "real")
