"""A mixture of three normals in the plane with its component as a latent, guided by a classifier."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo

event = zoo.Event(2, "real")
centres, weights = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(3))
classifier = nn.Linear(2, 3)


def model(x):
    logits = pyro.param("weights", weights)
    means = pyro.param("centres", centres)
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Categorical(logits=logits))
        pyro.sample("x", dist.Normal(means[k.long()], 0.5).to_event(1), obs=x)


def guide(x):
    pyro.module("classifier", classifier)
    with pyro.plate("data", len(x)):
        pyro.sample("k", dist.Categorical(logits=classifier(x)))


def evidence(x):
    means, logits = pyro.param("centres"), pyro.param("weights")
    parts = torch.distributions.Normal(means, 0.5).log_prob(x[:, None]).sum(-1)
    return (parts + logits.log_softmax(0)).logsumexp(-1)


def mean():
    return pyro.param("weights").softmax(0) @ pyro.param("centres")
