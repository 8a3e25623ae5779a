"""The benchmark measures what it says: contenders do the same work, and what fails is a row. No time is asserted."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from typer.testing import CliRunner

from zoo.bench import contenders, flows, memory
from zoo.bench.contenders import BY_HAND, REFERENCE, SAMPLING, TRAINING
from zoo.bench.flows import DENSITY, FLOWS
from zoo.bench.measure import Timing, bench
from zoo.bench.memory import peak_of
from zoo.bench.models import HandmadeVAE, in_numpyro
from zoo.bench.page import CHAPTERS, SENTENCES, bars, render, summary
from zoo.bench.rows import Row, rows
from zoo.bench.table import table, write_csv
from zoo.bench.task import Entrant, SkippedError, Task
from zoo.cli import app
from zoo.contract.pretend import second_device
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import find
from zoo.seeding import seeded

ROW = Row(name="tiny", batch=16, event="12:binary", by_hand={"hidden": 16, "latent": 3})
DRAWS = Row(name="draws", batch=4, event="4x4:binary", family="wavenet", work="sample")
PLANE = Row(name="plane", batch=5, event="2:real", family="realnvp", hyper={"layers": 3, "hidden": 8}, work="density")
JIT = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
"""torch.compile says that torch.jit is deprecated, too."""
COMPILED = {"compiled", "torch-compiled", "numpyro"}
EVERY = [
    pytest.param(name, marks=[JIT, pytest.mark.slow] if name in COMPILED else JIT) for name in {**TRAINING, **BY_HAND}
]


@pytest.fixture
def field(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let only these contenders train."""

    def choose(**chosen: Callable[[Task], Entrant]) -> None:
        monkeypatch.setattr(contenders, "TRAINING", {"pyro": TRAINING["pyro"]} | chosen)
        monkeypatch.setattr(contenders, "BY_HAND", {})

    return choose


def absent(task: Task) -> Entrant:
    raise SkippedError("not here")


def quickly(row: Row) -> list[Timing]:
    return bench([row], rounds=2, threads=1, turn=0.01)


def test_the_rows_are_those_of_the_report() -> None:
    every = rows()
    assert [row.name for row in rows(quick=True)] == [every[0].name]
    assert [row.name for row in rows(["vae+iaf", "realnvp"])] == ["vae+iaf", "realnvp"]
    assert len({row.name for row in every}) == len(every)
    for row in every:
        assert bool(row.by_hand) != bool(row.family)
        Event.parse(row.event)
        if row.family:
            find(row.family)
    with pytest.raises(ZooError, match=r"'vae-tiny'; there are: vae-small"):
        rows(["vae-tiny"])


def test_the_hand_written_loss_is_pyros_for_the_same_noise() -> None:
    task = Task(ROW)
    vae = task.vae()
    torch.manual_seed(1)
    expected = Trace_ELBO().differentiable_loss(vae.model, vae.guide, task.x) / len(task.x)
    torch.manual_seed(1)
    loss = vae.loss(task.x)
    torch.testing.assert_close(loss, expected)
    by_hand, by_pyro = (torch.autograd.grad(each, list(vae.parameters())) for each in (loss, expected))
    torch.testing.assert_close(by_hand, by_pyro)


@pytest.mark.slow
def test_numpyros_loss_is_the_same_in_expectation() -> None:
    pytest.importorskip("numpyro")
    import jax
    import numpyro

    task, particles = Task(ROW), 500
    vae: HandmadeVAE = task.vae()
    objective = numpyro.infer.Trace_ELBO(num_particles=particles)
    model, guide = in_numpyro(vae)
    theirs = float(objective.loss(jax.random.PRNGKey(0), {}, model, guide, task.x.numpy())) / len(task.x)
    with torch.no_grad():
        draws = torch.stack([vae.loss(task.x) for _ in range(particles)])
    assert theirs == pytest.approx(float(draws.mean()), abs=6 * float(draws.std()) / math.sqrt(particles / 2))


@pytest.mark.thorough
@pytest.mark.parametrize("name", EVERY)
def test_every_contender_learns_the_same(name: str) -> None:
    """Within 150 steps, per datum, from the same start: as hand-written torch does, but for the noise."""
    task = Task(ROW)
    if name == "numpyro":
        pytest.importorskip("numpyro")
    with pyro.get_param_store().scope():
        entrant = ({**TRAINING, **BY_HAND})[name](task)
        scale = len(task.x) if name == "numpyro" else 1
        losses = [float(entrant.step()) / scale for _ in range(150)]
    yardstick = BY_HAND["torch"](task)
    expected = [float(yardstick.step()) for _ in range(150)]
    assert all(math.isfinite(loss) for loss in losses)
    assert sum(losses[-30:]) / 30 < sum(losses[:30]) / 30 - 0.1
    for part in (slice(0, 30), slice(-30, None)):
        assert sum(losses[part]) / 30 == pytest.approx(sum(expected[part]) / 30, abs=0.4)
    assert entrant.note() == ""


