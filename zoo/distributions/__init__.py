"""Distributions that Pyro does not have, as `pyro.distributions` classes, and how an event is observed under one.

This room depends on events only. Each distribution is swept by the laws in tests/test_distributions.py.
"""

from zoo.distributions.dequantisation import ClosedUniform, Floor, dequantise, observe
from zoo.distributions.discretised import DiscretisedLogistic, DiscretisedNormal, LogisticMixture
from zoo.distributions.levels import Levels, level_counts
from zoo.distributions.likelihoods import likelihood, parameters_per_entry
from zoo.distributions.unnormalised import Unnormalised

__all__ = [
    "ClosedUniform",
    "DiscretisedLogistic",
    "DiscretisedNormal",
    "Floor",
    "Levels",
    "LogisticMixture",
    "Unnormalised",
    "dequantise",
    "level_counts",
    "likelihood",
    "observe",
    "parameters_per_entry",
]
