"""A hidden Markov model of bits whose states are summed out by enumeration, as in Pyro's examples of HMMs."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.infer import config_enumerate

import zoo


@config_enumerate
def model(sequences):
    n, length, _ = sequences.shape
    probs_x = pyro.param("probs_x", torch.tensor([[0.8, 0.2], [0.3, 0.7]]), constraint=constraints.simplex)
    probs_y = pyro.param("probs_y", torch.tensor([[0.2, 0.6], [0.9, 0.5]]), constraint=constraints.unit_interval)
    tones = pyro.plate("tones", 2, dim=-1)
    with pyro.plate("sequences", n, dim=-2):
        x = 0
        for t in pyro.markov(range(length)):
            x = pyro.sample(f"x_{t}", dist.Categorical(probs_x[x]))
            with tones:
                pyro.sample(f"y_{t}", dist.Bernoulli(probs_y[x.squeeze(-1)]), obs=sequences[:, t])


def guide(sequences):
    pass


# adapter
event = zoo.Event((4, 2), "binary")
