"""Bayesian linear regression with an AutoGuide: p(y | x), of the covariates x that are given."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoDiagonalNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn

import zoo


class BayesianRegression(PyroModule):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.linear = PyroModule[nn.Linear](in_features, out_features)
        self.linear.register_buffer("zero", torch.zeros(()))
        self.linear.weight = PyroSample(
            lambda linear: dist.Normal(linear.zero, 1.0).expand([out_features, in_features]).to_event(2)
        )
        self.linear.bias = PyroSample(lambda linear: dist.Normal(linear.zero, 10.0).expand([out_features]).to_event(1))

    def forward(self, x, y=None):
        sigma = pyro.sample("sigma", dist.Uniform(self.linear.zero, 10.0))
        mean = self.linear(x).squeeze(-1)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("obs", dist.Normal(mean, sigma), obs=y)
        return mean


# adapter
event = zoo.Event.parse("x=2:real@given,y=:real")
model = BayesianRegression(2, 1)
guide = AutoDiagonalNormal(model)
