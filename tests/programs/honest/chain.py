"""An autoregression of four bits, one site for each: x_i | x_<i ~ Bernoulli(sigmoid(w_i x_<i + b_i))."""

import itertools

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo

event = zoo.Event(4, "binary")
net = nn.Linear(4, 4)


def model(x):
    pyro.module("net", net)
    with pyro.plate("data", len(x)):
        past = torch.zeros_like(x)
        for i in range(4):
            logit = net(past)[:, i]
            bit = pyro.sample(f"x{i}", dist.Bernoulli(logits=logit), obs=x[:, i])
            past = torch.cat([past[:, :i], bit[:, None], past[:, i + 1 :]], 1)


def evidence(x):
    weight = net.weight.tril(-1)
    return torch.distributions.Bernoulli(logits=x @ weight.T + net.bias).log_prob(x).sum(-1)


def mean():
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    return evidence(x).exp() @ x
