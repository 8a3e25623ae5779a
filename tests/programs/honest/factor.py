"""A factor model of three reals: z ~ N(0, I), x | z ~ N(W z + b, diag s^2), with an affine guide."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import nn

import zoo

event = zoo.Event(3, "real")
decoder, encoder = nn.Linear(2, 3), nn.Linear(3, 4)


def model(x):
    pyro.module("decoder", decoder)
    width = pyro.param("width", torch.full((3,), 0.7), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        loc = decoder(z)
        pyro.sample("x", dist.Normal(loc, width).to_event(1), obs=x)


def guide(x):
    pyro.module("encoder", encoder)
    loc, raw = encoder(x).chunk(2, -1)
    scale = nn.functional.softplus(raw) + 0.1
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, scale).to_event(1))


def evidence(x):
    covariance = decoder.weight @ decoder.weight.T + pyro.param("width").square().diag()
    return torch.distributions.MultivariateNormal(decoder.bias, covariance).log_prob(x)


def mean():
    return decoder.bias
