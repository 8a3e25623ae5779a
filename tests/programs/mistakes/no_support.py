"""A distribution of one's own without a support: nothing says which data it takes."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo

event = zoo.Event(3, "real")
loc = nn.Parameter(torch.zeros(3))


class Laplace(dist.TorchDistribution):
    event_shape = torch.Size([3])
    # mistake
    # mended: support = dist.constraints.real_vector

    def __init__(self, loc, batch_shape=()):
        self.loc = loc
        super().__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return Laplace(self.loc, batch_shape)

    def sample(self, sample_shape=()):
        return torch.distributions.Laplace(self.loc, 1.0).sample(torch.Size(sample_shape) + self.batch_shape)

    def log_prob(self, value):
        return torch.distributions.Laplace(self.loc, 1.0).log_prob(value).sum(-1)


def model(x):
    with pyro.plate("data", len(x)):
        pyro.sample("x", Laplace(loc), obs=x)
