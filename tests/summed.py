"""Programs with latents that are summed, and their evidence by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from zoo import Event
from zoo.seeding import seeded

PLANE = Event(2, "real")


Program = Callable[[Tensor], Any]


WEIGHTS = torch.tensor([0.2, 0.3, 0.5])


CENTRES = torch.tensor([[-2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])


def mixture(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Categorical(WEIGHTS))
        pyro.sample("x", dist.Normal(CENTRES[k], 1.0).to_event(1), obs=x)


def mixture_evidence(x: Tensor) -> Tensor:
    return (WEIGHTS.log() + dist.Normal(CENTRES, 1.0).log_prob(x[:, None]).sum(-1)).logsumexp(1)


def marked(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        logits = pyro.param("logits", torch.zeros(3))
        pyro.sample("k", dist.Categorical(logits=logits + x), infer={"enumerate": "parallel"})


def pixels(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-2), pyro.plate("pixels", 4, dim=-1):
        k = pyro.sample("k", dist.Categorical(WEIGHTS))
        pyro.sample("x", dist.Normal(CENTRES[k, 0], 1.0), obs=x)


STEPS, STATES = 12, 4


with seeded(0):
    TRANSITIONS = torch.softmax(2 * torch.randn(STATES, STATES), -1)
    EMISSIONS = torch.rand(STATES)
    START = torch.softmax(torch.randn(STATES), -1)


def hmm(x: Tensor) -> None:
    with pyro.plate("data", len(x), dim=-1):
        state = None
        for t in pyro.markov(range(STEPS)):
            state = pyro.sample(f"s{t}", dist.Categorical(START if state is None else TRANSITIONS[state]))
            pyro.sample(f"x{t}", dist.Bernoulli(EMISSIONS[state]), obs=x[:, t])


def forward_algorithm(x: Tensor) -> Tensor:
    alpha = START.log().expand(len(x), STATES)
    for t in range(STEPS):
        if t:
            alpha = (alpha[:, :, None] + TRANSITIONS.log()).logsumexp(1)
        alpha = alpha + dist.Bernoulli(EMISSIONS).log_prob(x[:, t, None])
    return alpha.logsumexp(1)


def cat(*parts: Tensor) -> Tensor:
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*shape, part.shape[-1]) for part in parts], -1)


class Semi(nn.Module):
    """A class k and a style z: x ~ N(f(k, z), I). The guides draw z given x, or given x and k, which they mark."""

    def __init__(self, depends: bool) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(3))
        self.prior, self.decoder = nn.Linear(3, 2), nn.Linear(5, 2)
        self.encoder, self.joint, self.classifier = nn.Linear(2, 4), nn.Linear(5, 4), nn.Linear(2, 3)
        self.depends = depends

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.OneHotCategorical(logits=self.logits))
            mean = self.prior(k) if self.depends else x.new_zeros(2)
            z = pyro.sample("z", dist.Normal(mean, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(cat(k, z)), 1.0).to_event(1), obs=x)

    def left_out(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            mean, scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, scale.exp()).to_event(1))

    def marked(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.OneHotCategorical(logits=self.classifier(x)), infer={"enumerate": "parallel"})
            mean, scale = self.joint(cat(k, x)).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, scale.exp()).to_event(1))


class Flags(nn.Module):
    """A class that is left out and a flag that the guide samples without reparameterisation."""

    def __init__(self) -> None:
        super().__init__()
        self.centres, self.classifier = nn.Parameter(torch.randn(3)), nn.Linear(2, 1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(WEIGHTS))
            flag = pyro.sample("flag", dist.Bernoulli(0.3))
            mean = (self.centres[k] + flag)[..., None] * x.new_ones(2)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("flag", dist.Bernoulli(logits=self.classifier(x)[:, 0]))


def cases() -> list[Any]:
    independent, depends, flags = Semi(depends=False), Semi(depends=True), Flags()
    return [
        pytest.param(independent.model, independent.left_out, id="left out"),
        pytest.param(depends.model, depends.left_out, id="prior of a sampled latent"),
        pytest.param(independent.model, independent.marked, id="marked"),
        pytest.param(depends.model, depends.marked, id="marked, prior of a sampled latent"),
        pytest.param(flags.model, flags.guide, id="not reparameterised"),
    ]


with seeded(0):
    CASES = cases()
