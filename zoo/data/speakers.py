"""Spoken digits and letters in five voices: records of a spectrogram ``x``, the word ``y`` and the voice ``d``."""

from __future__ import annotations

import math
import string
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.speech import FOLDERS, PACKAGES, RATE, folder_of, recorded
from zoo.errors import ZooError
from zoo.event import Event, Field
from zoo.pairs.registry import dataset

WORDS = (*string.digits, *string.ascii_lowercase)
"""The classes: files of these names are in every package."""
VALIDATION = 6
"""Words of each voice that are its validation data, others for each voice."""
SPLIT_SEED = 0
BANDS, FRAMES, LEVELS = 12, 24, 16
RANGE = 48.0
"""Decibels below the loudest entry of a word that its levels cover."""
FRAME, LOUD, LOWEST = 200, 0.03, 100.0
"""Samples of a frame; the amplitude, as a share of the greatest, where a word starts and ends; hertz."""


@dataset(
    "speakers",
    about="36 spoken words in five voices, as spectrograms of 12x24; one voice is left out for the test: leave=it",
    packages=tuple(PACKAGES.values()),
)
def speakers(data_dir: Path | None = None, *, leave: str = "it") -> Dataset:
    """The digits 0 to 9 and the letters of the prompts of the Asterisk exchange, one voice and language a package.

    A datum is one recording; there is one of each word in each voice. It is a `spectrogram`, and its class is the name
    of its file, so the same digit or letter in another language. The test data are the 36 words of the voice that is
    left out. Of each of the four others 6 words, drawn once and different for each voice, are validation data, so that
    every class is in the train data, in three voices or four. The levels of ``d`` are these voices in the order of
    `zoo.data.speech.FOLDERS`, and as the last one the unknown voice, which the test data have and no other datum.

    Args:
        data_dir: where the packages are looked for, besides the usual places.
        leave: the language of the voice that is left out: en, fr, es, it or ru.

    Raises:
        ZooError: another language, or a package that is not on this machine.
    """
    if leave not in FOLDERS:
        raise ZooError(f"leave is the language of a voice, one of {', '.join(FOLDERS)}; got {leave!r}")
    kept = [language for language in FOLDERS if language != leave]
    x, y, d = Field("x", (BANDS, FRAMES), LEVELS), Field("y", (), len(WORDS), "label"), Field("d", (), 5, "given")
    event, classes = Event.record(x, y, d), torch.arange(float(len(WORDS)))
    order = torch.randperm(len(WORDS), generator=torch.Generator().manual_seed(SPLIT_SEED)).split(VALIDATION)
    train, validation = list[Tensor](), list[Tensor]()
    for level, language in enumerate(kept):
        held = torch.isin(torch.arange(len(WORDS)), order[level])
        of_voice = event.pack({"x": spoken(language, data_dir), "y": classes, "d": torch.full_like(classes, level)})
        train.append(of_voice[~held])
        validation.append(of_voice[held])
    test = event.pack({"x": spoken(leave, data_dir), "y": classes, "d": torch.full_like(classes, len(kept))})
    return Dataset(
        name="speakers",
        event=event,
        train=torch.cat(train),
        validation=torch.cat(validation),
        test=test,
        source=f"The digits and letters of the Asterisk exchange's prompts, version 1.6.1, one recording of each in "
        f"each voice: spectrograms of {BANDS} bands and {FRAMES} frames; voices {', '.join(kept)} train and, "
        f"{VALIDATION} words of each, validation, drawn with seed {SPLIT_SEED}; voice {leave} test, whose domain d is "
        "unknown.",
        names={"y": WORDS, "d": (*kept, "unknown")},
    )


def spoken(language: str, data_dir: Path | None) -> Tensor:
    """The spectrograms of all `WORDS` in one voice, shape ``(36, 12, 24)``."""
    folder = folder_of(language, data_dir)
    files = (folder / ("digits" if word.isdigit() else "letters") / f"{word}.wav" for word in WORDS)
    return torch.stack([spectrogram(recorded(file)) for file in files])


def spectrogram(pcm: NDArray[np.int16]) -> Tensor:
    """Levels of the energy in bands of a word, shape ``(12, 24)``: low bands first, time to the right.

    The 24 frames of 25 ms are spread evenly between the first and the last sample of 3 % of the greatest amplitude, so
    a word takes all of them however fast it is spoken. Bands are triangles evenly spaced on the mel scale from 100 to
    4,000 Hz. An energy is in decibels below the greatest of the word, in 16 levels; level 0 is 48 dB below it or more.

    Raises:
        ZooError: silence.

    Example:
        >>> low = np.sin(2 * np.pi * 300 / 8000 * np.arange(4000))
        >>> spectrogram((1000 * low).astype(np.int16))[:, 12].argmax()
        tensor(1)
    """
    samples = pcm.astype(np.float64)
    loud = np.flatnonzero(np.abs(samples) >= LOUD * np.abs(samples).max())
    if not np.abs(samples).max():
        raise ZooError("a recording of a word holds silence only; is its package damaged?")
    padded = np.pad(samples, FRAME // 2)
    starts = np.linspace(loud[0], loud[-1], FRAMES).round().astype(int)
    frames = padded[starts[:, None] + np.arange(FRAME)] * np.hanning(FRAME)
    energies = np.abs(np.fft.rfft(frames)) ** 2 @ _triangles().T
    decibels = 10 * np.log10(energies / energies.max() + 1e-12)
    levels = np.rint((LEVELS - 1) * (1 + decibels / RANGE)).clip(0, LEVELS - 1)
    return torch.from_numpy(levels.T.astype(np.float32).copy())


def _triangles() -> NDArray[np.float64]:
    """The weight of each frequency in each band, shape ``(12, FRAME // 2 + 1)``."""
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (LOWEST, RATE / 2))
    mel = np.linspace(low, high, BANDS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    start, top, end = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    hertz = np.fft.rfftfreq(FRAME, 1 / RATE)
    return np.minimum((hertz - start) / (top - start), (end - hertz) / (end - top)).clip(0)
