"""A model/guide pair: the two programs, their parameters and their modes.

The programs may be methods of one `torch.nn.Module`, two ``PyroModule`` instances, or plain functions with
``pyro.param`` and ``pyro.module``. Each pair has a parameter store of its own, so any number of them live in one
process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import pyro
import torch
from torch import Tensor, nn

from zoo.errors import ContractError, RunError
from zoo.event import Event
from zoo.pairs.layout import Layout, learn_layout
from zoo.pairs.parameters import find_modules, module_parameters, separate_stores, stray_parameters
from zoo.pairs.records import ByFields
from zoo.pairs.sites import Brief, Relative, WholeBatch
from zoo.pairs.structure import Structure, read_structure
from zoo.pairs.user_errors import running
from zoo.scores import label
from zoo.seeding import seeded

Program = Callable[..., Any]
OTHER_SHAPE = (
    "if it is written for another shape, say so by `event = zoo.Event(...)` in its file or by --event such as 64:binary"
)


@dataclass(frozen=True)
class Player:
    """One side of an objective: a loss, and the parameters that minimise it.

    A family whose ``players()`` returns several is trained by one optimizer step per player on each batch.

    Args:
        name: used in reports of losses and gradients.
        parameters: what the optimizer of this player changes.
        loss: ``loss(x)`` is a scalar, in nats per datum where it is a likelihood.
        options: optimizer options that override those of the recipe, such as ``{"betas": (0.5, 0.9)}``.

    Example:
        >>> import torch
        >>> from zoo import Player
        >>> scale = torch.nn.Parameter(torch.ones(()))
        >>> player = Player("fit", [scale], lambda x: (x - scale).square().mean())
        >>> player.loss(torch.zeros(4)).item()
        1.0
    """

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[[Tensor], Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class HasLogProb(Protocol):
    """Optional method of a family: the exact log-probability of a batch ``x``, shape ``(n,)``, in nats."""

    def log_prob(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class HasElbo(Protocol):
    """Optional method: estimates of the ELBO that cost less than a trace, such as by one of many terms at random.

    ``elbo_terms(x)`` gives terms by name, each of shape ``(n,)``, that add up to an unbiased estimate for each datum.
    Training and scores use it instead of traces, which a law compares it with.
    """

    def elbo_terms(self, x: Tensor) -> Mapping[str, Tensor]: ...


@runtime_checkable
class HasSteps(Protocol):
    """Optional, with `HasElbo`: the ELBO's term of each step t = 1 ... ``timesteps``, whose sum is ``diffusion``.

    ``elbo_step(x, t)`` estimates without bias that of step ``t``, an integer for each datum, shape ``(n,)``, in nats.
    """

    timesteps: int

    def elbo_step(self, x: Tensor, t: Tensor) -> Tensor: ...


@runtime_checkable
class HasSamplers(Protocol):
    """Optional method: other ways to sample than to run the model, in a chosen number of network passes.

    ``samplers()`` gives them by name: each takes a number of data and of passes, and returns draws of shape
    ``(n, *event.shape)``. ``zoo.sample(pair, n, sampler=name, passes=20)`` draws by one.
    """

    def samplers(self) -> Mapping[str, Callable[[int, int], Tensor]]: ...


@runtime_checkable
class HasPlayers(Protocol):
    """Optional method: an objective of its own, for a family that is not trained by an ELBO."""

    def players(self) -> Sequence[Player]: ...


@runtime_checkable
class HasInitialise(Protocol):
    """Optional method: set parameters from training data ``x``, shape ``(n, *event.shape)``, before the first step."""

    def initialise(self, x: Tensor) -> None: ...


@runtime_checkable
class NeedsEncoder(Protocol):
    """Optional method of any module inside a model that needs the guide's distribution.

    ``encode(x)`` is the guide's distribution of its first latent, batch shape ``(len(x),)``; it may not be called
    inside a plate.
    """

    def use_encoder(self, encode: Callable[[Tensor], Any]) -> None: ...


def no_guide(x: Tensor) -> None:
    """The empty guide: SVI with it is maximum likelihood."""


class Pair:
    """A model/guide pair over batches ``x`` of shape ``(n, *event.shape)``.

    Usually made by `build`; any two Pyro programs will do. Where ``event`` is a record, ``x`` is packed, and the
    programs are given its fields as arguments by name: ``model(x, y=None)`` (see `zoo.pairs.records.ByFields`).

    Args:
        event: shape and support of one datum.
        model: the generative program; observes ``x`` (or, if it is implicit, returns it by ``pyro.deterministic``).
        guide: the inference program, empty for a model without latents.
        extras: the object that may offer ``log_prob`` and the other optional methods.
        family: name of the family, for the scores' columns (as is the attribute ``group``).
        guide_name: name of the guide, for the same.
        example: a batch on which both programs are run once, so that all parameters exist; zeros by default.

    Raises:
        ContractError: a program does not run on a small batch of ``event``.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from zoo import Event, Pair, log_prob
        >>> def coins(x):
        ...     bias = pyro.param("bias", torch.full((3,), 0.5))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Bernoulli(bias).to_event(1), obs=x)
        >>> pair = Pair(Event(3, "binary"), coins)
        >>> list(pair.state())
        ['param.bias']
        >>> log_prob(pair, torch.zeros(2, 3)).exp().tolist()
        [0.125, 0.125]
    """

    def __init__(
        self,
        event: Event,
        model: Program,
        guide: Program = no_guide,
        *,
        extras: object = None,
        family: str = "pair",
        guide_name: str = "",
        example: Tensor | None = None,
    ) -> None:
        self.event = event
        self.family, self.guide_name, self.group = family, guide_name, ""
        self.in_own_units = True
        """It takes real data as they are; a family that is built for any event takes them standardised."""
        self.recipe: Mapping[str, Any] = {}
        """How its family is trained by default; empty for a pair of no family, which the common defaults train."""
        self.extras = extras
        self.is_relative = False
        """Its log-probabilities may leave out a constant: see `relative`."""
        self._model = ByFields(event, model)
        self._guide = ByFields(event, guide, model=self._model)
        self.takes = self._model.takes
        """Names of the fields that the model takes."""
        for each in event.fields:
            if each.role == "observed" and each.name not in self.takes:
                raise ContractError(
                    f"the model of {self.label} has no argument {each.name!r}, an observed field of {event}: give it "
                    "one, and observe it, or leave the field out of the event"
                )
        self.store: dict[str, dict[str, Any]] = {"params": {}, "constraints": {}}
        self.modules = find_modules(model, guide)
        separate_stores(self.modules)
        self.example = event.zeros(2) if example is None else example[:2].clone()
        self._materialise(self.example)
        self.structure = self._read_structure(self.example[:1])
        self.unlabelled  # noqa: B018 (made now, so that parameters that only it uses exist)

    @property
    def label(self) -> str:
        """Its full name: see `zoo.scores.label`."""
        return label(self.family, self.guide_name)

    def model(self, x: Tensor) -> Any:
        """Run the generative program."""
        with self.scope(), WholeBatch(len(x)), Relative() if self.is_relative else nullcontext():
            return self._model(x)

    def guide(self, x: Tensor) -> Any:
        """Run the inference program."""
        with self.scope(), WholeBatch(len(x)):
            return self._guide(x)

    @property
    def relative(self) -> Pair:
        """This pair with log-probabilities up to a constant where they are of a density whose log Z is unknown.

        Only differences between data are right (see `zoo.distributions.unnormalised`). It shares all parameters.
        """
        other = copy(self)
        other.__dict__.pop("unlabelled", None)  # it has one of its own
        other.is_relative = True
        return other

    @property
    def device(self) -> torch.device:
        """The device of the parameters; the CPU for a pair without any."""
        held = (chain(module.parameters(), module.buffers()) for module in self.modules.values())
        return next(chain(*held, self.store["params"].values()), torch.empty(0)).device

    @cached_property
    def layout(self) -> Layout:
        """Where the entries of ``x`` stand in the observed sites (see `zoo.pairs.layout`).

        Raises:
            ContractError: what the model observes is not ``x``.
        """
        return learn_layout(self)

    def parameters(self) -> list[nn.Parameter]:
        """Every trainable tensor, once."""
        return list({id(tensor): tensor for tensor in self.named_parameters().values()}.values())

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Trainable tensors by their names in `state`."""
        own = module_parameters(self.modules).items()
        return {name: parameter for name, parameter in own if parameter.requires_grad} | self._loose()

    def state(self) -> dict[str, Tensor]:
        """Every parameter and buffer by name: the tensors themselves, not copies."""
        tensors = {
            f"{part}.{name}": tensor
            for part, module in self.modules.items()
            for name, tensor in module.state_dict(keep_vars=True).items()
        }
        return {name: tensor.detach() for name, tensor in (tensors | self._loose()).items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state`` into this pair.

        Raises:
            RunError: names or shapes differ from this pair's; nothing is copied then.
        """
        own = self.state()
        wrong = sorted(set(own) ^ set(state)) or [n for n in own if own[n].shape != state[n].shape]
        if wrong:
            raise RunError(
                f"weights do not fit {self.label}: {wrong[0]!r} differs; build it with the run's own settings"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def to(self, device: torch.device | str) -> Pair:
        """Move every parameter and buffer to ``device``."""
        names = {id(tensor): name for name, tensor in module_parameters(self.modules).items()}
        homes = {name: names.get(id(tensor)) for name, tensor in self.store["params"].items()}
        for module in self.modules.values():
            module.to(device)
        separate_stores(self.modules)
        moved = module_parameters(self.modules)
        for name, home in homes.items():
            loose = self.store["params"][name]
            self.store["params"][name] = moved[home] if home else loose.detach().to(device).requires_grad_()
        return self

    def train(self, mode: bool = True) -> Pair:
        """Switch to training mode (dropout on) or, with ``mode=False``, to evaluation mode."""
        for module in self.modules.values():
            module.train(mode)
        return self

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients inside the block; the previous modes are restored afterwards."""
        training = [part for module in self.modules.values() for part in module.modules() if part.training]
        if training:
            self.train(False)
        try:
            with torch.no_grad(), pyro.validation_enabled(False):
                yield
        finally:
            for part in training:
                part.training = True

    def _loose(self) -> dict[str, Any]:
        """The (unconstrained) tensors of the store that belong to no module."""
        held = {id(parameter) for parameter in module_parameters(self.modules).values()}
        return {f"param.{name}": tensor for name, tensor in self.store["params"].items() if id(tensor) not in held}

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Use this pair's parameter store as Pyro's global one inside the block."""
        with pyro.settings.context(module_local_params=True), pyro.get_param_store().scope(self.store):
            yield

    @cached_property
    def unlabelled(self) -> Pair:
        """This pair for data without a label: its parameters are these, and its programs are given ``None`` for it.

        Raises:
            ContractError: a program does not run without the label.
        """
        label = self.event.label
        if label is None:
            return self
        other = copy(self)
        other.__dict__.pop("layout", None)  # it has one of its own
        other.event = self.event.unlabelled
        other._model, other._guide = (each.without(label.name) for each in (self._model, self._guide))
        other.takes = self.takes - {label.name}
        try:
            other.example = self.event.drop_label(self.example).to(self.device)
            other._materialise(other.example)
            other.structure = other._read_structure(other.example[:1])
        except ContractError as error:
            hint = f"where {label.name} is missing it is None; if it never is, give it the role observed"
            raise ContractError(f"{error}; {hint}") from error
        return other

    def _materialise(self, x: Tensor) -> None:
        """Run both programs once, so that parameters created on first use exist."""
        for word, program in (("model", self.model), ("guide", self.guide)):
            wrong = f"the {word} of {self.label} does not run on a batch of shape {tuple(x.shape)} ({self.event})"
            with running(wrong, OTHER_SHAPE), self.evaluating(), pyro.poutine.block(), Brief():
                program(x)
        for name in stray_parameters(self.modules):
            raise ContractError(
                f"pyro.param({name!r}, ...) in a PyroModule of {self.label} would be neither trained nor saved; "
                f"make it an attribute: self.{name} = PyroParam(...)"
            )

    def _read_structure(self, datum: Tensor) -> Structure:
        wrong = f"model and guide of {self.label} do not run together on batches of {self.event}"
        with running(wrong, OTHER_SHAPE), self.evaluating(), pyro.poutine.block(), Brief(), seeded(0):
            return read_structure(self.model, self.guide, datum)
