"""Spoken prompts of a telephone exchange, from the packages of Asterisk: windows of samples, given those before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.files.sounds import LEVELS, SUFFIX, mulaw, read_pcm
from zoo.data.packages import Package
from zoo.errors import ZooError
from zoo.event import Event, Field
from zoo.pairs.registry import dataset

RATE = 8000
"""Samples in a second."""
SILENCE = 128
"""The level of a sample that is zero."""
FOLDERS = {
    "en": "en_US_f_Allison",
    "fr": "fr_CA_f_June",
    "es": "es_MX_f_Allison",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
"""Language -> the folder of its package, which names country, sex and speaker."""
SOUNDS = "usr/share/asterisk/sounds"
PACKAGES = {
    language: Package(
        "deb", f"asterisk-core-sounds-{language}-wav", "1.6.1-1", holds=f"{SOUNDS}/{folder}/agent-pass.wav"
    )
    for language, folder in FOLDERS.items()
}
NO_SPEECH = {"silence", "beep", "beeperr", "ascending-2tone", "descending-2tone"}
"""Folder and files that hold silence or tones."""
SHARES = (0.1, 0.1)
"""Of the utterances of each language, for test and validation."""
SPLIT_SEED = 0

Samples = NDArray[np.uint8]


@dataset(
    "speech",
    about="spoken prompts at 8 kHz, 256 mu-law levels, given the samples before: window=2048,past=1023,languages=en+fr",
    packages=tuple(PACKAGES.values()),
)
def speech(
    data_dir: Path | None = None,
    *,
    window: int = 2048,
    past: int = 1023,
    languages: str = "en",
    utterances: int | None = None,
) -> Dataset:
    """The prompts of the Asterisk exchange, one speaker for a language: see `of_utterances`.

    Args:
        data_dir: where the packages are looked for, besides the usual places.
        window: samples of a datum.
        past: samples before it, which are given.
        languages: some of en, fr, es, it and ru, joined by a plus. Of several, the speaker is given: ``speaker``.
        utterances: of each language, the most that are taken, by a fixed draw; all by default.

    Raises:
        ZooError: an unknown language, a package that is not on this machine, or sizes below 1.
    """
    names = languages.split("+")
    if not set(names) <= set(FOLDERS) or len(set(names)) < len(names):
        raise ZooError(f"languages are different ones of {', '.join(FOLDERS)}, joined by +; got {languages!r}")
    if min(window, past, 1 if utterances is None else utterances) < 1:
        sizes = f"window={window}, past={past}, utterances={utterances}"
        raise ZooError(f"window, past and utterances are 1 or more, got {sizes}")
    spoken = {name: dict(_utterances(folder_of(name, data_dir), utterances)) for name in names}
    story = f"Prompts of the Asterisk exchange ({', '.join(FOLDERS[name] for name in names)}, version 1.6.1)"
    return of_utterances(spoken, window, past, story)


def of_utterances(
    utterances: Mapping[str, Mapping[str, Samples]], window: int, past: int, story: str = "Utterances"
) -> Dataset:
    """Windows of utterances as events ``x``, each with the ``past`` samples before it, which are given.

    The windows of an utterance end where it ends, and follow one another without a gap or an overlap. What is left at
    its start, less than a window, is only in the past of the first; before the start there is silence. So every sample
    is scored once at most, and given as many samples of its own utterance as any other.

    Args:
        utterances: speaker -> name -> levels, shape ``(samples,)``; those shorter than a window are left out.
        window: samples of a datum.
        past: samples before it.
        story: what they are, for `Dataset.source`.

    Returns:
        Of each speaker, 10 % of the utterances for test and 10 % for validation, by a fixed draw. With several
        speakers the field ``speaker`` is given.

    Raises:
        ZooError: a split without a window.
    """
    fields = [Field("x", window, LEVELS), Field("past", past, LEVELS, "given")]
    several = len(utterances) > 1
    if several:
        fields.append(Field("speaker", (), len(utterances), "given"))
    event, parts = Event.record(*fields), dict[str, list[Tensor]](train=[], validation=[], test=[])
    scored, total = 0, 0
    for speaker, own in enumerate(utterances.values()):
        for word, names in drawn(sorted(own)).items():
            for name in names:
                cut = windows(own[name], window, past)
                total += len(own[name])
                scored += len(cut) * window
                if len(cut):
                    given = {"speaker": torch.full((len(cut),), float(speaker))} if several else {}
                    parts[word].append(event.pack({"x": cut[:, past:], "past": cut[:, :past], **given}))
    splits = {word: torch.cat(each) if each else torch.zeros(0, event.size) for word, each in parts.items()}
    if empty := [word for word, split in splits.items() if not len(split)]:
        raise ZooError(f"no utterance of {', '.join(empty)} has {window} samples: choose a smaller window")
    about = ", ".join(f"{len(parts[word])} utterances ({len(splits[word])} windows) {word}" for word in splits)
    short = sum(map(len, utterances.values())) - sum(map(len, parts.values()))
    return Dataset(
        "speech",
        event,
        splits["train"],
        splits["validation"],
        splits["test"],
        f"{story}: windows of {window} samples at {RATE} Hz, 256 mu-law levels, given {past} samples before each; "
        f"{about}, drawn with seed {SPLIT_SEED}; {scored / total:.1%} of all samples are in windows, the rest at the "
        f"starts of utterances is given only; {short} utterances are shorter than a window and left out.",
        names={"speaker": list(utterances)} if several else {},
        rate=RATE,
    )


def drawn(names: list[str]) -> dict[str, list[str]]:
    """Names by split, each part in the order of the names."""
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
    test, validation = (round(share * len(names)) for share in SHARES)
    places = {"train": order[test + validation :], "validation": order[test : test + validation], "test": order[:test]}
    return {word: [names[i] for i in sorted(found)] for word, found in places.items()}


def windows(samples: Samples, window: int, past: int) -> Tensor:
    """The windows of an utterance with what is before each: shape ``(n, past + window)``, float32.

    Example:
        >>> windows(np.array([1, 2, 3, 4, 5], np.uint8), window=2, past=2)
        tensor([[128.,   1.,   2.,   3.],
                [  2.,   3.,   4.,   5.]])
    """
    count, rest = divmod(len(samples), window)
    if not count:
        return torch.zeros(0, past + window)
    padded = np.concatenate([np.full(past, SILENCE, np.uint8), samples])
    return torch.from_numpy(padded[rest:].astype(np.float32)).unfold(0, past + window, window).contiguous()


def folder_of(language: str, data_dir: Path | None) -> Path:
    """The recordings of a language in its unpacked package.

    Raises:
        ZooError: it is not on this machine.
    """
    return PACKAGES[language].folder(data_dir) / SOUNDS / FOLDERS[language]


def recorded(file: Path) -> NDArray[np.int16]:
    """The samples of a recording of the packages, of 16 bits.

    Raises:
        ZooError: another rate.
    """
    pcm, rate = read_pcm(file)
    if rate != RATE:
        raise ZooError(f"{file} has {rate} Hz and not {RATE}; it is not the package that was known")
    return pcm


def _utterances(folder: Path, most: int | None) -> Iterator[tuple[str, Samples]]:
    """Name and levels of each utterance, of a fixed draw of ``most``; silence and tones are left out."""
    level = mulaw(np.arange(-(2**15), 2**15).astype(np.int16))
    names = sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob(f"*{SUFFIX}"))
    names = [name for name in names if not NO_SPEECH & {Path(name).parts[0], Path(name).stem}]
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
    for name in names if most is None else sorted(names[i] for i in order[:most]):
        yield name, level[recorded(folder / f"{name}{SUFFIX}").astype(np.int32) + 2**15]
