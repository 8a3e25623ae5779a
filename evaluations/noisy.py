"""How probable are data under a family's decoder with Gaussian noise? A density for implicit models too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from zoo.codec.bottleneck import expected_data, in_a_chain
from zoo.data import Dataset
from zoo.errors import ZooError
from zoo.event import Event
from zoo.metrics.ais import anneal, simulated, why_not
from zoo.metrics.bounds import FEWEST_PARTICLES, LARGEST_KHAT, bounds
from zoo.pairs.build import amortise
from zoo.pairs.pair import Pair
from zoo.pairs.registry import evaluation
from zoo.pairs.sites import data_first
from zoo.pairs.traces import capabilities
from zoo.runs.evaluation import Settings, TrainedRun, attempt, mean_score, unmeasurable
from zoo.scores import Score
from zoo.seeding import seeded
from zoo.training.loop import fit

MOST_DATA, OF_ITS_OWN = 100, 50
"""Data of a split, and data that the model with noise draws."""
CHAINS, TEMPERATURES, LEAPFROGS = 8, 80, 2
RECIPE = {"steps": 1500, "batch": 128, "lr": 1e-3, "schedule": "onecycle", "average": 0.99, "checkpoints": 10}
"""Of the guide, which is trained before s is tuned and after."""
STEP = math.log(2) / 4
"""Between values of log s that are compared."""
METRICS = (
    *("noisy_nats", "noise", "particle_nats", "khat_share", "ess"),
    *("within", "forward", "backward", "acceptance", "chain_ess"),
)


@evaluation("noisy")
def noisy(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """The density of data under a trained decoder G with Gaussian noise: never the family's own likelihood.

        z ~ p(z),    y | z ~ N(G(z), s^2 I)

    G(z) is what an implicit model makes of z, or the mean of p(x | z); its weights stay as they are. Levels become
    numbers in [0, 1]: y = (x + u) / K with uniform u, and G(z) stands in the middle of its level. Real data keep their
    units. A guide, an amortised normal, is fitted on the train split, and s is tuned on the validation split, by the
    bound of annealed importance sampling. Values of families on the same data compare with each other, and with no
    likelihood of levels.

    - ``noisy_nats``: minus the mean lower bound by annealed importance sampling, on the first 100 test data.
      ``particle_nats``, ``khat_share`` and ``ess``: by particles of the guide, on the same data.
    - ``noise``: s.
    - ``forward``, ``backward`` and ``within``: bounds from both sides on 50 data that the model with noise draws, and
      their mean difference. ``acceptance`` and ``chain_ess``: of the chains on test data (see `zoo.metrics.ais`).

    Args:
        runs: one run.
        settings: ``particles``, ``memory`` and ``seed``.

    Returns:
        The scores above; skipped, with the reason, where there is no decoder from continuous latents.

    Reference:
        Wu et al. 2017, arXiv:1611.04273.
    """
    (run,) = runs
    with _frozen(run.pair):
        return unmeasurable(run, METRICS) or attempt(METRICS, _of_run, run, settings)


def _of_run(run: TrainedRun, settings: Settings) -> list[Score]:
    if reason := no_decoder(run.pair):
        return [Score.skipped(metric, reason) for metric in METRICS]
    decoder, data = NoisyDecoder(run.pair), as_real(run.data, settings.seed)
    with seeded(settings.seed):
        pair = Pair(decoder.event, decoder.model, amortise("normal", decoder.model, decoder.event)).to(run.pair.device)
    if reason := why_not(pair):
        return [Score.skipped(metric, reason) for metric in METRICS]
    chains = partial(
        anneal,
        pair,
        chains=CHAINS,
        temperatures=TEMPERATURES,
        leapfrogs=LEAPFROGS,
        seed=settings.seed,
        memory=settings.memory,
    )

    def fit_guide(log_noise: float) -> float:
        decoder.log_noise.data.fill_(log_noise)
        progress = fit(pair, data, RECIPE, seed=settings.seed, device=pair.device.type)
        if progress.status != "finished":
            raise ZooError(f"the training of the guide {progress.status}: {progress.reason}")
        return float(decoder.log_noise.detach())

    validation, test = (split[:MOST_DATA].to(pair.device) for split in (data.validation, data.test))
    start = fit_guide(float(data.train.std().log()))
    decoder.log_noise.requires_grad_(False)

    @cache
    def on_validation(steps: int) -> float:
        decoder.log_noise.data.fill_(start + STEP * steps)
        return float(chains(validation)[0].bound.mean())

    log_noise = fit_guide(start + STEP * highest(on_validation))
    drawn, z = simulated(pair, OF_ITS_OWN, settings.seed)
    [of_test], (below, above) = chains(test), chains(drawn, z)
    of_guide = bounds(pair, test, settings.particles, memory=settings.memory, seed=settings.seed)
    shift, shift_of_drawn = run.data.log_scale(pair, test), run.data.log_scale(pair, drawn)
    found = [
        mean_score("noisy_nats", shift - of_test.bound, "nats", "lower bound"),
        Score("noise", math.exp(log_noise), decoder.unit, n=len(validation)),
        mean_score("particle_nats", shift - of_guide.importance, "nats", "lower bound"),
        khat_share(of_guide.khat),
        mean_score("ess", of_guide.ess, "particles", "estimate"),
        mean_score("within", above.bound - below.bound, "nats", "bracket"),
        mean_score("forward", shift_of_drawn - below.bound, "nats", "lower bound"),
        mean_score("backward", shift_of_drawn - above.bound, "nats", "upper bound"),
        mean_score("acceptance", of_test.acceptance, "share", "estimate"),
        mean_score("chain_ess", of_test.ess, f"of {CHAINS}", "estimate"),
    ]
    remark = f"a density of the decoder with noise of {math.exp(log_noise):.3g} {decoder.unit}, not the family's own"
    return [replace(each, reason="; ".join(filter(None, (remark, each.reason)))) for each in found]


@contextmanager
def _frozen(pair: Pair) -> Iterator[None]:
    """Inside, no gradient reaches the pair's parameters; its dropout is off, as of every trained pair."""
    trained = pair.train(False).parameters()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def no_decoder(pair: Pair) -> str:
    """Why a pair is no decoder from continuous latents to data; empty if it is one."""
    can = capabilities(pair)
    if pair.event.fields:
        return "data are records: noise would be added to labels and to fields that are given"
    if can.dequantising or can.shared or can.enumerated:
        return "latents that are summed, shared by all data or the datum itself: no decoder of a datum's own latents"
    if can.observed and not can.latents:
        return "no latents, so no decoder"
    try:
        if can.observed and in_a_chain(pair, can):
            return "what it makes of its latents depends on the datum as well"
    except (NotImplementedError, ZooError) as error:
        return f"its likelihood has no mean: {error}"
    return ""


