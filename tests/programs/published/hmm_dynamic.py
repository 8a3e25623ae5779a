"""A dynamic Bayesian network, as model 4 of Pyro's examples: one chain of states drives the other."""

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.infer import config_enumerate
from pyro.ops.indexing import Vindex

import zoo


@config_enumerate
def model(sequences, hidden=2):
    n, length, tones = sequences.shape
    probs_w = pyro.param("probs_w", lambda: torch.rand(hidden, hidden) + 0.2, constraint=constraints.simplex)
    probs_x = pyro.param("probs_x", lambda: torch.rand(hidden, hidden, hidden) + 0.2, constraint=constraints.simplex)
    probs_y = pyro.param("probs_y", lambda: torch.rand(hidden, hidden, tones), constraint=constraints.unit_interval)
    tones_plate = pyro.plate("tones", tones, dim=-1)
    with pyro.plate("sequences", n, dim=-2):
        w, x = 0, torch.tensor(0, device=sequences.device)
        for t in pyro.markov(range(length)):
            w = pyro.sample(f"w_{t}", dist.Categorical(probs_w[w]))
            x = pyro.sample(f"x_{t}", dist.Categorical(Vindex(probs_x)[w, x]))
            with tones_plate as tone:
                pyro.sample(f"y_{t}", dist.Bernoulli(Vindex(probs_y)[w, x, tone]), obs=sequences[:, t])


# adapter
event = zoo.Event((4, 2), "binary")
