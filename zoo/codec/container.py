"""The file of coded data, ``.zoo``; everything read from it is checked first.

    magic "\x89ZOO" | version, 1 byte | length of the header, 2 bytes | header, JSON | payload | checksum, 8 bytes

Numbers are little-endian. The payload is the stack's words, bottom first, without zero bytes at the end; the checksum
is the start of the SHA-256 of everything before it.
"""

from __future__ import annotations

import hashlib
import platform
import zlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from zoo.codec.grids import MAX_EXPONENT
from zoo.codec.lossless import MAX_GROWTH, Plan, Watch, plan, pop_data, precisely, probe, push_data, why_not
from zoo.codec.stack import Words
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.files import checksum
from zoo.pairs.pair import Pair

MAGIC, VERSION = b"\x89ZOO", 1
CHECKSUM = 8
"""Bytes of the checksum."""
FRAME = len(MAGIC) + 1 + 2
"""Bytes before the header."""
MAX_DIMS_PER_BYTE = 2**12
"""Of the payload: bounds the work that a file can ask for."""


class Header(BaseModel):
    """What a file says about itself.

    ``crc`` is a checksum of the data; ``check`` one of the other fields and of the `probe`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    family: str = Field(pattern=r"^\w[\w.-]*(\+\w[\w.-]*)?(:[\w.=,-]+)?$", max_length=100)
    weights: str = Field(pattern=r"^[0-9a-f]{16}$")
    event: str = Field(pattern=r"^\d{1,9}(x\d{1,9}){0,7}:\w{1,9}$")
    count: int = Field(ge=1, le=2**40)
    batch: int = Field(ge=1, le=2**16)
    growth: float = Field(ge=0, le=MAX_GROWTH)
    grid: int = Field(ge=0, le=MAX_EXPONENT)
    crc: int = Field(ge=0, lt=2**32)
    check: int = Field(ge=0, lt=2**32)
    by: str = Field(max_length=200)
    dtype: str = Field("float32", pattern=r"^(bool|u?int(8|16|32|64)|float(16|32|64))$")
    shape: list[int] | None = Field(None, max_length=8)
    """Of a datum in the array that was compressed, if it is not the event's."""

    @property
    def plan(self) -> Plan:
        """How the data were split."""
        return Plan(self.count, self.batch, self.growth, self.grid)

    def expected_check(self, probed: int) -> int:
        """What ``check`` should be on a machine where `probe` gives ``probed``."""
        return zlib.crc32(self.model_dump_json(exclude={"check", "by"}).encode(), probed)


def encode(
    pair: Pair,
    x: Tensor,
    *,
    batch: int = 512,
    dtype: str = "float32",
    shape: list[int] | None = None,
    watch: Watch = lambda done: None,
) -> bytes:
    """Compress data without loss; `decode` is the inverse.

    Args:
        pair: the trained pair; the decoder needs the same weights.
        x: data, shape ``(n, *event.shape)``.
        batch: the most data in one pass; more is faster and takes more memory.
        dtype: of the array that ``x`` came from, stored for `as_array`.
        shape: of a datum in that array, if it is not the event's.
        watch: called with the number of data done so far.

    Returns:
        A whole ``.zoo`` file: about -log2 p(x) bits, or the negative ELBO in bits where there are latents.

    Raises:
        ZooError: ``x`` does not fit the pair's event, or the pair has no lossless code; the message says why.

    Example:
        >>> import torch
        >>> from zoo import Event, build
        >>> pair, x = build("independent", Event(8, "binary")), torch.ones(20, 8)
        >>> file = encode(pair, x)
        >>> torch.equal(decode(pair, file), x)
        True

    Reference:
        Townsend et al. 2019, arXiv:1901.04866.
    """
    _check_data(pair, x)
    if reason := why_not(pair):
        raise ZooError(f"{pair.label} has no lossless code: {reason}")
    with precisely(pair):
        split = plan(pair, x, batch)
        words, probed = push_data(pair, x, split, watch), probe(pair, split.grid)
    header = Header(
        family=pair.label,
        weights=weights_digest(pair.state()),
        event=str(pair.event),
        count=len(x),
        batch=batch,
        growth=split.growth,
        grid=split.exponent,
        crc=crc(x),
        check=0,
        by=environment(),
        dtype=dtype,
        shape=shape,
    )
    return pack(header.model_copy(update={"check": header.expected_check(probed)}), words)


