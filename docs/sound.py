"""The size of one recording as a file, against its ideal and standard codes: ``python docs/sound.py RUN FILE.wav``.

RUN is the folder of a trained ``wavenet-sound``. Prints the bytes of -log2 p of the samples, of the ``.zoo`` file, that
is decoded and compared bit by bit, of its payload, and of bz2 and FLAC (if the program is there) on the same samples,
which are of 8 bits: mu-law levels.
"""

from __future__ import annotations

import bz2
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch

from zoo.codec.container import unpack
from zoo.codec.lossless import precisely
from zoo.codec.recording import decode_recording, encode_recording
from zoo.data.files.sounds import mulaw, read_pcm
from zoo.errors import ZooError
from zoo.evaluations.sound import flac_bytes
from zoo.pairs.continuing import sequence_nats
from zoo.runs.lookup import find_run


def main(run: str, path: str) -> None:
    pair = find_run(run).pair()
    pcm, rate = read_pcm(Path(path))
    levels = mulaw(pcm)
    samples = torch.from_numpy(levels.astype(np.float32))
    begun = time.perf_counter()
    file = encode_recording(pair, samples, rate=rate)
    coded = time.perf_counter()
    back = decode_recording(pair, file)
    done = time.perf_counter()
    if not torch.equal(back, samples):
        raise SystemExit("the file does not decode to the same samples")
    with precisely(pair):
        ideal = float(sequence_nats(pair, samples.double()).sum()) / math.log(2)
    payload = len(unpack(file)[1].tobytes().rstrip(b"\0"))
    print(f"{path}: {len(levels)} samples, {len(levels) / rate:.2f} s")
    sizes = {"ideal": ideal / 8, "file": len(file), "payload": payload, "bz2": len(bz2.compress(levels.tobytes()))}
    try:
        sizes["flac"] = flac_bytes(levels.tobytes())
    except ZooError as error:
        print(error)
    for name, size in sizes.items():
        print(f"{name:8} {size:10.1f} bytes  {8 * size / len(levels):.4f} bits/sample")
    print(
        f"file over ideal {100 * (8 * len(file) / ideal - 1):+.2f} %, payload {100 * (8 * payload / ideal - 1):+.3f} %"
    )
    print(f"encoded in {coded - begun:.1f} s, decoded in {done - coded:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
