"""The contract, proved on a pair with small random data: one finding a law.

A law is a function of a `Case` that returns if the law holds, raises `_BrokenError` with what was expected and what
came, or `_SilentError` if it does not apply. The first laws are the ground of the others, which wait for them.
"""

from __future__ import annotations

import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor
from torch.distributions import transform_to
from torch.overrides import TorchFunctionMode

from zoo.building import Hyper, build, find, fitting_event
from zoo.errors import ContractError, RunError, ZooError
from zoo.event import Event
from zoo.files import read_tensors, write_tensors
from zoo.pair import HasInitialise, HasPlayers, Pair, Player
from zoo.seeding import seeded
from zoo.traces import (
    abilities,
    latent_sites,
    log_prob,
    log_weights,
    observed_sites,
    per_datum,
    sample,
    traced,
)

SMALL = {"binary": Event((8, 8), "binary"), "levels": Event((8, 8), 17), "real": Event(2, "real")}
"""What a family is checked with for each support that it takes."""
STEPS, BATCH = 4, 16
FIRST_DATA = 64
"""How many random data `initialise` is given."""


@dataclass(frozen=True)
class Finding:
    """What came of one law: it holds, it is broken (``False``) or it does not apply (``None``), and why."""

    law: str
    ok: bool | None
    detail: str = ""


@dataclass(frozen=True)
class Law:
    """A sentence that shall hold, its proof, and how to mend a pair that breaks it."""

    text: str
    proof: Callable[[Case], None]
    mend: str


class _BrokenError(Exception):
    """The law does not hold."""


class _SilentError(Exception):
    """The law does not apply."""


def check(name: str, event: Event | None = None, hyper: Hyper | None = None, seed: int = 0) -> list[Finding]:
    """Prove the contract on the pair called ``name``, with random data of ``event``.

    Without an event it is the family's own, or else a small one of each support that the family takes.

    Raises:
        ZooError: an unknown name or hyper-parameter, or an event that the family does not take. A pair that breaks the
            contract, or does not even run, is a finding.
    """
    family, _ = find(name)
    asked = event or family.event
    findings = []
    for each in [asked] if asked else [SMALL[support] for support in family.supports]:
        small = fitting_event(family, each)
        label = "" if asked else f" ({small})"
        found = prove(lambda key, small=small: build(name, small, hyper, key), small, seed)  # type: ignore[misc] # mypy cannot infer a lambda's default
        findings += [replace(finding, law=finding.law + label) for finding in found]
    return findings


def prove(make: Callable[[int], Pair], event: Event, seed: int = 0) -> list[Finding]:
    """Prove the contract on the pair that ``make(seed)`` builds for ``event``.

    Raises:
        ZooError: what ``make`` raises of it, other than `ContractError`.
    """
    case = Case(make, event, seed)
    findings: list[Finding] = []
    for law in GROUND:
        findings.append(_ask(law, case))
        if findings[-1].ok is False:
            rest = (*GROUND[len(findings) :], *LAWS)
            return findings + [
                Finding(law.text, None, f"not asked before this holds: {findings[-1].law}") for law in rest
            ]
    return findings + [_ask(law, case) for law in LAWS]


class Case:
    """A pair to be judged: how it is made, and random data for it."""

    def __init__(self, make: Callable[[int], Pair], event: Event, seed: int) -> None:
        self.make, self.event, self.seed = make, event, seed

    @property
    def sizes(self) -> list[int]:
        """Two numbers of data that no dimension of the event has."""
        taken = {*self.event.shape, self.event.size}
        return list(islice((n for n in (5, 7, 11, 13, 19, 23, 29, 31) if n not in taken), 2))

    def fresh(self) -> Pair:
        """The pair as training starts with it, made anew."""
        pair = self.make(self.seed)
        if isinstance(pair.extras, HasInitialise):
            with seeded(self.seed), torch.no_grad():
                pair.extras.initialise(self.x(FIRST_DATA))
        return pair

    @cached_property
    def pair(self) -> Pair:
        """One such pair, left as it is."""
        return self.fresh()

    def x(self, n: int, key: int = 0) -> Tensor:
        """Random data, shape ``(n, *event.shape)``; for a model of positive (or such) reals, draws of that model."""
        with seeded(self.seed + 1000 * key + n):
            if self.event.levels is not None:
                return torch.randint(self.event.levels, (n, *self.event.shape)).float()
            return torch.randn(n, *self.event.shape) if self._any_real else sample(self.make(self.seed), n)

    @cached_property
    def _any_real(self) -> bool:
        pair = self.make(self.seed)
        with pair.evaluating():
            trace = poutine.trace(pair.model).get_trace(torch.randn(BATCH, *self.event.shape))
        return all(_supports(trace.nodes[name]["fn"], trace.nodes[name]["value"]) for name in observed_sites(trace))

    @cached_property
    def trained(self) -> Trained:
        """Another such pair after a few steps of training."""
        return Trained(self.fresh(), [self.x(BATCH, key) for key in range(1, STEPS + 1)])


