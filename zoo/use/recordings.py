"""Recordings to coded files and back, with the runs that the files belong to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from zoo.codec.container import unpack
from zoo.codec.lossless import Watch
from zoo.codec.recording import decode_recording, encode_recording
from zoo.contract.check import ground_laws
from zoo.data.files.sounds import LEVELS, SUFFIX, expanded, mulaw, read_pcm, wav_bytes
from zoo.errors import RunError, ZooError
from zoo.pairs.continuing import Parts
from zoo.pairs.pair import Pair
from zoo.use.arrays import run_of


def is_recording(path: Path) -> bool:
    """Whether a file of that name is a recording."""
    return path.suffix.lower() == SUFFIX


def compress_recording(
    pair: Pair, path: Path, watch: Callable[[str, int], None], unchecked: bool = False
) -> tuple[bytes, int]:
    """A recording of 16-bit PCM, rounded to 256 mu-law levels, as a coded file, decoded again to prove it.

    Args:
        pair: trained on such sound, each window given the samples before it, and nothing else.
        path: a ``.wav`` file of one channel.
        watch: called with the stage (compressing, proving) and the number of samples done.
        unchecked: do not check the ground laws.

    Returns:
        The file, and how many samples it codes.

    Raises:
        ZooError: no such recording, or a pair of other data.
        ContractError: the pair breaks a ground law.
        RunError: the file does not decode to the same samples.
    """
    parts = Parts(pair.event)
    if parts.levels != LEVELS or len(pair.event.fields) > 2:
        raise ZooError(
            f"a .wav file is coded by a pair of x=...:{LEVELS},past=...:{LEVELS}@given, such as wavenet-sound on "
            f"speech; {pair.label} is of {pair.event}"
        )
    pcm, rate = read_pcm(path)
    if not len(pcm):
        raise ZooError(f"{path} has no samples")
    levels = torch.from_numpy(mulaw(pcm).astype(np.float32))
    if not unchecked:
        ground_laws(pair, parts.cut(levels))
    file = encode_recording(pair, levels, rate=rate, watch=lambda done: watch("compressing", done))
    if not torch.equal(decode_recording(pair, file, watch=lambda done: watch("proving", done)), levels):
        raise RunError(f"{pair.label} does not decode to the samples that were encoded; nothing was written")
    return file, len(levels)


def decompress_recording(file: bytes, runs: Path, watch: Watch) -> bytes:
    """The ``.wav`` file, 16-bit PCM, in a coded one, decoded with the run under ``runs`` that encoded it.

    Each sample is in the middle of its level.

    Raises:
        RunError: the file is damaged, there is no such run, or this machine cannot decode it.
    """
    header = unpack(file)[0]
    levels = decode_recording(run_of(header, runs).pair(), file, watch=watch)
    return wav_bytes(expanded(levels.numpy().astype(np.uint8)), header.rate)
