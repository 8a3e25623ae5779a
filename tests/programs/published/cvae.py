"""A conditional VAE (Sohn et al. 2015): the right half of an image is generated given its left half."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo


class CVAE(nn.Module):
    def __init__(self, inputs=3, outputs=3, z_dim=1, hidden=8):
        super().__init__()
        self.register_buffer("baseline", torch.randn(inputs, outputs))  # as trained before
        self.prior_net = nn.Sequential(nn.Linear(inputs + outputs, hidden), nn.ReLU(), nn.Linear(hidden, 2 * z_dim))
        self.recognition_net = nn.Sequential(
            nn.Linear(inputs + outputs, hidden), nn.ReLU(), nn.Linear(hidden, 2 * z_dim)
        )
        self.generation_net = nn.Linear(z_dim, outputs)

    def model(self, xs, ys=None):
        pyro.module("cvae", self)
        with pyro.plate("data", xs.shape[0]):
            guess = (xs @ self.baseline).sigmoid()
            loc, raw = self.prior_net(torch.cat([xs, guess], -1)).chunk(2, -1)
            zs = pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))
            pyro.sample("y", dist.Bernoulli(logits=self.generation_net(zs)).to_event(1), obs=ys)

    def guide(self, xs, ys=None):
        with pyro.plate("data", xs.shape[0]):
            loc, raw = self.recognition_net(torch.cat([xs, ys], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))


# adapter
event = zoo.Event.parse("xs=3:binary@given,ys=3:binary")
cvae = CVAE()
model, guide = cvae.model, cvae.guide
