"""An AutoGuide over latents of each datum: its parameters belong to the rows of the first batch."""

import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
from torch import nn

import zoo

event = zoo.Event(3, "real")
decoder, encoder = nn.Linear(2, 3), nn.Linear(3, 4)


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)


def amortised(x):
    loc, raw = encoder(x).chunk(2, -1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 0.1).to_event(1))


guide = AutoNormal(model)  # mistake
# mended: guide = amortised
