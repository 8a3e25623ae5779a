"""An autoregressive hidden Markov model, as model 2 of Pyro's examples: tones depend on the state and on their past."""

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
    probs_x = pyro.param("probs_x", lambda: torch.rand(hidden, hidden) + 0.2, constraint=constraints.simplex)
    probs_y = pyro.param("probs_y", lambda: torch.rand(hidden, 2, tones), constraint=constraints.unit_interval)
    tones_plate = pyro.plate("tones", tones, dim=-1)
    with pyro.plate("sequences", n, dim=-2):
        x, y = 0, torch.zeros(n, tones, device=sequences.device).long()
        for t in pyro.markov(range(length)):
            x = pyro.sample(f"x_{t}", dist.Categorical(probs_x[x]))
            with tones_plate as tone:
                y = pyro.sample(f"y_{t}", dist.Bernoulli(Vindex(probs_y)[x, y, tone]), obs=sequences[:, t]).long()


# adapter
event = zoo.Event((4, 2), "binary")
