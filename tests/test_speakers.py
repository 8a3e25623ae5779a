"""Spoken words in five voices: how they are split, and what their spectrograms show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.data import Dataset, load_data
from zoo.data.files.sounds import wav_bytes
from zoo.data.speakers import BANDS, FRAMES, LEVELS, VALIDATION, WORDS, spectrogram, spoken
from zoo.data.speech import FOLDERS, PACKAGES, SOUNDS
from zoo.errors import ZooError


def tone(hertz: float, seconds: float = 0.3, amplitude: float = 9000.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hertz / 8000 * np.arange(round(8000 * seconds)))).astype(np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All packages, each word a tone of its own in each voice."""
    root: Path = tmp_path_factory.mktemp("voices")
    for voice, (language, name) in enumerate(FOLDERS.items()):
        place = root / PACKAGES[language].name / SOUNDS / name
        for part in ("digits", "letters"):
            (place / part).mkdir(parents=True)
        (place / "agent-pass.wav").write_bytes(wav_bytes(tone(300), 8000))
        for k, word in enumerate(WORDS):
            file = place / ("digits" if word.isdigit() else "letters") / f"{word}.wav"
            file.write_bytes(wav_bytes(tone(150 + 90 * k + 17 * voice), 8000))
    return root


@pytest.mark.parametrize("leave", FOLDERS)
def test_one_voice_is_left_out_and_every_class_is_trained(folder: Path, leave: str) -> None:
    data: Dataset = load_data(f"speakers:leave={leave}", data_dir=folder)
    train, validation, test = (data.event.unpack(split) for split in (data.train, data.validation, data.test))
    kept = [language for language in FOLDERS if language != leave]
    assert data.names["d"] == (*kept, "unknown")
    assert test["d"].unique().tolist() == [len(kept)]
    assert torch.equal(test["x"], spoken(leave, folder))
    for level, language in enumerate(kept):
        both = torch.cat([part["y"][part["d"] == level] for part in (train, validation)])
        assert both.sort().values.tolist() == list(range(len(WORDS)))
        assert (validation["d"] == level).sum() == VALIDATION
        mine = spoken(language, folder)
        for part in (train, validation):
            assert torch.equal(part["x"][part["d"] == level], mine[part["y"][part["d"] == level].long()])
    assert torch.bincount(train["y"].long()).min() >= 3
    assert len(validation["y"].unique()) == len(validation["y"])


def test_a_spectrogram_shows_the_tone_whatever_its_loudness_and_length() -> None:
    assert spectrogram(tone(500)).shape == (BANDS, FRAMES)
    bands = [int(spectrogram(tone(hertz))[:, 12].argmax()) for hertz in (200, 500, 1000, 2000, 3500)]
    assert bands == sorted(set(bands))
    both = np.concatenate([np.zeros(900, np.int16), tone(500), tone(2500)])
    levels = spectrogram(both)
    assert levels[:, 3].argmax() < levels[:, -4].argmax()
    assert torch.equal(spectrogram(both // 2 * 2), spectrogram(np.concatenate([both // 2, np.zeros(4000, np.int16)])))
    assert set(levels.unique().tolist()) <= set(range(LEVELS))


def test_silence_and_unknown_voices_are_refused(folder: Path) -> None:
    with pytest.raises(ZooError, match="silence only"):
        spectrogram(np.zeros(800, np.int16))
    with pytest.raises(ZooError, match="one of en, fr, es, it, ru; got 'de'"):
        load_data("speakers:leave=de", data_dir=folder)
