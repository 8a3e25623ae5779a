"""Programs of strangers through the command line: trained and evaluated, or refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_examples import PARTICLES, options_of, refusal, zoo
from torch import Tensor

from zoo.pairs.pair import Pair
from zoo.runs.run import find_runs

PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Outcome:
    """What came out: a number with the trained pair and the test data, or the words of a refusal."""

    refusal: str = ""
    nats: float = math.nan
    kind: str = ""
    pair: Pair | None = None
    x: Tensor | None = None

    def namespace(self) -> Mapping[str, Any]:
        """The variables of the program's file."""
        assert self.pair
        found: Mapping[str, Any] = self.pair._model.program.__globals__
        return found


def come_out(path: Path, folder: Path, positive: bool = False) -> Outcome:
    """Train and evaluate a program by ``zoo evaluate``; any other end than a refusal in one sentence is an error."""
    options = options_of(path, folder, positive)
    result = zoo("evaluate", path, *options, "-e", "likelihood", "--particles", PARTICLES, "--json")
    if not result.stdout.startswith("["):
        return Outcome(refusal(result))
    nats = next(row for row in json.loads(result.stdout) if row["metric"] == "nats")
    if nats["status"] != "ok":
        return Outcome(nats["reason"])
    [run] = find_runs(folder / "runs", path.stem)
    pair = run.pair()
    return Outcome("", nats["value"], nats["kind"], pair, run.config.data.load().reshaped(pair.event).test)
