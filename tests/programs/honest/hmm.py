"""A hidden Markov model of three reals: two states, a chain of three latents, guided by independent classifiers."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import zoo

event = zoo.Event(3, "real")
moves, levels = nn.Parameter(torch.randn(2, 2)), nn.Parameter(torch.randn(2))
classifier = nn.Linear(3, 6)


def model(x):
    logits, means = pyro.param("moves", moves), pyro.param("levels", levels)
    with pyro.plate("data", len(x)):
        state, states = x.new_zeros(len(x)), []
        for t in range(3):
            state = pyro.sample(f"z{t}", dist.Categorical(logits=logits[state.long()]))
            states.append(state)
        path = torch.stack(states, -1).long()
        pyro.sample("x", dist.Normal(means[path], 0.5).to_event(1), obs=x)


def guide(x):
    pyro.module("classifier", classifier)
    logits = classifier(x).reshape(-1, 3, 2)
    with pyro.plate("data", len(x)):
        for t in range(3):
            pyro.sample(f"z{t}", dist.Categorical(logits=logits[:, t]))


def evidence(x):
    """The forward algorithm."""
    transition, means = pyro.param("moves").log_softmax(-1), pyro.param("levels")
    alpha = torch.tensor([0.0, -torch.inf]).expand(len(x), 2)
    for t in range(3):
        step = (alpha[:, :, None] + transition).logsumexp(1)
        alpha = step + torch.distributions.Normal(means, 0.5).log_prob(x[:, t, None])
    return alpha.logsumexp(-1)


def mean():
    transition, means = pyro.param("moves").softmax(-1), pyro.param("levels")
    return torch.stack([torch.linalg.matrix_power(transition, t + 1)[0] @ means for t in range(3)])
