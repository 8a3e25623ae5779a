"""The experiment: episodes, vision, memory, controllers that are trained in the dream, and their real episodes.

Each stage leaves its result in files of one folder, written atomically. A stage that is done is not done again, and
one that was stopped goes on from its last file, so that a stopped experiment gives the numbers of one that was not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data import Dataset, load_data, save_data
from zoo.errors import ZooError
from zoo.files import cached_tensors, digest_of, folder_name, read_json, write_json
from zoo.pairs.pair import Pair
from zoo.runs.config import DataSpec
from zoo.runs.run import Run
from zoo.seeding import seeded
from zoo.training.callbacks import Callback
from zoo.worlds.controller import choose, evolve
from zoo.worlds.dream import Memory, State, lasted
from zoo.worlds.episodes import Episode, RandomPolicy, Sweep, Watch, World, collect, play
from zoo.worlds.models import PerFrame, Seen, floor, frames_of, predicted, see, seen, sequences_of, split, trained
from zoo.worlds.plan import FamilySpec, WorldPlan

CHOOSING, REPORTED = 1_000_000, 2_000_000
"""The seeds from which real episodes are counted; those of the random policy that is learned from begin at 0."""
SCORED = 512
"""Rollouts that give a controller's score in the dream; none of them was used to train it."""
STORED = 10
"""Real episodes after which their rewards are stored."""


@dataclass(frozen=True)
class Survival:
    """Rewards of episodes: mean, standard error of the mean, standard deviation, and how many."""

    mean: float
    stderr: float
    deviation: float
    n: int

    @classmethod
    def of(cls, rewards: Sequence[float]) -> Survival:
        """Of these rewards.

        Example:
            >>> Survival.of([1.0, 3.0])
            Survival(mean=2.0, stderr=1.0, deviation=1.4142135623730951, n=2)
        """
        deviation = float(np.std(rewards, ddof=1)) if len(rewards) > 1 else 0.0
        return cls(float(np.mean(rewards)), deviation / len(rewards) ** 0.5, deviation, len(rewards))


@dataclass(frozen=True)
class Tempered:
    """A controller that was trained in the dream at one temperature.

    Attributes:
        dream: its score there, in rewards.
        choosing: real episodes by which the temperature is chosen.
        reported: other real episodes.
    """

    temperature: float
    dream: Survival
    choosing: Survival
    reported: Survival


@dataclass(frozen=True)
class Outcome:
    """What an experiment measured.

    Attributes:
        collected: episodes of the random policy that the models were trained on.
        random: the random policy on the reported episodes' seeds.
        sweeps: agents that see nothing (see `zoo.worlds.episodes.Sweep`), by period, on the choosing episodes.
        sweep: the one with the highest mean of these, on the reported episodes.
        tempered: the controllers, by temperature.
        chosen: the temperature with the highest mean of its choosing episodes.
        nats: of memory per test frame, by model.
        sources: where the data come from.
    """

    collected: Survival
    random: Survival
    sweeps: Mapping[str, Survival]
    sweep: Survival
    tempered: tuple[Tempered, ...]
    chosen: float
    nats: Mapping[str, PerFrame]
    sources: tuple[str, ...]


class Agent:
    """Acts on frames: vision draws z, the controller sees z and the memory's output, the memory goes a step.

    Attributes:
        seen: the latents of each frame so far, each of shape ``(L,)``.
    """

    def __init__(self, vision: Pair, memory: Memory, weights: Tensor) -> None:
        self.vision, self.memory, self.weights = vision, memory, weights
        self.state: State = memory.begin(1)
        self.seen = list[Tensor]()

    @torch.no_grad()
    def __call__(self, frame: np.ndarray[Any, Any]) -> int:
        z = see(self.vision, torch.from_numpy(frame).movedim(-1, 0)[None])
        action = choose(self.weights, z, self.state[0])
        self.state = self.memory.advance(self.state, z, action)
        self.seen.append(z[0])
        return int(action)


