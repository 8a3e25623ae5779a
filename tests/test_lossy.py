"""Lossy coding: packed symbols come back, curves compare as in closed form, and latents of any pair make a code."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from members import family_of, in_turn, members, small
from scipy.stats import norm
from torch import Tensor, nn

from zoo import Dataset, Event, Pair, Score, ZooError, build, load_data
from zoo.codec.baselines import image_points, pca_points, references
from zoo.codec.bottleneck import Inferred, no_bottleneck
from zoo.codec.lossy import WIDTHS, LossyCodec, compress_at_widths
from zoo.codec.quantised import MAX_SYMBOL, pack_symbols, rounded, unpack_symbols
from zoo.codec.rates import Point, bd_rate, frontier, least_gain, measured
from zoo.codec.search import search
from zoo.distributions import DiscretisedNormal
from zoo.event import EXAMPLES
from zoo.runs.config import DataSpec, configure
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.runs.run import Run
from zoo.runs.stored_scores import CODED, GRIDS, reconstructions
from zoo.seeding import seeded

DIGITS = load_data("digits")


def curve(*pairs: tuple[int, float], n: int = 10) -> list[Point]:
    """Points of those bytes and PSNRs."""
    return [Point(0.0, size, np.full(n, 10 ** (-psnr / 10)), 1.0) for size, psnr in pairs]


# ---------------------------------------------------------------- integers under rounded normals


@pytest.mark.thorough
@settings(max_examples=60)
@given(st.integers(0, 40), st.integers(1, 6), st.floats(0.0, 300.0), st.integers(0, 2**32 - 1))
def test_packed_symbols_come_back(n: int, d: int, spread: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    symbols = rounded(rng.standard_cauchy(size=(n, d)) * spread)
    deviations = np.exp(rng.uniform(-8, 6, d))
    assert np.abs(symbols).max(initial=0) <= MAX_SYMBOL
    assert (unpack_symbols(pack_symbols(symbols, deviations), n, deviations) == symbols).all()


def test_packed_symbols_take_their_entropy() -> None:
    deviations = np.array([0.05, 0.5, 3.0, 100.0])
    symbols = rounded(np.random.default_rng(0).normal(size=(5000, 4)) * deviations)
    mass = norm.cdf((symbols + 0.5) / deviations) - norm.cdf((symbols - 0.5) / deviations)
    assert 8 * len(pack_symbols(symbols, deviations)) == pytest.approx(-np.log2(mass).sum(), rel=1e-3, abs=64)


def test_bytes_that_were_not_packed_are_refused() -> None:
    deviations = np.ones(3)
    code = pack_symbols(rounded(3 * np.random.default_rng(0).normal(size=(50, 3))), deviations)
    damaged = (b"", code[:1], code[:-1], code[:-4], code + b"\0\0\0\1", b"\0\0" + code[2:], b"\xff\xff" + code[2:])
    for packed, n in (*((each, 50) for each in damaged), (code, 20)):
        with pytest.raises(ZooError, match=r"cut|changed"):
            unpack_symbols(packed, n, deviations)


# ---------------------------------------------------------------- curves


@pytest.mark.thorough
@given(st.floats(-3, 3), st.floats(0.3, 3.0))
def test_lines_compare_as_in_closed_form(shift: float, slope: float) -> None:
    """If ln bytes = psnr / slope, a gain of ``shift`` dB is exp(-shift / slope) times the bytes at any PSNR."""

    def line(of: float) -> list[Point]:
        return curve(*((round(1e6 * math.exp(psnr / slope)), psnr + of) for psnr in np.linspace(0, 8, 9)))

    assert bd_rate(line(shift), line(0.0)) == pytest.approx(math.exp(-shift / slope) - 1, rel=1e-3, abs=1e-4)
    if abs(shift) < 2:
        assert least_gain(line(shift), line(0.0)) == pytest.approx(shift, abs=1e-2)


def test_curves_without_a_common_range_are_not_compared() -> None:
    low, high = curve((100, 10.0), (200, 12.0)), curve((300, 20.0), (400, 22.0))
    assert bd_rate(low, high) is None
    assert least_gain(low, high) is None
    assert bd_rate(low[:1], low) is None


def test_the_least_gain_is_at_the_smallest_distance() -> None:
    ours, theirs = curve((100, 12.0), (200, 14.0), (400, 16.0)), curve((50, 9.0), (100, 10.0), (200, 13.0), (400, 17.0))
    assert least_gain(ours, theirs) == pytest.approx(-1.0, abs=0.01)
    assert least_gain(ours, theirs[:3]) == pytest.approx(1.0, abs=0.01)


def test_a_curve_is_the_points_better_than_cheaper_ones() -> None:
    points = curve((300, 12.0), (100, 10.0), (200, 9.0), (300, 11.0), (400, 12.0), (500, math.inf))
    assert [(point.bytes, round(point.psnr)) for point in frontier(points)] == [(100, 10), (300, 12)]


def test_the_psnr_of_data_with_levels_and_of_real_data() -> None:
    x = np.zeros((4, 2))
    assert measured(Event(2, 11), 1, 1, x, x + 1).psnr == pytest.approx(20)
    assert measured(Event(2, 11), 1, 1, x, x).psnr == math.inf
    real = np.array([[0.0, 50.0], [100.0, 0.0]])
    point = measured(Event(2, "real"), 1, 1, real, real + np.array([[1.0], [3.0]]))
    assert point.psnr == pytest.approx(10 * math.log10(100**2 / 5))
    errors = np.array([1.0, 9.0])
    assert point.stderr == pytest.approx(10 / math.log(10) * errors.std(ddof=1) / math.sqrt(2) / 5)


def test_image_formats_lose_less_for_more_bytes() -> None:
    for name in ("jpeg", "webp"):
        points = image_points(name, DIGITS.event, DIGITS.test[:60])
        sizes, psnrs = [point.bytes for point in points], [point.psnr for point in points]
        assert sizes == sorted(sizes)
        assert psnrs[0] < 20 < 35 < psnrs[-1]
    assert image_points("jpeg", Event(2, "real"), torch.zeros(3, 2)) == []


def test_components_of_normal_data_reach_their_theoretical_rate() -> None:
    """At high rate a rounded normal of deviation s takes log2(s / step) + 2.05 bits and loses step² / 12."""
    with seeded(0):
        train, x = (torch.randn(n, 3) * torch.tensor([9.0, 5.0, 3.0]) for n in (4000, 3000))
    for point in pca_points(Event(3, "real"), train, x)[-2:]:
        assert point.mse == pytest.approx(point.setting**2 / 12, rel=0.03)
        bits = sum(math.log2(s / point.setting) for s in (9, 5, 3)) + 3 * 0.5 * math.log2(2 * math.pi * math.e)
        assert 8 * point.bytes / 3000 == pytest.approx(bits, rel=0.01)


# ---------------------------------------------------------------- latents as a code


@pytest.mark.parametrize(("name", "support"), in_turn(members(), family_of))
def test_every_family_is_a_codec_or_says_why_not(name: str, support: str) -> None:
    event = EXAMPLES[support]
    pair = build(name, event, small(name), seed=1)
    with seeded(2):
        x = torch.randint(event.levels or 5, (9, *event.shape)).float()
    if no_bottleneck(pair):
        with pytest.raises(ZooError, match="is no lossy codec"):
            LossyCodec(pair)
        return
    codec = LossyCodec(pair)
    for part, width in ((x, 0.5), (x[:1], 3.0), (x * 0, 1.0)):
        inferred = codec.infer(part)
        latents = search(codec.model, part, inferred, width)
        packed = codec.compress(part, inferred, width)
        assert packed == codec.encode(latents, width)
        z = codec.decode(packed)
        assert (np.abs(z - latents.location) <= (0.5 + 1e-9) * codec.steps(latents, width)).all()
        back = codec.reconstruct(z)
        assert back.shape == part.shape
        assert event.levels is None or (back.min() >= 0 and back.max() <= event.levels - 1)


def test_a_pair_without_a_bottleneck_says_why() -> None:
    whys = {
        name: no_bottleneck(build(name, EXAMPLES["levels"]))
        for name in ("wavenet", "independent", "realnvp", "gan", "ppca", "vae", "pixelvae")
    }
    assert whys["ppca"] == whys["vae"] == ""
    assert all("no latents" in whys[name] for name in ("wavenet", "independent", "realnvp"))
    assert "implicit" in whys["gan"]
    assert "depend on each other" in whys["pixelvae"]
    assert "16 latent dimensions for a datum of 16" in no_bottleneck(build("vae", Event((4, 4), 5)))


@pytest.mark.parametrize("support", ["levels", "real"])
@pytest.mark.parametrize("arranged", ["flat", "transposed", "in two sites"])
def test_reconstructions_are_in_the_arrangement_of_the_data(arranged: str, support: str) -> None:
    """The mean of each entry is its own number, wherever the program observes it."""
    event = Event((4, 3), 17 if support == "levels" else "real")
    means = torch.arange(12.0).reshape(4, 3)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            mean = means + 0 * z.unsqueeze(-1)
            if arranged == "flat":
                pyro.sample("x", likelihood(mean.flatten(1)), obs=x.flatten(1))
            elif arranged == "transposed":
                pyro.sample("x", likelihood(mean.mT), obs=x.mT)
            else:
                pyro.sample("first", likelihood(mean[:, 1:]), obs=x[:, 1:])
                pyro.sample("second", likelihood(mean[:, 0]), obs=x[:, 0])

    def likelihood(mean: Tensor) -> Any:
        made = (
            dist.Normal(mean, 1.0)
            if support == "real"
            else DiscretisedNormal(mean + 0.5, torch.full_like(mean, 0.05), 17)
        )
        return made.to_event(mean.dim() - 1)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.flatten(1).mean(1, keepdim=True), 1.0).to_event(1))

    codec = LossyCodec(Pair(event, model, guide))
    x = means.expand(5, 4, 3).contiguous()
    packed = codec.compress(x, codec.infer(x), 1.0)
    assert np.allclose(codec.reconstruct(codec.decode(packed)), x, atol=0.01)


def fitted_ppca(latent: int, event: Event = DIGITS.event, train: Tensor = DIGITS.train) -> Pair:
    with seeded(0):
        pair = build("ppca", event, {"latent": latent})
    pair.extras.initialise(train)
    pair.extras.set_closed_form(train + (0.0 if event.levels is None else 0.5))
    return pair


@pytest.fixture(scope="module")
def ppca() -> LossyCodec:
    return LossyCodec(fitted_ppca(8))


@pytest.mark.thorough
def test_ppca_reconstructs_the_closed_form_mean(ppca: LossyCodec) -> None:
    """E max(0, min(16, floor y)) = sum_k P(y >= k) over k = 1 ... 16, y normal about the projection."""
    module: Any = ppca.pair.extras
    z = np.random.default_rng(0).normal(size=(1100, 8)) * 0.1
    y = module.unit * (torch.from_numpy(z).float() @ module.W.T + module.mu).detach()
    deviation = float(module.unit * module.log_s.detach().exp())
    expected = sum(norm.cdf((y.numpy() - k) / deviation) for k in range(1, 17))
    assert ppca.reconstruct(z) == pytest.approx(expected.reshape(-1, 8, 8), abs=1e-3)
    found = ppca.infer(DIGITS.test)
    posterior = ((DIGITS.test + 0.5).flatten(1) / module.unit - module.c) @ module.A.T
    assert np.abs(found.location - posterior.detach().numpy()).mean() < 0.2 * found.scale.mean()


def test_halving_the_grid_takes_a_bit_per_latent(ppca: LossyCodec) -> None:
    found = ppca.infer(DIGITS.test)
    sizes = [8 * len(ppca.encode(found, width)) / (8 * len(DIGITS.test)) for width in (1 / 4, 1 / 8, 1 / 16)]
    assert np.diff(sizes) == pytest.approx([1, 1], abs=0.03)


@pytest.mark.thorough
def test_the_search_improves_the_rate(ppca: LossyCodec) -> None:
    x = DIGITS.test[:200]
    found = ppca.infer(x)

    def points(searched: bool) -> list[Point]:
        points = []
        for width in (0.5, 1.0, 2.0, 4.0, 6.0):
            code = ppca.encode(search(ppca.model, x, found, width) if searched else found, width)
            points.append(measured(DIGITS.event, width, len(code), x.numpy(), ppca.reconstruct(ppca.decode(code))))
        return points

    rate = bd_rate(points(True), points(False))
    assert rate is not None
    assert rate < -0.01


def test_latents_are_coded_by_prior_or_fit_whichever_is_smaller(ppca: LossyCodec) -> None:
    draw = np.random.default_rng(0).normal(size=(400, 8))
    assert ppca.prior is not None
    assert (np.stack(ppca.prior) == [[0] * 8, [1] * 8]).all()
    like_prior, dead = Inferred(draw, np.full(8, 0.2)), Inferred(5 + 0.01 * draw, np.full(8, 0.2))
    bits = -norm.logpdf(draw).sum() / math.log(2) - 400 * np.log2(ppca.steps(like_prior, 1.0)).sum()
    assert 8 * len(ppca.encode(like_prior, 1.0)) == pytest.approx(bits, rel=0.01)
    assert len(ppca.encode(dead, 1.0)) < 120
    assert np.abs(ppca.decode(ppca.encode(dead, 1.0)) - 5).max() < 0.1


def test_a_prior_of_two_levels_is_fitted() -> None:
    """z1 ~ N(0, 1); z2 ~ N(z1, 1); x ~ Bernoulli."""
    with seeded(0):
        net = nn.Linear(3, 16)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            z2 = pyro.sample("z2", dist.Normal(z1.expand(-1, 2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=net(torch.cat([z1, z2], 1))).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(x.mean(1, keepdim=True), 0.1).to_event(1))
            pyro.sample("z2", dist.Normal(z1.expand(-1, 2), 0.2).to_event(1))

    codec = LossyCodec(Pair(Event(16, "binary"), model, guide))
    assert codec.prior is None
    found = codec.infer((torch.arange(16 * 30).reshape(30, 16) % 7 < 3).float())
    assert found.scale == pytest.approx([0.1, 0.22, 0.22], abs=0.02)
    z = codec.decode(codec.encode(found, 1.0))
    back = torch.sigmoid(net(torch.from_numpy(z).float()))
    assert codec.reconstruct(z) == pytest.approx(back.detach().numpy(), abs=1e-6)


def test_a_damaged_code_is_refused(ppca: LossyCodec) -> None:
    code = ppca.encode(ppca.infer(DIGITS.test[:20]), 1.0)
    for damaged in (b"", code[:4], code[:9], code[:-1], code[:-8], code + b"more"):
        with pytest.raises(ZooError):
            ppca.decode(damaged)


# ---------------------------------------------------------------- the evaluation


FEW = replace(DIGITS, test=DIGITS.test[:150])


def scores_of(pair: Pair, data: Dataset = FEW, **rest: Any) -> dict[str, Score]:
    return {score.metric: score for score in evaluate("lossy", [TrainedRun(pair, data, 0, [], **rest)], Settings())}


@pytest.mark.thorough
def test_ppca_beats_jpeg_at_every_rate() -> None:
    scores = scores_of(fitted_ppca(24))
    assert scores["verdict"].value == 1
    assert "fewer bytes than JPEG" in scores["verdict"].reason
    values = {name: score.value or 0.0 for name, score in scores.items()}
    assert values["least_gain"] > 1
    assert values["bd_rate_jpeg"] < -0.4
    assert all(values[f"rate@{fine:g}"] > values[f"rate@{wide:g}"] for fine, wide in pairwise(WIDTHS))
    assert values["psnr@0.5"] > values["psnr@8"]
    assert {"jpeg_rate@50", "jpeg_psnr@50", "webp_psnr@0"} <= set(scores)


def test_what_cannot_be_coded_is_skipped_or_failed(ppca: LossyCodec) -> None:
    skipped, failed = scores_of(build("wavenet", DIGITS.event)), scores_of(ppca.pair, status="diverged", reason="nan")
    assert {score.status for score in skipped.values()} == {"skipped"}
    assert "no latents" in skipped["verdict"].reason
    assert {score.status for score in failed.values()} == {"failed"}


@pytest.mark.thorough
def test_a_model_that_learned_nothing_does_not_pass() -> None:
    scores = scores_of(build("vae+normal", DIGITS.event, {"latent": 2, "hidden": 16, "guide.hidden": 16}))
    assert scores["verdict"].value == 0
    assert scores["verdict"].reason


@pytest.mark.thorough
def test_data_that_are_no_images_are_compared_with_components() -> None:
    with seeded(0):
        x = torch.randn(300, 2) @ torch.tensor([[3.0, 1.0, 2.0, 0.0, 1.0], [0.0, 1.0, -1.0, 2.0, 2.0]])
        x = x + 0.1 * torch.randn(300, 5)
    data = Dataset("lines", Event(5, "real"), x[:200], x[200:220], x[220:], "made up")
    scores = scores_of(fitted_ppca(2, data.event, x), data)
    assert scores["bd_rate_jpeg"].status == scores["least_gain"].status == "skipped"
    assert scores["bd_rate_pca"].status == "ok"
    assert "PCA" in scores["verdict"].reason


@pytest.mark.thorough
def test_lossy_codes_are_cached_for_their_data_only(ppca: LossyCodec, tmp_path: Path) -> None:
    x, path = FEW.test[:20], tmp_path / "codes.safetensors"
    first, others = compress_at_widths(ppca, x, path=path), compress_at_widths(ppca, x.flip(1))
    assert first != others
    assert compress_at_widths(ppca, x.flip(1), path=path) == others
    written = path.stat().st_mtime_ns
    assert compress_at_widths(ppca, x.flip(1), path=path) == others
    assert path.stat().st_mtime_ns == written


def test_references_are_cached_whole(tmp_path: Path) -> None:
    path = tmp_path / "references.safetensors"
    fresh, again = (references(DIGITS.event, DIGITS.train, FEW.test, path) for _ in range(2))
    assert set(fresh) == {"jpeg", "webp", "pca"}
    for name, points in fresh.items():
        for point, cached in zip(points, again[name], strict=True):
            assert replace(point, errors=cached.errors) == cached
            assert (point.errors == cached.errors).all()
    nothing = references(Event(2, "real"), torch.randn(9, 2), torch.randn(3, 2), tmp_path / "real.safetensors")
    assert nothing["jpeg"] == []


@pytest.mark.thorough
def test_a_run_caches_its_reconstructions(tmp_path: Path) -> None:
    for name, recipe, shapes in (
        ("ppca", {"steps": 2}, {f"{grid:g}": (CODED, 8, 8) for grid in GRIDS}),
        ("independent", {}, {}),
    ):
        config = configure(name, DataSpec(), FEW, recipe=recipe)
        run = Run.of(config, tmp_path)
        run.train(config, FEW, "cpu")
        fresh = reconstructions(run, FEW)
        again = reconstructions(run, replace(FEW, test=FEW.test * 0))  # read from disk
        assert {grid: tuple(batch.shape) for grid, batch in fresh.items()} == shapes
        assert all(torch.equal(fresh[grid], again[grid]) for grid in shapes)
