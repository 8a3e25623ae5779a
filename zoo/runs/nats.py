"""Nats of each test datum: an evaluation keeps them in the run's folder, and a comparison pairs those of two runs."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from torch import Tensor

from zoo.data import Dataset
from zoo.errors import ZooError
from zoo.files import read_tensors, write_tensors
from zoo.runs.evaluation import Settings, TrainedRun
from zoo.runs.run import Run
from zoo.scores import Score

FILE, NATS = "nats", "nats"


@dataclass(frozen=True)
class DatumNats:
    """Negative log-likelihoods of the test data in their order, shape ``(n,)``, and what they are of: ``p(x)``."""

    values: Tensor
    of: str


def keep_nats(run: TrainedRun, settings: Settings, values: Tensor, of: str) -> None:
    """Write the nats of each test datum to the run's folder, if it has one."""
    if path := run.file(FILE):
        note = {"settings": settings.key, "test": fingerprint_of_test(run.data), "of": of}
        write_tensors(path, {NATS: values.double()}, note)


def own_nats(run: TrainedRun, settings: Settings) -> Tensor | None:
    """The nats that `keep_nats` wrote for a run with these settings, shape ``(n,)``; ``None`` if there are none."""
    path = run.file(FILE)
    if path is None or not path.exists():
        return None
    tensors, note = read_tensors(path)
    same = note["settings"] == settings.key and note["test"] == fingerprint_of_test(run.data)
    return tensors[NATS] if same else None


def kept_nats(run: Run, data: Dataset, settings: Settings, score: Score) -> DatumNats:
    """The nats that `keep_nats` wrote for the run's ``score``, their mean.

    Raises:
        ZooError: there are none, or they are of other data, other settings or another score.
    """
    path = run.folder / f"{FILE}.safetensors"
    mend = f"delete {run.folder / 'scores' / 'likelihood.json'} to measure again"
    if not path.exists():
        raise ZooError(f"measured before the nats of each datum were kept; {mend}")
    tensors, note = read_tensors(path)
    values = tensors[NATS]
    if note["settings"] != settings.key or note["test"] != fingerprint_of_test(data):
        raise ZooError(f"its nats of each datum are of other test data or other settings; {mend}")
    if score.value is None or not math.isclose(float(values.mean()), score.value, rel_tol=1e-9, abs_tol=1e-12):
        raise ZooError(f"its nats of each datum have mean {float(values.mean()):g}, its score is {score.value}; {mend}")
    return DatumNats(values, note["of"])


def fingerprint_of_test(data: Dataset) -> str:
    """Which test data in which order, as they are in their own units, however they are arranged or standardised."""
    test = data.own_test.cpu().contiguous()
    return hashlib.sha256(f"{len(test)} ".encode() + test.numpy().tobytes()).hexdigest()[:16]
