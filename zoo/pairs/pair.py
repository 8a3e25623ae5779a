"""A model/guide pair in use: its parameters, wherever they live, and the two programs.

The programs may be methods of one `torch.nn.Module`, two ``PyroModule`` instances, or plain functions with
``pyro.param`` and ``pyro.module``. Each pair has a parameter store of its own, so that any number of them live in one
process.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol, runtime_checkable

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from zoo.errors import ContractError, RunError
from zoo.event import Event
from zoo.scores import label

Program = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Player:
    """One side of an objective: ``loss(x)`` is a scalar, in nats per datum where it is a likelihood, minimised over
    ``parameters``.

    ``options`` go to this player's optimiser over those of the recipe (for instance ``{"betas": (0.5, 0.9)}``).
    """

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[[Tensor], Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class HasLogProb(Protocol):
    """Optional extra of a family: the exact log-probability, shape ``(n,)``, in nats."""

    def log_prob(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class HasPlayers(Protocol):
    """Optional extra: an objective of its own, for what is not trained by an ELBO.

    Players move in turn, each on the same batch.
    """

    def players(self) -> Sequence[Player]: ...


@runtime_checkable
class HasInitialise(Protocol):
    """Optional extra: parameters set from training data ``x``, shape ``(n, *event.shape)``, before the first step."""

    def initialise(self, x: Tensor) -> None: ...


@runtime_checkable
class NeedsEncoder(Protocol):
    """Optional extra of any module inside a model: it is told how the guide sees data.

    ``encode(x)`` is the guide's distribution of its first latent, batch shape ``(len(x),)``; it may not be called
    inside a plate.
    """

    def use_encoder(self, encode: Callable[[Tensor], Any]) -> None: ...


def no_guide(x: Tensor) -> None:
    """The empty guide: SVI with it is maximum likelihood."""


class Pair:
    """A model/guide pair over batches ``x`` of shape ``(n, *event.shape)``.

    Args:
        event: what one datum is.
        model: the generative program; observes ``x`` (or, implicit, returns it by ``pyro.deterministic``).
        guide: the inference program, `no_guide` where nothing is latent.
        extras: the object that may offer ``log_prob``, ``players`` and ``initialise``.
        example: a batch to run them on once (zeros, if it is not given).
        family, guide_name: where the pair came from, for the scores' columns (as is the attribute ``group``).

    Raises:
        ContractError: the programs do not run on a small batch of ``event``.
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
        self.extras = extras
        self._model, self._guide = model, guide
        self.store: dict[str, dict[str, Any]] = {"params": {}, "constraints": {}}
        self.modules = _joined(_modules(model), _modules(guide))
        self._localise()
        self._materialise(torch.zeros(2, *event.shape) if example is None else example[:2])

    @property
    def label(self) -> str:
        """What it is called: `zoo.scores.label`."""
        return label(self.family, self.guide_name)

    def model(self, x: Tensor) -> Any:
        """Run the generative program."""
        with self.scope():
            return self._model(x)

    def guide(self, x: Tensor) -> Any:
        """Run the inference program."""
        with self.scope():
            return self._guide(x)

    @property
    def device(self) -> torch.device:
        """Where the parameters are (the CPU for a pair without any)."""
        held = (chain(module.parameters(), module.buffers()) for module in self.modules.values())
        return next(chain(*held, self.store["params"].values()), torch.empty(0)).device

    def parameters(self) -> list[nn.Parameter]:
        """Every trainable tensor, once."""
        unique = {id(tensor): tensor for tensor in self.named_parameters().values()}
        return list(unique.values())

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Trainable tensors by their names in `state`."""
        named: dict[str, Any] = {
            f"{part}.{name}": parameter
            for part, module in self.modules.items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        return named | self._loose()

    def state(self) -> dict[str, Tensor]:
        """Every parameter and buffer by name: the tensors themselves, not copies."""
        tensors = {
            f"{part}.{name}": tensor
            for part, module in self.modules.items()
            for name, tensor in module.state_dict(keep_vars=True).items()
        }
        return {name: tensor.detach() for name, tensor in (tensors | self._loose()).items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy ``state`` in.

        Raises:
            RunError: names or shapes differ from this pair's.
        """
        own = self.state()
        strange = sorted(set(own) ^ set(state)) or [n for n in own if own[n].shape != state[n].shape]
        if strange:
            raise RunError(
                f"weights do not fit {self.label}: {strange[0]!r} differs; build it with the run's own settings"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def to(self, device: torch.device | str) -> Pair:
        """Move every parameter and buffer."""
        names = {id(tensor): (part, name) for part, name, tensor in self._module_parameters()}
        homes = {name: names.get(id(tensor)) for name, tensor in self.store["params"].items()}
        for module in self.modules.values():
            module.to(device)
        self._localise()
        moved = {(part, name): tensor for part, name, tensor in self._module_parameters()}
        for name, home in homes.items():
            loose = self.store["params"][name]
            self.store["params"][name] = moved[home] if home else loose.detach().to(device).requires_grad_()
        return self

    def train(self, mode: bool = True) -> Pair:
        """Training mode (dropout on) or, with ``mode=False``, evaluation mode."""
        for module in self.modules.values():
            module.train(mode)
        return self

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode without gradients; the modes of before return afterwards."""
        training = [part for module in self.modules.values() for part in module.modules() if part.training]
        if training:
            self.train(False)
        try:
            with torch.no_grad(), pyro.validation_enabled(False):
                yield
        finally:
            for part in training:
                part.training = True

    def _module_parameters(self) -> Iterator[tuple[str, str, nn.Parameter]]:
        for part, module in self.modules.items():
            for name, parameter in module.named_parameters():
                yield part, name, parameter

    def _loose(self) -> dict[str, Any]:
        """The store's own (unconstrained) tensors: those that no module holds."""
        held = {id(parameter) for _, _, parameter in self._module_parameters()}
        return {f"param.{name}": tensor for name, tensor in self.store["params"].items() if id(tensor) not in held}

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Inside, Pyro's global parameter store is this pair's own."""
        with pyro.settings.context(module_local_params=True), pyro.get_param_store().scope(self.store):
            yield

    def _localise(self) -> None:
        """Give every ``PyroModule`` its own store, as Pyro does to those made under ``module_local_params``."""
        for context in self._contexts():
            context.param_state = {"params": {}, "constraints": {}}

    def _contexts(self) -> Iterator[Any]:
        for module in self.modules.values():
            yield from (part._pyro_context for part in module.modules() if isinstance(part, PyroModule))

    def _materialise(self, x: Tensor) -> None:
        """Run both programs once, so that parameters made on first use exist."""
        for word, program in (("model", self.model), ("guide", self.guide)):
            try:
                with self.evaluating(), pyro.poutine.block():
                    program(x)
            except ContractError:
                raise
            except Exception as error:  # a stranger's program may raise anything: it is named, not hidden
                raise ContractError(
                    f"the {word} of {self.label} does not run on a batch of shape {tuple(x.shape)} ({self.event}): "
                    f"{type(error).__name__}: {error}; if it is written for another shape, say so by "
                    "`event = zoo.Event(...)` in its file or by --event such as 64:binary"
                ) from error
        self._refuse_strays()

    def _refuse_strays(self) -> None:
        held = {id(parameter) for _, _, parameter in self._module_parameters()}
        made = {name: tensor for context in self._contexts() for name, tensor in context.param_state["params"].items()}
        for name, tensor in made.items():
            if id(tensor) not in held:
                raise ContractError(
                    f"pyro.param({name!r}, ...) in a PyroModule of {self.label} would be neither trained nor saved; "
                    f"make it an attribute: self.{name} = PyroParam(...)"
                )


def _modules(program: Program) -> dict[str, nn.Module]:
    """The modules that a program keeps its parameters in, by name."""
    if isinstance(program, nn.Module):
        return {type(program).__name__: program}
    if inspect.ismethod(program):
        owner = program.__self__
        return {type(owner).__name__: owner} if isinstance(owner, nn.Module) else _only_modules(vars(owner))
    function = inspect.unwrap(program)
    if not inspect.isfunction(function):
        return {}
    seen = inspect.getclosurevars(function)
    return _only_modules({**seen.globals, **seen.nonlocals})


def _only_modules(values: Mapping[str, Any]) -> dict[str, nn.Module]:
    return {name: value for name, value in values.items() if isinstance(value, nn.Module)}


def _joined(first: Mapping[str, nn.Module], second: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Both, each module once; another module of the same name is called ``guide.NAME``."""
    held = set(first.values())
    new = {name: module for name, module in second.items() if module not in held}
    return {**first, **{f"guide.{name}" if name in first else name: module for name, module in new.items()}}
