"""A semi-supervised VAE of counts (scANVI, Xu et al. 2021): the type of a cell is a label that may be missing."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo


class SCANVI(nn.Module):
    def __init__(self, genes=4, types=3, z_dim=1, hidden=8):
        super().__init__()
        self.types, self.z_dim = types, z_dim
        self.scale = nn.Parameter(torch.zeros(genes))
        self.prior = nn.Embedding(types, 2 * z_dim)
        self.decoder = nn.Sequential(nn.Linear(z_dim, hidden), nn.ReLU(), nn.Linear(hidden, genes))
        self.library = nn.Sequential(nn.Linear(genes, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        self.classifier = nn.Linear(genes, types)
        self.encoder = nn.Sequential(nn.Linear(genes + types, hidden), nn.ReLU(), nn.Linear(hidden, 2 * z_dim))

    def model(self, x, y=None):
        pyro.module("scanvi", self)
        with pyro.plate("batch", len(x)):
            y = pyro.sample("y", dist.Categorical(logits=x.new_zeros(self.types)), obs=y)
            loc, raw = self.prior(y.long()).chunk(2, -1)
            z = pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))
            size = pyro.sample("l", dist.LogNormal(x.new_zeros(1), 1.0).to_event(1))
            rate = size * self.decoder(z).softmax(-1) + 1e-3
            counts = dist.NegativeBinomial(self.scale.exp(), logits=rate.log() - self.scale)
            pyro.sample("x", counts.to_event(1), obs=x)

    def guide(self, x, y=None):
        logs = (1 + x).log()
        with pyro.plate("batch", len(x)):
            if y is None:
                y = pyro.sample("y", dist.Categorical(logits=self.classifier(logs)))
            loc, raw = self.library(logs).split(1, -1)
            pyro.sample("l", dist.LogNormal(loc, raw.exp()).to_event(1))
            known = nn.functional.one_hot(y.long(), self.types).float()
            loc, raw = self.encoder(torch.cat([logs.expand(*known.shape[:-1], -1), known], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))


# adapter
event, net = zoo.Event.parse("x=4:9,y=:3@label"), SCANVI()
model, guide = net.model, net.guide
