"""Make-believe studies, to test the report by."""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.report.study import Study
from zoo.scores import COLUMNS, Score

FAMILIES = [
    ("pixelcnn", "", "autoregressive", "exact", 81.2, 210.0),
    ("wavenet", "", "autoregressive", "exact", 85.6, 96.0),
    ("realnvp", "", "flow", "lower bound", 93.1, 1.4),
    ("gan", "", "implicit", "", None, 0.8),
    ("vae", "normal", "prescribed", "lower bound", 91.4, 1.0),
    ("vae", "planar", "prescribed", "lower bound", 91.0, 1.1),
    ("vae", "iaf", "prescribed", "lower bound", 90.6, 1.1),
    ("ppca", "", "prescribed", "exact", 98.3, 0.6),
    ("independent", "", "floor", "exact", 106.31, 0.2),
    ("uniform", "", "floor", "exact", 181.33, 0.2),
]


def study(
    seeds: int = 3,
    quick: bool = False,
    datasets: tuple[str, ...] = ("digits",),
    event: str = "8x8:17",
    families: list[tuple[Any, ...]] | None = None,
    coded: bool = False,
) -> Study:
    """A study whose every number is made up from a seed; ``coded`` with both codecs measured."""
    made = Study("table1", quick, provenance(datasets), [], [], {})
    for dataset in datasets:
        rng = np.random.default_rng(len(dataset))
        chosen = FAMILIES if families is None else families
        for member in chosen:
            made.scores += scores(rng, dataset, seeds, *member)
            made.curves += curves(rng, dataset, seeds, *member)
        made.pictures[dataset] = pictures(rng, event, chosen)
        if coded:
            made.scores += [row for member in chosen for row in compressed(rng, dataset, seeds, member)]
            made.pictures[dataset]["coded"] = given_back(made.pictures[dataset])
    return made


def provenance(datasets: tuple[str, ...]) -> dict[str, Any]:
    """What a run says of itself."""
    return {
        "date": "2001-02-03",
        "command": "zoo compare table1",
        "commit": "0123abc",
        "device": "cpu",
        "cpu": "Make-believe CPU, 2 cores",
        "versions": {"python": "3.11.2", "torch": "2.13.0", "pyro": "1.9.2"},
        "settings": {"particles": 512},
        "datasets": {name: f"{name}: made up, 1000 train, 350 validation, 447 test." for name in datasets},
    }


def row(where: dict[str, Any], score: Score) -> dict[str, Any]:
    """A tidy row of suite ``table1``."""
    made = score.row(suite="table1", **where)
    assert tuple(made) == COLUMNS
    return made


def scores(
    rng: np.random.Generator,
    dataset: str,
    seeds: int,
    family: str,
    guide: str,
    group: str,
    kind: Any,
    nats: float | None,
    time: float,
) -> list[dict[str, Any]]:
    """All scores of one member."""
    where = {"family": family, "guide": guide, "group": group, "dataset": dataset}
    rows = []
    for seed in range(seeds):
        found = [Score("nats", status="skipped", reason="implicit: the program observes nothing")]
        if nats is not None:
            value = nats + 0.3 * rng.normal()
            found = [
                Score("nats", value, "nats", 0.42, kind, 447),
                Score("bits_per_dim", value / 64 / np.log(2), "bits/dim", 0.42 / 64 / np.log(2), kind, 447),
                Score("floor_uniform", 181.33, "nats", 0.0, "exact", 447),
                Score("floor_independent", 106.31, "nats", 0.57, "exact", 447),
            ]
        if kind == "lower bound":
            found += [
                Score("elbo", value + 2.1, "nats", 0.45, kind, 447),
                Score("ess", 61.0 + rng.normal(), "particles", 3.0, "estimate", 447),
                Score("khat_share", 0.12, "", 0.015, "estimate", 447),
            ]
        rows += [row(where | {"seed": seed, "evaluation": "likelihood"}, score) for score in found]
        sampled = [
            Score("seconds_1", 2e-4 * time, "s", 1e-6, "estimate", 20),
            Score("seconds_100", 1.1e-3 * time, "s", 1e-5, "estimate", 20),
            Score("samples_per_second", 100 / (1.1e-3 * time), "1/s", None, "estimate", 20),
            Score("passes", 64 if time > 50 else 1, "passes", None, "exact", 1),
            Score("relative_time", time * (1 + 0.02 * rng.normal()), "", 0.02 * time, "estimate", 20),
            Score("mmd2", 0.001 + 0.002 * rng.random(), "", 0.0008, "estimate", 447),
            Score("c2st", 0.6 + 0.3 * rng.random(), "", 0.014, "estimate", 894),
            Score("precision", 0.7 + 0.2 * rng.random(), "", 0.02, "estimate", 447),
            Score("recall", 0.5 + 0.3 * rng.random(), "", 0.02, "estimate", 447),
        ]
        rows += [row(where | {"seed": seed, "evaluation": "sampling"}, score) for score in sampled]
    over = {"seed": "all", "evaluation": "stability"}
    names = ["diverged_share", "discrepancy_spread", "discrepancy_drawdown", "validation_spread", "drawdown"]
    if group == "floor":
        stable = [Score.skipped(name, "counted, not trained") for name in names]
    else:
        values = [0.0, 0.004, 0.05 if group != "implicit" else 0.14, 0.31, 0.06]
        stable = [Score(name, value, "", None, "estimate", seeds) for name, value in zip(names, values, strict=True)]
        if group == "implicit":
            stable[3:] = [Score.skipped(name, "implicit: no validation score") for name in names[3:]]
    return rows + [row(where | over, score) for score in stable]