class Experiment:
    """An experiment and its folder.

    Args:
        plan: the settings.
        make: starts the world.
        note: of the world (see `zoo.worlds.episodes.World`).
        folder: of all files.
        watch: is given a line now and then.
        callback: follows the training of so many steps.
    """

    def __init__(
        self,
        plan: WorldPlan,
        make: Callable[[], World],
        note: Mapping[str, Any],
        folder: Path,
        watch: Watch,
        callback: Callable[[int], Callback],
    ) -> None:
        self.plan, self.make, self.note, self.watch, self.callback = plan, make, dict(note), watch, callback
        self.folder = folder

    def run(self) -> Outcome:
        """Every stage that is not done yet."""
        collected = Survival.of([each.reward for chunk in self.episodes() for each in chunk])
        self.watch(f"random policy: {collected.mean:.0f} ± {collected.stderr:.0f} over {collected.n} episodes")
        nats = {
            "memory": predicted(self.memory_run.pair(), self.sequences),
            "normal around the last frame": floor(self.sequences),
        }
        tempered = tuple(self.tempered(temperature) for temperature in self.plan.temperatures)
        chosen = max(tempered, key=lambda each: each.choosing.mean).temperature
        chance = Survival.of(
            self.real("random", REPORTED, self.plan.reported, lambda seed: RandomPolicy(self.actions, seed))
        )
        sweeps = {str(period): self.sweep(period, CHOOSING, self.plan.choosing) for period in self.plan.periods}
        best = max(sweeps, key=lambda period: sweeps[period].mean)
        sweep = self.sweep(int(best), REPORTED, self.plan.reported)
        nats["memory without actions"] = predicted(self.blind_run.pair(), self.blind_sequences)
        for name, each in nats.items():
            self.watch(f"nats per test frame, {name}: {each.nats:.2f} ± {each.stderr:.2f}")
        sources = (self.frames.source, self.sequences.source)
        return Outcome(collected, chance, sweeps, sweep, tempered, chosen, nats, sources)

    def episodes(self) -> Iterator[list[Episode]]:
        """Those of the random policy, chunk by chunk."""
        return collect(self.make, self.note, self.folder / "episodes", range(self.plan.episodes), self.watch)

    @property
    def actions(self) -> int:
        """How many the world has."""
        return int(self.note["actions"])

    @cached_property
    def frames(self) -> Dataset:
        """What the vision is trained on."""
        return self._kept("frames", lambda: frames_of(self.episodes(), self.plan.episodes, self.plan.frames))

    @cached_property
    def vision_run(self) -> Run:
        """The run of the vision, trained."""
        return self._trained("vision", self.plan.vision, self.frames)

    @cached_property
    def vision(self) -> Pair:
        """The vision, trained."""
        return self.vision_run.pair()

    @cached_property
    def latents(self) -> list[Seen]:
        """The episodes as latents."""
        note = {"vision": self.vision_run.config.identity, "draws": self.plan.draws, "episodes": self.plan.episodes}

        def made() -> dict[str, Tensor]:
            self.watch("latents of all frames")
            numbered = enumerate(each for chunk in self.episodes() for each in chunk)
            found = [seen(self.vision, number, episode, self.plan.draws) for number, episode in numbered]
            return {
                "z": torch.cat([each.z for each in found], 1),
                "actions": torch.cat([each.actions for each in found]),
                "lengths": torch.tensor([len(each.actions) for each in found]),
                "died": torch.tensor([each.died for each in found]),
            }

        held = cached_tensors(self.folder / "latents.safetensors", note, made)
        lengths = held["lengths"].tolist()
        parts = zip(held["z"].split(lengths, 1), held["actions"].split(lengths), held["died"].tolist(), strict=True)
        return [Seen(*part) for part in parts]

    @cached_property
    def sequences(self) -> Dataset:
        """What the memory is trained on."""
        return self._kept("latents", lambda: sequences_of(self.latents, self.plan.window, self.actions))

    @cached_property
    def blind_sequences(self) -> Dataset:
        """The same without actions."""
        blind = "latents-without-actions"
        return self._kept(blind, lambda: sequences_of(self.latents, self.plan.window, self.actions, False))

    @cached_property
    def memory_run(self) -> Run:
        """The run of the memory, trained."""
        return self._trained("memory", self.plan.memory, self.sequences)

    @cached_property
    def blind_run(self) -> Run:
        """The run of the same family without actions, trained."""
        return self._trained("memory without actions", self.plan.memory, self.blind_sequences)

    @cached_property
    def memory(self) -> Memory:
        """The memory as an environment.

        Raises:
            ZooError: the family cannot be stepped.
        """
        memory = self.memory_run.pair().extras
        if not isinstance(memory, Memory):
            raise ZooError(
                f"the memory of an agent has the methods begin, advance, imagine and ending; {self.plan.memory.name} "
                "lacks some"
            )
        return memory

    @cached_property
    def starts(self) -> Tensor:
        """Latents of the first frames of the train episodes, all draws, shape ``(n, L)``."""
        return torch.cat([self.latents[number].z[:, 0] for number in split(self.plan.episodes)[0]])

    def controller(self, temperature: float) -> Tensor:
        """Weights of the controller that is trained in the dream at a temperature, kept in a file."""
        search, size = self.plan.controller, self.starts.shape[1] + self.memory.begin(1)[0].shape[1] + 1

        def fitness(solutions: Tensor, generation: int) -> Tensor:
            n = len(solutions)
            found = self.dreamt(
                solutions.repeat_interleave(search.rollouts, 0), temperature, f"generation {generation}"
            )
            return found.reshape(n, search.rollouts).mean(1)

        def watch(generation: int, mean: float, best: float) -> None:
            self.watch(f"dream at {temperature}, generation {generation + 1}: mean {mean:.0f}, best {best:.0f} tics")

        def found() -> dict[str, Tensor]:
            weights = evolve(
                size,
                fitness,
                population=search.population,
                generations=search.generations,
                sigma=search.sigma,
                seed=mixed(self.plan.seed, f"search {temperature}"),
                path=self.home / f"search-{temperature}.json",
                watch=watch,
            )
            return {"weights": weights}

        note = {"temperature": temperature, "memory": self.memory_run.config.identity, "search": search.model_dump()}
        return cached_tensors(self.home / f"controller-{temperature}.safetensors", note, found)["weights"]

    def dreamt(self, weights: Tensor, temperature: float, purpose: str) -> Tensor:
        """The reward of a rollout in the dream by each controller, shape ``(n,)``."""
        generator = torch.Generator().manual_seed(mixed(self.plan.seed, f"dream {temperature} {purpose}"))
        z = self.starts[torch.randint(len(self.starts), (len(weights),), generator=generator)]
        skip = int(self.note["skip"])
        longest = int(self.note["most"]) // skip
        steps = lasted(self.memory, weights, z, temperature=temperature, longest=longest, generator=generator)
        return steps.double() * skip

    def tempered(self, temperature: float) -> Tempered:
        """The controller of a temperature, measured in the dream and in the world."""
        weights = self.controller(temperature)
        dream = Survival.of(self.dreamt(weights.expand(SCORED, -1), temperature, "score").tolist())
        self.watch(f"controller of {temperature}: {dream.mean:.0f} ± {dream.stderr:.0f} tics in its dream")

        def agent(seed: int) -> Agent:
            return Agent(self.vision, self.memory, weights)

        real = [
            Survival.of(self.real(f"controller of {temperature}", first, count, agent))
            for first, count in ((CHOOSING, self.plan.choosing), (REPORTED, self.plan.reported))
        ]
        return Tempered(temperature, dream, *real)

    def sweep(self, period: int, first: int, count: int) -> Survival:
        """An agent that sees nothing, on ``count`` real episodes of the seeds from ``first`` on."""
        return Survival.of(self.real(f"sweep of {period}", first, count, lambda seed: Sweep(period)))

    def real(
        self, name: str, first: int, count: int, policy: Callable[[int], Callable[[np.ndarray[Any, Any]], int]]
    ) -> list[float]:
        """Rewards of ``count`` episodes of the world, of the seeds from ``first`` on, stored a few at a time."""
        path = self.home / f"real-{folder_name(name)}-{first}.json"
        rewards: list[float] = read_json(path)["rewards"] if path.exists() else []
        if len(rewards) < count:
            world = self.make()
            try:
                while len(rewards) < count:
                    for seed in range(first + len(rewards), first + min(count, len(rewards) + STORED)):
                        with seeded(seed), self.vision.evaluating():
                            rewards.append(play(world, policy(seed), seed).reward)
                    write_json(path, {"rewards": rewards})
            finally:
                world.close()
        found = Survival.of(rewards[:count])
        self.watch(f"{name}: {found.mean:.0f} ± {found.stderr:.0f} tics over {count} real episodes from seed {first}")
        return rewards[:count]

    @cached_property
    def home(self) -> Path:
        """The folder of what depends on this memory and this plan."""
        settings = self.plan.model_dump(include={"seed", "controller"}) | {"memory": self.memory_run.config.identity}
        return self.folder / f"controllers-{digest_of(settings | self.note)[:8]}"

    @cached_property
    def data(self) -> Path:
        """The folder of the data sets that the models are trained on."""
        settings = self.plan.model_dump(include={"seed", "episodes", "frames", "vision", "draws", "window"})
        return self.folder / f"data-{digest_of(settings | self.note)[:8]}"

    def _kept(self, name: str, make: Callable[[], Dataset]) -> Dataset:
        """A data set as it is in its file, which is written if it is not there."""
        path = self.data / f"{name}.safetensors"
        if not path.exists():
            save_data(make(), path)
        return load_data(str(path))

    def _trained(self, role: str, wanted: FamilySpec, data: Dataset) -> Run:
        self.watch(f"{role}: {wanted.name} on {data.source}")
        spec = DataSpec(name=str(self.data / f"{data.name}.safetensors"))
        return trained(wanted.name, spec, data, wanted.recipe, self.plan.seed, self.folder / "runs", self.callback)


def mixed(seed: int, purpose: str) -> int:
    """A seed for one purpose."""
    return int(hashlib.sha256(f"{seed} {purpose}".encode()).hexdigest()[:8], 16)
