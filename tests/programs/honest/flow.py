"""A flow of three positive reals: x = exp(A u + b), u ~ N(0, I), A lower triangular; exact."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from torch import nn

import zoo

event = zoo.Event(3, "real")
loc, raw = nn.Parameter(torch.randn(3) / 2), nn.Parameter(torch.randn(3, 3) / 4 - torch.eye(3))


def triangular(entries):
    return entries.tril(-1) + entries.diagonal().exp().diag_embed()


def model(x):
    shift, entries = pyro.param("loc", loc), pyro.param("raw", raw)
    base = dist.Normal(x.new_zeros(3), 1.0).to_event(1)
    affine = transforms.LowerCholeskyAffine(shift, triangular(entries))
    flow = dist.TransformedDistribution(base, [affine, transforms.ExpTransform()])
    with pyro.plate("data", len(x)):
        pyro.sample("x", flow, obs=x)


def evidence(x):
    shift, scale = pyro.param("loc"), triangular(pyro.param("raw"))
    return torch.distributions.MultivariateNormal(shift, scale_tril=scale).log_prob(x.log()) - x.log().sum(-1)


def mean():
    shift, scale = pyro.param("loc"), triangular(pyro.param("raw"))
    return (shift + scale.square().sum(-1) / 2).exp()
