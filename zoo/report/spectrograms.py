"""Sound as pictures: time from left to right, frequency from below."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zoo.data.files.sounds import expanded

FRAME, HOP = 256, 32
"""Samples in a frame, and from one to the next."""
RANGE = 70.0
"""Decibels from black to white."""


def spectrograms(levels: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sounds of mu-law levels ``(n, samples)`` as pictures ``(n, FRAME // 2, frames)``, 0 (white) to 1 (black).

    Black is the loudest of a full-scale sine, each frame under a Hann window; sounds shorter than a frame are filled
    by silence.

    Example:
        >>> tone = 128 + 100 * np.sin(2 * np.pi * np.arange(1024) / 8)
        >>> picture = spectrograms(tone[None].round())[0]
        >>> picture.shape, int(picture.mean(1).argmax())
        ((128, 25), 96)
    """
    pcm = expanded(levels.round().clip(0, 255).astype(np.uint8)) / 2**15
    if pcm.shape[1] < FRAME:
        pcm = np.pad(pcm, ((0, 0), (0, FRAME - pcm.shape[1])))
    frames = np.lib.stride_tricks.sliding_window_view(pcm, FRAME, axis=1)[:, ::HOP]
    window = np.hanning(FRAME)
    power = np.abs(np.fft.rfft(frames * window, axis=2)[..., 1:]) / (window.sum() / 2)
    decibels = 20 * np.log10(np.maximum(power, 1e-9))
    return np.asarray(np.clip(1 + decibels / RANGE, 0, 1).swapaxes(1, 2)[:, ::-1])
