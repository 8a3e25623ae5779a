"""The contenders: each prepares a task once, then does one unit of its work per call.

A unit of training is one step of SVI with one particle and Adam (learning rate 1e-3) on the same resident batch, its
loss returned but not read (`pyro.infer.SVI` reads it itself: that is its interface); a unit of sampling is one
batch of draws. All start from the same weights. Flows are in `zoo.bench.flows`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import SVI, JitTrace_ELBO, Trace_ELBO
from torch import Tensor

from zoo.bench import flows
from zoo.bench.models import in_numpyro
from zoo.bench.rows import Row
from zoo.bench.task import Contenders, Entrant, SkippedError, Task
from zoo.distributions.autoregressive import Autoregressive, whole_passes
from zoo.engine.cost import MODES, Mode
from zoo.engine.svi import CompiledSVI

CPU = torch.device("cpu")
LR = 1e-3
WHOLE_SECONDS = 60.0
"""A run of the naive sampler that takes longer is extrapolated from `PASSES` passes."""
PASSES = 20


def zoo_step(task: Task, mode: Mode) -> Entrant:
    """This project's engine."""
    programs = task.programs()
    svi = CompiledSVI(programs.model, programs.guide, partial(torch.optim.Adam, lr=LR, fused=True), engine=mode)
    return Entrant(lambda: svi.step(task.x), note=lambda: svi.reason)


def pyro_step(task: Task, loss: Callable[[], Any], name: str, checked: bool = True) -> Entrant:
    """`pyro.infer.SVI`; ``checked`` is Pyro's validation, on by default."""
    programs = task.programs()

    def model(x: Tensor) -> Any:
        pyro.module(name, programs)
        return programs.model(x)

    svi = SVI(model, programs.guide, pyro.optim.Adam({"lr": LR}), loss())

    def step() -> float:
        with pyro.validation_enabled(checked):
            return float(svi.step(task.x)) / len(task.x)

    return Entrant(step)


def torch_step(task: Task, fused: bool, compiled: bool, mode: str = "default") -> Entrant:
    """The same VAE in plain torch, its loss compiled (in a ``mode`` of torch) or not; ``fused`` is Adam's option."""
    vae = task.vae()
    optimiser = torch.optim.Adam(vae.parameters(), lr=LR, fused=fused)
    loss = torch.compile(vae.loss, dynamic=False, mode=mode) if compiled else vae.loss

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        value: Tensor = loss(task.x)
        value.backward()
        optimiser.step()
        return value.detach()

    return Entrant(step)


def numpyro_step(task: Task) -> Entrant:
    """NumPyro's jitted step, on the device of the others."""
    os.environ.setdefault("NPROC", str(torch.get_num_threads()))  # XLA reads its threads here, once
    try:
        import jax
        import numpyro
    except ImportError as error:
        raise SkippedError(f"{error.name or 'numpyro'} is not installed: pip install 'pyro-zoo[bench]'") from None
    jax.config.update("jax_platforms", task.device.type)
    try:
        jax.devices()
    except RuntimeError as error:
        raise SkippedError(f"jax does not see {task.device}: install it for this device ({error})") from None
    svi = numpyro.infer.SVI(*in_numpyro(task.vae().cpu()), numpyro.optim.Adam(LR), numpyro.infer.Trace_ELBO())
    x = jax.numpy.asarray(task.x.cpu().numpy())
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
    began = time.perf_counter()
    count = min(PASSES, size)
    passes(count)
    seconds = (time.perf_counter() - began) / count * size
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


TRAINING: Contenders = {
    **{mode: partial(zoo_step, mode=mode) for mode in MODES},
    "pyro": partial(pyro_step, loss=Trace_ELBO, name="pyro"),
    "pyro-unchecked": partial(pyro_step, loss=Trace_ELBO, name="pyro-unchecked", checked=False),
    "pyro-jit": partial(pyro_step, loss=partial(JitTrace_ELBO, ignore_jit_warnings=True), name="pyro-jit"),
}
BY_HAND: Contenders = {
    "torch": partial(torch_step, fused=False, compiled=False),
    "torch-fused": partial(torch_step, fused=True, compiled=False),
    "torch-compiled": partial(torch_step, fused=True, compiled=True),
    "numpyro": numpyro_step,
}
ON_CUDA: Contenders = {
    "torch-cuda-graphs": partial(torch_step, fused=True, compiled=True, mode="reduce-overhead"),
}
SAMPLING: Contenders = {"incremental": incremental, "naive": naive}
REFERENCE = {"train": "pyro", "sample": "naive", "density": "zoo", "draw": "zoo", "memory": "eager"}
"""Kind of work -> the contender that the ratios are against."""


def contenders(row: Row, device: torch.device = CPU) -> Contenders:
    """The contenders that can do the work of ``row`` on ``device``, by name."""
    if row.work in ("train", "memory"):
        by_hand = BY_HAND | ON_CUDA if device.type == "cuda" else BY_HAND
        return TRAINING | by_hand if row.by_hand else TRAINING
    return {"sample": SAMPLING, "density": flows.DENSITY, "draw": flows.DRAWS}[row.work]
