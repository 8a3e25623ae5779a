"""A teacher compares two families for a lecture: the files of the report, and a number with its kind for the slides."""

import subprocess
from pathlib import Path

import pandas as pd

import zoo


def shell(command: str) -> str:
    """Run a command; what it prints."""
    return subprocess.run(command.split(), check=True, stdout=subprocess.PIPE, text=True).stdout


Path("lecture.toml").write_text(
    """about = "Does a latent pay?"
families = ["independent", "vae"]
evaluations = ["likelihood"]

[recipes.vae]
steps = 1000
"""
)
shell("zoo compare lecture.toml --quick --quiet")
report = Path("reports/lecture")
page = (report / "index.html").read_text()
assert "Does a latent pay?" in page
assert "vae" in (report / "report.md").read_text()
assert r"\begin{" in (report / "table1.tex").read_text()
table = pd.read_csv(report / "table1.csv").set_index("family")
assert table["likelihood"].to_dict() == {"independent": "exact", "vae": "approximate"}

scores = pd.read_csv(report / "scores.csv")
nats = scores[scores["metric"] == "nats"].set_index("family")
assert nats["kind"].to_dict() == {"independent": "exact", "vae": "lower bound"}
assert (nats["stderr"] > 0).all()
assert nats.loc["vae", "value"] < nats.loc["independent", "value"]  # a bound that is lower decides

shell("zoo report lecture")
assert (report / "index.html").read_text() == page

model, test = zoo.load("independent"), zoo.load_data("digits").test
assert -float(model.log_prob(test).value.mean()) == nats.loc["independent", "value"]