class NoisyDecoder(nn.Module):
    """y ~ N(G(z), s^2 I), z from the prior of a trained pair, whose parameters are not among those of this module.

    Args:
        pair: has a decoder (see `no_decoder`); in evaluation mode.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.frozen, self.can = pair, capabilities(pair)
        self.event = Event(pair.event.shape, "real")
        self.unit = "of the data's units as trained" if pair.event.levels is None else "of the range [0, 1]"
        self.log_noise = nn.Parameter(torch.zeros(()))

    def model(self, y: Tensor) -> None:
        """Draw the latents and observe ``y``, shape ``(n, *event.shape)``."""
        frozen, nothing = self.frozen, torch.zeros_like(y, device=self.frozen.device)
        with poutine.block(hide=[*self.can.observed, self.can.output]):
            trace = poutine.trace(frozen.model).get_trace(nothing)
        if self.can.observed:
            made = expected_data(frozen, self.can, trace, nothing)
        else:
            made = data_first(self.can.output, trace.nodes[self.can.output], len(y)).reshape(y.shape)
        with pyro.plate("noise", len(y)):
            noisy = dist.Normal(in_units(self.frozen.event, made.to(y.device)), self.log_noise.exp())
            pyro.sample("noisy", noisy.to_event(len(self.event.shape)), obs=y)


def in_units(event: Event, x: Tensor, place: Tensor | float = 0.5) -> Tensor:
    """Levels as numbers in [0, 1], at a ``place`` of [0, 1] within each; real data as they are."""
    return x if event.levels is None else (x + place) / event.levels


def as_real(data: Dataset, seed: int) -> Dataset:
    """The data as real numbers, levels with uniform noise in [0, 1] (see `in_units`)."""
    with seeded(seed):
        every = data.initial()
        train, validation, test = (
            in_units(data.event, each, torch.rand_like(each)) for each in (every, data.validation, data.test)
        )
    return Dataset(data.name, Event(data.event.shape, "real"), train, validation, test, data.source)


def highest(value: Callable[[int], float]) -> float:
    """Where a function of one peak is highest, by steps from 0 and a parabola through the last three."""
    place = 0
    step = 1 if value(1) > value(0) else -1
    while value(place + step) > value(place):
        place += step
    left, middle, right = (value(place + each) for each in (-1, 0, 1))
    return place + (right - left) / (2 * (2 * middle - left - right))


def khat_share(khat: Tensor) -> Score:
    """The share of data with a k-hat above `LARGEST_KHAT`."""
    if khat.isnan().any():
        return Score.skipped("khat_share", f"k-hat takes {FEWEST_PARTICLES} particles or more")
    return mean_score("khat_share", (khat > LARGEST_KHAT).double(), "share", "estimate")
