"""The user's own recordings: windows of 16-bit PCM as 256 levels."""

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from splits import everything

from zoo.data import load_data
from zoo.data.files.sounds import linear, mulaw
from zoo.errors import ZooError
from zoo.event import Event

EVERY = np.arange(-(2**15), 2**15).astype(np.int16)


def wav(path: Path, samples: np.ndarray, rate: int = 8000, width: int = 2) -> Path:
    """A recording of samples ``(n,)`` or ``(n, channels)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype(f"<i{width}").tobytes())
    return path


@pytest.mark.parametrize(("encoding", "encode"), [("linear", linear), ("mulaw", mulaw)])
def test_a_recording_is_read_as_written(encoding: str, encode: Callable[..., np.ndarray], tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, size=1003)
    path = wav(tmp_path / "speech.wav", samples)
    data = load_data(f"{path}:window=10,encoding={encoding}")
    assert data.event == Event(10, 256)
    assert torch.equal(everything(data).flatten(), torch.from_numpy(encode(samples[:1000])).float())
    assert (len(data.train), len(data.validation), len(data.test)) == (80, 10, 10)
    assert (
        f"in order, split 0.8/0.1/0.1: 80 train, 10 validation, 10 test; windows of 10 samples at 8000 Hz, {encoding}"
        in data.source
    )
    assert "3 samples at ends left out" in data.source
    assert load_data(f"{path}:window=10,encoding={encoding}", seed=1).fingerprint == data.fingerprint


def test_windows_are_given_the_samples_before(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, size=205)
    data = load_data(f"{wav(tmp_path / 'speech.wav', samples)}:window=10,past=15")
    assert str(data.event) == "x=10:256,past=15:256@given"
    levels = torch.from_numpy(mulaw(np.concatenate([np.zeros(15, int), samples]))).float()
    rows = torch.cat([data.train, data.validation, data.test])
    assert torch.equal(torch.cat([rows[:, 10:], rows[:, :10]], 1), levels[:215].unfold(0, 25, 10))
    assert data.rate == 8000
    with pytest.raises(ZooError, match="from 0 on"):
        load_data(f"{tmp_path / 'speech.wav'}:window=10,past=-1")


@pytest.mark.parametrize("encode", [linear, mulaw])
def test_encodings_use_all_levels_in_order(encode: Callable[..., np.ndarray]) -> None:
    levels = encode(EVERY).astype(int)
    assert (np.diff(levels) >= 0).all()
    assert np.unique(levels).tolist() == list(range(256))


def test_mulaw_is_inverted_by_its_formula_within_half_a_level() -> None:
    """x = sign(u) (256^|u| - 1) / 255, with u = 2 level / 255 - 1; levels are even in u."""
    u = 2 * (mulaw(EVERY) / 255) - 1
    x = EVERY / 2**15
    edges = [np.sign(v) * (256 ** np.abs(v) - 1) / 255 for v in (u - 1 / 255, u + 1 / 255)]
    assert (edges[0] - 1e-9 <= x).all()
    assert (x <= edges[1] + 1e-9).all()


@given(st.integers(2, 6), st.integers(0, 9))
def test_windows_of_a_recording_stay_together_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("sounds")
    for index in range(count):
        wav(folder / f"{index}.wav", 256 * (20 * index + np.arange(20)))
    numbers = everything(load_data(f"{folder}:window=2,encoding=linear", seed=seed))[:, 0] - 128
    recordings = numbers // 20
    assert int((recordings.diff() != 0).sum()) == count - 1
    assert numbers.diff()[recordings.diff() == 0].unique().tolist() == [2]
    assert sorted(recordings.unique().tolist()) == list(range(count))


def test_a_channel_may_be_chosen(tmp_path: Path) -> None:
    stereo = np.stack([np.arange(100) * 256, -np.arange(100) * 256], 1)
    path = wav(tmp_path / "stereo.wav", stereo)
    left, right = (everything(load_data(f"{path}:window=5,encoding=linear,channel={each}")) for each in (0, 1))
    assert torch.equal(left.flatten(), 128 + torch.arange(100.0))
    assert torch.equal(right.flatten(), 128 - torch.arange(100.0))


def cut_off(folder: Path) -> None:
    path = wav(folder / "a.wav", EVERY)
    path.write_bytes(path.read_bytes()[:-101])


BROKEN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no window": (
        lambda folder: wav(folder / "a.wav", EVERY),
        "",
        "in windows of as many samples as you say, .*window=256",
    ),
    "window": (lambda folder: wav(folder / "a.wav", EVERY), "window=1.5", "in windows of as many samples as you say"),
    "too long": (lambda folder: wav(folder / "a.wav", EVERY[:9]), "window=10", "has no window of 10 samples"),
    "encoding": (lambda folder: wav(folder / "a.wav", EVERY), "window=9,encoding=flac", "mulaw or linear, got 'flac'"),
    "stereo": (lambda folder: wav(folder / "a.wav", EVERY.reshape(-1, 2)), "window=9", "2 channels; .*a.wav:channel=0"),
    "channel": (lambda folder: wav(folder / "a.wav", EVERY), "window=9,channel=1", "channels 0 to 0; there is no 1"),
    "8 bits": (
        lambda folder: wav(folder / "a.wav", EVERY // 256, width=1),
        "window=9",
        "samples of 8 bits; save it as",
    ),
    "no wav": (
        lambda folder: (folder / "a.wav").write_bytes(b"hello"),
        "window=9",
        "cannot read .* as a recording: .*",
    ),
    "empty": (lambda folder: (folder / "a.wav").write_bytes(b""), "window=9", "as a recording: it ends early; save it"),
    "cut off": (cut_off, "window=9", "a.wav is cut off: it announces 65536 samples"),
    "images": (
        lambda folder: [wav(folder / "a.wav", EVERY), (folder / "b.png").touch()],
        "window=9",
        "holds recordings as well as images",
    ),
    "rates": (
        lambda folder: [wav(folder / f"{rate}.wav", EVERY, rate) for rate in (8000, 9000)],
        "window=9",
        "of one rate: 9000.wav has 9000 Hz, 8000.wav 8000 Hz",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_recordings_are_refused_in_one_clear_sentence(case: str, tmp_path: Path) -> None:
    write, settings, words = BROKEN[case]
    write(tmp_path)
    with pytest.raises(ZooError, match=words) as caught:
        load_data(str(tmp_path) + (f":{settings}" if settings else ""))
    assert "\n" not in str(caught.value)
