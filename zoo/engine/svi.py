"""`pyro.infer.SVI` by the engine, for Pyro programs that are not part of the zoo."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.engine.cost import Mode
from zoo.engine.engine import Engine, compile
from zoo.engine.objectives import Objective
from zoo.engine.stepping import Stepper
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.pair import Pair, Program, no_guide


class CompiledSVI:
    """`pyro.infer.SVI` for a plain Pyro pair, with the step recorded and compiled.

    The first step makes the parameters, and with them ``pair`` and ``optimiser``: schedulers of torch take the
    optimizer, and ``pair.named_parameters()`` are what one averages.

    Args:
        model: the generative program over a batch ``x``, shape ``(n, ...)``.
        guide: the inference program; may be left out where nothing is latent.
        optim: makes any optimizer of torch from a list of parameters.
        loss: see `zoo.engine.objectives`; the ELBO with one particle by default, in which a batch is all data. Where
            latents are shared by N data, ``elbo(size=N)`` spreads their terms over them.
        engine: ``compiled``, ``traced`` or ``eager``.
        clip: the largest norm of the gradient; not clipped by default.

    Raises:
        ZooError: an unknown engine (in the first step).

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> def model(x):
        ...     loc = pyro.param("loc", torch.zeros(()))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(loc, 1.0), obs=x)
        >>> svi = CompiledSVI(model, optim=lambda p: torch.optim.Adam(p, lr=0.1), engine="traced")
        >>> losses = [float(svi.step(torch.full((10,), 2.0))) for _ in range(100)]
        >>> round(losses[0], 3), round(losses[-1], 1), svi.reason
        (2.919, 0.9, '')
    """

    def __init__(
        self,
        model: Program,
        guide: Program = no_guide,
        optim: Callable[[list[nn.Parameter]], torch.optim.Optimizer] = torch.optim.Adam,
        loss: Objective | None = None,
        engine: Mode = "compiled",
        clip: float | None = None,
    ) -> None:
        self.model, self.guide, self.optim, self.loss, self.mode, self.clip = model, guide, optim, loss, engine, clip
        self._started: tuple[Engine, Stepper] | None = None

    def step(self, x: Tensor, beta: float = 1.0) -> Tensor:
        """Take one optimizer step.

        Args:
            x: a batch, shape ``(n, ...)``.
            beta: the weight of the latents' terms.

        Returns:
            The loss in nats per datum, a scalar tensor that has not been waited for.
        """
        if self._started is None:
            pair = Pair(Event(tuple(x.shape[1:]) or (1,), "real"), self.model, self.guide, example=x)
            self._started = compile(pair, self.loss, mode=self.mode), Stepper(self.optim(pair.parameters()))
        engine, stepper = self._started
        loss = engine(x, beta)
        if self.clip:
            torch.nn.utils.clip_grad_norm_(engine.pair.parameters(), self.clip)
        stepper.step()
        return loss

    @property
    def pair(self) -> Pair:
        """What is trained (after the first step)."""
        return self._after_the_first_step()[0].pair

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """What trains it (after the first step)."""
        return self._after_the_first_step()[1].optimiser

    @property
    def reason(self) -> str:
        """Why the last step ran in a plainer mode; empty if it did not."""
        return self._started[0].reason if self._started else ""

    def _after_the_first_step(self) -> tuple[Engine, Stepper]:
        if self._started is None:
            raise ZooError("parameters are made by the first step: call step(x) before")
        return self._started
