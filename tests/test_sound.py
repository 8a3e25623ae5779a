"""Sound: the prompts as data, WaveNet on them, recordings in a file, and what is measured."""

from __future__ import annotations

import base64
import io
import math
import re
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import zoo
from draws import every
from PIL import Image
from torch import Tensor

from zoo.codec.container import decode, unpack
from zoo.codec.recording import decode_recording, encode_recording
from zoo.contract.check import check
from zoo.contract.values import random_data
from zoo.data import Dataset, load_data
from zoo.data.files.sounds import expanded, mulaw, read_pcm, wav_bytes
from zoo.data.speech import FOLDERS, PACKAGES, SILENCE, drawn, of_utterances
from zoo.errors import RunError, UnfitError, ZooError
from zoo.evaluations import sound as asked
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.continuing import Parts, continued, sequence_nats
from zoo.pairs.pair import Pair
from zoo.pairs.traces import log_prob
from zoo.report.figures import bits_by_field
from zoo.report.pictures import REAL, pictures
from zoo.report.tables import Member
from zoo.runs.evaluation import TrainedRun, evaluate
from zoo.scores import Score
from zoo.seeding import seeded

ALONE, SPOKEN = "x=20:16,past=30:16@given", "x=12:9,past=23:9@given,speaker=:3@given"
SMALL = {"width": 8, "skip": 8, "longest": 8}


def made(text: str, **hyper: Any) -> Pair:
    """An untrained pair in double precision, far from uniform."""
    pair = build("wavenet-sound", Event.parse(text), {**SMALL, **hyper}, seed=0)
    with seeded(0):
        for parameter in pair.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    pair.extras.double()
    return pair


def parts_of(pair: Pair, n: int) -> tuple[Tensor, Tensor, Tensor | None]:
    with seeded(1):
        values = pair.event.unpack(random_data(pair.event, n).double())
    speaker = values.get("speaker")
    x, past = values["x"], values["past"]
    assert x is not None
    assert past is not None
    return x, past, None if speaker is None else speaker.long()


@pytest.mark.thorough
@pytest.mark.parametrize("text", [ALONE, SPOKEN])
def test_the_contract_holds(text: str) -> None:
    assert [finding for finding in check("wavenet-sound", Event.parse(text), SMALL) if not finding.ok] == []


@pytest.mark.parametrize(("field", "text"), [(1, ALONE), (2, ALONE), (11, ALONE), (30, ALONE), (23, SPOKEN)])
def test_a_sample_depends_on_exactly_the_field_before_it(field: int, text: str) -> None:
    """Not on itself, though it is an input; across the border of the past; and not on what is further back."""
    pair = made(text, field=field)
    x, past, speaker = parts_of(pair, 2)
    size, before = x.shape[1], past.shape[1]
    row = torch.cat([past, x], 1).requires_grad_()
    logits = pair.extras.logits(row[:, before:], row[:, :before], speaker)
    sums = logits @ torch.linspace(-1, 1, logits.shape[-1]).double()
    rows = [torch.autograd.grad(sums[:, t].sum(), row, retain_graph=True)[0].abs().amax(0) != 0 for t in range(size)]
    distance = torch.arange(before, before + size)[:, None] - torch.arange(before + size)
    assert torch.equal(torch.stack(rows), (distance >= 1) & (distance <= field))
    assert (
        asked.receptive_field(
            pair,
            pair.event.pack({"x": x, "past": past, "speaker": speaker}, torch.double)
            if speaker is not None
            else row.detach()[:, [*range(before, before + size), *range(before)]],
        )
        == field
    )


@pytest.mark.parametrize(("text", "field"), [(ALONE, 1), (ALONE, 30), (SPOKEN, 17)])
def test_the_cached_stream_gives_the_logits_of_whole_passes(text: str, field: int) -> None:
    pair = made(text, field=field)
    x, past, speaker = parts_of(pair, 3)
    stream = pair.extras.stream(past, speaker)
    logits = [next(stream), *(stream.send(entry) for entry in x.T[:-1])]
    torch.testing.assert_close(torch.stack(logits, 1), pair.extras.logits(x, past, speaker))