class Trained:
    """A pair after a step on each of some batches: its losses and the parameters that no gradient reached."""

    def __init__(self, pair: Pair, batches: list[Tensor]) -> None:
        self.pair, self.losses = pair, list[tuple[str, float]]()
        self.players = _players(pair)
        self.named = {id(tensor): name for name, tensor in pair.named_parameters().items()}
        self.reached: set[tuple[str, int]] = set()
        steppers = [torch.optim.Adam([*player.parameters] or [torch.zeros(1)], lr=1e-3) for player in self.players]
        for x in batches:
            for player, stepper in zip(self.players, steppers, strict=True):
                self._step(player, stepper, x)

    def _step(self, player: Player, stepper: torch.optim.Optimizer, x: Tensor) -> None:
        self.pair.train(True)
        with pyro.validation_enabled(False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Encountered")  # Pyro's warning of nan: it becomes a finding
            loss = player.loss(x)
        self.losses.append((player.name, float(loss.detach().sum())))
        stepper.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward(inputs=list(player.parameters))
        for parameter in player.parameters:
            if parameter.grad is not None and (parameter.grad != 0).any():
                self.reached.add((player.name, id(parameter)))
        stepper.step()

    def unreached(self) -> Iterator[str]:
        """Parameters, and the loss that gives them nothing."""
        for player in self.players:
            for parameter in player.parameters:
                if (player.name, id(parameter)) not in self.reached:
                    name = self.named.get(id(parameter), "a tensor outside the pair")
                    yield f"{name} gets none from the {player.name} loss"
        owned = {id(parameter) for player in self.players for parameter in player.parameters}
        yield from (f"{name} belongs to no player" for key, name in self.named.items() if key not in owned)


def _players(pair: Pair) -> list[Player]:
    if isinstance(pair.extras, HasPlayers):
        return list(pair.extras.players())
    return [Player("elbo", pair.parameters(), lambda x: Trace_ELBO().differentiable_loss(pair.model, pair.guide, x))]


def _ask(law: Law, case: Case) -> Finding:
    try:
        with seeded(case.seed):
            law.proof(case)
    except _SilentError as reason:
        return Finding(law.text, None, str(reason))
    except _BrokenError as reason:
        return Finding(law.text, False, f"{reason}; {law.mend}")
    except ContractError as error:
        return Finding(law.text, False, f"{error}{_place(error.__cause__)}; {law.mend}")
    except ZooError:
        raise
    except Exception as error:  # a stranger's program may raise anything: it is named, not hidden
        return Finding(law.text, False, f"{_told(error)}; {law.mend}")
    return Finding(law.text, True)


def _told(error: BaseException) -> str:
    """An error in one line, with its place."""
    message = " ".join(str(error).split("Trace Shapes:")[0].split())
    return f"{type(error).__name__}: {message}{_place(error)}"


def _place(error: BaseException | None) -> str:
    """The last line of a program of the person's own that an error went through."""
    libraries = tuple(str(Path(library.__path__[0])) for library in (torch, pyro))
    others = {str(Path(__file__).parent), sysconfig.get_path("stdlib")}
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__ if error else None)
        if not frame.filename.startswith(libraries) and str(Path(frame.filename).parent) not in others
    ]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} `{frames[-1].line}`" if frames else ""


# --- the laws ---------------------------------------------------------------------------------------------------------


def _runs(case: Case) -> None:
    pair = case.pair
    with pair.evaluating():
        abilities(pair)
        for n in case.sizes:
            x = case.x(n)
            pair.model(x)
            traced(pair, x)


def _per_datum(case: Case) -> None:
    pair = case.pair
    with pair.evaluating():
        exact = abilities(pair).likelihood == "exact"
        for n in case.sizes:
            x = case.x(n)
            for trace in traced(pair, x):
                per_datum(trace, n)
            if exact and log_prob(pair, x).shape != (n,):
                raise _BrokenError(f"log_prob(x) should have shape ({n},), got {tuple(log_prob(pair, x).shape)}")


