"""An agent that learns in its dream: the dream, the controller, the memory's density, and the experiment's files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zoo.contract.check import check
from zoo.errors import RunError, UnfitError, ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.registry import families
from zoo.pairs.sampling import sample
from zoo.pairs.traces import log_prob
from zoo.runs.lookup import dataset_of, find_run
from zoo.seeding import seeded
from zoo.training.callbacks import Progress
from zoo.worlds.controller import choose, evolve
from zoo.worlds.doom import TakeCover
from zoo.worlds.dream import State, lasted
from zoo.worlds.episodes import Sweep, play
from zoo.worlds.experiment import Experiment
from zoo.worlds.models import per_frame
from zoo.worlds.page import write_page
from zoo.worlds.plan import WorldPlan, take_cover

pytest.importorskip("cma")
SIDE = 8
NOTE = {"actions": 3, "skip": 4, "most": 40}


class Corridor:
    """A walker of one pixel: it moves left or right of the middle, and dies beyond the third place on either side.

    A wind blows it to the right in every third step.
    """

    actions, note = 3, NOTE

    def reset(self, seed: int) -> np.ndarray[Any, Any]:
        self.place, self.time = seed % 3 - 1, 0
        return self.frame()

    def step(self, action: int) -> tuple[np.ndarray[Any, Any] | None, int, bool]:
        self.place, self.time = moved(self.place, self.time, action), self.time + 1
        died = abs(self.place) > 3
        return (None if died or self.time == 10 else self.frame()), 4, died

    def frame(self) -> np.ndarray[Any, Any]:
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        picture[self.time % 3, self.place + 4] = 255
        return picture

    def close(self) -> None:
        pass


def moved(place: int, time: int, action: int) -> int:
    return place + (0, -1, 1)[action] + (time % 3 == 2)


class TrueMemory:
    """The corridor's own transitions: z is the place, the output is (place, time, 0), the cell is unused."""

    def begin(self, n: int) -> State:
        return torch.zeros(n, 3), torch.zeros(n, 0)

    def advance(self, state: State, z: Tensor, a: Tensor) -> State:
        rows = zip(z[:, 0].tolist(), state[0][:, 1].tolist(), a.tolist(), strict=True)
        places = torch.tensor([float(moved(int(place), int(time), action)) for place, time, action in rows])
        return torch.stack([places, state[0][:, 1] + 1, torch.zeros(len(z))], 1), state[1]

    def imagine(self, state: State, temperature: float, generator: torch.Generator | None = None) -> Tensor:
        return state[0][:, :1]

    def ending(self, state: State) -> Tensor:
        return ((state[0][:, 0].abs() > 3) | (state[0][:, 1] == 10)).float()


def test_a_dream_with_the_real_transitions_gives_the_real_return() -> None:
    memory, world = TrueMemory(), Corridor()
    weights = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    z = torch.arange(40).remainder(3).sub(1).float()[:, None]
    found = lasted(memory, weights, z, temperature=1.0, longest=10, generator=torch.Generator())
    assert len(found.unique()) > 3
    for seed, each in enumerate(weights):
        state = [memory.begin(1)]

        def act(frame: np.ndarray[Any, Any], each: Tensor = each, state: list[State] = state) -> int:
            place = torch.tensor([[float(frame[:, :, 0].any(0).argmax()) - 4]])
            action = choose(each, place, state[0][0])
            state[0] = memory.advance(state[0], place, action)
            return int(action)

        assert play(world, act, seed).reward == 4 * int(found[seed])


def test_a_sweep_goes_to_one_side_and_to_the_other() -> None:
    policy, frame = Sweep(2), np.zeros((1, 1, 3), np.uint8)
    assert [policy(frame) for _ in range(6)] == [1, 1, 2, 2, 1, 1]


EVENT = Event.parse("z=3x2:real~n,done=3:binary~n,a=3:2~n@given,n=:4@given")


def test_the_memory_without_recurrence_is_a_mixture_at_every_step() -> None:
    """With the LSTM's output zero, each z is of one mixture of two normals for each dimension."""
    pair = build("mdn-rnn", EVENT, {"hidden": 4, "components": 2})
    memory: Any = pair.extras
    with torch.no_grad():
        for parameter in memory.lstm.parameters():
            parameter.zero_()
        weights, means, scales = torch.tensor([0.25, 0.75]), torch.tensor([-1.0, 2.0]), torch.tensor([0.5, 1.5])
        memory.mixture.bias.copy_(torch.stack([w.expand(2, 2) for w in (weights.log(), means, scales.log())]).flatten())
        memory.end.bias.fill_(math.log(0.1 / 0.9))
    z = torch.randn(2, 3, 2)
    x = EVENT.pack({"z": z, "done": [[0, 0, 1], [0, 1, 0]], "a": [[0, 1, 1], [1, 0, 0]], "n": [3, 2]})
    density = (weights * torch.distributions.Normal(means, scales).log_prob(z.unsqueeze(-1)).exp()).sum(-1).log()
    expected = torch.stack(
        [
            density[0].sum() + math.log(0.9 * 0.9 * 0.1),
            density[1, :2].sum() + math.log(0.9 * 0.1),
        ]
    )
    with pair.evaluating():
        torch.testing.assert_close(log_prob(pair, x), expected)


