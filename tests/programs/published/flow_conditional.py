"""A conditional flow, the last of Pyro's tutorial on flows: p(x | c) of a context that is given."""

import pyro
import pyro.distributions as dist
from pyro.distributions import transforms as T

import zoo

spline = T.conditional_spline(1, context_dim=2, hidden_dims=[8], count_bins=8, bound=6.0)


def model(x, context):
    pyro.module("spline", spline)
    base = dist.Normal(x.new_zeros(1), x.new_ones(1)).to_event(1)
    with pyro.plate("data", len(x)):
        flow = dist.ConditionalTransformedDistribution(base, [spline]).condition(context)
        pyro.sample("x", flow, obs=x)


# adapter
event = zoo.Event.parse("x=1:real,context=2:real@given")
