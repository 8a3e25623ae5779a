"""The same mixture without its latent: exact."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo

event = zoo.Event(2, "real")
centres, weights = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(3))


def model(x):
    logits = pyro.param("weights", weights)
    means = pyro.param("centres", centres)
    parts = dist.Normal(means, 0.5).to_event(1)
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.MixtureSameFamily(dist.Categorical(logits=logits), parts), obs=x)


def evidence(x):
    means, logits = pyro.param("centres"), pyro.param("weights")
    parts = torch.distributions.Normal(means, 0.5).log_prob(x[:, None]).sum(-1)
    return (parts + logits.log_softmax(0)).logsumexp(-1)


def mean():
    return pyro.param("weights").softmax(0) @ pyro.param("centres")
