"""The contenders: each gets a task ready and then does it, one unit of work a call.

A unit of training is one step of SVI with one particle and Adam (learning rate 1e-3) on the same resident batch, its
loss returned but not read (`pyro.infer.SVI` reads it itself: that is its interface); a unit of sampling is one batch of
draws. All start from the same weights.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import SVI, JitTrace_ELBO, Trace_ELBO
from torch import Tensor

from zoo.autoregressive import Autoregressive, whole_passes
from zoo.bench.models import VAE, OfTheZoo, Programs, in_numpyro
from zoo.bench.rows import Row
from zoo.building import build
from zoo.engine import MODES, CompiledSVI, Mode
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pair import HasInitialise, Pair
from zoo.seeding import seeded

LR = 1e-3
WHOLE_SECONDS = 60.0
"""A run of the naive sampler that takes longer is extrapolated from `PASSES` passes."""
PASSES = 20
REFERENCE = {"train": "pyro", "sample": "naive"}
"""The contender that the ratios are against."""


@dataclass(frozen=True)
class Entrant:
    """A contender that is ready.

    ``step()`` does ``share`` of one unit of work and gives a number (a tensor or an array) to be read later;
    ``note()`` is what a reader of its times must know; ``cost`` is the seconds of a step where they are known and no
    warming up is wanted.
    """

    step: Callable[[], Any]
    share: float = 1.0
    note: Callable[[], str] = str
    cost: float | None = None


class SkippedError(ZooError):
    """A contender that cannot take part here, with the reason."""


class Task:
    """A row with its data: what a contender is handed."""

    def __init__(self, row: Row, seed: int = 0) -> None:
        self.row, self.seed, self.event = row, seed, Event.parse(row.event)
        with seeded(seed):
            self.x = _data(self.event, row.batch)

    def vae(self) -> VAE:
        """The row's VAE, with the same weights at each call."""
        with seeded(self.seed):
            return VAE(self.event.size, **self.row.by_hand)

    def pair(self) -> Pair:
        """The row's pair of the zoo, with the same weights at each call."""
        pair = build(self.row.family, self.event, self.row.hyper, self.seed)
        if isinstance(pair.extras, HasInitialise):
            with torch.no_grad(), seeded(self.seed):
                pair.extras.initialise(self.x)
        return pair

    def programs(self) -> Programs:
        """What is trained."""
        return self.vae() if self.row.by_hand else OfTheZoo(self.pair().train(True))

    def contenders(self) -> dict[str, Callable[[Task], Entrant]]:
        """Who can do this task."""
        if self.row.work == "sample":
            return SAMPLING
        return TRAINING | BY_HAND if self.row.by_hand else TRAINING


def zoo_step(task: Task, mode: Mode) -> Entrant:
    """This project's engine."""
    programs = task.programs()
    svi = CompiledSVI(programs.model, programs.guide, partial(torch.optim.Adam, lr=LR, fused=True), engine=mode)
    return Entrant(lambda: svi.step(task.x), note=lambda: svi.reason)


def pyro_step(task: Task, loss: Callable[[], Any], name: str, checked: bool = True) -> Entrant:
    """`pyro.infer.SVI`; ``checked`` is Pyro's validation, which is on unless a person turns it off."""
    programs = task.programs()

    def model(x: Tensor) -> Any:
        pyro.module(name, programs)
        return programs.model(x)

    svi = SVI(model, programs.guide, pyro.optim.Adam({"lr": LR}), loss())

    def step() -> float:
        with pyro.validation_enabled(checked):
            return float(svi.step(task.x)) / len(task.x)

    return Entrant(step)


def torch_step(task: Task, fused: bool, compiled: bool) -> Entrant:
    """The same VAE by hand, its loss compiled or not; ``fused`` is an option of Adam that is off unless asked for."""
    vae = task.vae()
    optimiser = torch.optim.Adam(vae.parameters(), lr=LR, fused=fused)
    loss = torch.compile(vae.loss, dynamic=False) if compiled else vae.loss

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        value: Tensor = loss(task.x)
        value.backward()
        optimiser.step()
        return value.detach()

    return Entrant(step)


