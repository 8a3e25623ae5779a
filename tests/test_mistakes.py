"""`zoo check` as a teacher: each common mistake has a sentence with its line and mend, and the mended program passes.

In ``tests/programs/mistakes`` the wrong line ends in ``# mistake``, and the comment below it has the mended line.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from strangers import PROGRAMS

from zoo.contract.check import Finding, check
from zoo.pairs.plugins import load_families

SAID = {
    "autoguide": ("'z' is not amortised", "write a guide that computes them from x", False),
    "batch_shaped_parameter": ("size of tensor a", "take every size from len(x)", False),
    "batch_statistics": ("under the model of x[0] changed", "compute what belongs to a datum", False),
    "binarised_in_the_model": ("site 'x' should observe entries of x", "observe x itself", True),
    "column_for_number": ("site 'x' should observe entries of x", "", True),
    "density_of_bits": ("'x' is observed under a continuous Normal", "zoo.likelihood(event", True),
    "detached": ("encoder.weight gets none", "without detaching it", False),
    "dropout_that_stays_on": ("run twice on one batch", "dropout that stays on", False),
    "fixed_batch": ("", "len(x)", False),
    "float64": ("must have the same dtype", "leave out .double()", True),
    "global_latent": (
        "site 'bias' lies outside the data plate",
        "a latent that the guide samples outside the plate as well",
        True,
    ),
    "guide_off_support": ("may draw what the model's Gamma rules out", "a LogNormal guide", True),
    "in_place": ("the guide changes x in place", "x = x / 16", False),
    "likelihood_sees_x": ("the distribution of 'x' depends on x", "belongs in the guide", False),
    "log_prob_of_another": ("log_prob(x) should be", "let log_prob(x) return", False),
    "negative_scale": ("the Normal at 'z' has scale = ", "softplus(raw)", True),
    "no_guide": ("'z' is not sampled by the guide", "sample the same names in both", False),
    "no_obs": ("the model should observe its data", "pyro.sample('x', ..., obs=x)", False),
    "no_plate": ("lies outside the data plate", "with pyro.plate('data', len(x)):", False),
    "no_to_event": ("Shape mismatch inside plate", "declare the dimensions of one datum with .to_event(1)", True),
    "noise_by_torch": ("the guide samples 'z', which is no latent of the model", "sample the same names", False),
    "observed_in_the_guide": ("", "guide", False),
    "on_the_cpu": ("tensors on cpu and meta", "x.new_zeros(...)", False),
    "on_the_gpu": ("CUDA", "leave .cuda() and .to(device) out", True),
    "one_pass_autoregression": ("the distribution of 'x' depends on x", "zoo has Autoregressive", True),
    "other_name": ("the model's latent 'z' is not sampled by the guide", "sample the same names in both", False),
    "plate_swallowed": ("declare one dimension fewer", "", True),
    "point_guide": ("all mass at a point (Delta)", "use a density", True),
    "prior_sees_x": ("the prior of 'z' depends on x", "belongs in the guide", True),
    "probabilities_not_logits": ("the Bernoulli at 'x' has probs = ", "logits=...", True),
    "scaled_data": ("site 'x' should observe entries of x", "observe x itself", True),
    "site_twice": ("Multiple sample sites named 'e'", "f'z{i}'", True),
    "unsized_plate": ("plate 'data' has no size", "len(x)", False),
}
"""By mistake: parts of what is said and of its mend, and whether its own line is named."""


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
def test_a_mistake_is_named_with_its_mend(mistake: str) -> None:
    said, mend, line = SAID[mistake]
    path = PROGRAMS / "mistakes" / f"{mistake}.py"
    found = broken(path)[0].detail
    assert said in found
    assert mend in found
    if line:
        [place] = [k for k, each in enumerate(path.read_text().splitlines(), 1) if each.endswith("# mistake")]
        assert f"{mistake}.py:{place} " in found


@pytest.mark.parametrize("mistake", sorted(SAID))
def test_the_mended_program_passes(mistake: str, tmp_path: Path) -> None:
    path = tmp_path / f"mended_{mistake}.py"
    path.write_text(mended((PROGRAMS / "mistakes" / f"{mistake}.py").read_text()))
    assert broken(path) == []
