"""Vision and memory of an agent: their data from episodes, their training, and how well they predict."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from zoo.data import Dataset
from zoo.errors import RunError, ZooError
from zoo.event import Event, Field
from zoo.pairs.pair import Pair
from zoo.pairs.traces import log_prob
from zoo.runs.config import DataSpec, configure
from zoo.runs.run import Run
from zoo.seeding import seeded
from zoo.training.callbacks import Callback
from zoo.worlds.episodes import Episode

SHARES = (0.8, 0.1)
"""Of the episodes for train and validation; the rest is for test."""
CHUNK = 256
"""Frames that are encoded, or sequences that are scored, at once."""

Splits = tuple[list[int], list[int], list[int]]


def split(count: int) -> Splits:
    """The numbers of the episodes for train, validation and test, in the order of their seeds.

    Raises:
        ZooError: too few for three splits.
    """
    train, validation = (round(share * count) for share in SHARES)
    if min(train, validation, count - train - validation) < 1:
        raise ZooError(f"three splits of episodes take 10 or more, got {count}")
    return (
        list(range(train)),
        list(range(train, train + validation)),
        list(range(train + validation, count)),
    )


def frames_of(chunks: Iterable[Sequence[Episode]], count: int, frames: int) -> Dataset:
    """Frames of episodes as images ``(channels, height, width)`` of 256 levels.

    Args:
        chunks: all episodes, chunk by chunk.
        count: how many there are.
        frames: most train frames; an eighth of that for validation and test. They are spread evenly over each split.
    """
    kept: tuple[list[Tensor], ...] = ([], [], [])
    splits, number = split(count), 0
    for chunk in chunks:
        for episode in chunk:
            place = next(place for place, numbers in enumerate(splits) if number in numbers)
            kept[place].append(episode.frames)
            number += 1
    total = [sum(map(len, each)) for each in kept]
    parts = [_spread(each, most).float() for each, most in zip(kept, (frames, frames // 8, frames // 8), strict=True)]
    source = (
        f"Frames of {count} episodes of a random policy, {'x'.join(map(str, parts[0].shape[1:]))} numbers of 256 "
        f"levels: {', '.join(str(len(part)) for part in parts)} of the {', '.join(map(str, total))} in train, "
        "validation and test, which are split by episode."
    )
    return Dataset("frames", Event(tuple(parts[0].shape[1:]), 256), parts[0], parts[1], parts[2], source)


def _spread(episodes: Sequence[Tensor], most: int) -> Tensor:
    """At most so many of all their frames, at even distances."""
    ends = torch.tensor([len(each) for each in episodes]).cumsum(0)
    total = int(ends[-1])
    places = torch.linspace(0, total - 1, min(most, total)).long()
    owners, starts = torch.searchsorted(ends, places, right=True), torch.cat([ends.new_zeros(1), ends[:-1]])
    return torch.cat([each[places[owners == i] - starts[i]] for i, each in enumerate(episodes)])


@torch.no_grad()
def see(vision: Pair, frames: Tensor) -> Tensor:
    """Draw the latents of frames given them, shape ``(n, L)``: what the guide's only site ``z`` draws."""
    with vision.scope():
        trace = poutine.trace(vision.guide).get_trace(frames.float())
    return trace.nodes["z"]["value"]


@dataclass(frozen=True, eq=False)
class Seen:
    """An episode as its latents: ``z``, shape ``(draws, n, L)``, and what was done."""

    z: Tensor
    actions: Tensor
    died: bool


def seen(vision: Pair, number: int, episode: Episode, draws: int) -> Seen:
    """An episode's latents; the noise depends on its number."""
    with seeded(number), vision.evaluating():
        z = [torch.cat([see(vision, part) for part in episode.frames.split(CHUNK)]) for _ in range(draws)]
    return Seen(torch.stack(z), episode.actions, episode.died)