def numpyro_step(task: Task) -> Entrant:
    """NumPyro's jitted step on the CPU."""
    os.environ.setdefault("NPROC", str(torch.get_num_threads()))  # XLA reads its threads here, once
    try:
        import jax
        import numpyro
    except ImportError as error:
        raise SkippedError(f"{error.name or 'numpyro'} is not installed: pip install 'pyro-zoo[bench]'") from None
    jax.config.update("jax_platforms", "cpu")
    svi = numpyro.infer.SVI(*in_numpyro(task.vae()), numpyro.optim.Adam(LR), numpyro.infer.Trace_ELBO())
    x = jax.numpy.asarray(task.x.numpy())
    update = jax.jit(svi.update)
    state = svi.init(jax.random.PRNGKey(task.seed), x)

    def step() -> Any:
        nonlocal state
        state, loss = update(state, x)
        return loss

    return Entrant(step)


def incremental(task: Task) -> Entrant:
    """The family's own stream: a new entry costs its own receptive field."""
    made = _mass_function(task)
    return Entrant(lambda: made.sample((task.row.batch,)).mean())


def naive(task: Task) -> Entrant:
    """A whole pass for each entry; extrapolated where a run takes more than `WHOLE_SECONDS`."""
    made, size, n = _mass_function(task), task.event.size, task.row.batch
    stream = whole_passes(task.event, made.logits, task.x)
    passes = partial(_passes, stream, n)
    passes(2)
    begun = time.perf_counter()
    count = min(PASSES, size)
    passes(count)
    seconds = (time.perf_counter() - begun) / count * size
    if seconds > WHOLE_SECONDS:
        note = f"extrapolated from {count} of {size} passes a round"
        return Entrant(lambda: passes(count), count / size, lambda: note, seconds * count / size)
    whole = Autoregressive(task.event, made.logits, stream)
    return Entrant(lambda: whole.sample((n,)).mean(), note=lambda: "measured whole", cost=seconds)


def _passes(stream: Callable[[int], Any], n: int, count: int) -> Tensor:
    """The first ``count`` entries of ``n`` draws; a whole pass costs the same for each entry."""
    with torch.no_grad():
        running = stream(n)
        logits: Tensor = next(running)
        for _ in range(count - 1):
            logits = running.send(logits.argmax(-1).to(logits.dtype))
    return logits.mean()


def _mass_function(task: Task) -> Autoregressive:
    """The distribution of the observed site, unbatched, in evaluation mode."""
    pair = task.pair().train(False)
    trace = poutine.trace(pair.model).get_trace(task.x)
    fn = trace.nodes[next(iter(trace.observation_nodes))]["fn"]
    if not isinstance(fn, Autoregressive):
        raise SkippedError(f"{pair.label} does not draw entry by entry")
    return Autoregressive(task.event, fn.logits, fn.stream)


def _data(event: Event, n: int) -> Tensor:
    """``n`` data whose pixels share one brightness, so that there is something to learn."""
    centre = torch.rand(n, *[1] * len(event.shape))
    noisy = (0.7 * centre + 0.3 * torch.rand(n, *event.shape)) * (event.levels or 2)
    return noisy.floor().clamp(max=(event.levels or 2) - 1)


TRAINING: dict[str, Callable[[Task], Entrant]] = {
    **{mode: partial(zoo_step, mode=mode) for mode in MODES},
    "pyro": partial(pyro_step, loss=Trace_ELBO, name="pyro"),
    "pyro-unchecked": partial(pyro_step, loss=Trace_ELBO, name="pyro-unchecked", checked=False),
    "pyro-jit": partial(pyro_step, loss=partial(JitTrace_ELBO, ignore_jit_warnings=True), name="pyro-jit"),
}
BY_HAND: dict[str, Callable[[Task], Entrant]] = {
    "torch": partial(torch_step, fused=False, compiled=False),
    "torch-fused": partial(torch_step, fused=True, compiled=False),
    "torch-compiled": partial(torch_step, fused=True, compiled=True),
    "numpyro": numpyro_step,
}
SAMPLING: dict[str, Callable[[Task], Entrant]] = {"incremental": incremental, "naive": naive}