def test_the_mass_sums_to_one_given_any_past() -> None:
    pair = made("x=3:3,past=2:3@given")
    x = every(Event(3, 3)).double()
    for past in every(Event(2, 3)).double():
        batch = pair.event.pack({"x": x, "past": past.expand(len(x), -1)}, torch.double)
        with pair.evaluating():
            masses = log_prob(pair, batch).exp()
        assert float(masses.sum()) == pytest.approx(1, abs=1e-10)
        assert masses.std() > 1e-3


def test_speakers_differ_once_they_have_learned() -> None:
    pair = made(SPOKEN)
    x, past, _ = parts_of(pair, 1)
    first, second = (pair.extras.logits(x, past, torch.tensor([k])) for k in (0, 1))
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize(
    "text", ["20:16", "x=20:16,y=:3@given", "x=20:16,past=30:15@given", "x=4x5:16,past=9:16@given"]
)
def test_other_events_are_refused(text: str) -> None:
    with pytest.raises(UnfitError, match=r"takes record data|takes a record such as"):
        build("wavenet-sound", Event.parse(text))


def test_a_field_beyond_the_past_is_refused() -> None:
    with pytest.raises(ZooError, match="1 to the 30 samples"):
        build("wavenet-sound", Event.parse(ALONE), {"field": 31})


# ------------------------------------------------------------------------------------------------------------ the data


def utterances(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"u{k}": rng.integers(0, 256, 40 + 7 * k).astype(np.uint8) for k in range(count)}


def test_every_sample_is_scored_once_at_most_and_given_its_past() -> None:
    own = utterances(12)
    data = of_utterances({"one": own}, window=16, past=24)
    for word, names in drawn(sorted(own)).items():
        values = data.event.unpack(getattr(data, word))
        x, past = values["x"], values["past"]
        assert x is not None
        assert past is not None
        at = 0
        for name in names:
            count = len(own[name]) // 16
            whole = torch.from_numpy(own[name].astype(np.float32))
            assert torch.equal(x[at : at + count].flatten(), whole[len(whole) - 16 * count :])
            long = torch.cat([torch.full((24,), float(SILENCE)), whole])
            for k in range(count):
                end = 24 + len(whole) - 16 * (count - k)
                assert torch.equal(past[at + k], long[end - 24 : end])
            at += count
        assert at == len(x)
    assert data.rate == 8000


def test_speakers_are_given_and_splits_have_no_utterance_in_common() -> None:
    data = of_utterances({"one": utterances(12), "two": utterances(12, seed=1)}, window=16, past=4)
    seen = {}
    for word in ("train", "validation", "test"):
        values = data.event.unpack(getattr(data, word))
        assert values["speaker"] is not None
        assert values["x"] is not None
        assert set(values["speaker"].tolist()) == {0.0, 1.0}
        seen[word] = {tuple(row) for row in values["x"].tolist()}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]
    with pytest.raises(ZooError, match="smaller window"):
        of_utterances({"one": utterances(12)}, window=1000, past=4)


# ----------------------------------------------------------------------------------------------------- long sequences


@pytest.mark.parametrize(("text", "given"), [(ALONE, {}), (SPOKEN, {"speaker": torch.tensor(1.0)})])
def test_a_recording_comes_back_from_a_file_of_its_ideal_size(text: str, given: dict[str, Tensor]) -> None:
    pair = made(text).to("cpu")
    pair.extras.float()
    parts = Parts(pair.event)
    with seeded(0):
        each = {name: value[None] for name, value in given.items()}
        sequence = continued(pair, parts.before[None], 3 * parts.window + 5, each)[0]
    file = encode_recording(pair, sequence, given=given, rate=8000)
    assert torch.equal(decode_recording(pair, file, given=given), sequence)
    header, words = unpack(file)
    ideal = float(sequence_nats(pair, sequence, given).sum()) / math.log(2)
    assert ideal - 1 <= 32 * len(words) <= ideal + 64
    assert (header.entries, header.rate) == (len(sequence), 8000)
    with pytest.raises(RunError, match="other weights"):
        decode_recording(build("wavenet-sound", pair.event, SMALL), file, given=given)
    with pytest.raises(RunError, match="one recording"):
        decode(pair, file)
    with pytest.raises(RunError, match="checksum"):
        decode_recording(pair, file[:-9] + bytes([file[-9] ^ 1]) + file[-8:], given=given)
    if given:
        with pytest.raises(RunError, match="not those"):
            decode_recording(pair, file, given={"speaker": torch.tensor(2.0)})