def sequences_of(episodes: Sequence[Seen], window: int, actions: int, with_actions: bool = True) -> Dataset:
    """Episodes as sequences ``z``, ``done``, ``a`` of at most ``window`` decisions, and their length ``n``.

    Longer ones are cut. Train data have every draw of the latents, the others the first one only.

    Args:
        episodes: all, in the order of their numbers.
        window: most decisions of a sequence.
        actions: how many there are.
        with_actions: leave ``a`` out otherwise.
    """
    size = episodes[0].z.shape[-1]
    fields = [Field("z", (window, size), "real", length="n"), Field("done", window, "binary", length="n")]
    fields += [Field("a", window, actions, "given", "n")] if with_actions else []
    event = Event.record(*fields, Field("n", (), window + 1, "given"))
    blank = torch.zeros(window, size)
    parts = []
    for place, numbers in enumerate(split(len(episodes))):
        z, a, done = list[Tensor](), list[Tensor](), list[Tensor]()
        for episode in (episodes[number] for number in numbers):
            ends = torch.zeros(len(episode.actions))
            ends[-1] = float(episode.died)
            for draw in episode.z if place == 0 else episode.z[:1]:
                z += draw.split(window)
                a += episode.actions.float().split(window)
                done += ends.split(window)
        lengths = [len(each) for each in a]
        values = {
            "z": pad_sequence([*z, blank], batch_first=True)[:-1],
            "done": pad_sequence([*done, blank[:, 0]], batch_first=True)[:-1],
            "a": pad_sequence([*a, blank[:, 0]], batch_first=True)[:-1],
            "n": lengths,
        }
        parts.append(event.pack({field.name: values[field.name] for field in event.fields}))
    source = (
        f"Latents of {len(episodes)} episodes in sequences of at most {window} decisions: "
        f"{', '.join(str(len(part)) for part in parts)} train, validation and test, split by episode."
    )
    return Dataset("latents", event, parts[0], parts[1], parts[2], source)


def trained(
    name: str,
    spec: DataSpec,
    data: Dataset,
    recipe: dict[str, Any],
    seed: int,
    runs: Path,
    callback: Callable[[int], Callback],
) -> Run:
    """The run of the family called ``name`` on ``data``, trained if it is not: it resumes.

    Args:
        name: with its settings.
        spec: where every command finds the data again.
        data: what is there.
        recipe: training settings that differ from the family's.
        seed: of the run.
        runs: folder of the runs.
        callback: follows so many steps.

    Raises:
        RunError: training diverged.
    """
    config = configure(name, spec, data, seed=seed, recipe=recipe)
    run = Run.of(config, runs)
    if not run.done:
        run.train(config, data, "cpu", [callback(config.recipe.steps)])
    if run.status["status"] != "finished":
        raise RunError(f"{run.folder} {run.status['status']}: {run.status['reason']}")
    return run


@dataclass(frozen=True)
class PerFrame:
    """Nats per frame, with the standard error over sequences."""

    nats: float
    stderr: float


def per_frame(nats: Tensor, lengths: Tensor) -> PerFrame:
    """The ratio of sums over sequences, and its standard error.

    Args:
        nats: negative log-probability of each sequence, shape ``(n,)``.
        lengths: frames of each.

    Example:
        >>> per_frame(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.0]))
        PerFrame(nats=2.0, stderr=0.0)
    """
    nats, lengths = nats.double(), lengths.double()
    ratio = nats.sum() / lengths.sum()
    spread = (nats - ratio * lengths).square().sum() / max(1, len(nats) - 1)
    return PerFrame(float(ratio), math.sqrt(float(spread) / len(nats)) / float(lengths.mean()))


def predicted(memory: Pair, data: Dataset) -> PerFrame:
    """Negative log-probability of the test sequences, exact: latents and ends given the actions, if it takes them."""
    with memory.evaluating(), seeded(0):
        nats = -torch.cat([log_prob(memory, part) for part in data.test.split(CHUNK)])
    lengths = data.event.steps(data.test)
    assert lengths is not None  # they are sequences
    return per_frame(nats, lengths)


def floor(data: Dataset) -> PerFrame:
    """The same of a normal around a linear function of the last latents, dimension by dimension, fitted on train data.

    z_1 is normal, and every step is the last one with the same probability.
    """
    event, window = data.event, data.event.main.shape[0]

    def steps(batch: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values, lengths = event.unpack(batch), event.steps(batch)
        assert lengths is not None
        within = torch.arange(window) < lengths[:, None]
        return values["z"].double(), values["done"].double(), within, lengths  # type: ignore[union-attr]

    z, done, within, _ = steps(data.train)
    first, pairs = z[:, 0], within[:, 1:]
    last, new = z[:, :-1][pairs], z[:, 1:][pairs]
    gain = ((last - last.mean(0)) * (new - new.mean(0))).mean(0) / last.var(0, correction=0)
    shift = new.mean(0) - gain * last.mean(0)
    scale = (new - shift - gain * last).std(0, correction=0)
    rate = done[within].mean()
    start = torch.distributions.Normal(first.mean(0), first.std(0, correction=0))

    z, done, within, lengths = steps(data.test)
    each = torch.distributions.Normal(shift + gain * z[:, :-1], scale).log_prob(z[:, 1:]).sum(-1)
    ends = torch.where(done.bool(), rate.log(), torch.log1p(-rate))
    total = start.log_prob(z[:, 0]).sum(-1) + (each * within[:, 1:]).sum(1) + (ends * within).sum(1)
    return per_frame(-total, lengths)
