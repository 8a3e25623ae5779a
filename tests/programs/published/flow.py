"""A conditional spline flow of the plane, as in Pyro's tutorial on flows: p(x_1) p(x_2 | x_1), in two sites."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from torch import nn

import zoo

first = transforms.Spline(1, count_bins=8, bound=5.0)
second = transforms.conditional_spline(1, context_dim=1, hidden_dims=[8], count_bins=8, bound=5.0)
modules = nn.ModuleList([first, second])


def model(data):
    pyro.module("flows", modules)
    base = dist.Normal(torch.zeros(1, device=data.device), torch.ones(1, device=data.device)).to_event(1)
    with pyro.plate("data", len(data)):
        x1 = pyro.sample("x1", dist.TransformedDistribution(base, [first]), obs=data[:, :1])
        flow = dist.ConditionalTransformedDistribution(base, [second]).condition(x1)
        pyro.sample("x2", flow, obs=data[:, 1:])


# adapter
event = zoo.Event(2, "real")