def test_the_memory_stepped_by_hand_has_the_density_of_the_whole() -> None:
    pair = build("mdn-rnn", EVENT, {"hidden": 5, "components": 3}, 1)
    memory: Any = pair.extras
    z, a, done = torch.randn(4, 3, 2), torch.tensor([[0, 1, 1]] * 4), torch.tensor([[0.0, 0.0, 1.0]] * 4)
    x, state, total = EVENT.pack({"z": z, "done": done, "a": a, "n": [3] * 4}), memory.begin(4), torch.zeros(4)
    with pair.evaluating(), torch.no_grad():
        for t in range(3):
            log_weights, means, log_scales = memory.next(state[0])
            each = torch.distributions.Normal(means, log_scales.exp()).log_prob(z[:, t].unsqueeze(-1))
            total += (log_weights + each).logsumexp(-1).sum(-1)
            state = memory.advance(state, z[:, t], a[:, t].float())
            end = memory.ending(state)
            total += torch.where(done[:, t].bool(), end, 1 - end).log()
        torch.testing.assert_close(log_prob(pair, x), total)


def test_the_temperature_widens_what_the_memory_imagines() -> None:
    """Of one normal in each dimension the variance is that of the normal, times the temperature."""
    memory: Any = build("mdn-rnn", EVENT, {"hidden": 4, "components": 1}).extras
    state, draws = memory.begin(40_000), {}
    with torch.no_grad():
        for temperature in (1.0, 1.3):
            drawn = memory.imagine(state, temperature, torch.Generator().manual_seed(0))
            draws[temperature] = float(drawn.var(0).mean())
        scale = float((2 * memory.next(state[0][:1])[2]).exp().mean())
    assert draws[1.0] == pytest.approx(scale, rel=0.03)
    assert draws[1.3] == pytest.approx(1.3 * scale, rel=0.03)


def test_draws_of_the_memory_follow_their_actions() -> None:
    pair = build("mdn-rnn", EVENT, {"hidden": 4}, 2)
    given = {"a": torch.zeros(5, 3), "n": torch.tensor([3.0, 2, 1, 3, 2])}
    with seeded(0):
        first = sample(pair, 5, given=given)
    with seeded(0):
        other = sample(pair, 5, given=given | {"a": torch.ones(5, 3)})
    z, changed = EVENT.unpack(first)["z"], EVENT.unpack(other)["z"]
    assert z is not None
    assert changed is not None
    assert torch.equal(z[:, 0], changed[:, 0])  # before the first action
    assert not torch.equal(z[0, 1:], changed[0, 1:])
    assert not z[2, 1:].any()


@pytest.mark.parametrize(
    "text", ["z=4x1:real~n,done=4:binary~n,n=:5@given", "z=2x3:real~n,done=2:binary~n,a=2:5~n@given,n=:3@given"]
)
def test_the_memory_keeps_the_contract(text: str) -> None:
    found = check("mdn-rnn", Event.parse(text), {"hidden": 6, "components": 2})
    assert [each for each in found if each.ok is False] == []


@pytest.mark.parametrize("text", ["x=5x6:binary~n,n=:6@given", "z=3x2:real~n,n=:4@given"])
def test_the_memory_refuses_other_sequences(text: str) -> None:
    with pytest.raises(UnfitError, match="mdn-rnn takes latents, ends, actions"):
        build("mdn-rnn", Event.parse(text))


def sphere(solutions: Tensor, generation: int) -> Tensor:
    return -(solutions - torch.tensor([1.0, -2.0, 0.5])).square().sum(1)


def searched(path: Path | None, generations: int, fitness: Callable[[Tensor, int], Tensor] = sphere) -> Tensor:
    return evolve(3, fitness, population=8, generations=generations, sigma=0.5, seed=3, path=path)


