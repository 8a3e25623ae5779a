"""Distributions that Pyro does not have, as `pyro.distributions` classes, and how an event is observed under one.

They know events and nothing else of the zoo; each is tested like a distribution of Pyro.
"""

from zoo.distributions.dequantisation import ClosedUniform, Floor, dequantise, observe
from zoo.distributions.discretised import DiscretisedLogistic, DiscretisedNormal, LogisticMixture
from zoo.distributions.levels import Levels, level_counts
from zoo.distributions.likelihoods import likelihood, parameters_per_entry

__all__ = [
    "ClosedUniform",
    "DiscretisedLogistic",
    "DiscretisedNormal",
    "Floor",
    "Levels",
    "LogisticMixture",
    "dequantise",
    "level_counts",
    "likelihood",
    "observe",
    "parameters_per_entry",
]
