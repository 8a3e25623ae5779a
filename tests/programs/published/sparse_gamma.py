"""A sparse Gamma deep exponential family (Ranganath et al. 2015): global weights, latents with a parameter each."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints

import zoo

TOP, PIXELS = 2, 4


def model(x):
    with pyro.plate("w_plate", TOP * PIXELS):
        weights = pyro.sample("w", dist.Gamma(torch.tensor(1.0), torch.tensor(1.0))).reshape(TOP, PIXELS)
    with pyro.plate("data", x.size(0)):
        z = pyro.sample("z", dist.Gamma(torch.tensor(1.0), torch.tensor(1.0)).expand([TOP]).to_event(1))
        pyro.sample("obs", dist.Poisson(z @ weights).to_event(1), obs=x)


def guide(x):
    alpha_w = pyro.param("alpha_w", lambda: torch.ones(TOP * PIXELS), constraint=constraints.positive)
    mean_w = pyro.param("mean_w", lambda: torch.ones(TOP * PIXELS), constraint=constraints.positive)
    with pyro.plate("w_plate", TOP * PIXELS):
        pyro.sample("w", dist.Gamma(alpha_w, alpha_w / mean_w))
    alpha_z = pyro.param("alpha_z", lambda: torch.ones(x.size(0), TOP), constraint=constraints.positive)
    mean_z = pyro.param("mean_z", lambda: torch.ones(x.size(0), TOP), constraint=constraints.positive)
    with pyro.plate("data", x.size(0)):
        pyro.sample("z", dist.Gamma(alpha_z, alpha_z / mean_z).to_event(1))


# adapter
event = zoo.Event(PIXELS, 9)