@pytest.mark.parametrize("name", ["eager", "pyro", "pyro-unchecked", "torch", "torch-fused"])
def test_a_contender_trains_on_the_device_of_the_task(name: str) -> None:
    with second_device() as device, pyro.get_param_store().scope():
        task = Task(ROW, device=device)
        entrant = ({**TRAINING, **BY_HAND})[name](task)
        assert task.x.device == device
        assert all(math.isfinite(float(entrant.step())) for _ in range(2))


def test_numpyro_is_skipped_where_jax_sees_no_such_device() -> None:
    jax = pytest.importorskip("jax")
    platforms = jax.config.jax_platforms
    try:
        with second_device() as device, pytest.raises(SkippedError, match="jax does not see pretend"):
            BY_HAND["numpyro"](Task(ROW, device=device))
    finally:
        jax.config.update("jax_platforms", platforms)


def test_memory_is_measured_on_the_cpu_alone() -> None:
    row = next(row for row in rows() if row.work == "memory")
    timings = bench([row], device=torch.device("meta"))
    assert {(timing.status, timing.reason.partition(";")[0]) for timing in timings} == {
        ("skipped", "what is measured is resident memory of the CPU")
    }


def test_cuda_graphs_are_a_contender_on_cuda_alone() -> None:
    assert set(contenders.contenders(ROW, torch.device("cuda"))) - set(contenders.contenders(ROW)) == {
        "torch-cuda-graphs"
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_with_a_sentence() -> None:
    found = CliRunner().invoke(app, ["bench", "--device", "cuda", "--quick"])
    assert found.exit_code == 2
    assert "device 'cuda' is not available here; use auto, cpu, cuda or mps" in found.output


@pytest.mark.thorough
@JIT
@pytest.mark.parametrize(
    "name", ["realnvp", *(pytest.param(name, marks=pytest.mark.slow) for name in ("vae+iaf", "vae+planar", "pixelcnn"))]
)
def test_pairs_of_the_zoo_run_in_the_engine_and_in_pyro(name: str) -> None:
    """With all of their parameters, those of PyroModules included."""
    event = "4x4:binary" if name == "pixelcnn" else "6:5" if name == "realnvp" else "6:binary"
    task = Task(Row(name=name, batch=8, event=event, family=name))
    for contender in ("traced", "pyro", "pyro-jit"):
        with pyro.get_param_store().scope():
            entrant = TRAINING[contender](task)
            losses = [float(entrant.step()) for _ in range(3)]
            stored = len(pyro.get_param_store())
        assert contender == "traced" or stored == len(task.pair().parameters())
        assert all(math.isfinite(loss) for loss in losses)
        assert entrant.note() == ""


def test_timings_have_a_row_for_each_contender_and_ratios_to_pyro(field: Callable[..., None]) -> None:
    field(eager=TRAINING["eager"])
    before = torch.get_num_threads(), dict(pyro.get_param_store().items())
    timings = quickly(ROW)
    assert (torch.get_num_threads(), dict(pyro.get_param_store().items())) == before
    assert [timing.contender for timing in timings] == ["pyro", "eager"]
    assert [(timing.status, timing.rounds, timing.threads) for timing in timings] == [("ok", 2, 1)] * 2
    by_pyro, eager = timings
    assert by_pyro.ratio == 1.0
    assert eager.ratio == pytest.approx((eager.value or 0) / (by_pyro.value or math.nan))
    assert 0 < (eager.least or 0) <= (eager.value or 0) <= (eager.most or 0)
    assert "torch 2" in eager.versions
    assert eager.machine


def test_failures_are_rows_with_their_reason(field: Callable[..., None]) -> None:
    def broken(task: Task) -> Entrant:
        raise RuntimeError("no\nluck")

    def late(task: Task) -> Entrant:
        numbers = iter([0.0] * 12)
        return Entrant(lambda: next(numbers))

    field(broken=broken, absent=absent, late=late, nan=lambda task: Entrant(lambda: math.nan))
    assert {timing.contender: (timing.status, timing.reason) for timing in quickly(ROW)} == {
        "pyro": ("ok", ""),
        "broken": ("failed", "RuntimeError: no luck"),
        "absent": ("skipped", "not here"),
        "late": ("failed", "StopIteration: "),
        "nan": ("failed", "ZooError: its loss became nan"),
    }


def test_a_missing_reference_leaves_times_without_ratios(
    field: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    field(eager=TRAINING["eager"], pyro=lambda task: Entrant(lambda: math.inf))
    timings = quickly(ROW)
    assert [timing.status for timing in timings] == ["failed", "ok"]
    assert timings[1].ratio is None
    assert timings[1].value
    assert "failed" in table(timings)


def test_numpyro_is_skipped_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpyro", None)
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(SkippedError, match=r"is not installed: pip install 'pyro-zoo\[bench\]'"):
        BY_HAND["numpyro"](Task(ROW))


def test_sampling_is_measured_against_whole_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {timing.contender: timing for timing in quickly(DRAWS)}
    assert set(whole) == set(SAMPLING)
    assert whole["naive"].reason == "measured whole"
    assert whole["naive"].ratio == 1.0
    monkeypatch.setattr(contenders, "WHOLE_SECONDS", 0.0)
    monkeypatch.setattr(contenders, "PASSES", 4)
    entrant = SAMPLING["naive"](Task(DRAWS))
    assert entrant.note() == "extrapolated from 4 of 16 passes a round"
    assert entrant.share == 4 / 16
    assert math.isfinite(float(entrant.step()))


def test_the_samplers_draw_the_same_from_the_same_noise() -> None:
    drawn = []
    for prepare in SAMPLING.values():
        entrant = prepare(Task(DRAWS))
        torch.manual_seed(3)
        drawn.append(float(entrant.step()))
    assert drawn[0] == drawn[1]
    assert 0 < drawn[0] < 1


def test_a_family_that_draws_at_once_is_skipped_by_the_samplers() -> None:
    with pytest.raises(SkippedError, match="entry by entry"):
        SAMPLING["incremental"](Task(Row(name="x", batch=4, event="6:binary", family="vae", work="sample")))


def test_the_csv_is_tidy_and_the_table_square(tmp_path: Path) -> None:
    ok = Timing("a", "train", "pyro", 2.0, 1.0, 3.0, rounds=7, ratio=1.0, machine="m", versions="v", threads=2)
    timings = [
        ok,
        replace(ok, contender="eager", value=1.0, ratio=0.5, reason="it fell back, to eager"),
        replace(ok, row="b"),
        Timing("b", "train", "eager", status="failed", reason="out of memory"),
        replace(ok, row="c", work="sample", contender="naive"),
    ]
    write_csv(timings, tmp_path / "bench" / "bench.csv")
    with (tmp_path / "bench" / "bench.csv").open() as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == [field.name for field in fields(Timing)]
    assert [(row["ratio"], row["reason"]) for row in read] == [(str(t.ratio or ""), t.reason) for t in timings]
    head, first, second, other, _, *notes = table(timings).splitlines()
    assert len({len(line) for line in (head, first, second)}) == 1
    assert (first.split()[-1], second.split()[-1]) == ("0.500", "failed")
    assert "naive" in other
    assert [note.partition(":")[0] for note in notes] == ["a, eager", "b, eager"]


@pytest.mark.thorough
def test_the_command_prints_and_writes(field: Callable[..., None], tmp_path: Path) -> None:
    field(eager=TRAINING["eager"])
    words = ["bench", "--quick", "--threads", "1", "--reports", str(tmp_path), "--quiet"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("ratio to pyro")
    assert (tmp_path / "bench" / "bench.csv").read_text().count("\n") == 3
    assert "vae-small" in (tmp_path / "bench" / "index.html").read_text()
    answer = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [row["contender"] for row in answer] == ["pyro", "eager"]
    assert CliRunner().invoke(app, ["bench", "--only", "nothing"]).exit_code == 2


def test_every_row_has_its_reference_and_its_chapter() -> None:
    for row in rows():
        assert REFERENCE[row.work] in contenders.contenders(row)
    assert set(CHAPTERS) == set(SENTENCES) == set(REFERENCE.values())


@pytest.mark.parametrize("name", FLOWS)
def test_flows_are_densities_of_what_they_draw(name: str) -> None:
    """On a grid their mass is one, and their own draws fall where it is; all have as many parameters."""
    if not name.startswith("zoo"):
        pytest.importorskip(name)
    task = Task(PLANE)
    with seeded(0), torch.no_grad():
        flow = FLOWS[name](task)
        axis = torch.linspace(-9, 9, 181)
        grid = torch.cartesian_prod(axis, axis)
        mass = flow.log_prob(grid).exp() * 0.01
        drawn = flow.sample(4000)
    assert float(mass.sum()) == pytest.approx(1, abs=0.01)
    assert drawn.shape == (4000, 2)
    centre = (mass[:, None] * grid).sum(0)
    spread = ((mass[:, None] * grid.square()).sum(0) - centre.square()).sqrt()
    assert ((drawn.mean(0) - centre).abs() < 5 * spread / 4000**0.5).all()
    torch.testing.assert_close(drawn.std(0), spread, rtol=0.08, atol=0)
    for prepare in (DENSITY, flows.DRAWS):
        entrant = prepare[name](task)
        assert math.isfinite(float(entrant.step()))
        assert entrant.note() == ""


def test_a_flow_of_another_size_says_so() -> None:
    pytest.importorskip("zuko")
    entrant = DENSITY["zuko"](Task(PLANE.model_copy(update={"hyper": {"layers": 3, "hidden": 8}})))
    wider = Task(PLANE.model_copy(update={"hyper": {"layers": 3, "hidden": 9}}))
    assert entrant.note() == ""
    own = FLOWS["zoo"](wider)
    assert flows._apart(own, Task(PLANE)).startswith(f"has {own.parameters:,} parameters, the zoo's has")


@pytest.mark.parametrize("name", ["zuko", "normflows", "nflows"])
def test_a_library_of_flows_that_is_not_there_is_skipped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SkippedError, match=rf"{name} is not installed: pip install 'pyro-zoo\[bench\]'"):
        flows.DRAWS[name](Task(PLANE))


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own() -> None:
    """A contender that holds more weighs more, whatever the process that asks holds; what fails says why."""
    held = torch.zeros(700 * 2**18)  # 700 MiB, in this process
    row = ROW.model_copy(update={"work": "memory"})
    light, note = peak_of(row, "eager", 1)
    heavy, _ = peak_of(row.model_copy(update={"batch": 200_000}), "eager", 1)
    assert note == ""
    assert 50 < light < heavy - 40
    assert light < held.nbytes / 2**20
    with pytest.raises(ZooError, match=r"its process failed: .*latent"):
        peak_of(row.model_copy(update={"by_hand": {"hidden": 3}}), "eager", 1)


def test_peaks_are_measured_and_set_against_the_plain_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        """The command's work, in this process."""
        with redirect_stdout(io.StringIO()) as printed:
            memory.main(*command[3:])
        return subprocess.CompletedProcess(command, 0, printed.getvalue(), "")

    monkeypatch.setattr(memory, "subprocess", SimpleNamespace(run=here))
    monkeypatch.setattr(contenders, "BY_HAND", {"absent": absent})
    monkeypatch.setattr(contenders, "TRAINING", {"eager": TRAINING["eager"]})
    eager, other = quickly(ROW.model_copy(update={"work": "memory"}))
    assert (eager.status, eager.unit, eager.ratio) == ("ok", "MiB", 1.0)
    assert eager.value
    assert eager.value > 50
    assert (other.status, other.reason, other.unit) == ("skipped", "not here", "MiB")


def test_the_page_shows_every_timing_and_fetches_nothing() -> None:
    ok = Timing("vae-small", "train", "pyro", 2.0, 1.0, 3.0, rounds=7, ratio=1.0, machine="a <machine>", threads=2)
    timings = [
        ok,
        replace(ok, contender="compiled", value=0.4, least=0.3, most=0.5, ratio=0.2),
        replace(ok, contender="torch", value=20.0, ratio=10.0),
        Timing("vae-small", "train", "numpyro", status="skipped", reason="numpyro is <not> installed"),
        replace(ok, row="realnvp-draws", work="draw", contender="zoo"),
        replace(ok, row="realnvp-draws", work="draw", contender="zuko", value=1.0, ratio=0.5),
        replace(ok, row="vae-memory", work="memory", contender="eager", unit="MiB"),
        replace(ok, row="vae-memory", work="memory", contender="traced", unit="MiB", ratio=1.5),
    ]
    page = render(timings)
    for words in ("compiled", "0.200", "10.000", "numpyro is &lt;not&gt; installed", "a &lt;machine&gt;", "skipped"):
        assert words in page
    assert summary(timings) == " ".join(
        SENTENCES[key].format(ratio) for key, ratio in (("pyro", "0.2"), ("zoo", "0.5"), ("eager", "1.5"))
    )
    assert page.count("<svg") == 3
    assert not re.search(r"<script|<link[^>]+href=\"(?!data:)|src=|@import|url\(", page)
    assert render([Timing("vae-small", "train", "pyro", status="failed", reason="no luck")]).count("<svg") == 0


def test_bars_end_within_the_figure() -> None:
    ok = Timing("vae-small", "train", "pyro", 2.0, 1.0, 3.0, ratio=1.0)
    drawn = bars(
        [ok, replace(ok, contender="torch", value=200.0, most=300.0), replace(ok, contender="none", value=None)], "pyro"
    )
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="12"', drawn)]
    starts = [float(x) for x in re.findall(r'<rect x="([\d.]+)"', drawn)]
    assert len(widths) == 2
    assert widths[0] < widths[1]
    assert all(start + width <= 420 for start, width in zip(starts, widths, strict=True))
    assert ">100<" in drawn
