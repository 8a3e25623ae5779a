"""The peak memory of training, measured in a process of its own for each contender.

``python -m zoo.bench.memory ROW CONTENDER THREADS``, the row as JSON, prints its peak as JSON. The peak is of the whole
process, libraries included; a compiler's own helper processes are not counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from zoo.bench.contenders import contenders
from zoo.bench.rows import Row
from zoo.bench.task import SkippedError, Task
from zoo.errors import ZooError

STEPS = 30
SECONDS = 600
STATUS = Path("/proc/self/status")


def peak_of(row: Row, contender: str, threads: int) -> tuple[float, str]:
    """The peak in MiB of a new process in which ``contender`` takes `STEPS` steps, and what to know of it.

    Raises:
        SkippedError: the contender cannot take part here.
        ZooError: its process failed.
    """
    command = [sys.executable, "-m", "zoo.bench.memory", row.model_dump_json(), contender, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ZooError(f"its process failed: {last}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if answer["skipped"]:
        raise SkippedError(answer["skipped"])
    return answer["mib"], answer["note"]


def main(row: str, contender: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    print(json.dumps({"mib": None, "note": "", "skipped": ""} | _measured(Row.model_validate_json(row), contender)))


def _measured(row: Row, contender: str) -> dict[str, Any]:
    try:
        entrant = contenders(row)[contender](Task(row))
    except SkippedError as error:
        return {"skipped": str(error)}
    for _ in range(STEPS):
        float(entrant.step())
    return {"mib": _peak(), "note": entrant.note()}


def _peak() -> float:
    """In MiB. On Linux from the kernel's record of this program: `resource` counts what its parent held, too."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    import resource  # no Windows has it

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
