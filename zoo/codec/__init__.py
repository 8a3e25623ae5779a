"""A pair as a codec: lossless by bits-back, lossy by quantised latents, and what others make of the same data."""

from zoo.codec import mixtures
from zoo.codec.container import decode, encode
from zoo.codec.rules import code, codes

__all__ = ["code", "codes", "decode", "encode", "mixtures"]
