"""The page of an experiment: a table, and a video of the dream and of the world."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from zoo.files import write_bytes, write_json, write_text
from zoo.pairs.pair import Pair
from zoo.seeding import seeded
from zoo.use.model import TrainedModel
from zoo.worlds.dream import rollouts
from zoo.worlds.episodes import play
from zoo.worlds.experiment import REPORTED, Agent, Experiment, Outcome, Survival, mixed

SHOWN = 150
"""Most decisions that the video shows."""
ENLARGED = 3
MARGIN = 4
"""White pixels between two pictures."""
SECOND = 35.0
"""Tics."""
PUBLISHED = (
    "Published (Ha & Schmidhuber 2018; Doom through another wrapper, so tics need not compare): random policy "
    "210 ± 108, best controller 1092 ± 556 at temperature 1.15, both ± standard deviation over 100 episodes; 750 "
    "counts as solved."
)


def write_page(experiment: Experiment, outcome: Outcome, facts: Mapping[str, Any]) -> list[Path]:
    """Write ``world.md``, ``world.json`` and ``world.webp`` into the experiment's folder.

    Args:
        experiment: whose stages are done.
        outcome: what it measured.
        facts: how the numbers were made, by name.

    Returns:
        The paths.
    """
    paths = [experiment.folder / f"world.{ending}" for ending in ("md", "json", "webp")]
    write_bytes(paths[2], video(experiment, outcome.chosen))
    write_json(paths[1], asdict(outcome) | {"facts": dict(facts)})
    write_text(paths[0], markdown(outcome, facts, float(experiment.note["skip"])))
    return paths


def table(outcome: Outcome) -> list[list[str]]:
    """Headers, a line for the random policy, and a line for each temperature."""
    lines = [
        ["policy", "in the dream", "in the world, for the choice", "in the world, reported", "± standard deviation"]
    ]
    lines.append(["random", "", "", said(outcome.random), f"± {outcome.random.deviation:.0f}"])
    best = max(outcome.sweeps, key=lambda period: outcome.sweeps[period].mean)
    blind = f"left and right by turns, {best} decisions each, chosen of {', '.join(outcome.sweeps)}"
    lines.append(
        [
            blind,
            "",
            said(outcome.sweeps[best]),
            said(outcome.sweep),
            f"± {outcome.sweep.deviation:.0f}",
        ]
    )
    for each in outcome.tempered:
        name = f"dreamt at {each.temperature:g}" + ", chosen" * (each.temperature == outcome.chosen)
        lines.append(
            [
                name,
                said(each.dream),
                said(each.choosing),
                said(each.reported),
                f"± {each.reported.deviation:.0f}",
            ]
        )
    return lines


def said(survival: Survival) -> str:
    """Mean, standard error and number of episodes.

    Example:
        >>> said(Survival.of([100.0, 300.0]))
        '200 ± 100 (2)'
    """
    return f"{survival.mean:.0f} ± {survival.stderr:.0f} ({survival.n})"


def markdown(outcome: Outcome, facts: Mapping[str, Any], skip: float) -> str:
    """The page."""
    rows = table(outcome)
    lines = ["# A controller that learns in its own dream", ""]
    lines += ["![Left: the world. Middle: what the vision keeps of it. Right: a dream.](world.webp)", ""]
    lines += [
        "Left: a real episode of the controller. Middle: the same frames, as their latents decode. Right: the "
        "controller in its dream, in which there is no frame of the world.",
        "",
    ]
    lines += _grid(rows)
    lines += [
        "",
        "Tics survived, ± standard error of the mean (number of episodes); the last column is the standard deviation "
        "of the reported episodes. Temperature and period are chosen by episodes that are not reported; the agent that "
        "goes left and right by turns sees nothing. " + PUBLISHED,
        "",
    ]
    lines += _grid(
        [
            ["next frame given the past", "nats per test frame (exact)"],
            *([name, f"{each.nats:.2f} ± {each.stderr:.2f}"] for name, each in outcome.nats.items()),
        ]
    )
    lines += ["", "Of the latents of a frame, drawn once, and of whether it is the last.", ""]
    lines += [f"- {source}" for source in outcome.sources]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    return "\n".join(lines) + "\n"


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return [head, "|" + " --- |" * len(rows[0]), *body]


def video(experiment: Experiment, temperature: float) -> bytes:
    """An animated WebP at the speed of the world: a real episode, its latents decoded, and a dream.

    The episode is the first of the reported ones, and the dream starts from the same frame.
    """
    weights, note = experiment.controller(temperature), experiment.note
    agent = Agent(experiment.vision, experiment.memory, weights)
    world = experiment.make()
    try:
        with seeded(REPORTED), experiment.vision.evaluating():
            episode = play(world, agent, REPORTED)
    finally:
        world.close()
    seen = torch.stack(agent.seen[:SHOWN])
    generator = torch.Generator().manual_seed(mixed(experiment.plan.seed, f"video {temperature}"))
    steps = rollouts(
        experiment.memory, weights[None], seen[:1], temperature=temperature, longest=SHOWN, generator=generator
    )
    dreamt = torch.cat([z for _, z in islice(steps, SHOWN)])
    columns = [episode.frames[:SHOWN], decoded(experiment.vision, seen), decoded(experiment.vision, dreamt)]
    return animated(columns, 1000.0 * float(note["skip"]) / SECOND)


def decoded(vision: Pair, z: Tensor) -> Tensor:
    """Expected images of latents, uint8, shape ``(n, channels, height, width)``."""
    return torch.as_tensor(TrainedModel(vision).decode(z)).round().to(torch.uint8)


def animated(columns: Sequence[Tensor], milliseconds: float) -> bytes:
    """Films side by side, as an animated WebP; one that is shorter keeps its last picture.

    Args:
        columns: each of shape ``(n, 3, height, width)``, uint8.
        milliseconds: for which each picture is shown.
    """
    count = max(map(len, columns))
    pictures = []
    for place in range(count):
        parts = [column[min(place, len(column) - 1)] for column in columns]
        gap = torch.full((parts[0].shape[0], parts[0].shape[1], MARGIN), 255, dtype=torch.uint8)
        row = torch.cat([each for part in parts for each in (part, gap)][:-1], -1)
        image = Image.fromarray(row.movedim(0, -1).contiguous().numpy())
        pictures.append(image.resize((ENLARGED * image.width, ENLARGED * image.height), Image.Resampling.NEAREST))
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=round(milliseconds), loop=0, quality=40
    )
    return buffer.getvalue()