def decode(pair: Pair, file: bytes, *, watch: Watch = lambda done: None) -> Tensor:
    """Decompress a file of `encode`.

    Args:
        pair: with the weights that the file was encoded with.
        file: its bytes.
        watch: called with the number of data done so far.

    Returns:
        The data, shape ``(n, *event.shape)``, float32, on the CPU; never wrong data.

    Raises:
        RunError: the file is damaged or made with other weights, or this machine computes other probabilities than
            the one that wrote it.

    Example:
        >>> import torch
        >>> from zoo import Event, build
        >>> pair = build("uniform", Event(2, 5))
        >>> decode(pair, encode(pair, torch.tensor([[0.0, 4.0]])))
        tensor([[0., 4.]])
    """
    return decode_counting(pair, file, watch)[0]


def decode_counting(pair: Pair, file: bytes, watch: Watch = lambda done: None) -> tuple[Tensor, int]:
    """`decode`, and how many seed bits the file contains."""
    header, words = unpack(file)
    if header.weights != weights_digest(pair.state()) or Event.parse(header.event) != pair.event:
        raise RunError(
            f"the file was made by {header.family} on {header.event} with other weights than those of {pair.label}: "
            "decode it with the pair that encoded it"
        )
    with precisely(pair):
        if header.expected_check(probe(pair, header.plan.grid)) != header.check:
            raise RunError(_other_machine(header))
        x, left = pop_data(pair, words, header.plan, watch)
    if not left.is_seed() or crc(x) != header.crc:
        raise RunError(f"the file does not decode to the data that were encoded: {_other_machine(header)}")
    return x.float(), left.bits


def pack(header: Header, words: Words) -> bytes:
    """The bytes of a file."""
    text = header.model_dump_json(exclude_defaults=True).encode()
    payload = words.astype("<u4").tobytes().rstrip(b"\0")
    payload = payload.ljust(-(-header.count * Event.parse(header.event).size // MAX_DIMS_PER_BYTE), b"\0")
    body = MAGIC + bytes([VERSION]) + len(text).to_bytes(2, "little") + text + payload
    return body + _checksum(body)


def unpack(file: bytes) -> tuple[Header, Words]:
    """The header and the stack's words of a file.

    Raises:
        RunError: it is no such file, of a later version, cut or changed.
    """
    if not file.startswith(MAGIC) or len(file) < FRAME + CHECKSUM:
        raise RunError("this is no .zoo file, or only the start of one")
    if file[len(MAGIC)] != VERSION:
        raise RunError(
            f"the file has version {file[len(MAGIC)]}, this zoo reads version {VERSION}: decode it with a later zoo"
        )
    body = file[:-CHECKSUM]
    if file[-CHECKSUM:] != _checksum(body):
        raise RunError("the file was cut or changed after it was written (checksum)")
    end = FRAME + int.from_bytes(body[FRAME - 2 : FRAME], "little")
    try:
        header = Header.model_validate_json(body[FRAME:end])
        size = Event.parse(header.event).size
    except (ValidationError, ZooError) as error:
        raise RunError("the file's header is not one that the zoo wrote") from error
    payload = body[end:]
    if header.count * size > MAX_DIMS_PER_BYTE * len(payload):
        raise RunError(f"the file claims {header.count} data in {len(payload)} bytes, which is impossible")
    payload = payload.rstrip(b"\0")
    return header, np.frombuffer(payload.ljust(-(-len(payload) // 4) * 4, b"\0"), "<u4").astype(np.uint32)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Sixteen hexadecimal digits that identify a pair's weights."""
    return checksum(state)[:16]


def crc(x: Tensor) -> int:
    """A checksum of the data as 64-bit integers."""
    return zlib.crc32(x.detach().cpu().contiguous().long().numpy().astype("<i8").tobytes())


def environment() -> str:
    """What floating-point results depend on: versions and processor; it is always the CPU that computes."""
    kind = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__} ans {version('constriction')} {platform.machine()} {kind} cpu"


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:CHECKSUM]


def _other_machine(header: Header) -> str:
    return (
        f"its header was changed, or this machine ({environment()}) computes other probabilities than the one that "
        f"wrote it ({header.by}); decode it with the same versions on such a machine"
    )


def _check_data(pair: Pair, x: Tensor) -> None:
    event = pair.event
    if x.shape[1:] != event.shape or not len(x):
        raise ZooError(f"data to code should have shape (n, {', '.join(map(str, event.shape))}), got {tuple(x.shape)}")
    if event.levels is not None and not bool(((x == x.round()) & (x >= 0) & (x < event.levels)).all()):
        raise ZooError(f"data to code should be whole numbers from 0 to {event.levels - 1} ({event}); these are not")


def as_array(header: Header, x: Tensor) -> NDArray[Any]:
    """Decoded data ``x`` as the array that was compressed, with its dtype and shape."""
    shape = Event.parse(header.event).shape if header.shape is None else tuple(header.shape)
    return x.numpy().reshape(len(x), *shape).astype(header.dtype)
