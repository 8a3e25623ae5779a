"""A pair as a codec: lossless by bits-back, lossy by quantised latents; and standard codes on the same data.

`rules` says how each distribution is coded, `container` is the file format, `lossy` and `baselines` compare at equal
quality. Change the format only with its version.
"""

from zoo.codec.container import decode, encode
from zoo.codec.rules import code, codes

__all__ = ["code", "codes", "decode", "encode"]
