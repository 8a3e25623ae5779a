"""Bach's chorales as chords: which keys of a piano sound at each beat, from the scores in the package music21."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from zoo.data.dataset import Dataset
from zoo.errors import ZooError
from zoo.event import Event, Field
from zoo.files import cached_tensors
from zoo.pairs.registry import dataset

LOWEST, KEYS = 21, 88
"""The MIDI number of a piano's first key, and the number of its keys."""
VOICES = 4
LONGEST = 160
"""Beats of the longest chorale that is kept, as in the published data."""
SHARES = (0.6, 0.2)
"""Of train and validation, as in the published data: 229, 76 and 77 of 382."""
SPLIT_SEED = 0


@dataset("chorales", about="Bach's chorales for four voices: 88 keys at each beat, as sequences")
def chorales() -> Dataset:
    """Bach's chorales for four voices, as the keys that sound at each quarter note: ``x=160x88:binary~n``.

    The scores are those of the package music21 (``pip install music21``), of which all for four voices and of at most
    160 beats are kept, in their own keys, each once, and split by a fixed draw into 60 % train, 20 % validation and
    20 % test. They are read once, in about a minute, and kept in the user's cache. The published data "JSB chorales"
    (Boulanger-Lewandowski et al. 2012) were made alike from 382 files; which chorales are in which of their splits is
    not known, so scores on both are near each other and not the same.

    Raises:
        ZooError: music21 is not installed.
    """
    try:
        installed = version("music21")
    except PackageNotFoundError:
        raise ZooError("the chorales are in the package music21: pip install music21") from None
    import pooch

    path = Path(pooch.os_cache("zoo")) / "chorales.safetensors"
    note = {"music21": installed, "beats": LONGEST, "voices": VOICES}
    rolls = cached_tensors(path, note, lambda: dict(_rolls()))
    return of_rolls(without_repeats([rolls[name] for name in sorted(rolls)]), f"music21 {installed}")


def without_repeats(rolls: list[Tensor]) -> list[Tensor]:
    """The rolls that differ from all before them by more than their key, so that no test datum is a train datum."""
    kept: dict[tuple[int, bytes], Tensor] = {}
    for roll in rolls:
        sounding = roll.any(0).nonzero()[:, 0]
        chords = roll[:, int(sounding.min()) : int(sounding.max()) + 1].to(torch.uint8)
        kept.setdefault((chords.shape[1], chords.numpy().tobytes()), roll)
    return list(kept.values())


def of_rolls(rolls: list[Tensor], source: str) -> Dataset:
    """The data set of piano rolls, each of shape ``(beats, KEYS)``, at most `LONGEST` beats."""
    event = Event.record(Field("x", (LONGEST, KEYS), "binary", length="n"), Field("n", (), LONGEST + 1, "given"))
    order = torch.randperm(len(rolls), generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
    blank = torch.zeros(LONGEST, KEYS)  # the padding reaches to its length
    x = pad_sequence([*(rolls[i].float() for i in order), blank], batch_first=True)[:-1]
    packed = event.pack({"x": x, "n": [len(rolls[i]) for i in order]})
    train, validation = (round(share * len(rolls)) for share in SHARES)
    splits = packed.split([train, validation, len(rolls) - train - validation])
    about = (
        f"Bach's chorales from {source}: {len(rolls)} for {VOICES} voices, the keys that sound at each quarter note; "
        f"{', '.join(str(len(split)) for split in splits)} train, validation and test, drawn with seed {SPLIT_SEED}."
    )
    return Dataset("chorales", event, splits[0], splits[1], splits[2], about)


def _rolls() -> Iterator[tuple[str, Tensor]]:
    """Name and piano roll of each chorale."""
    from music21 import converter, corpus

    for path in corpus.getComposer("bach"):
        if path.suffix != ".mxl":
            continue
        score = converter.parse(path)
        if len(score.parts) == VOICES and 0 < math.ceil(score.highestTime) <= LONGEST:
            yield path.stem, roll_of(score)


def roll_of(score: Any) -> Tensor:
    """The keys of a score of music21 that sound at each quarter note: shape ``(beats, KEYS)``, uint8."""
    roll = torch.zeros(math.ceil(score.highestTime), KEYS, dtype=torch.uint8)
    for note in score.flatten().notes:
        start, end = float(note.offset), float(note.offset) + float(note.quarterLength)
        for pitch in note.pitches:
            if 0 <= (key := pitch.midi - LOWEST) < KEYS:
                roll[math.ceil(start - 1e-6) : math.ceil(end - 1e-6), key] = 1
    return roll
