"""Data about whose class the classifier is least certain."""

from __future__ import annotations

from torch import Tensor

from zoo.experiments.query import Query
from zoo.pairs.registry import acquisition


@acquisition("entropy", paper="Settles 2009, Active Learning Literature Survey, section 3.1")
def entropy(query: Query) -> Tensor:
    """The highest entropy of p(y | x).

    H(x) = - sum_y p(y | x) log p(y | x), in nats.
    """
    return query.lowest((query.log_probs.exp() * query.log_probs).sum(1))
