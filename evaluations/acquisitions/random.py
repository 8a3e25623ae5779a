"""Data at random."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.experiments.query import Query
from zoo.pairs.registry import acquisition


@acquisition("random", paper="the baseline of Settles 2009, Active Learning Literature Survey")
def random(query: Query) -> Tensor:
    """Data drawn from the pool at random, without replacement: what any other way has to beat."""
    return torch.randperm(len(query.pool), generator=query.generator)[: query.count]
