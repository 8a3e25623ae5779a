"""A pixel of several colours: a mixture of logistics rounded to levels, each colour given the colours before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from zoo.distributions.discretised import DiscretisedLogistic
from zoo.distributions.levels import Levels


class ColourMixture(TorchDistribution):
    """C entries whose components are shared, and whose means are linear in the entries before them.

        P(x_1, ..., x_C) = sum_k w_k prod_c P(x_c; mu_kc, s_kc)        w = softmax(logits)
        mu_kc = m_kc + sum_(j<c) a_kcj x_j                             in units where the levels go from -1 to 1

    Each factor is a `DiscretisedLogistic`, so the masses of all x sum to one. Of red, green and blue: green is given
    red, blue is given both.

    Args:
        parameters: shape ``(*batch, components * (1 + 2 C + C (C - 1) / 2))``: logits, m, log s, and a before its tanh.
        colours: C.
        levels: K, of each entry.
        batch_shape: by default that of the parameters.

    Example:
        >>> pixel = ColourMixture(torch.zeros(5, 2 * count_of(3)), colours=3, levels=4)
        >>> pixel.batch_shape, pixel.event_shape, pixel.sample().shape
        (torch.Size([5]), torch.Size([3]), torch.Size([5, 3]))

    Reference:
        Salimans et al. 2017, arXiv:1701.05517, section 2.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, parameters: Tensor, colours: int, levels: int, batch_shape: Any = None, validate_args: Any = None
    ) -> None:
        shape = parameters.shape[:-1] if batch_shape is None else torch.Size(batch_shape)
        self.parameters, self.colours, self.levels = parameters.expand(*shape, -1), colours, levels
        each = self.parameters.unflatten(-1, (-1, count_of(colours)))  # (*batch, components, numbers)
        self.logits, self.loc = each[..., 0].log_softmax(-1), each[..., 1 : 1 + colours]
        self.scale = each[..., 1 + colours : 1 + 2 * colours].clamp(-7, 7).exp()
        self.slopes = each[..., 1 + 2 * colours :].tanh()
        super().__init__(shape, torch.Size([colours]), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return constraints.independent(constraints.integer_interval(0, self.levels - 1), 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ColourMixture:
        return ColourMixture(self.parameters, self.colours, self.levels, batch_shape, validate_args=False)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            wide = self.expand(torch.Size(sample_shape) + self.batch_shape)
            entries = list[Tensor]()
            for _ in range(self.colours):
                entries.append(Levels(logits=wide.conditional(entries), validate_args=False).sample())
            return torch.stack(entries, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        entries = value.unbind(-1)
        total = self.logits
        for colour, entry in enumerate(entries):
            total = total + self._factor(colour, entries[:colour]).log_prob(entry.unsqueeze(-1))
        return total.logsumexp(-1)

    def conditional(self, before: Sequence[Tensor]) -> Tensor:
        """log P of each level of the next entry given those ``before`` it, each ``(*batch,)``: ``(*batch, levels)``."""
        weights = self.logits
        for colour, entry in enumerate(before):
            weights = weights + self._factor(colour, before[:colour]).log_prob(entry.unsqueeze(-1))
        level = torch.arange(self.levels, dtype=self.loc.dtype, device=self.loc.device)
        factor = self._factor(len(before), before)
        each = DiscretisedLogistic(factor.loc[..., None], factor.scale[..., None], self.levels, validate_args=False)
        return (weights.log_softmax(-1).unsqueeze(-1) + each.log_prob(level)).logsumexp(-2)

    def _factor(self, colour: int, before: Sequence[Tensor]) -> DiscretisedLogistic:
        """An entry in each component, batch shape ``(*batch, components)``."""
        half, first = (self.levels - 1) / 2, colour * (colour - 1) // 2
        loc = self.loc[..., colour]
        for place, entry in enumerate(before):
            loc = loc + self.slopes[..., first + place] * (entry / half - 1).unsqueeze(-1)
        return DiscretisedLogistic(half * (1 + loc), half * self.scale[..., colour], self.levels, validate_args=False)


def count_of(colours: int) -> int:
    """Parameters of each component."""
    return 1 + 2 * colours + colours * (colours - 1) // 2


def spread_over_levels(counts: Tensor, components: int, colours: int) -> Tensor:
    """Parameters with evenly spaced components, weighted by how often their levels occur.

    Args:
        counts: of levels, ``(..., levels)``, of one colour or the sum of all.
        components, colours: of the mixture.

    Returns:
        Shape ``(..., components * count_of(colours))``.
    """
    centres, place = (torch.linspace(-1, 1, n, device=counts.device) for n in (components, counts.shape[-1]))
    gap = 2 / max(1, components - 1)
    near = (1 - (place[:, None] - centres).abs() / gap).clamp(min=0)
    each = counts.new_zeros(*counts.shape[:-1], components, count_of(colours))
    each[..., 0] = (counts @ near.to(counts) + 1).log()
    each[..., 1 : 1 + colours] = centres[:, None]
    each[..., 1 + colours : 1 + 2 * colours] = torch.tensor(gap / 3).log()
    return each.flatten(-2)
