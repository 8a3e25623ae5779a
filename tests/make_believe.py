"""Made-up studies to test the report with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from zoo.report.study import BOUNDS, PAIRED, Study
from zoo.scores import COLUMNS, Kind, Score, label

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class MadeUp:
    """A family with a guide; ``time`` is its sampling time relative to a plain VAE."""

    family: str
    guide: str = ""
    group: str = ""
    kind: Kind = ""
    nats: float | None = None
    time: float = 1.0

    @property
    def label(self) -> str:
        return label(self.family, self.guide)

    def row(self, score: Score, dataset: str, seed: int | str, evaluation: str) -> dict[str, Any]:
        """A tidy row of suite ``table1``."""
        member = {"suite": "table1", "family": self.family, "guide": self.guide, "group": self.group}
        made = score.row(**member, dataset=dataset, seed=seed, evaluation=evaluation)
        assert tuple(made) == COLUMNS
        return made


FAMILIES = [
    MadeUp("pixelcnn", group="autoregressive", kind="exact", nats=81.2, time=210.0),
    MadeUp("wavenet", group="autoregressive", kind="exact", nats=85.6, time=96.0),
    MadeUp("realnvp", group="flow", kind="lower bound", nats=93.1, time=1.4),
    MadeUp("gan", group="implicit", time=0.8),
    MadeUp("vae", "normal", "prescribed", "lower bound", 91.4, 1.0),
    MadeUp("vae", "planar", "prescribed", "lower bound", 91.0, 1.1),
    MadeUp("vae", "iaf", "prescribed", "lower bound", 90.6, 1.1),
    MadeUp("ppca", group="prescribed", kind="exact", nats=98.3, time=0.6),
    MadeUp("independent", group="floor", kind="exact", nats=106.31, time=0.2),
    MadeUp("uniform", group="floor", kind="exact", nats=181.33, time=0.2),
]


def study(
    seeds: int = 3,
    quick: bool = False,
    datasets: Sequence[str] = ("digits",),
    event: str = "8x8:17",
    families: Sequence[MadeUp] = FAMILIES,
    coded: bool = False,
) -> Study:
    """A study whose numbers are all made up; ``coded`` with both codecs measured."""
    made = Study("table1", quick, provenance(datasets), [], [], {})
    for dataset in datasets:
        rng = np.random.default_rng(len(dataset))
        for member in families:
            made.scores += scores(rng, dataset, seeds, member)
            made.curves += curves(rng, dataset, seeds, member)
        made.paired += paired(dataset, seeds, families)
        made.pictures[dataset] = pictures(rng, event, families)
        if coded:
            made.scores += [row for member in families for row in compressed(rng, dataset, seeds, member)]
            few = 0.9 * np.array(made.pictures[dataset]["real"][:8])
            grids = {grid: few.tolist() for grid in ("1", "3", "6")}
            made.pictures[dataset]["coded"] = {"vae+normal": grids, "ppca": grids}
    return made


def provenance(datasets: Sequence[str]) -> dict[str, Any]:
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


def scores(rng: np.random.Generator, dataset: str, seeds: int, member: MadeUp) -> Rows:
    """The scores of one member, without compression."""
    rows, time, kind, implicit = [], member.time, member.kind, member.group == "implicit"
    for seed in range(seeds):
        found = [Score.skipped("nats", "implicit: the program observes nothing")]
        if member.nats is not None:
            value = member.nats + 0.3 * rng.normal()
            found = [
                Score("nats", value, "nats", 0.42, kind, 447),
                Score("bits_per_dim", value / 64 / np.log(2), "bits/dim", 0.42 / 64 / np.log(2), kind, 447),
                Score("floor_uniform", 181.33, "nats", 0.0, "exact", 447),
                Score("floor_independent", 106.31, "nats", 0.57, "exact", 447),
            ]
            if kind == "lower bound":
                found.append(Score("elbo", value + 2.1, "nats", 0.45, kind, 447))
                found.append(Score("ess", 61.0 + rng.normal(), "particles", 3.0, "estimate", 447))
        rows += [member.row(score, dataset, seed, "likelihood") for score in found]
        sampled = [
            Score("seconds_100", 1.1e-3 * time, "s", 1e-5, "estimate", 20),
            Score("passes", 64 if time > 50 else 1, "passes", None, "exact", 1),
            Score("relative_time", time * (1 + 0.02 * rng.normal()), "", 0.02 * time, "estimate", 20),
            Score("mmd2", 0.001 + 0.002 * rng.random(), "", 0.0008, "estimate", 447),
            Score("c2st", 0.6 + 0.3 * rng.random(), "", 0.014, "estimate", 894),
        ]
        rows += [member.row(score, dataset, seed, "sampling") for score in sampled]
        certified = [Score.skipped("within", "no latents: its likelihood is exact")]
        if kind == "lower bound" and seed == 0:
            excess = {"elbo_excess": 2.4, "bound_excess": 0.3} | ({"exact_excess": -0.1} if time > 1 else {})
            certified = [
                Score(
                    "within", 0.1 + 0.1 * rng.random(), "nats", 0.08, "bracket", 16, reason="on 16 data that it drew"
                ),
                *(Score(name, each, "nats", 0.2, "estimate", 16) for name, each in excess.items()),
            ]
        rows += [member.row(score, dataset, seed, "certificate") for score in certified]
        if kind:
            novel = [Score(f"auroc_log_p_{name}", 0.97, "AUROC", 0.01, n=99) for name in ("shuffled", "rotated")]
            rows += [member.row(score, dataset, seed, "novelty") for score in novel]
    values = {"diverged_share": 0.0, "discrepancy_drawdown": 0.14 if implicit else 0.05, "drawdown": 0.06}
    stable = [Score(name, value, "", None, "estimate", seeds) for name, value in values.items()]
    if implicit:
        stable[-1] = Score.skipped("drawdown", "implicit: no validation score")
    if member.group == "floor":
        stable = [Score.skipped(score.metric, "counted, not trained") for score in stable]
    return rows + [member.row(score, dataset, "all", "stability") for score in stable]


def paired(dataset: str, seeds: int, families: Sequence[MadeUp]) -> Rows:
    """The differences of every two members that have nats, the worse first; of some one cannot be measured."""
    scored = sorted((member.nats, member.label, member) for member in families if member.nats is not None)
    rows = []
    for (low, _, better), (high, _, worse) in combinations(scored, 2):
        row: dict[str, Any] = dict.fromkeys(PAIRED) | {"dataset": dataset, "seeds": seeds, "than_seeds": seeds}
        row |= {"family": worse.family, "guide": worse.guide, "than_family": better.family, "than_guide": better.guide}
        row |= {"kind": BOUNDS[worse.kind != "exact", better.kind != "exact"], "reason": "measured <before>"}
        if worse.group != "floor":
            row |= {"difference": high - low, "stderr_data": 0.2, "stderr_seeds": 0.1 if seeds > 1 else None}
            row |= {"low": high - low - 0.4, "high": high - low + 0.4, "n": 447, "reason": ""}
        rows.append(row)
    return rows


def compressed(rng: np.random.Generator, dataset: str, seeds: int, member: MadeUp) -> Rows:
    """The scores of both codecs of one member."""
    return [
        member.row(score, dataset, seed, evaluation)
        for seed in range(seeds)
        for evaluation, found in (("lossy", lossy(rng, member.group)), ("lossless", lossless(rng, member.nats)))
        for score in found
    ]


def lossy(rng: np.random.Generator, group: str) -> list[Score]:
    """A curve of rate and distortion with those of JPEG and PCA, where the family has a bottleneck."""
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
    values = {"verdict": 1.0, "bytes": round(447 * 8 * bits), "bits_per_dim": bits}
    values |= {"header_bytes": 210, "overhead": 0.4}
    values |= {"zlib": 11135, "bz2": 9904, "lzma": 9956, "png": 50614, "png_tiled": 13450, "webp": 28474}
    found = [Score(name, float(value), "", None, "exact", 447) for name, value in values.items()]
    return [*found, Score("encode_images", 3000.0 + rng.random(), "1/s", None, "estimate", 447)]


def curves(rng: np.random.Generator, dataset: str, seeds: int, member: MadeUp) -> Rows:
    """Training losses, validation scores and discrepancies of one member."""
    rows = []
    for seed in range(0 if member.group == "floor" else seeds):
        where = {"family": member.family, "guide": member.guide, "dataset": dataset, "seed": seed}
        for step in range(0, 2001, 50):
            fall = np.exp(-step / 250)
            values = {}
            if member.nats is not None:
                value = member.nats + 60 * fall + 0.4 * rng.normal() + 1e-6 * max(0, step - 900) ** 2
                values = {"validation": value, "train": value - step / 250}
            if step % 100 == 0:
                wobble = (0.03 if member.group == "implicit" else 0.005) * rng.normal()
                values["discrepancy"] = 0.02 + 0.4 * fall + wobble
            rows += [where | {"step": step, "metric": name, "value": float(each)} for name, each in values.items()]
    return rows


def pictures(rng: np.random.Generator, event: str, families: Sequence[MadeUp]) -> dict[str, Any]:
    """Real data and samples of every member."""
    labels = [member.label for member in families]
    if event == "2:real":
        angle = rng.uniform(0, np.pi, 200)
        real = np.stack([np.cos(angle), np.sin(angle)], 1)
        samples = {label: real + 0.1 * (k + 1) * rng.normal(size=real.shape) for k, label in enumerate(labels)}
    else:
        column, line = np.meshgrid(np.arange(8), np.arange(8))
        real = np.stack([ring(column, line, *rng.uniform([3, 3, 1.5, 2], [4, 4, 3, 3.4])) for _ in range(32)])
        noisy = {label: real + 1.2 * k * rng.normal(size=real.shape) for k, label in enumerate(labels)}
        samples = {label: np.clip(batch, 0, 16).round() for label, batch in noisy.items()}
    batches = {label: batch.tolist() for label, batch in samples.items()}
    near = [] if event == "2:real" else real.tolist()
    found = {label: {"nearest": near, "ratio": 0.9, "stderr": 0.05, "n": len(real)} for label in labels}
    return {"event": event, "real": real.tolist(), "samples": batches, "neighbours": found}


def ring(column: Any, line: Any, x: float, y: float, width: float, height: float) -> Any:
    """A picture of a zero."""
    radius = np.hypot((column - x) / width, (line - y) / height)
    return (16 * np.exp(-8 * (radius - 1) ** 2)).round()
