"""my_evaluation: say in one sentence what it measures.

Next: zoo evaluate ppca -e my_evaluation --with my_evaluation.py
"""

from collections.abc import Sequence

import torch

import zoo


@zoo.evaluation("my_evaluation")  # over="seeds" is given all seeds of a family; alone=True keeps the machine idle
def my_evaluation(runs: Sequence[zoo.TrainedRun], settings: zoo.Settings) -> list[zoo.Score]:
    """``nearest``: mean distance from a test datum to the nearest of as many samples, in the data's units."""
    (run,) = runs
    if run.status != "finished":
        return [zoo.Score.failed("nearest", f"the run {run.status}")]
    test = run.data.test[: settings.samples]
    drawn = zoo.sample(run.pair, len(test))
    distances = torch.cdist(test.flatten(1), drawn.flatten(1)).amin(1)
    return [zoo.mean_score("nearest", distances, "units", "estimate")]