def _same_sites(case: Case) -> None:
    pair = case.pair
    with pair.evaluating():
        model_trace, _ = traced(pair, case.x(case.sizes[0]))
        latents, guided = latent_sites(model_trace), set(abilities(pair).latents)
    if not guided and isinstance(pair.extras, HasPlayers):
        raise _SilentError("it has an objective of its own and no guide")
    for name in sorted(latents - guided):
        raise _BrokenError(f"the model's latent {name!r} is not sampled by the guide")
    for name in sorted(guided - latents):
        raise _BrokenError(
            f"the guide samples {name!r}, which is no latent of the model ({', '.join(sorted(latents)) or 'none'})"
        )


def _supports_agree(case: Case) -> None:
    pair = case.pair
    with pair.evaluating():
        model_trace, guide_trace = traced(pair, case.x(case.sizes[0]))
        for name in abilities(pair).latents:
            _within(name, guide_trace.nodes[name], model_trace.nodes[name])
        for name in observed_sites(model_trace):
            _observes(case.event, name, model_trace.nodes[name])


def _within(name: str, guided: Any, latent: Any) -> None:
    ours, theirs = guided["fn"].support, latent["fn"].support
    probe = guided["fn"].sample()
    if ours.is_discrete != theirs.is_discrete:
        raise _BrokenError(f"latent {name!r} is {_kind(theirs)} in the model and {_kind(ours)} in the guide")
    if not ours.is_discrete:
        free = transform_to(ours)
        probe = free(5 * torch.randn_like(free.inv(probe)))  # all over the support, wherever the guide's own draws lie
    if probe.shape != latent["value"].shape:
        raise _BrokenError(
            f"latent {name!r} has shape {tuple(latent['value'].shape)} in one run and {tuple(probe.shape)} in another"
        )
    if not _supports(latent["fn"], probe):
        raise _BrokenError(
            f"the guide's {_name(guided)} for {name!r} may draw what the model's {_name(latent)} rules out: "
            f"its support {ours} is not within {theirs}"
        )


def _observes(event: Event, name: str, site: Any) -> None:
    support = site["fn"].support
    if support.is_discrete != (event.levels is not None):
        raise _BrokenError(
            f"the data are {event.support} ({event}), and {name!r} is observed under a {_kind(support)} {_name(site)}"
        )
    if not _supports(site["fn"], site["value"]):
        raise _BrokenError(
            f"{name!r} is observed under a {_name(site)} of support {support}, which does not take all of {event}"
        )
    draws = torch.stack([site["fn"].sample() for _ in range(5)])
    if not _fits(event, draws):
        raise _BrokenError(
            f"{name!r} is observed under a {_name(site)} that draws {_range(draws)}, which is not within {event}"
        )


def _reached(case: Case) -> None:
    trained = case.trained
    if not trained.named:
        raise _SilentError("it has no parameters")
    nothing = list(trained.unreached())
    if nothing:
        raise _BrokenError(f"after {STEPS} batches each parameter should have had a gradient; {', '.join(nothing)}")


def _finite(case: Case) -> None:
    for name, loss in case.trained.losses:
        if not torch.tensor(loss).isfinite():
            raise _BrokenError(f"the {name} loss should be a finite number, got {loss}")
    for word, values in _outcomes(case.pair, case).items():
        if not values.isfinite().all():
            raise _BrokenError(f"{word} should be finite, got {_range(values)}")


def _samples(case: Case) -> None:
    pair, n = case.pair, case.sizes[0]
    drawn = sample(pair, n)
    if not _fits(case.event, drawn):
        raise _BrokenError(f"samples should be of {case.event}, got values {_range(drawn)}")
    for key in (1, 2):
        with pair.evaluating(), seeded(case.seed):
            trace = poutine.trace(poutine.uncondition(pair.model)).get_trace(case.x(n, key))
            again = trace.nodes[abilities(pair).output]["value"]
        if key == 1:
            first = again
        elif not _close(first, again):
            raise _BrokenError(
                "unconditioned, the model should draw the same whatever batch it is given; it looks at the values of x "
                "other than by obs=x, so it is told what it should generate"
            )


