"""A coupling flow of the plane, the second of Pyro's tutorial on flows: a spline of one coordinate given the other."""

import pyro
import pyro.distributions as dist
from pyro.distributions import transforms as T

import zoo

coupling = T.spline_coupling(2, count_bins=8)


def model(data):
    pyro.module("coupling", coupling)
    base = dist.Normal(data.new_zeros(2), data.new_ones(2)).to_event(1)
    with pyro.plate("data", len(data)):
        flow = dist.TransformedDistribution(base, [coupling])
        pyro.sample("x", flow, obs=data)


# adapter
event = zoo.Event(2, "real")
