"""Evaluations asked of runs on disk; what was answered stays in the run's folder and is not asked again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from zoo.codec.bottleneck import no_bottleneck
from zoo.codec.lossy import LossyCodec, compress_at_widths
from zoo.data import Dataset
from zoo.devices import pick_device
from zoo.errors import RunError
from zoo.event import Event
from zoo.files import cached_tensors, digest_of, read_json, write_json
from zoo.metrics.plane import POINTS
from zoo.metrics.plane import views as views_of
from zoo.pairs.traces import sample
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.runs.run import Run
from zoo.scores import Score
from zoo.seeding import seeded

IMAGES = 24
"""Samples of each run kept for the report, of points in the plane `POINTS`."""
CODED, GRIDS = 8, (6.0, 3.0, 1.0)
"""Test data that the report shows after lossy coding, and the grids of the latents (see `zoo.codec.lossy`)."""


def finished(run: Run, data: Dataset, device: str = "auto") -> TrainedRun:
    """The run as an evaluation sees it.

    Raises:
        RunError: it has not ended, or its files are damaged.
    """
    status = run.status
    if not run.done:
        raise RunError(
            f"{run.folder} has not finished ({status['status']}: {status.get('reason') or 'train it first'})"
        )
    pair = run.pair().to(pick_device(device))
    data = data.reshaped(pair.event).to(pair.device)
    return TrainedRun(
        pair,
        data,
        run.config.seed,
        run.history,
        status["status"],
        status.get("reason", ""),
        run.folder,
        run.folder.parent.parent / f"data-{digest_of([run.config.fingerprint, run.config.event])[:16]}",
    )


def ask(run: Run, data: Dataset, name: str, settings: Settings, device: str = "auto") -> list[Score]:
    """The scores of one run by one evaluation, measured once for the same settings (again where one failed)."""
    scores = stored(run, name, settings)
    if scores is None or any(score.status == "failed" for score in scores):
        scores = evaluate(name, [finished(run, data, device)], settings)
        told = asdict(settings) | {"run": run.config.digest}
        write_json(_place(run, name), {"settings": told, "scores": [asdict(score) for score in scores]})
    return scores


def stored(run: Run, name: str, settings: Settings) -> list[Score] | None:
    """What `ask` found for these settings, if it was asked.

    Raises:
        RunError: the file is damaged.
    """
    path = _place(run, name)
    if not path.exists():
        return None
    try:
        told = read_json(path)
        scores = [Score(**row) for row in told["scores"]]
        return scores if told["settings"] == asdict(settings) | {"run": run.config.digest} else None
    except (TypeError, KeyError) as error:
        raise RunError(f"{path} is damaged ({error}); delete it to measure anew") from error


def _place(run: Run, name: str) -> Path:
    return run.folder / "scores" / f"{name}.json"


def ask_together(runs: Sequence[Run], data: Dataset, name: str, settings: Settings) -> list[Score]:
    """The scores of all seeds of one family by one evaluation over seeds."""
    return evaluate(name, [finished(run, data, "cpu") for run in runs], settings)


def shown(event: Event) -> int:
    """How many data of an event a report shows."""
    return POINTS if event.shape == (2,) else IMAGES


def pictures(run: Run) -> torch.Tensor:
    """Some samples of a run (see `shown`), drawn once: shape ``(n, *event.shape)``."""

    def drawn() -> dict[str, torch.Tensor]:
        pair = run.pair()
        with seeded(0):
            return {"x": sample(pair, shown(pair.event))}

    return _once(run, "samples", drawn)["x"]


def views(run: Run, data: Dataset) -> dict[str, torch.Tensor]:
    """What a run shows in the plane (see `zoo.metrics.plane.views`), made once from the first test data."""

    def seen() -> dict[str, torch.Tensor]:
        pair = run.pair()
        with seeded(0):
            return views_of(pair, data.reshaped(pair.event).test)

    return _once(run, "views", seen)


def reconstructions(run: Run, data: Dataset) -> dict[str, torch.Tensor]:
    """The first `CODED` test data as lossy codes of the whole split give them back, made once.

    Grid (``"3"``) -> shape ``(n, *event.shape)``; empty for a run without a bottleneck.
    """

    def coded() -> dict[str, torch.Tensor]:
        pair = run.pair()
        if no_bottleneck(pair):
            return {}
        codec = LossyCodec(pair)
        made = compress_at_widths(codec, data.reshaped(pair.event).test, path=run.folder / "lossy.safetensors")
        latents = {f"{width:g}": codec.decode(made[width])[:CODED] for width in GRIDS}
        return {width: torch.from_numpy(codec.reconstruct(z)) for width, z in latents.items()}

    return _once(run, "reconstructions", coded)


def _once(run: Run, name: str, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return cached_tensors(run.folder / f"{name}.safetensors", run.config.digest, make)


def rows(scores: Sequence[Score], **where: Any) -> list[dict[str, Any]]:
    """Tidy rows of scores that share their place."""
    return [score.row(**where) for score in scores]