def _independent(case: Case) -> None:
    pair, n = case.pair, case.sizes[0]
    x, mixed = case.x(n), case.x(n, 1)
    mixed[0] = x[0]
    with pair.evaluating():
        implicit = abilities(pair).likelihood == "none"
        draws, others = (_latents(pair, batch, implicit) for batch in (x, mixed))
        for name, value in others.items():
            value[0] = draws[name][0]
        before, after = _first_datum(pair, x, draws), _first_datum(pair, mixed, others)
    for word, value in before.items():
        if not _close(value, after[word]):
            raise _BrokenError(
                f"{word} of x[0] changed from {_range(value)} to {_range(after[word])} when the other data changed"
            )


def _latents(pair: Pair, x: Tensor, implicit: bool) -> dict[str, Tensor]:
    trace = poutine.trace(pair.model if implicit else pair.guide).get_trace(x)
    return {name: trace.nodes[name]["value"].clone() for name in latent_sites(trace)}


def _first_datum(pair: Pair, x: Tensor, latents: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the programs say of ``x[0]`` with the latents held fixed."""
    can, fixed = abilities(pair), partial(poutine.condition, data=dict(latents))
    guide_trace, model_trace = (poutine.trace(fixed(program)).get_trace(x) for program in (pair.guide, pair.model))
    told = {
        "log-probability under the guide": per_datum(guide_trace, len(x))[0],
        "log-probability under the model": per_datum(model_trace, len(x))[0],
    }
    if can.likelihood == "exact":
        told["log_prob"] = log_prob(pair, x)[0]
    if can.likelihood == "none":
        told["output"] = model_trace.nodes[can.output]["value"][0]
    return told


def _repeats(case: Case) -> None:
    first, second = case.fresh(), case.fresh()
    ours, theirs = first.state(), second.state()
    for name in sorted(set(ours) | set(theirs)):
        if name not in ours or name not in theirs or not _same(ours[name], theirs[name]):
            raise _BrokenError(f"built twice with one seed, {name!r} should be the same number for number; it is not")
    _alike(_outcomes(first, case), _outcomes(second, case), "with one seed")


def _survives(case: Case) -> None:
    pair, other = case.trained.pair, case.make(case.seed + 1)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        write_tensors(path, pair.state(), {})
        try:
            other.load(read_tensors(path)[0])
        except RunError as error:
            raise _BrokenError(str(error)) from error
    _alike(_outcomes(pair, case), _outcomes(other, case), "after saving and loading")


def _outcomes(pair: Pair, case: Case) -> dict[str, Tensor]:
    """Log-probabilities and samples, with fixed noise."""
    x, told = case.x(case.sizes[0]), {}
    with pair.evaluating():
        can = abilities(pair)
        if can.likelihood != "none":
            with seeded(case.seed):
                told["log-probabilities"] = log_weights(pair, x)
        if can.likelihood == "exact":
            told["log_prob"] = log_prob(pair, x)
    with seeded(case.seed):
        told["samples"] = sample(pair, case.sizes[0])
    return told


def _alike(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], when: str) -> None:
    for word, value in ours.items():
        if not _same(value, theirs[word]):
            raise _BrokenError(
                f"{when}, {word} should be the same number for number; they differ by {_gap(value, theirs[word])}"
            )


def _elsewhere(case: Case) -> None:
    device = "cuda" if torch.cuda.is_available() else "meta"
    pair, x = case.fresh(), case.x(case.sizes[0]).to(device)
    pair.to(device)
    try:
        with _OneDevice():
            _run_everything(pair, x)
    except (RuntimeError, NotImplementedError, TypeError) as error:
        if device == "meta" and any(sign in str(error) for sign in NEEDS_VALUES):
            raise _SilentError(
                f"a program looks at values ({_told(error)}), which the meta device has not; "
                "run this check where there is a GPU"
            ) from error
        raise


NEEDS_VALUES = (
    "called on meta tensors",
    "copy out of meta",
    "data-independent",
    "Meta tensors, but there was no",
    "meta device",
)
"""What torch says when a program looks at values where there are none, or when that device has not got an operation."""


def _run_everything(pair: Pair, x: Tensor) -> None:
    with pair.evaluating():
        traces = {"model": poutine.trace(poutine.uncondition(pair.model)).get_trace(x)}
        traces["model against the guide"], traces["guide"] = traced(pair, x)
        for word, trace in traces.items():
            drawn = {
                name: site["value"]
                for name, site in trace.nodes.items()
                if site["type"] == "sample" and not _plate(site)
            }
            _stays(f"the {word}", drawn, x)
            if word != "model":
                per_datum(trace, len(x))
        if abilities(pair).likelihood == "exact":
            _stays("log_prob", {"its value": log_prob(pair, x)}, x)
    if isinstance(pair.extras, HasPlayers):  # Pyro's own ELBO reads its value, which meta tensors have not
        with pyro.validation_enabled(False):
            for player in pair.extras.players():
                player.loss(x)


def _stays(word: str, values: Mapping[str, Any], x: Tensor) -> None:
    for name, value in values.items():
        if isinstance(value, Tensor) and value.dim() and value.device != x.device:
            raise _BrokenError(f"in {word}, {name!r} should be on {x.device} as x is; it is on {value.device}")


class _OneDevice(TorchFunctionMode):
    """Refuses operations on tensors of two devices, some of which the meta device lets pass."""

    MOVES = frozenset({"to", "copy_", "type_as", "__getitem__", "__setitem__", "__get__", "__set__", "index_put_"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = chain(*((a if isinstance(a, (tuple, list)) else (a,)) for a in (*args, *kwargs.values())))
        devices = {each.device.type for each in given if isinstance(each, Tensor) and each.dim()}
        name = getattr(func, "__name__", "")
        if len(devices) > 1 and name not in self.MOVES:
            raise RuntimeError(f"{name} was given tensors on {' and '.join(sorted(devices))}")
        return func(*args, **kwargs)


# --- small words ------------------------------------------------------------------------------------------------------


def _supports(distribution: Any, value: Tensor) -> bool:
    return bool(distribution.support.check(value).all())


def _fits(event: Event, value: Tensor) -> bool:
    if event.levels is None:
        return bool(value.isfinite().all())
    return bool(((value == value.round()) & (value >= 0) & (value < event.levels)).all())


def _plate(site: Any) -> bool:
    return bool(poutine.util.site_is_subsample(site))


def _kind(support: Any) -> str:
    return "discrete" if support.is_discrete else "continuous"


def _name(site: Any) -> str:
    base = site["fn"]
    while hasattr(base, "base_dist"):
        base = base.base_dist
    return type(base).__name__


def _range(value: Tensor) -> str:
    low, high = float(value.min()), float(value.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _gap(ours: Tensor, theirs: Tensor) -> str:
    return (
        f"{float((ours - theirs).abs().max()):g}"
        if ours.shape == theirs.shape
        else f"shapes {ours.shape}, {theirs.shape}"
    )


def _same(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=0, atol=0, equal_nan=True)


def _close(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4, equal_nan=True)


GROUND = (
    Law(
        "the programs run on any number of data",
        _runs,
        "model(x) and guide(x) take a float tensor of shape (n, *event.shape) for every n: take n from len(x), and "
        "declare inner dimensions with .to_event(...); a file that is written for one event says so by "
        "`event = zoo.Event(...)`, or is checked with --event such as 64:binary",
    ),
    Law(
        "every site lies in the data plate, so log-probabilities are per datum",
        _per_datum,
        "sample every site inside `with pyro.plate('data', len(x)):`; what all data share is a parameter, not a latent",
    ),
    Law(
        "the guide's sites are the model's latents",
        _same_sites,
        "sample the same names in both, or observe what is no latent",
    ),
    Law(
        "supports agree",
        _supports_agree,
        "choose a distribution of the right support (zoo.likelihood(event, parameters) gives one for the data; "
        "zoo.observe takes integers under a density; a LogNormal guide suits a positive latent)",
    ),
)
LAWS = (
    Law(
        "gradients reach every parameter",
        _reached,
        "use it in model or guide without detaching it, or remove it (a constant is a buffer: register_buffer)",
    ),
    Law(
        "losses and log-probabilities are finite",
        _finite,
        "keep scales away from zero (softplus plus a small number), and logarithms and divisions off zero",
    ),
    Law(
        "samples are of the event",
        _samples,
        "run without data, the model should draw every latent from its prior and x from them alone; round or threshold "
        "what a deterministic x should give in levels",
    ),
    Law(
        "data are independent of each other",
        _independent,
        "compute what belongs to a datum from that datum alone: no mean, sum or normalisation over the first dimension",
    ),
    Law(
        "same seed, same result",
        _repeats,
        "draw all random numbers by torch or pyro, from their global generators, and depend on no clock or counter",
    ),
    Law(
        "saving and loading change nothing",
        _survives,
        "keep everything that training changes in parameters and buffers (register_buffer), not in other attributes",
    ),
    Law(
        "it runs on another device",
        _elsewhere,
        "make tensors where the data are: x.new_zeros(...), torch.arange(..., device=x.device), or register_buffer",
    ),
)
