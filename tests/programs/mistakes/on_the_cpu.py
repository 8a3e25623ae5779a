"""A tensor is made on the CPU, wherever the data are."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo

event = zoo.Event(3, "real")
decoder, encoder = nn.Linear(2, 3), nn.Linear(3, 4)


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))  # mistake
        # mended: z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        loc = decoder(z)
        pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)


def guide(x):
    loc, raw = encoder(x).chunk(2, -1)
    scale = nn.functional.softplus(raw) + 0.1
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, scale).to_event(1))
