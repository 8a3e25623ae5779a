"""The location of normal data, the example of Minipyro, with an AutoGuide."""

import pyro
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal

import zoo


def model(data):
    loc = pyro.sample("loc", dist.Normal(data.new_zeros(()), 1.0))
    with pyro.plate("data", len(data), dim=-1):
        pyro.sample("obs", dist.Normal(loc, 1.0), obs=data)


# adapter
event, of_vectors = zoo.Event(1, "real"), model
model = lambda x: of_vectors(x[:, 0])
guide = AutoNormal(model)
