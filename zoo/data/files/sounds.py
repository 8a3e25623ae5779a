"""Recordings: a ``.wav`` file cut in windows, or a folder of them."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.files.contents import Contents
from zoo.errors import ZooError

SUFFIX = ".wav"
LEVELS = 256
_FULL = 2**15
"""Samples of 16 bits are whole numbers from -2^15 to 2^15 - 1."""


def read_sound(
    path: Path, *, window: int = 0, past: int = 0, encoding: str = "mulaw", channel: int | None = None
) -> Contents:
    """Windows of 16-bit PCM recordings, each sample one of 256 levels: events ``(window,)``.

    With a ``past``, records of a window ``x`` and of the samples before it, which are given: silence before the start.

    The windows of a recording follow one another without a gap or an overlap; what is left at its end is left out. They
    stay in their order, so that train, validation and test are different stretches of time, or different recordings.

    Args:
        path: a ``.wav`` file, or a folder of them, of one rate.
        window: samples in a window.
        past: samples before it that are given.
        encoding: ``mulaw``, which companding spaces the levels finely around silence (ITU-T G.711, continuous form), or
            ``linear``, the upper 8 bits.
        channel: which channel of several, from 0 on.
    """
    if not isinstance(window, int) or window < 1:
        raise ZooError(f"{path} is cut in windows of as many samples as you say, such as {path}:window=256")
    if not isinstance(past, int) or past < 0:
        raise ZooError(f"{path}: past is how many samples before a window are given, from 0 on; got {past!r}")
    if encoding not in ENCODINGS:
        raise ZooError(f"the encoding of samples is {' or '.join(ENCODINGS)}, got {encoding!r}")
    files = sorted(each for each in path.iterdir() if each.suffix.lower() == SUFFIX) if path.is_dir() else [path]
    windows: list[NDArray[np.int16]] = []  # each with its past
    rates: dict[str, int] = {}
    rest = 0
    for file in files:
        samples, rates[file.name] = read_pcm(file, channel)
        count, left = divmod(len(samples), window)
        rest += left
        long = np.concatenate([np.zeros(past, np.int16), samples[: count * window]])
        starts = window * np.arange(count)[:, None]
        windows.append(long[starts + np.arange(past + window)])
    first, rate = next(iter(rates.items()))
    for name, other in rates.items():
        if other != rate:
            raise ZooError(f"the recordings of a folder are of one rate: {name} has {other} Hz, {first} {rate} Hz")
    pcm, groups = np.concatenate(windows), np.repeat(np.arange(len(windows)), [len(each) for each in windows])
    if not len(pcm):
        raise ZooError(f"{path} has no window of {window} samples; choose a shorter one")
    note = f"windows of {window} samples at {rate} Hz, {encoding} of 8 bits; {rest} samples at ends left out"
    levels = ENCODINGS[encoding](pcm)
    arrays = {"x": levels[:, past:], "past": levels[:, :past]} if past else {"": levels}
    return Contents(
        path,
        arrays,
        levels=dict.fromkeys(arrays, LEVELS),
        roles={"past": "given"} if past else {},
        groups=groups,
        note=f"{note}, given the {past} samples before" if past else note,
        rate=rate if encoding == "mulaw" else 0,
    )


def read_pcm(path: Path, channel: int | None = None) -> tuple[NDArray[np.int16], int]:
    """The samples of one channel of a recording of 16-bit PCM, shape ``(n,)``, and their rate in Hz.

    Raises:
        ZooError: it is no such recording, is cut off, or has several channels and none is chosen.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            frames = file.getnframes()
            content = file.readframes(frames)
    except (OSError, EOFError, wave.Error) as error:
        said = str(error) or "it ends early"
        raise ZooError(f"cannot read {path} as a recording: {said}; save it as 16-bit PCM") from error
    if len(content) < frames * channels * width:
        raise ZooError(f"{path} is cut off: it announces {frames} samples and has fewer; remove or repair it")
    if width != 2:
        raise ZooError(f"{path} has samples of {8 * width} bits; save it as 16-bit PCM")
    if channel is None and channels > 1:
        raise ZooError(f"{path} has {channels} channels; choose one, such as {path}:channel=0, or mix them to one")
    if channel is not None and not (isinstance(channel, int) and 0 <= channel < channels):
        raise ZooError(f"{path} has the channels 0 to {channels - 1}; there is no {channel!r}")
    return np.frombuffer(content, "<i2").reshape(-1, channels)[:, channel or 0], rate


def mulaw(pcm: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The level of each sample x in [-1, 1), of 256 that are even in F(x) = sign(x) log(1 + 255 |x|) / log(256).

    Example:
        >>> mulaw(np.array([-32768, -1, 0, 1, 32767], np.int16)).tolist()
        [0, 127, 128, 128, 255]
    """
    x = pcm / _FULL
    companded = np.sign(x) * np.log1p((LEVELS - 1) * np.abs(x)) / np.log(LEVELS)
    return np.floor((companded + 1) / 2 * (LEVELS - 1) + 0.5).astype(np.uint8)


def expanded(levels: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The sample in the middle of each level of `mulaw`, which gives the level back.

    Example:
        >>> expanded(np.array([0, 127, 128, 255], np.uint8)).tolist()
        [-32768, -3, 3, 32767]
        >>> bool((mulaw(expanded(np.arange(256, dtype=np.uint8))) == np.arange(256)).all())
        True
    """
    y = 2 * levels.astype(np.float64) / (LEVELS - 1) - 1
    x = np.sign(y) * np.expm1(np.abs(y) * np.log(LEVELS)) / (LEVELS - 1)
    return np.clip(np.rint(_FULL * x), -_FULL, _FULL - 1).astype(np.int16)


def wav_bytes(pcm: NDArray[np.int16], rate: int) -> bytes:
    """A ``.wav`` file of one channel: samples ``(n,)`` at ``rate`` Hz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm.astype("<i2").tobytes())
    return file.getvalue()


def linear(pcm: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The upper 8 bits of each sample.

    Example:
        >>> linear(np.array([-32768, -1, 0, 255, 256, 32767], np.int16)).tolist()
        [0, 127, 128, 128, 129, 255]
    """
    return ((pcm.astype(np.int32) + _FULL) // (2 * _FULL // LEVELS)).astype(np.uint8)


ENCODINGS = {"mulaw": mulaw, "linear": linear}
