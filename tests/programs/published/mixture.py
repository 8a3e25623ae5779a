"""The Gaussian mixture of Pyro's tutorial: weights, scale and centres are global latents; points are enumerated."""

import pyro
import pyro.distributions as dist
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.infer.autoguide import AutoNormal

import zoo

K = 2


@config_enumerate
def model(data):
    weights = pyro.sample("weights", dist.Dirichlet(0.5 * data.new_ones(K)))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 2.0))
    with pyro.plate("components", K):
        locs = pyro.sample("locs", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(data)):
        assignment = pyro.sample("assignment", dist.Categorical(weights))
        pyro.sample("obs", dist.Normal(locs[assignment], scale), obs=data.squeeze(-1))


# adapter
event = zoo.Event(1, "real")
guide = AutoNormal(poutine.block(model, expose=["weights", "locs", "scale"]))