def test_the_nats_of_a_sequence_are_those_of_its_windows() -> None:
    pair = made(ALONE)
    pair.extras.float()
    sequence = torch.arange(47.0) % 16
    rows = Parts(pair.event).cut(sequence)
    with pair.evaluating():
        whole = -log_prob(pair, rows[:2])
    found = sequence_nats(pair, sequence)
    assert found.shape == (47,)
    torch.testing.assert_close(found[:40].reshape(2, 20).sum(1), whole)


def test_data_without_a_past_are_no_parts_of_a_sequence() -> None:
    for text in ("20:16", "x=20:16,c=:3@given", "x=20:16,past=30:16"):
        with pytest.raises(ZooError, match="parts given what is before"):
            Parts(Event.parse(text))


# ------------------------------------------------------------------------------------------------- what is measured


@pytest.mark.thorough
def test_bits_and_floors_in_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train data alternate between two levels, so that the level before tells the next."""
    event = Event.parse("x=300:256,past=30:256@given")
    row = torch.tensor([200.0, 50.0]).repeat(165)
    train = event.pack({"x": row[30:].expand(40, -1), "past": row[:30].expand(40, -1)})
    test = train[:4].clone()
    test[2:, :300] = 128.0  # two windows of silence
    data = Dataset("two", event, train, test, test, "Made.", rate=8000)
    pair = build("wavenet-sound", event, SMALL)
    monkeypatch.setenv("PATH", "")
    scores = {score.metric: score for score in evaluate("sound", [TrainedRun(pair, data, seed=0, history=[])])}
    with pair.evaluating():
        expected = -log_prob(pair, test).double() / math.log(2) / 300
    assert scores["bits"].value == pytest.approx(float(expected.mean()), rel=1e-5)
    assert scores["bits_sounding"].value == pytest.approx(float(expected[:2].mean()), rel=1e-5)
    assert scores["bits_silent"].value == pytest.approx(float(expected[2:].mean()), rel=1e-5)
    assert scores["silence"].value == 0.5
    counts = torch.ones(256).double()
    counts[[200, 50]] += 40 * 150
    bits = -(counts / counts.sum()).log2()
    assert scores["floor_unigram"].value == pytest.approx(float((bits[200] + bits[128]) / 2))
    before = 0.02 * 256
    known, new, never = 6000.02 / (6000 + before), 0.02 / (6000 + before), 1 / 256
    expected_pairs = -(600 * math.log2(known) + 2 * math.log2(new) + 598 * math.log2(never)) / 1200
    assert scores["floor_order1"].value == pytest.approx(expected_pairs)
    assert scores["field"].value == 30
    assert "not on the path" in scores["flac"].reason
    assert scores["bz2"].value < 1


def test_other_pairs_have_no_bits_of_sound(coins: Dataset) -> None:
    run = TrainedRun(build("independent", coins.event), coins, seed=0, history=[])
    assert {score.status for score in evaluate("sound", [run])} == {"skipped"}


def line(field: float, better: float = 0.0) -> Member:
    """The scores of a model that sees so much, with fewer bits than others that do."""
    family = f"wavenet-sound:field={field:g},width={48 + 8 * better:g}"
    where = {"dataset": "speech", "group": "autoregressive", "family": family, "guide": ""}
    values = {"field": field, "bits": 5 - field / 10 - better, "floor_order1": 6.0}
    scores = [Score(metric, value, kind="exact") for metric, value in values.items()]
    rows = tuple(score.row(suite="", evaluation="sound", seed=0, **where) for score in scores)
    return Member(rows=rows, **where)


def test_the_figure_takes_two_fields_or_more() -> None:
    assert bits_by_field([line(2), line(2)], 600) == ""
    assert "2 samples 4.8 bits, 8 samples 4.2 bits" in bits_by_field([line(8), line(2)], 600)


def test_the_curve_passes_by_a_model_that_is_better_at_the_same_field() -> None:
    for lines in ([line(8, 0.5), line(2), line(8)], [line(8), line(2), line(8, 0.5)]):
        drawn = bits_by_field(lines, 600)
        (curve,) = re.findall(r'<polyline points="([^"]+)"', drawn)
        heights = sorted(float(point.split(",")[1]) for point in curve.split())
        marks = sorted(float(height) for height in re.findall(r'<circle [^>]*cy="([^"]+)"', drawn))  # from above
        assert len(marks) == 4  # 6, the pairs; 4.8, 4.2 and 3.7 bits
        assert heights == marks[1:3]


def test_reports_show_sounds_as_spectrograms() -> None:
    """Darkest at the frequency of a tone; the same numbers without a rate are a strip."""
    tone = (128 + 100 * np.sin(2 * np.pi * np.arange(1024) / 8)).round()
    shown = {"event": "1024:256", "real": [tone.tolist()] * 3, "samples": {"a": [tone.tolist()]}, "coded": {}}
    (real, drawn) = pictures(shown | {"rate": 8000}, {"a": "autoregressive"})
    assert (real.label, drawn.label) == (REAL, "a")
    content = re.search(r"base64,([^\"]+)", str(drawn.html))
    assert content
    with Image.open(io.BytesIO(base64.b64decode(content[1]))) as image:
        pixels = np.asarray(image.convert("L"), float)
    assert pixels.shape == (128, 25)
    assert pixels.mean(1).argmin() == 128 - 32


# -------------------------------------------------------------------------------------------------------- by commands


@pytest.mark.thorough
def test_train_sample_compress_and_decompress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    package = PACKAGES["en"]
    folder = tmp_path / "data" / package.name / "usr/share/asterisk/sounds" / FOLDERS["en"]
    (folder / "silence").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ["agent-pass", "beep", "silence/1", *(f"digits{k}" for k in range(11))]:
        (folder / f"{name}.wav").write_bytes(wav_bytes(rng.integers(-999, 999, 150).astype(np.int16), 8000))
    words = ("--data", "speech:window=32,past=16", "--data-dir", "data", "--quiet")
    hyper = ("--set", "width=4", "--set", "skip=4", "--train", "steps=3", "--train", "engine=eager")
    zoo("sample", "wavenet-sound", *words, *hyper, "--out", "x.wav", "-n", "2", "--seconds", "0.01")
    pcm, rate = read_pcm(Path("x.wav"))
    assert (len(pcm), rate) == (2 * (80 + 1600), 8000)
    source = folder / "agent-pass.wav"
    (run,) = Path("runs").rglob("config.json")
    zoo("publish", str(run.parent), "--to", "models", "--name", "tiny", "--data-dir", "data", "--quiet")
    zoo("sample", "models/tiny", "--out", "y.wav", "-n", "2", "--quiet")  # without the data set
    pcm, rate = read_pcm(Path("y.wav"))
    assert (len(pcm), rate) == (2 * (32 + 1600), 8000)
    zoo("compress", str(run.parent), str(source), "-o", "x.zoo", "--quiet")
    zoo("decompress", "x.zoo", "-o", "back.wav", "--quiet")
    with wave.open("back.wav") as back:
        assert back.getframerate() == 8000
    assert np.array_equal(read_pcm(Path("back.wav"))[0], expanded(mulaw(read_pcm(source)[0])))
    assert "is written to a .wav" in zoo("decompress", "x.zoo", "-o", "x.npz", code=2).stderr
    few = load_data("speech:window=16,past=4,utterances=10", data_dir=Path("data"))  # 9 windows of each
    assert [len(few.train), len(few.validation), len(few.test)] == [72, 9, 9]
    for wrong in ("en+xx", "en+en"):
        said = zoo("train", "wavenet-sound", "--data", f"speech:languages={wrong}", "--data-dir", "data", code=2).stderr
        assert "different ones of en, fr" in said
    assert "no sound" in zoo("sample", "ppca", "--data", "moons", "--out", "x.wav", code=2).stderr
