"""The one value that a report is drawn from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from zoo.errors import ZooError
from zoo.files import write_text
from zoo.scores import COLUMNS

FILE = "scores.json"
CURVE = {"family", "guide", "dataset", "seed", "step", "metric", "value"}
PICTURE = {"event", "real", "samples"}
MORE = {"coded", "densities", "latents", "neighbours", "rate", "words"}
"""Optional keys of pictures."""
PAIRED = (
    *("dataset", "family", "guide", "than_family", "than_guide", "difference", "stderr_data", "stderr_seeds"),
    *("low", "high", "kind", "n", "seeds", "than_seeds", "reason"),
)
BOUNDS = {
    (False, False): "exact",
    (True, False): "at most",
    (False, True): "at least",
    (True, True): "of bounds",
}
"""Whether the nats of the first and of the second are bounds -> what the true difference is: of two bounds, unknown."""
TRUTH = "true density"


@dataclass
class Study:
    """What a suite measured, and all that its report shows.

    Args:
        suite: its name.
        quick: a quick run, not to be quoted.
        provenance: versions, device, command, settings, and under ``datasets`` one sentence on the source of each.
        scores: rows with the columns `zoo.scores.COLUMNS`.
        curves: rows ``{"family", "guide", "dataset", "seed", "step", "metric", "value"}``. The metric is ``train``
            (mean loss, nats per datum), ``validation`` (nats per datum) or ``discrepancy`` (between samples and data);
            a null value was not finite.
        pictures: data set -> ``{"event": "8x8:17", "real": [...], "samples": {"family+guide": [...]}}``, batches as
            nested lists. Optional keys: ``"coded": {"family+guide": {"3": [...]}}``, the first real data reconstructed
            by lossy codes, by the width of the grid (the setting in ``rate@3``); and from `zoo.metrics.plane`
            ``"densities": {"family+guide": [[...]]}``, log-densities in nats on the grid around the real data, `TRUTH`
            among them where it is known, and ``"latents": {"family+guide": {"posterior": [...], "prior": [...]}}``; and
            ``"neighbours": {"family+guide": {"nearest": [...], "ratio": 0.9, "stderr": 0.05, "n": 24}}``, the nearest
            training datum of each sample (none for points in the plane) and, of these distances, the mean over that of
            test data; and of text ``"words": [...]``, the words of the levels.
        paired: rows with the columns `PAIRED`: for each two families on a data set, the nats per datum of the one less
            those of ``than_``, which is better, over the same test data.
        uses: data set -> ``family+guide`` -> part -> name -> numbers as nested lists: what figures show of evaluations,
            with the parts ``novelty``, ``selective``, ``sentences``, ``attack-plain``, ``attack-own`` and
            ``molecules`` (`TrainedRun.keep`), and ``decision`` (`zoo.metrics.plane.decision`).
    """

    suite: str
    quick: bool
    provenance: dict[str, Any]
    scores: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    pictures: dict[str, dict[str, Any]]
    paired: list[dict[str, Any]] = field(default_factory=list)
    uses: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        """Write ``scores.json`` (strict JSON: null for a number that is not finite) and return its path."""
        path = folder / FILE
        write_text(path, self.json())
        return path

    @classmethod
    def load(cls, folder: Path) -> Study:
        """Read what `save` wrote.

        Raises:
            ZooError: the file is missing, or `save` did not write it.
        """
        path = folder / FILE
        if not path.is_file():
            raise ZooError(f"a report is drawn from {path}, which does not exist; `zoo compare` writes it")
        return cls.parse(path.read_text(encoding="utf-8", errors="replace"), str(path))

    def json(self) -> str:
        """Strict JSON: null for a number that is not finite."""
        parts = (
            f"{json.dumps(name)}: {json.dumps(_plain(value), allow_nan=False, ensure_ascii=False)}"
            for name, value in asdict(self).items()
        )
        return "{\n" + ",\n".join(parts) + "\n}\n"

    @classmethod
    def parse(cls, text: str, where: str) -> Study:
        """Read what `json` returns; ``where`` names it in errors."""
        names = {each.name for each in fields(cls)}
        optional = {each.name for each in fields(cls) if each.default_factory is not MISSING}
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise ZooError(f"{where} is torn ({error}); run `zoo compare` to write it again") from error
        if not isinstance(value, dict) or not names - optional <= set(value) <= names:
            raise ZooError(f"{where}: expected an object with the keys {', '.join(sorted(names))}")
        try:
            study = TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise ZooError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        if wrong := [row for row in value["scores"] if set(row) != set(COLUMNS)]:
            raise ZooError(f"{where}: a score has the columns {', '.join(COLUMNS)}; got {', '.join(wrong[0])}")
        if any(set(row) != CURVE for row in study.curves):
            raise ZooError(f"{where}: a row of the curves has the keys {', '.join(sorted(CURVE))}")
        if any(set(row) != set(PAIRED) for row in study.paired):
            raise ZooError(f"{where}: a paired difference has the keys {', '.join(PAIRED)}")
        if any(set(shown) - MORE != PICTURE for shown in study.pictures.values()):
            raise ZooError(f"{where}: the pictures of a data set have the keys {', '.join(sorted(PICTURE))}")
        return study


def _plain(value: Any) -> Any:
    """JSON's own types: arrays as lists, None for a float that is not finite."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
