"""A hidden Markov model whose probabilities have priors, as model 1 of Pyro's examples, and an AutoGuide of them."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal

import zoo


def model(sequences, hidden=2):
    n, length, tones = sequences.shape
    stay = 0.9 * torch.eye(hidden, device=sequences.device) + 0.1
    probs_x = pyro.sample("probs_x", dist.Dirichlet(stay).to_event(1))
    probs_y = pyro.sample("probs_y", dist.Beta(stay.new_tensor(1.0), 2.0).expand([hidden, tones]).to_event(2))
    tones_plate = pyro.plate("tones", tones, dim=-1)
    with pyro.plate("sequences", n, dim=-2):
        x = 0
        for t in pyro.markov(range(length)):
            x = pyro.sample(f"x_{t}", dist.Categorical(probs_x[x]), infer={"enumerate": "parallel"})
            with tones_plate:
                pyro.sample(f"y_{t}", dist.Bernoulli(probs_y[x.squeeze(-1)]), obs=sequences[:, t])


# adapter
event = zoo.Event((3, 2), "binary")
guide = AutoNormal(poutine.block(model, expose=["probs_x", "probs_y"]))
