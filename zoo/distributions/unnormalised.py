"""Distributions whose densities are known up to a constant, and which say so of themselves."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from zoo.errors import ContractError


class Unnormalised(TorchDistribution):
    """p(x) = exp(log_density(x)) / Z, where log Z is unknown unless `normalised` says otherwise.

    A subclass gives a path of densities f_b from a base that is normalised and easy to draw from, b = 0, to its own,
    b = 1, with a transition that keeps each of them. Sampling follows the path, and so does annealed importance
    sampling of log Z (`zoo.metrics.normaliser`). The parameters are the same for all data: so is Z.

    Args:
        event_shape: shape of one draw.
        moves: transitions of one draw; the first half of them follows the path, the rest stays at b = 1. Draws are
            approximate.

    Reference:
        Neal 2001, Annealed importance sampling, Statistics and Computing 11.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    up_to_a_constant = False
    """``log_prob`` leaves out an unknown log Z instead of refusing (see `relative`)."""

    def __init__(self, event_shape: torch.Size, moves: int) -> None:
        self.moves = moves
        super().__init__(torch.Size(), event_shape, validate_args=False)

    @property
    def normalised(self) -> bool:
        """log Z is known exactly."""
        return False

    def log_normaliser(self) -> Tensor:
        """log Z, a scalar.

        Raises:
            ContractError: it is unknown.
        """
        raise ContractError(
            f"a {type(self).__name__} is unnormalised: its log-probabilities are known up to a constant, which the "
            "evaluation likelihood estimates; zoo.metrics.normaliser does so by itself"
        )

    def log_density(self, value: Tensor) -> Tensor:
        """log p(x) + log Z: ``(..., *event_shape)`` to ``(...)``."""
        return self.log_path(value, 1.0)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), or `log_density` of a distribution that is `relative`.

        Raises:
            ContractError: log Z is unknown.
        """
        if self.up_to_a_constant and not self.normalised:
            return self.log_density(value)
        log_z = self.log_normaliser()
        return (self.log_density(value).to(log_z) - log_z).to(value.dtype)

    def relative(self) -> Unnormalised:
        """The same with log-probabilities up to a constant: differences between data are right, values are not."""
        other = copy(self)
        other.up_to_a_constant = True
        return other

    def brief(self) -> Unnormalised:
        """The same whose draws take one move: for runs of which only the shapes are read."""
        other = copy(self)
        other.moves = 1
        return other

    def expand(self, batch_shape: Any, _instance: Any = None) -> Unnormalised:
        other = copy(self)
        other._batch_shape = torch.Size(batch_shape)
        return other

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        with torch.no_grad():
            x = self.base_sample(shape.numel())
            for move in range(1, self.moves + 1):
                x = self.move(x, min(1.0, 2 * move / self.moves))
        return x.reshape(shape + self.event_shape)

    def settled(self, n: int) -> Tensor:
        """Draws ``(n, *event_shape)`` that are as close to exact as is known; by default those of `sample`."""
        return self.expand(torch.Size([n])).sample()

    @abstractmethod
    def base_sample(self, n: int) -> Tensor:
        """Exact draws of the base, shape ``(n, *event_shape)``."""

    @abstractmethod
    def log_path(self, value: Tensor, b: float) -> Tensor:
        """log f_b: the log-density of the base, of integral 1, at b = 0, and `log_density` at b = 1."""

    def rise(self, value: Tensor, before: float, after: float) -> Tensor:
        """log f_after - log f_before: what annealing weighs by. A base that cancels may be left out."""
        return self.log_path(value, after) - self.log_path(value, before)

    @abstractmethod
    def move(self, x: Tensor, b: float) -> Tensor:
        """A reversible transition that keeps f_b, of draws ``(n, *event_shape)``."""
