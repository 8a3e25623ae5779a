"""How fair is a coin? The first program of Pyro's tutorial on SVI: one latent for all flips, and a Beta guide."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints

import zoo


def model(data):
    fairness = pyro.sample("latent_fairness", dist.Beta(torch.tensor(10.0), torch.tensor(10.0)))
    with pyro.plate("observe_data", len(data)):
        pyro.sample("obs", dist.Bernoulli(fairness), obs=data.squeeze(-1))


def guide(data):
    alpha = pyro.param("alpha_q", torch.tensor(15.0), constraint=constraints.positive)
    beta = pyro.param("beta_q", torch.tensor(15.0), constraint=constraints.positive)
    pyro.sample("latent_fairness", dist.Beta(alpha, beta))


# adapter
event = zoo.Event(1, "binary")
