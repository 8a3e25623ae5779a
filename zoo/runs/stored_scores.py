"""Scores, samples and views of runs on disk: each is computed once and kept in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from zoo.codec.bottleneck import no_bottleneck
from zoo.codec.lossy import LossyCodec, compress_at_widths
from zoo.data import Dataset
from zoo.devices import device_name, pick_device
from zoo.errors import RunError
from zoo.event import Event
from zoo.files import cached_tensors, digest_of, read_json, read_tensors, write_json
from zoo.metrics import plane
from zoo.pairs.sampling import contexts, sample
from zoo.runs.evaluation import KEPT, Settings, TrainedRun, evaluate
from zoo.runs.run import Run
from zoo.scores import Score
from zoo.seeding import seeded

IMAGES = 24
"""Samples of each run that a report shows; of points in the plane, `zoo.metrics.plane.POINTS`."""
CODED = 8
"""Test data that a report shows after lossy coding."""
GRIDS = (6.0, 3.0, 1.0)
"""The grids of the latents that it shows them for (see `zoo.codec.lossy`)."""


def trained_run(run: Run, data: Dataset, device: str = "auto") -> TrainedRun:
    """The run as an evaluation sees it.

    Raises:
        RunError: it has not ended, or its files are damaged.
        ContractError: its pair breaks a ground law.
    """
    status = run.status
    if not run.done:
        reason = status.get("reason") or "train it first"
        raise RunError(f"{run.folder} has not finished ({status['status']}: {reason})")
    config, pair = run.config, run.pair().to(pick_device(device))
    return TrainedRun(
        pair,
        data.to(pair.device),
        config.seed,
        run.history,
        status["status"],
        status.get("reason", ""),
        scored=status.get("scored", ""),
        drawn=status.get("drawn", 0),
        folder=run.folder,
        shared=run.folder.parent.parent / f"data-{digest_of([config.fingerprint, config.event])[:16]}",
        unchecked=config.unchecked,
    )


def evaluate_run(run: Run, data: Dataset, name: str, settings: Settings, device: str = "auto") -> list[Score]:
    """The scores of one run by one evaluation: those on disk, or new ones if there are none or one has failed."""
    scores = read_scores(run, name, settings)
    if scores is None or any(score.status == "failed" for score in scores):
        scores = evaluate(name, [trained_run(run, data, device)], settings)
        content = {
            "settings": _settings(run, settings),
            "scores": [asdict(score) for score in scores],
            "processor": device_name(pick_device(device)),
        }
        write_json(run.folder / "scores" / f"{name}.json", content)
    return scores


def evaluate_seeds(runs: Sequence[Run], data: Dataset, name: str, settings: Settings) -> list[Score]:
    """The scores of all seeds of one family by one evaluation over seeds; these are not kept."""
    return evaluate(name, [trained_run(run, data, "cpu") for run in runs], settings)


def read_scores(run: Run, name: str, settings: Settings) -> list[Score] | None:
    """The scores that `evaluate_run` has kept for these settings, if any.

    Raises:
        RunError: the file is damaged.
    """
    path = run.folder / "scores" / f"{name}.json"
    if not path.exists():
        return None
    try:
        content = read_json(path)
    except RunError as error:  # whose advice is for the folder of a run
        raise RunError(f"{str(error).partition(';')[0]}; delete this file to measure again") from error
    try:
        scores = [Score(**row) for row in content["scores"]]
        return scores if content["settings"] == _settings(run, settings) else None
    except (TypeError, KeyError) as error:
        raise RunError(f"{path} is damaged ({error}); delete it to measure again") from error


def read_kept(run: Run, names: Sequence[str], settings: Settings) -> dict[str, dict[str, Tensor]]:
    """What the evaluations ``names`` have kept for figures, with these settings: see `TrainedRun.keep`.

    Raises:
        RunError: a file is damaged.
    """
    found = {}
    for path in sorted((run.folder / KEPT).glob("*.safetensors")):
        if path.stem.partition("-")[0] in names:
            tensors, note = read_tensors(path)
            if note == settings.key | {"run": run.folder.name}:
                found[path.stem] = tensors
    return found


def decision(run: Run, data: Dataset) -> dict[str, Tensor]:
    """What a run says of points with a label (see `zoo.metrics.plane.decision`); empty for standardised data."""

    def make() -> dict[str, Tensor]:
        pair = run.pair()
        given = data.given_to(pair)
        return {} if given.units else plane.decision(pair, given.test, given.validation)

    return cached_tensors(run.folder / "decision.safetensors", run.config.digest, make)


def sample_count(event: Event) -> int:
    """How many samples of an event a report shows."""
    return plane.POINTS if event.main.shape == (2,) else IMAGES


def samples(run: Run, data: Dataset) -> Tensor:
    """Samples of a run for the report, given what the first test data are given.

    Returns:
        Shape ``(sample_count(event), *event.shape)``.
    """

    def make() -> dict[str, Tensor]:
        pair = run.pair()
        n = sample_count(pair.event)
        given = contexts(pair.event, data.given_to(pair).test, n)
        with seeded(0):
            return {"x": sample(pair, n, given=given)}

    return cached_tensors(run.folder / "samples.safetensors", run.config.digest, make)["x"]


def views(run: Run, data: Dataset) -> dict[str, Tensor]:
    """The views of a run in the plane (see `zoo.metrics.plane.views`), for the first test data.

    The density is in the data's own units.
    """

    def make() -> dict[str, Tensor]:
        pair = run.pair()
        with seeded(0):
            return plane.views(pair, data.given_to(pair).test)

    found = cached_tensors(run.folder / "views.safetensors", run.config.digest, make)
    units = run.config.data_units
    if plane.DENSITY in found and units is not None:
        if units.quantiles:  # an even grid of what the pair is given is none in the data's own units
            del found[plane.DENSITY]
        else:
            found[plane.DENSITY] = found[plane.DENSITY] - units.scale.log().sum()
    return found


def reconstructions(run: Run, data: Dataset) -> dict[str, Tensor]:
    """The first `CODED` test data after lossy coding of the whole split.

    Returns:
        Grid (``"3"``) -> shape ``(CODED, *event.shape)``; empty for a run without a bottleneck.
    """

    def make() -> dict[str, Tensor]:
        pair = run.pair()
        if no_bottleneck(pair):
            return {}
        codec = LossyCodec(pair)
        coded = compress_at_widths(codec, data.given_to(pair).test, path=run.folder / "lossy.safetensors")
        latents = {f"{width:g}": codec.decode(coded[width])[:CODED] for width in GRIDS}
        return {width: torch.from_numpy(codec.reconstruct(z)) for width, z in latents.items()}

    return cached_tensors(run.folder / "reconstructions.safetensors", run.config.digest, make)


def _settings(run: Run, settings: Settings) -> dict[str, Any]:
    """What scores on disk were computed for."""
    return settings.key | {"run": run.config.digest}
