"""An engineer has a CSV of sensors: train, find the run, score new rows, read flags; compress counts and restore."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

import zoo


def shell(command: str) -> str:
    """Run a command; what it prints."""
    return subprocess.run(command.split(), check=True, stdout=subprocess.PIPE, text=True).stdout


rng = np.random.default_rng(0)


def readings(n: int) -> pd.DataFrame:
    """Three sensors that follow the load of a machine, in their own units."""
    load, noise = rng.normal(size=n), rng.normal(size=(3, n))
    return pd.DataFrame(
        {
            "temperature": 330 + 12 * load + noise[0],
            "pressure": 4e5 + 3e4 * load + 3e3 * noise[1],
            "vibration": 2e-5 + 4e-6 * load + 4e-7 * noise[2],
        }
    )


readings(600).to_csv("past.csv", index=False)
new = readings(200)
faulty = [17, 120]
new.loc[faulty, "pressure"] += [1.5e5, -1.5e5]
new[["vibration", "pressure", "temperature"]].to_csv("new.csv", index=False)  # columns are found by name

shell("zoo train ppca --data past.csv --set latent=1 --train steps=60 --train lr=0.05 --quiet")
[run] = json.loads(shell("zoo runs --json"))
assert (run["family"], run["status"]) == ("ppca", "finished")
shell(f"zoo score {run['folder']} --data new.csv --rate 0.05 -o scores.csv --quiet")
scores = pd.read_csv("scores.csv")
assert len(scores) == len(new)
assert set(scores["log_prob"].nsmallest(2).index) == set(faulty)
assert scores["flag"][faulty].all()
assert scores["flag"].mean() < 0.2
suspects = scores.filter(like="| rest").loc[faulty].idxmin(axis=1)
assert suspects.str.contains("pressure").all()

model = zoo.load(run["folder"])
again = zoo.score(model, new, rate=0.05)
assert np.allclose(again["log_prob"], scores["log_prob"], rtol=1e-4)
row = new.head(1).to_numpy()
filled = model.impute(row * [np.nan, 1, 1])
assert filled.kind == "exact"
assert abs(filled.mean[0, 0] - row[0, 0]) < 6

counts = rng.poisson(3, size=(200, 4)).clip(max=15).astype(np.uint8)
np.save("counts.npy", counts)
shell("zoo compress independent counts.npy -o counts.zoo --data counts.npy --quiet")
shell("zoo decompress counts.zoo -o back.npy --quiet")
assert Path("back.npy").read_bytes() == Path("counts.npy").read_bytes()
assert Path("counts.zoo").stat().st_size < counts.nbytes
