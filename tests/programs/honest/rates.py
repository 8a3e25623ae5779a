"""Four flips of a coin whose bias is a latent of each datum: p ~ Beta(a, b), x_i | p ~ Bernoulli(p)."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import nn

import zoo

event = zoo.Event(4, "binary")
encoder = nn.Linear(4, 2)


def model(x):
    a = pyro.param("a", torch.tensor(2.0), constraint=constraints.positive)
    b = pyro.param("b", torch.tensor(3.0), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        p = pyro.sample("p", dist.Beta(a, b))
        pyro.sample("x", dist.Bernoulli(p[:, None].expand(-1, 4)).to_event(1), obs=x)


def guide(x):
    pyro.module("encoder", encoder)
    a, b = (nn.functional.softplus(encoder(x)) + 0.5).unbind(-1)
    with pyro.plate("data", len(x)):
        pyro.sample("p", dist.Beta(a, b))


def evidence(x):
    a, b, heads = pyro.param("a"), pyro.param("b"), x.sum(-1)
    beta = torch.lgamma(a + heads) + torch.lgamma(b + 4 - heads) - torch.lgamma(a + b + 4)
    return beta - torch.lgamma(a) - torch.lgamma(b) + torch.lgamma(a + b)


def mean():
    a, b = pyro.param("a"), pyro.param("b")
    return (a / (a + b)).expand(4)
