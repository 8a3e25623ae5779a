"""Episodes of a world: what was seen and done, collected once and kept in files."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from zoo.files import cached_tensors

CHUNK = 25
"""Episodes in a file."""
MOST_HELD = 10
"""Decisions for which a random action is held at most, as in the published experiment."""

Watch = Callable[[str], None]


class World(Protocol):
    """An environment whose observations are images of bytes.

    Attributes:
        actions: how many there are; an action is a number below.
        note: what an episode depends on besides its seed and its actions, as a JSON value.
    """

    @property
    def actions(self) -> int: ...
    @property
    def note(self) -> Mapping[str, Any]: ...
    def reset(self, seed: int) -> np.ndarray[Any, Any]:
        """Begin the episode of that seed: its first frame, shape ``(height, width, channels)``, uint8."""

    def step(self, action: int) -> tuple[np.ndarray[Any, Any] | None, int, bool]:
        """The next frame, ``None`` after the last; the reward of the step; whether the episode ended in death."""

    def close(self) -> None:
        """Free what the world holds."""


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode of n decisions.

    Attributes:
        frames: before each decision, shape ``(n, channels, height, width)``, uint8.
        actions: shape ``(n,)``.
        died: whether it ended after its last action, and not by a limit of time.
        reward: in all.
    """

    frames: Tensor
    actions: Tensor
    died: bool
    reward: float


def play(world: World, act: Callable[[np.ndarray[Any, Any]], int], seed: int) -> Episode:
    """Play the episode of that seed to its end: ``act`` gives the action for each frame."""
    frame, frames, actions, total, died = world.reset(seed), list[Any](), list[int](), 0.0, False
    going: np.ndarray[Any, Any] | None = frame
    while going is not None:
        frames.append(going)
        actions.append(act(going))
        going, reward, died = world.step(actions[-1])
        total += reward
    pixels = torch.from_numpy(np.stack(frames)).movedim(-1, 1).contiguous()
    return Episode(pixels, torch.tensor(actions), died, total)


class RandomPolicy:
    """A random action, held for a random number of decisions from 1 to `MOST_HELD`."""

    def __init__(self, actions: int, seed: int) -> None:
        self.actions, self.generator = actions, np.random.default_rng(seed)
        self.action = self.left = 0

    def __call__(self, frame: np.ndarray[Any, Any]) -> int:
        if not self.left:
            self.action = int(self.generator.integers(self.actions))
            self.left = int(self.generator.integers(1, MOST_HELD + 1))
        self.left -= 1
        return self.action


class Sweep:
    """Left and right by turns, each for ``period`` decisions, whatever is seen: what an agent has to beat."""

    def __init__(self, period: int) -> None:
        self.period, self.decisions = period, 0

    def __call__(self, frame: np.ndarray[Any, Any]) -> int:
        self.decisions += 1
        return 1 + (self.decisions - 1) // self.period % 2


def collect(
    make: Callable[[], World], note: Mapping[str, Any], folder: Path, seeds: Sequence[int], watch: Watch
) -> Iterator[list[Episode]]:
    """Episodes of the random policy, `CHUNK` at a time; each chunk is played once and kept in a file.

    Args:
        make: starts the world; called if there is something left to play.
        note: of the world; files of another are replaced.
        folder: of the files.
        seeds: of the episodes, and of the policy in each.
        watch: is given a line for each chunk that was played.
    """
    world: World | None = None
    try:
        for first in range(0, len(seeds), CHUNK):
            part = list(seeds[first : first + CHUNK])

            def made(part: list[int] = part) -> dict[str, Tensor]:
                nonlocal world
                world = world or make()
                played = [play(world, RandomPolicy(world.actions, seed), seed) for seed in part]
                watch(f"random policy: episodes of the seeds {part[0]} to {part[-1]}")
                return _packed(played)

            path = folder / f"episodes-{part[0]}-{part[-1]}.safetensors"
            yield _unpacked(cached_tensors(path, {**note, "seeds": part, "held": MOST_HELD}, made))
    finally:
        if world is not None:
            world.close()


def _packed(episodes: Sequence[Episode]) -> dict[str, Tensor]:
    frames = torch.cat([each.frames for each in episodes])
    return {
        "frames": torch.frombuffer(bytearray(zlib.compress(frames.numpy().tobytes(), 1)), dtype=torch.uint8),
        "shape": torch.tensor(frames.shape),
        "actions": torch.cat([each.actions for each in episodes]).to(torch.uint8),
        "lengths": torch.tensor([len(each.actions) for each in episodes]),
        "died": torch.tensor([each.died for each in episodes]),
        "rewards": torch.tensor([each.reward for each in episodes], dtype=torch.float64),
    }


def _unpacked(tensors: Mapping[str, Tensor]) -> list[Episode]:
    lengths = tensors["lengths"].tolist()
    pixels = torch.frombuffer(bytearray(zlib.decompress(tensors["frames"].numpy().tobytes())), dtype=torch.uint8)
    frames = pixels.reshape(tensors["shape"].tolist())
    parts = zip(frames.split(lengths), tensors["actions"].long().split(lengths), strict=True)
    ends = zip(tensors["died"].tolist(), tensors["rewards"].tolist(), strict=True)
    return [Episode(*part, *end) for part, end in zip(parts, ends, strict=True)]
