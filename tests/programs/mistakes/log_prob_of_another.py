"""A log_prob of one's own that is not the model's: it forgets the variance of the latent."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo

event = zoo.Event(3, "real")
decoder, encoder = nn.Linear(2, 3), nn.Linear(3, 4)


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)


def guide(x):
    loc, raw = encoder(x).chunk(2, -1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 0.1).to_event(1))


def log_prob(x):
    covariance = 0.25 * torch.eye(3, device=x.device)  # mistake
    # mended: covariance = 0.25 * torch.eye(3, device=x.device) + decoder.weight @ decoder.weight.T
    return dist.MultivariateNormal(decoder.bias, covariance).log_prob(x)
