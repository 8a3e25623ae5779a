"""A pair as a codec: lossless by bits-back, lossy by quantised latents, and standard codes on the same data.

A rule of `zoo.codec.rules` says how one kind of distribution is coded; the container format is `zoo.codec.container`.
"""

from zoo.codec import mixtures
from zoo.codec.container import decode, encode
from zoo.codec.rules import code, codes

__all__ = ["code", "codes", "decode", "encode", "mixtures"]