def compressed(rng: np.random.Generator, dataset: str, seeds: int, member: tuple[Any, ...]) -> list[dict[str, Any]]:
    """The scores of both codecs of one member."""
    family, guide, group, _, nats, _ = member
    where = {"family": family, "guide": guide, "group": group, "dataset": dataset}
    return [
        row(where | {"seed": seed, "evaluation": evaluation}, score)
        for seed in range(seeds)
        for evaluation, found in (("lossy", lossy(rng, group)), ("lossless", lossless(rng, nats)))
        for score in found
    ]


def lossy(rng: np.random.Generator, group: str) -> list[Score]:
    """A curve of rate and distortion, where the family has a bottleneck, and JPEG's beside it."""
    if group != "prescribed":
        return [Score.skipped(name, "no latents") for name in ("verdict", "bd_rate_jpeg", "least_gain")]
    found = [
        Score("verdict", 1.0, "", None, "exact", 447, reason="fewer bytes than JPEG at equal PSNR"),
        Score("bd_rate_jpeg", -0.7 + 0.02 * rng.normal(), "share bytes against JPEG", None, "exact", 447),
        Score.skipped("bd_rate_webp", "no range in common"),
        Score("least_gain", 3.5, "dB", None, "exact", 447),
    ]
    for prefix, shift, slope in (("", 0.0, 2.0), ("jpeg_", 1.0, 3.0), ("pca_", 0.4, 4.0)):
        for setting in (1.0, 3.0, 6.0):
            rate = shift + 2 / (1 + setting) + 0.01 * rng.random()
            found.append(Score(f"{prefix}rate@{setting:g}", rate, "bits/dim", None, "exact", 447))
            found.append(Score(f"{prefix}psnr@{setting:g}", 14 + slope * rate - shift, "dB", 0.1, "estimate", 447))
    return found


def lossless(rng: np.random.Generator, nats: float | None) -> list[Score]:
    """The size of a file and those of standard codes."""
    if nats is None:
        return [Score.skipped(name, "implicit: no likelihood to code by") for name in ("verdict", "bytes")]
    bits = nats / 64 / np.log(2)
    values = {
        "verdict": 1.0,
        "bytes": round(447 * 8 * bits),
        "bits_per_dim": bits,
        "header_bytes": 210,
        "overhead": 0.4,
    }
    standard = {"zlib": 11135, "bz2": 9904, "lzma": 9956, "png": 50614, "png_tiled": 13450, "webp": 28474}
    found = [Score(name, float(value), "", None, "exact", 447) for name, value in (values | standard).items()]
    return [*found, Score("encode_images", 3000.0 + rng.random(), "1/s", None, "estimate", 447)]


def curves(
    rng: np.random.Generator,
    dataset: str,
    seeds: int,
    family: str,
    guide: str,
    group: str,
    kind: Any,
    nats: Any,
    time: float,
) -> list[dict[str, Any]]:
    """Training losses, validation scores and discrepancies of one member."""
    if group == "floor":
        return []
    rows = []
    for seed in range(seeds):
        where = {"family": family, "guide": guide, "dataset": dataset, "seed": seed}
        for step in range(0, 2001, 50):
            fall = np.exp(-step / 250)
            if nats is not None:
                value = nats + 60 * fall + 0.4 * rng.normal() + 1e-6 * max(0, step - 900) ** 2
                rows.append(where | {"step": step, "metric": "validation", "value": float(value)})
                rows.append(where | {"step": step, "metric": "train", "value": float(value - step / 250)})
            if step % 100 == 0:
                wobble = (0.03 if group == "implicit" else 0.005) * rng.normal()
                rows.append(where | {"step": step, "metric": "discrepancy", "value": float(0.02 + 0.4 * fall + wobble)})
    return rows


def pictures(rng: np.random.Generator, event: str, families: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Real data and samples of every member."""
    labels = [f"{name}+{guide}" if guide else name for name, guide, *_ in families]
    if event == "2:real":
        angle = rng.uniform(0, np.pi, 200)
        real = np.stack([np.cos(angle), np.sin(angle)], 1)
        samples = {label: real + 0.1 * (k + 1) * rng.normal(size=real.shape) for k, label in enumerate(labels)}
    else:
        column, line = np.meshgrid(np.arange(8), np.arange(8))
        real = np.stack([ring(column, line, *rng.uniform([3, 3, 1.5, 2], [4, 4, 3, 3.4])) for _ in range(32)])
        samples = {
            label: np.clip(real + 1.2 * k * rng.normal(size=real.shape), 0, 16).round()
            for k, label in enumerate(labels)
        }
    return {
        "event": event,
        "real": real.tolist(),
        "samples": {label: batch.tolist() for label, batch in samples.items()},
    }


def given_back(shown: dict[str, Any]) -> dict[str, Any]:
    """What lossy codes make of the first real data."""
    few = 0.9 * np.array(shown["real"][:8])
    return {label: {grid: few.tolist() for grid in ("1", "3", "6")} for label in ("vae+normal", "ppca")}


def ring(column: Any, line: Any, x: float, y: float, width: float, height: float) -> Any:
    """A picture of a nought."""
    radius = np.hypot((column - x) / width, (line - y) / height)
    return (16 * np.exp(-8 * (radius - 1) ** 2)).round()