def test_the_search_finds_the_maximum_and_resumes_with_the_same_numbers(tmp_path: Path) -> None:
    whole = searched(None, 40)
    assert torch.allclose(whole, torch.tensor([1.0, -2.0, 0.5]), atol=1e-2)
    searched(tmp_path / "search.json", 17)
    fresh = list[int]()

    def noted(solutions: Tensor, generation: int) -> Tensor:
        fresh.append(generation)
        return sphere(solutions, generation)

    np.random.seed(5)  # noqa: NPY002 (the search has a stream of its own)
    assert torch.equal(searched(tmp_path / "search.json", 40, noted), whole)
    assert fresh == list(range(17, 40))


def test_a_search_of_other_settings_is_refused(tmp_path: Path) -> None:
    searched(tmp_path / "search.json", 1)
    with pytest.raises(RunError, match="belongs to another search"):
        evolve(3, sphere, population=8, generations=1, sigma=0.1, seed=3, path=tmp_path / "search.json")


def test_nats_per_frame_weigh_sequences_by_their_length() -> None:
    found = per_frame(torch.tensor([10.0, 2.0, 30.0]), torch.tensor([5.0, 2.0, 10.0]))
    assert found.nats == pytest.approx(42 / 17)
    residuals = np.array([10, 2, 30]) - 42 / 17 * np.array([5, 2, 10])
    assert found.stderr == pytest.approx(math.sqrt((residuals**2).sum() / 2 / 3) / (17 / 3))


PLAN = """
episodes = 20
frames = 40
draws = 2
window = 6
temperatures = [1.0, 1.3]
periods = [2, 3]
choosing = 3
reported = 4
vision = { name = "vae-conv:latent=2,width=2", recipe = { steps = 3, batch = 8, engine = "eager" } }
memory = { name = "mdn-rnn:hidden=4,components=2", recipe = { steps = 3, batch = 8, engine = "eager" } }
controller = { population = 4, rollouts = 3, generations = 3, sigma = 0.5 }
[quick]
episodes = 20
"""


class Quietly:
    def on_progress(self, progress: Progress) -> None: ...
    def on_checkpoint(self, progress: Progress) -> None: ...


class Stopped(Exception):  # noqa: N818 (a kill)
    pass


@pytest.mark.thorough
def test_a_stopped_experiment_gives_the_numbers_of_one_that_was_not(tmp_path: Path) -> None:
    def experiment(name: str, lines: int = 10**6) -> Experiment:
        left = [lines]

        def watch(news: str) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Stopped

        return Experiment(WorldPlan.read(PLAN), Corridor, NOTE, tmp_path / name, watch, lambda steps: Quietly())

    whole = experiment("whole")
    outcome = whole.run()
    for lines in (11,):
        with pytest.raises(Stopped):
            experiment("stopped", lines).run()
    resumed = experiment("stopped")
    assert asdict(resumed.run()) == asdict(outcome)
    assert {each.temperature for each in outcome.tempered} == {1.0, 1.3}
    (resumed.home / "search-1.3.json").unlink()
    assert torch.equal(experiment("stopped").controller(1.3), whole.controller(1.3))  # which is kept itself
    assert set(outcome.sweeps) == {"2", "3"}
    assert 4 <= outcome.random.mean <= 40
    first = write_page(whole, outcome, {"seed": 0})
    second = write_page(resumed, outcome, {"seed": 0})
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert "in the dream" in first[0].read_text()
    for run, data in ((whole.vision_run, whole.frames), (whole.memory_run, whole.sequences)):
        assert dataset_of(find_run(run.folder)).fingerprint == data.fingerprint  # for every other command


def test_plans_are_read_with_their_quick_part() -> None:
    assert WorldPlan.read(PLAN, quick=True).episodes == 20
    assert take_cover().temperatures == (1.0, 1.15, 1.25, 1.3)
    assert take_cover(quick=True).episodes < take_cover().episodes
    with pytest.raises(ZooError, match=r"plan of a world, episodes: Input should be"):
        WorldPlan.read(PLAN.replace("episodes = 20", "episodes = -1"))


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vizdoom", None)
    with pytest.raises(ZooError, match=r"pip install 'pyro-zoo\[worlds\]'"):
        TakeCover()


def test_an_episode_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vizdoom")
    monkeypatch.chdir(tmp_path)
    game = TakeCover()
    assert game.reset(3).shape == (64, 64, 3)
    game.close()
    assert not list(tmp_path.iterdir())
    assert not Path(game.scratch.name).exists()


def test_vision_is_registered_for_levels() -> None:
    assert families["vae-conv"].supports == ("levels",)
    picture = Event((3, 12, 20), 256)
    pair = build("vae-conv", picture, {"latent": 2, "width": 4})
    assert sample(pair, 2).shape == (2, 3, 12, 20)
