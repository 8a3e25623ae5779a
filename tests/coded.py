"""Records that are coded: programs, data for them, and whether these come back."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from test_sequences import BITS, Chain, Early, Hidden
from torch import Tensor

from zoo import Event, Pair
from zoo.codec import decode
from zoo.contract.values import random_data
from zoo.pairs.sampling import contexts
from zoo.seeding import seeded

PUBLISHED = Path(__file__).parent / "programs" / "published"
LABELLED = Event.parse("x=4x4:5,y=:3@label")
CLASSES, SHADES = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([[0.9, 0.2], [0.1, 0.8], [0.5, 0.6]])
TABLE = Event.parse("count=:20,kind=:3,bits=2x2:binary,c=2:real@given")


def table(count: Tensor, kind: Tensor, bits: Tensor, c: Tensor) -> None:
    """Three sites, one of them in a plate to the left of the data, each given those before it and the context."""
    n = len(count)
    with pyro.plate("data", n, dim=-1):
        kind = pyro.sample("kind", dist.Categorical(logits=torch.stack([c[:, 0], c[:, 1], 0 * c[:, 0]], -1)), obs=kind)
        rate = kind.to(c.dtype) + c[:, 0].exp() + 0.1
        count = pyro.sample("count", dist.Binomial(19, probs=rate / (rate + 3)), obs=count)
        with pyro.plate("rows", 2, dim=-2):
            logits = (count / 10 - 1).unsqueeze(-1) * torch.tensor([1.0, -2.0]).to(c)
            pyro.sample("bits", dist.Bernoulli(logits=logits).to_event(1), obs=bits.movedim(0, 1))


def mixture(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Categorical(CLASSES.to(x)))
        pyro.sample("x", dist.Bernoulli(SHADES.to(x)[k]).to_event(1), obs=x)


def marked(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("k", dist.Categorical(logits=x @ x.new_ones(2, 3)), infer={"enumerate": "parallel"})


def coins(x: Tensor) -> None:
    """Three coins, one for each side that a datum shows."""
    with pyro.plate("data", len(x), dim=-1):
        flip = pyro.sample("flip", dist.Bernoulli(x.new_tensor(0.3)))
        face = pyro.sample("face", dist.OneHotCategorical(CLASSES.to(x)))
        pyro.sample("x", dist.Bernoulli(0.1 + 0.4 * flip.unsqueeze(-1) + 0.4 * face[..., :2]).to_event(1), obs=x)


def hmm(x: Tensor) -> None:
    """Two tones at each of four steps, given a state that is summed, as in Pyro's examples."""
    moves, tones = torch.tensor([[0.8, 0.2], [0.3, 0.7]]).to(x), torch.tensor([[0.2, 0.6], [0.9, 0.5]]).to(x)
    state: Any = 0
    plate = pyro.plate("tones", 2, dim=-1)
    with pyro.plate("data", len(x), dim=-2):
        for t in pyro.markov(range(4)):
            state = pyro.sample(f"state_{t}", dist.Categorical(moves[state]))
            with plate:
                pyro.sample(f"x_{t}", dist.Bernoulli(tones[state.squeeze(-1)]), obs=x[:, t])


def topics(x: Tensor) -> None:
    """Six words of three kinds, by shares of two topics and a chance that each is replaced."""
    table = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]).to(x)
    with pyro.plate("data", len(x)):
        shares = pyro.sample("shares", dist.Dirichlet(x.new_ones(2)))
        noise = pyro.sample("noise", dist.Beta(x.new_tensor(1.0), x.new_tensor(4.0))).unsqueeze(-1)
        words = (1 - noise) * (shares @ table) + noise / 3
        pyro.sample("x", dist.Categorical(words.unsqueeze(-2).expand(-1, 6, -1)).to_event(1), obs=x)


def topics_guide(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        counts = torch.stack([(x == 0).sum(-1), (x == 2).sum(-1)], -1).to(x)
        pyro.sample("shares", dist.Dirichlet(counts + 1))
        pyro.sample("noise", dist.Beta(1 + 0 * counts[:, 0], 4 + 0 * counts[:, 0]))


def angles(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        angle = pyro.sample("angle", dist.VonMises(x.new_tensor(1.0), x.new_tensor(2.0)))
        size = pyro.sample("size", dist.StudentT(x.new_tensor(4.0)))
        logits = size.unsqueeze(-1) + 2 * torch.stack([angle.cos(), angle.sin(), (2 * angle).cos()], -1)
        pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)


def angles_guide(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("angle", dist.VonMises(x[:, 0] - x[:, 1], 1 + x[:, 2]))
        pyro.sample("size", dist.Normal(x.mean(1) - 0.5, 1.0))


def of_file(name: str) -> tuple[Event, Any, Any]:
    found = runpy.run_path(str(PUBLISHED / f"{name}.py"))
    return found["event"], found["model"], found.get("guide", nothing)


def of_class(name: str, kind: str) -> tuple[Event, Any, Any]:
    found = runpy.run_path(str(PUBLISHED / f"{name}.py"))
    programs = found[kind]()
    return found["event"], programs.model, programs.guide


def of_kind(kind: Callable[[], Any]) -> Callable[[], tuple[Event, Any, Any]]:
    def make() -> tuple[Event, Any, Any]:
        programs = kind()
        return BITS, programs.model, programs.guide

    return make


def nothing(x: Tensor) -> None:
    pass


def alone(event: Event, model: Any) -> Callable[[], Any]:
    return lambda: (event, model, nothing)


PROGRAMS: dict[str, Callable[[], Any]] = {
    "table": lambda: (TABLE, table, lambda count: None),
    "cvae": lambda: of_file("cvae"),
    "scanvi": lambda: of_file("scanvi"),
    "dmm": lambda: of_file("dmm"),
    "ss_vae": lambda: of_class("ss_vae", "SSVAE"),
    "hmm_factorial": lambda: of_file("hmm_factorial"),
    "hmm_autoregressive": lambda: of_file("hmm_autoregressive"),
    "chain": of_kind(Chain),
    "chain that ends early": of_kind(Early),
    "summed sequences": of_kind(Hidden),
    "mixture": alone(Event(2, "binary"), mixture),
    "marked mixture": lambda: (Event(2, "binary"), mixture, marked),
    "coins": alone(Event(2, "binary"), coins),
    "topics": lambda: (Event(6, 3), topics, topics_guide),
    "angles": lambda: (Event(3, "binary"), angles, angles_guide),
    "hmm": alone(Event((4, 2), "binary"), hmm),
}


def pair_of(name: str) -> Pair:
    with seeded(0):
        return Pair(*PROGRAMS[name]())


def data_of(event: Event, n: int, missing: float = 0.5) -> Tensor:
    with seeded(n):
        x = random_data(event, n)
        if event.label:
            unlabelled, hidden = event.pack(event.unpack(x) | {event.label.name: None}), torch.rand(n, 1) < missing
            x = torch.where(hidden, unlabelled, x)
    return x


def same(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.nan_to_num(-9), second.nan_to_num(-9))


def back(pair: Pair, file: bytes, x: Tensor) -> Tensor:
    return decode(pair, file, given=contexts(pair.event, x, len(x)))
