"""`zoo check` as a teacher: each common mistake has a sentence with its line and mend, and the mended program passes.

In ``tests/programs/mistakes`` the wrong line ends in ``# mistake``, and the comment below it has the mended line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from strangers import PROGRAMS

from zoo.contract.check import Finding, check
from zoo.pairs.plugins import load_families

OWN = "# mistake"
"""Part of the line that is named, where it is the wrong one."""
X, Z = 'pyro.sample("x", ', 'z = pyro.sample("z", '
UNBUILT = "the pair cannot be built, and what is wrong is in no line that runs"
SITE = "a site's value or distribution shows what is wrong before it"
MISSING = "what is missing has no line: that of the site which lacks it"
MEETS = "torch and Pyro notice it where it meets the rest"


class Said(NamedTuple):
    """What is said of a mistake: its law, parts of the sentence and of the mend, and the line that is named."""

    law: str
    words: str
    mend: str
    line: str = OWN
    why: str = ""
    """Why another line is named, or none."""


RUNS, PLATE, SITES = (
    "the programs run",
    "every site lies in the data plate",
    "the guide's sites are the model's latents",
)
OBSERVES, READS, SUPPORTS = "what the model observes is x", "the model reads x by obs=x only", "supports agree"
SAID = {
    "autoguide": Said(RUNS, "'z' is not amortised", "write a guide that computes them from x", "", UNBUILT),
    "batch_shaped_parameter": Said(
        RUNS, "size of tensor a", "take every size from len(x)", 'pyro.sample("z", dist.Normal(loc, scale)', MEETS
    ),
    "batch_statistics": Said(
        "data are independent", "of 'x' under the model for x[0] changed", "compute what belongs to a datum", X, SITE
    ),
    "binarised_in_the_model": Said(OBSERVES, "site 'x' should observe entries of x", "observe x itself"),
    "column_for_number": Said(OBSERVES, "site 'x' should observe entries of x", ""),
    "density_of_bits": Said(SUPPORTS, "'x' is observed under a continuous Normal", "zoo.likelihood(event"),
    "detached": Said(
        "gradients reach every parameter",
        "encoder.weight gets none",
        "without detaching it",
        "",
        "a parameter is named, and every line that does not pass its gradient on might be meant",
    ),
    "dropout_that_stays_on": Said(
        "all randomness is at sites", "run twice on one batch", "dropout that stays on", X, SITE
    ),
    "fixed_batch": Said(RUNS, "100 vs 3", "len(x)", X, MEETS),
    "float64": Said(RUNS, "must have the same dtype", "leave out .double()"),
    "global_latent": Said(
        PLATE, "site 'bias' lies outside the data plate", "a latent that the guide samples outside the plate as well"
    ),
    "guide_off_support": Said(SUPPORTS, "may draw what the model's Gamma rules out", "a LogNormal guide"),
    "in_place": Said("the programs leave x as it is", "the guide changes x in place", "x = x / 16"),
    "likelihood_sees_x": Said(READS, "the distribution of 'x' depends on x", "belongs in the guide", X, SITE),
    "log_prob_of_another": Said(
        "log_prob agrees", "log_prob(x) should be", "let log_prob(x) return", "def log_prob(x):", "that of the function"
    ),
    "negative_scale": Said("distributions have valid", "the Normal at 'z' has scale = ", "softplus(raw)"),
    "no_guide": Said(SITES, "'z' is not sampled by the guide", "sample the same names in both", Z, MISSING),
    "no_obs": Said(RUNS, "the model should observe its data", "pyro.sample('x', ..., obs=x)", "", UNBUILT),
    "no_plate": Said(PLATE, "lies outside the data plate", "with pyro.plate('data', len(x)):", Z, MISSING),
    "no_to_event": Said(RUNS, "Shape mismatch inside plate", "declare the dimensions of one datum with .to_event(1)"),
    "noise_by_torch": Said(
        SITES,
        "the guide samples 'z', which is no latent of the model",
        "sample the same names",
        'pyro.sample("z", dist.Normal(loc, scale)',
        MISSING,
    ),
    "observed_in_the_guide": Said(RUNS, "site z must be sampled in trace", "a guide observes nothing", Z, MEETS),
    "on_the_cpu": Said(
        "it runs on another device", "on the same device", "x.new_zeros(...)", "loc = decoder(z)", MEETS
    ),
    "on_the_gpu": Said(RUNS, "CUDA", "leave .cuda() and .to(device) out"),
    "one_pass_autoregression": Said(READS, "the distribution of 'x' depends on x", "zoo has Autoregressive"),
    "other_name": Said(SITES, "latent 'z' is not sampled by the guide", "sample the same names in both", Z, MISSING),
    "plate_swallowed": Said(PLATE, "one draw of 'x' has the event shape (5, 3)", "declare one dimension fewer"),
    "point_guide": Said("a guide spreads over", "gives 'z' all mass at a point (Delta)", "use a density"),
    "prior_sees_x": Said(READS, "the prior of 'z' depends on x", "belongs in the guide"),
    "probabilities_not_logits": Said("distributions have valid", "the Bernoulli at 'x' has probs = ", "logits=..."),
    "scaled_data": Said(OBSERVES, "site 'x' should observe entries of x", "observe x itself"),
    "site_twice": Said(RUNS, "Multiple sample sites named 'e'", "f'z{i}'"),
    "unsized_plate": Said(PLATE, "plate 'data' has no size", "len(x)", Z, "Pyro does not say where a plate is"),
}
"""By mistake."""


def mended(text: str) -> str:
    lines = text.splitlines()
    [place] = [place for place, line in enumerate(lines) if line.endswith("# mistake")]
    indent = re.match(r"\s*", lines[place])
    assert indent
    lines[place : place + 2] = [indent[0] + lines[place + 1].partition("# mended: ")[2]]
    return "\n".join(lines) + "\n"


def broken(path: Path) -> list[Finding]:
    [name] = load_families([path])
    return [finding for finding in check(name) if finding.ok is False]


def test_every_mistake_has_its_sentence() -> None:
    assert {path.stem for path in (PROGRAMS / "mistakes").glob("*.py")} == set(SAID)


@pytest.mark.parametrize("mistake", sorted(SAID))
def test_a_mistake_is_named_with_its_law_line_and_mend(mistake: str) -> None:
    said = SAID[mistake]
    path = PROGRAMS / "mistakes" / f"{mistake}.py"
    found = broken(path)[0]
    assert found.law.startswith(said.law)
    assert said.words in found.detail
    assert said.mend in found.detail
    named = re.findall(rf"\bat {mistake}\.py:(\d+) ", found.detail)
    lines = path.read_text().splitlines()
    assert [said.line in lines[int(line) - 1] for line in named] == [True] * bool(said.line)
    assert bool(said.why) == (said.line != OWN)


@pytest.mark.parametrize("mistake", sorted(SAID))
def test_the_mended_program_passes(mistake: str, tmp_path: Path) -> None:
    path = tmp_path / f"mended_{mistake}.py"
    path.write_text(mended((PROGRAMS / "mistakes" / f"{mistake}.py").read_text()))
    assert broken(path) == []
