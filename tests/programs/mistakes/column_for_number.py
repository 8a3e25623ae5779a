"""One number for each datum is observed as a column: shapes (n, 1) and (n,) broadcast to n by n."""

import pyro
import pyro.distributions as dist
from torch import nn

import zoo

event = zoo.Event(1, "real")
decoder, encoder = nn.Linear(2, 1), nn.Linear(1, 4)


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(decoder(z), 1.0), obs=x)  # mistake
        # mended: pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)


def guide(x):
    loc, raw = encoder(x).chunk(2, -1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 0.1).to_event(1))
