"""Data between two classes."""

from __future__ import annotations

from torch import Tensor

from zoo.experiments.query import Query
from zoo.pairs.registry import acquisition


@acquisition("margin", paper="Scheffer et al. 2001, Active Hidden Markov Models for Information Extraction")
def margin(query: Query) -> Tensor:
    """The smallest difference between the probabilities of the two most probable classes."""
    best, second = query.log_probs.exp().topk(2, dim=1).values.T
    return query.lowest(best - second)
