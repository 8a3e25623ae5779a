"""A spline flow of one dimension, the first of Pyro's tutorial on flows."""

import pyro
import pyro.distributions as dist
from pyro.distributions import transforms as T

import zoo

spline = T.Spline(1, count_bins=8, bound=6.0)


def model(data):
    pyro.module("spline", spline)
    base = dist.Normal(data.new_zeros(1), data.new_ones(1)).to_event(1)
    with pyro.plate("data", len(data)):
        pyro.sample("x", dist.TransformedDistribution(base, [spline]), obs=data)


# adapter
event = zoo.Event(1, "real")
