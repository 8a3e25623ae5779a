"""Lossy coding: a pair's latents, rounded on a grid and packed; the model makes data of them.

The model's side is `zoo.codec.bottleneck`, the encoder's search `zoo.codec.search`, the packing `zoo.codec.quantised`.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.codec.bottleneck import DRAWS, Bottleneck, Inferred
from zoo.codec.quantised import QuantisedNormal, from_bytes, to_bytes
from zoo.codec.rates import Floats
from zoo.codec.search import STEPS, search
from zoo.errors import ZooError
from zoo.files import cached_tensors, checksum
from zoo.pairs.pair import Pair

WIDTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Widths of the grids of a rate-distortion curve, in units of the guide's scales."""
HEAD = struct.Struct("<I?")
"""The number of data, and whether the distribution of their latents was fitted and follows, or is the prior."""


class LossyCodec:
    """A pair with a bottleneck as a lossy code.

        encode: z = the guide's mean, improved by a search; symbols = round((z - mean) / step)
        decode: z = mean + step * symbols; x = E(x | z)

    The steps are ``width`` times the guide's own scales, so that each latent is kept as precisely as it matters (for a
    linear model this is reverse water-filling). Symbols are coded under rounded normal distributions. Both sides have
    the weights; everything else is in the bytes. Symbols depend on no network, so they decode exactly on any machine;
    ``reconstruct`` is exact only to float rounding.

    Args:
        pair: has fewer latent than data dimensions.

    Raises:
        ZooError: the pair has no bottleneck; the message says why.

    Example:
        >>> import torch
        >>> from zoo import Event, build
        >>> codec = LossyCodec(build("ppca", Event(5, 17), {"latent": 2}))
        >>> x = torch.full((30, 5), 4.0)
        >>> packed = codec.compress(x, codec.infer(x), width=1.0)
        >>> codec.reconstruct(codec.decode(packed)).shape
        (30, 5)

    Reference:
        Ballé et al. 2017, arXiv:1611.01704, for coding by quantised latents.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair, self.model = pair, Bottleneck(pair)
        self.prior = self.model.prior()

    def infer(self, x: Tensor, seed: int = 0) -> Inferred:
        """The latents of ``x``, shape ``(n, *event.shape)``, by draws of the guide."""
        return self.model.infer(x, seed)

    def compress(self, x: Tensor, inferred: Inferred, width: float) -> bytes:
        """Data as bytes, decoded again to prove them.

        ``inferred`` is what `infer` gave for ``x``; ``width`` is in units of the guide's scales.

        Raises:
            ZooError: the bytes do not decode to the latents that were encoded.
        """
        latents = search(self.model, x, inferred, width)
        packed = self.encode(latents, width)
        if (np.abs(self.decode(packed) - latents.location) > (0.5 + 1e-6) * self.steps(latents, width)).any():
            raise ZooError(f"at width {width:g} the bytes did not decode to the latents that were encoded")
        return packed

    def steps(self, latents: Inferred, width: float) -> Floats:
        """The grid's steps, ``(d,)``: ``width`` times the latents' scales, rounded to a byte each."""
        return from_bytes(to_bytes(width * latents.scale))

    def encode(self, latents: Inferred, width: float) -> bytes:
        """Latents as bytes, under the prior if it is normal or under a fitted normal: whichever takes fewer.

        `decode` gives them back within half a step.
        """
        steps = to_bytes(width * latents.scale).tobytes()
        heads = [HEAD.pack(len(latents.location), True) + steps + _fitted(latents.location)]
        if self.prior is not None:
            heads.append(HEAD.pack(len(latents.location), False) + steps)
        return min((head + self._read_head(head)[1].pack(latents.location) for head in heads), key=len)

    def decode(self, packed: bytes) -> Floats:
        """The latents that `encode` packed, shape ``(n, d)``, float64.

        Raises:
            ZooError: `encode` did not make these bytes with this model.
        """
        n, normal, start = self._read_head(packed)
        return normal.unpack(packed[start:], n)

    def reconstruct(self, z: Floats) -> Floats:
        """Expected data given latents ``(n, d)``: shape ``(n, *event.shape)``, within the range of the levels."""
        return self.model.reconstruct(z)

    def _read_head(self, packed: bytes) -> tuple[int, QuantisedNormal, int]:
        """The number of data, the distribution of latents, and where their symbols start."""
        size, complete = sum(self.model.sizes), len(packed) >= HEAD.size
        n, fitted = HEAD.unpack_from(packed) if complete else (0, False)
        start = HEAD.size + size * (4 if fitted else 1)
        if not complete or len(packed) < start or (self.prior is None and not fitted):
            raise ZooError(f"this is no lossy code of {self.pair.label}: it was cut or another model made it")
        numbers = np.frombuffer(packed, np.uint8, start - HEAD.size, HEAD.size)
        step, rest = from_bytes(numbers[:size]), numbers[size:]
        if fitted:
            mean, deviation = rest[: 2 * size].view("<f2").astype(float), from_bytes(rest[2 * size :])
            return n, QuantisedNormal(mean, deviation, step), start
        assert self.prior is not None
        return n, QuantisedNormal(*self.prior, step), start


def compress_at_widths(codec: LossyCodec, x: Tensor, seed: int = 0, path: Path | None = None) -> dict[float, bytes]:
    """`LossyCodec.compress` at each of `WIDTHS`; cached at ``path``, because the search takes seconds.

    Raises:
        ZooError: see `LossyCodec.compress`.
    """

    def packed() -> dict[str, Tensor]:
        inferred = codec.infer(x, seed)
        return {
            f"{width:g}": torch.frombuffer(bytearray(codec.compress(x, inferred, width)), dtype=torch.uint8)
            for width in WIDTHS
        }

    key = checksum({**codec.pair.state(), "x": x}, f"seed {seed} {(WIDTHS, DRAWS, STEPS)}")
    tensors = cached_tensors(path, key, packed)
    return {width: tensors[f"{width:g}"].numpy().tobytes() for width in WIDTHS}


def _fitted(z: Floats) -> bytes:
    """Mean (two bytes) and deviation (one) of each column: coarse enough to cost little."""
    mean = np.clip(z.mean(0), -6e4, 6e4).astype("<f2")
    return mean.tobytes() + to_bytes(np.sqrt(((z - mean) ** 2).mean(0))).tobytes()
