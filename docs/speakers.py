"""What a model of sound makes of the speaker that it is given: ``python docs/speakers.py RUN [WINDOWS]``.

RUN is the folder of a ``wavenet-sound`` on several languages of ``speech``. Takes WINDOWS (by default 40) test windows
of each speaker, spread evenly, and prints the bits a sample given each of the speakers, with the standard error over
windows given their own, and the share of windows that are likeliest given their own.
"""

from __future__ import annotations

import sys

import torch

import zoo
from zoo.evaluations.sound import bits_of


def main(run: str, count: str = "40") -> None:
    model = zoo.load(run, device="cpu")
    event, names = model.data.event, model.data.names["speaker"]
    values = event.unpack(model.data.test)
    assert values["speaker"] is not None
    print("of, given:", *names, "likeliest is their own")
    for own, name in enumerate(names):
        test = model.data.test[values["speaker"] == own]
        test = test[torch.linspace(0, len(test) - 1, min(int(count), len(test))).long()]
        fields = event.unpack(test)
        bits = torch.stack(
            [
                bits_of(model.pair, event.pack(fields | {"speaker": torch.full((len(test),), float(other))})).mean(1)
                for other in range(len(names))
            ]
        )
        error = bits[own].std() / len(test) ** 0.5
        means = " ".join(f"{float(each):.3f}" for each in bits.mean(1))
        share = float((bits.argmin(0) == own).double().mean())
        print(f"{name} ({len(test)}): {means}  ± {float(error):.3f}  {share:.0%}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
