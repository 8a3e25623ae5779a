"""A VAE of levels: z ~ N(0, 1), x | z ~ Binomial(4, f(z)) in each of 2x2 entries."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo

event = zoo.Event((2, 2), 5)
decoder = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 4))
encoder = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def model(x):
    pyro.module("decoder", decoder)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
        logits = decoder(z).reshape(-1, 2, 2)
        pyro.sample("x", dist.Binomial(4, logits=logits).to_event(2), obs=x)


def guide(x):
    pyro.module("encoder", encoder)
    loc, raw = encoder(x.flatten(1)).chunk(2, -1)
    scale = nn.functional.softplus(raw) + 0.1
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, scale).to_event(1))


def quadrature():
    """Points of the latent and their weights."""
    z = torch.linspace(-8, 8, 2001)
    return z[:, None], torch.distributions.Normal(0.0, 1.0).log_prob(z) + torch.log(z[1] - z[0])


def evidence(x):
    z, weights = quadrature()
    binomial = torch.distributions.Binomial(4, logits=decoder(z))
    return (binomial.log_prob(x.reshape(-1, 1, 4)).sum(-1) + weights).logsumexp(-1)


def mean():
    z, weights = quadrature()
    return (4 * decoder(z).sigmoid() * weights.exp()[:, None]).sum(0).reshape(2, 2)
