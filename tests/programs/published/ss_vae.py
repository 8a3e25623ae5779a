"""A semi-supervised VAE (Kingma et al. 2014, M2): a digit is written in a class and a style; labels may be missing."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo


class SSVAE(nn.Module):
    def __init__(self, classes=3, pixels=6, z_dim=1, hidden=8):
        super().__init__()
        self.classes, self.z_dim = classes, z_dim
        self.encoder_y = nn.Sequential(nn.Linear(pixels, hidden), nn.Softplus(), nn.Linear(hidden, classes))
        self.encoder_z = nn.Sequential(nn.Linear(pixels + classes, hidden), nn.Softplus(), nn.Linear(hidden, 2 * z_dim))
        self.decoder = nn.Sequential(nn.Linear(z_dim + classes, hidden), nn.Softplus(), nn.Linear(hidden, pixels))

    def model(self, xs, ys=None):
        pyro.module("ss_vae", self)
        size = xs.size(0)
        with pyro.plate("data", size):
            zs = pyro.sample(
                "z", dist.Normal(xs.new_zeros(size, self.z_dim), xs.new_ones(size, self.z_dim)).to_event(1)
            )
            prior = xs.new_ones(size, self.classes) / self.classes
            ys = pyro.sample("y", dist.OneHotCategorical(prior), obs=ys)
            probs = torch.sigmoid(self.decoder(torch.cat([zs, ys], -1)))
            pyro.sample("x", dist.Bernoulli(probs).to_event(1), obs=xs)

    def guide(self, xs, ys=None):
        with pyro.plate("data", xs.size(0)):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(logits=self.encoder_y(xs)))
            loc, raw = self.encoder_z(torch.cat([xs, ys], -1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, torch.exp(raw)).to_event(1))


# adapter
event = zoo.Event(6, "binary")
