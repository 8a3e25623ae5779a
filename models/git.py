"""General invertible transformations on integers."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from torch import Tensor, nn

from zoo.distributions import Levels, level_counts
from zoo.distributions.integer_transformed import IntegerTransformed
from zoo.errors import ZooError
from zoo.event import Event
from zoo.flows.flow import FLOW_RECIPE
from zoo.flows.integer import Arrange, Chain, Shift, coarse_to_fine, small_mlp
from zoo.pairs.registry import family

PSEUDOCOUNT = 0.5
"""Added to each level's count in the base."""


@family(
    "git",
    group="flow",
    paper="Tomczak 2020, arXiv:2011.15056",
    supports=("binary", "levels"),
    recipe=FLOW_RECIPE | {"steps": 3000, "lr": 1e-2, "weight_decay": 0.1, "average": 0.99},
)
class GIT(nn.Module):
    """General invertible transformations of integers: parts of the entries, each updated given all the others.

        z_d ~ Categorical_d, independent
        x_p -> (x_p + round(t_p(x_1, ..., x_(p-1), x_(p+1), ...))) mod K    for p = P, ..., 1; ``rounds`` times

    P = 4 is the paper's IDF4 and P = 8 its IDF8; P = 2 is the coupling of integer discrete flows. The mass is exact,
    and a datum is coded losslessly by coding z. On the finite alphabet sums are modulo K, so that x and z have the same
    K levels. The base starts at the training data's counts and every t at zero, so the flow starts as the model of
    independent entries. The parts are lattices of the grid, coarse to fine.

    Not promised: the gains of conditional models; a shift moves a distribution, it does not reshape it.

    Args:
        event: any shape, flattened; binary or of K levels.
        parts: P, at most the event's size.
        rounds: how often every part is updated; from the second round on, the parts are random.
        hidden: width of the two hidden layers of each t.
        dropout: share of those units dropped.

    Raises:
        ZooError: fewer than two parts, or an event of one dimension.

    Reference:
        Tomczak 2020, arXiv:2011.15056, section 3.2, equations 14 to 17.
    """

    def __init__(
        self, event: Event, *, parts: int = 4, rounds: int = 1, hidden: int = 128, dropout: float = 0.4
    ) -> None:
        super().__init__()
        if min(parts, event.size) < 2:
            raise ZooError(f"git updates two or more parts, got {min(parts, event.size)} of {event}")
        self.event, self.levels = event, event.levels or 0
        size = event.size
        steps = [
            Shift(part, size, self.levels, small_mlp(size - len(part), hidden, len(part), dropout))
            for order in (torch.arange(size) if i == 0 else torch.randperm(size) for i in range(rounds))
            for part in reversed(order.chunk(parts))
        ]
        self.flow = Chain(Arrange(event.shape, coarse_to_fine(event.shape)), *steps)
        self.logits = nn.Parameter(torch.zeros(size, self.levels))

    def model(self, x: Tensor) -> Any:
        """Observe ``x``, shape ``(n, *event.shape)``; the guide is empty."""
        with pyro.plate("data", len(x)):
            return pyro.sample("x", self.distribution(), obs=x)

    def distribution(self) -> IntegerTransformed:
        """The distribution of a datum, event shape ``event.shape``."""
        base = Levels(logits=self.logits).to_event(1)
        return IntegerTransformed(base, self.flow, self.levels, self.event.shape)

    def initialise(self, x: Tensor) -> None:
        """Start the base at the counts of ``x``, shape ``(n, *event.shape)``."""
        arrange: Any = self.flow.steps[0]
        self.logits.copy_((level_counts(self.levels, arrange(x)) + PSEUDOCOUNT).log())
