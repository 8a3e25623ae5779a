"""A variational auto-encoder of binary images, in the spirit of Pyro's first deep example (Kingma & Welling 2014)."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo


class Decoder(nn.Module):
    def __init__(self, z_dim, hidden_dim):
        super().__init__()
        self.lift = nn.Linear(z_dim, hidden_dim)
        self.pixels = nn.Linear(hidden_dim, 9)

    def forward(self, z):
        return torch.sigmoid(self.pixels(nn.functional.softplus(self.lift(z))))


class Encoder(nn.Module):
    def __init__(self, z_dim, hidden_dim):
        super().__init__()
        self.hidden = nn.Linear(9, hidden_dim)
        self.loc = nn.Linear(hidden_dim, z_dim)
        self.log_scale = nn.Linear(hidden_dim, z_dim)

    def forward(self, x):
        hidden = nn.functional.softplus(self.hidden(x.reshape(-1, 9)))
        return self.loc(hidden), torch.exp(self.log_scale(hidden))


class VAE(nn.Module):
    def __init__(self, z_dim=1, hidden_dim=8, use_cuda=False):
        super().__init__()
        self.encoder, self.decoder = Encoder(z_dim, hidden_dim), Decoder(z_dim, hidden_dim)
        if use_cuda:
            self.cuda()
        self.z_dim = z_dim

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            loc, scale = x.new_zeros(x.shape[0], self.z_dim), x.new_ones(x.shape[0], self.z_dim)
            z = pyro.sample("latent", dist.Normal(loc, scale).to_event(1))
            image = self.decoder(z)
            pyro.sample("obs", dist.Bernoulli(image).to_event(1), obs=x.reshape(-1, 9))
            return image

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(loc, scale).to_event(1))


# adapter
event = zoo.Event((3, 3), "binary")
