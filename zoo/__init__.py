"""A probabilistic-programming model zoo: declare a Pyro model/guide pair; train, measure and compare it.

Names are imported on first use, so that ``import zoo`` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.data import Dataset as Dataset
    from zoo.data import load_data as load_data
    from zoo.data import standardised as standardised
    from zoo.distributions import dequantise as dequantise
    from zoo.distributions import likelihood as likelihood
    from zoo.distributions import observe as observe
    from zoo.distributions import parameters_per_entry as parameters_per_entry
    from zoo.engine.svi import CompiledSVI as CompiledSVI
    from zoo.errors import ZooError as ZooError
    from zoo.event import Event as Event
    from zoo.experiments.query import Query as Query
    from zoo.pairs.build import amortise as amortise
    from zoo.pairs.build import build as build
    from zoo.pairs.pair import Pair as Pair
    from zoo.pairs.pair import Player as Player
    from zoo.pairs.registry import acquisition as acquisition
    from zoo.pairs.registry import column as column
    from zoo.pairs.registry import dataset as dataset
    from zoo.pairs.registry import evaluation as evaluation
    from zoo.pairs.registry import family as family
    from zoo.pairs.registry import guide as guide
    from zoo.pairs.registry import prior as prior
    from zoo.pairs.sampling import sample as sample
    from zoo.pairs.traces import capabilities as capabilities
    from zoo.pairs.traces import log_prob as log_prob
    from zoo.pairs.traces import log_weights as log_weights
    from zoo.runs.evaluation import Settings as Settings
    from zoo.runs.evaluation import TrainedRun as TrainedRun
    from zoo.runs.evaluation import mean_score as mean_score
    from zoo.scores import Score as Score
    from zoo.training.loop import fit as fit
    from zoo.training.recipe import Recipe as Recipe
    from zoo.use.inference_data import to_arviz as to_arviz
    from zoo.use.load import load as load
    from zoo.use.model import TrainedModel as TrainedModel
    from zoo.use.scoring import score as score

__version__ = "0.1.0"
_HOMES = {
    "zoo.data": ("Dataset", "load_data", "standardised"),
    "zoo.distributions": ("dequantise", "likelihood", "observe", "parameters_per_entry"),
    "zoo.engine.svi": ("CompiledSVI",),
    "zoo.errors": ("ZooError",),
    "zoo.event": ("Event",),
    "zoo.experiments.query": ("Query",),
    "zoo.pairs.build": ("amortise", "build"),
    "zoo.pairs.pair": ("Pair", "Player"),
    "zoo.pairs.registry": ("acquisition", "column", "dataset", "evaluation", "family", "guide", "prior"),
    "zoo.pairs.sampling": ("sample",),
    "zoo.pairs.traces": ("capabilities", "log_prob", "log_weights"),
    "zoo.runs.evaluation": ("Settings", "TrainedRun", "mean_score"),
    "zoo.scores": ("Score",),
    "zoo.training.loop": ("fit",),
    "zoo.training.recipe": ("Recipe",),
    "zoo.use.inference_data": ("to_arviz",),
    "zoo.use.load": ("load",),
    "zoo.use.model": ("TrainedModel",),
    "zoo.use.scoring": ("score",),
}
_FORMER = {"abilities": "capabilities"}
"""Former name -> present name."""
__all__ = sorted([*_FORMER, *(name for names in _HOMES.values() for name in names)])


def __getattr__(name: str) -> Any:
    wanted = _FORMER.get(name, name)
    for home, names in _HOMES.items():
        if wanted in names:
            return getattr(import_module(home), wanted)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
