"""The file of coded data, ``.zoo``: nothing is read from it that is not checked first.

    magic "\x89ZOO" | version, 1 byte | length of the header, 2 bytes | header, JSON | payload | checksum, 8 bytes

Numbers are little-endian. The payload is the stack's words, bottom first, zero bytes at the end left out; the checksum
is the beginning of the SHA-256 of all before it.
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
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from zoo.codec.grids import FINEST
from zoo.codec.lossless import FASTEST, Plan, Watch, check, plan, pop_data, precisely, push_data, why_not
from zoo.codec.stack import Words
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.pairs.pair import Pair

MAGIC, VERSION = b"\x89ZOO", 1
CHECKSUM = 8
"""Bytes of the checksum."""
FRAME = len(MAGIC) + 1 + 2
"""Bytes before the header."""
DENSEST = 2**12
"""Dimensions that a byte of payload may stand for: it bounds the work that a file can ask for."""


class Header(BaseModel):
    """What a file says of itself. ``crc`` is that of the data, ``check`` of the rest and of what is computed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    family: str = Field(pattern=r"^\w[\w.-]*(\+\w[\w.-]*)?(:[\w.=,-]+)?$", max_length=100)
    weights: str = Field(pattern=r"^[0-9a-f]{16}$")
    event: str = Field(pattern=r"^\d{1,9}(x\d{1,9}){0,7}:\w{1,9}$")
    count: int = Field(ge=1, le=2**40)
    batch: int = Field(ge=1, le=2**16)
    growth: float = Field(ge=0, le=FASTEST)
    grid: int = Field(ge=0, le=FINEST)
    crc: int = Field(ge=0, lt=2**32)
    check: int = Field(ge=0, lt=2**32)
    by: str = Field(max_length=200)
    dtype: str = Field("float32", pattern=r"^(bool|u?int(8|16|32|64)|float(16|32|64))$")
    shape: list[int] | None = Field(None, max_length=8)
    """Of a datum in the array that was compressed, where it is not the event's."""

    @property
    def plan(self) -> Plan:
        """How the data were cut."""
        return Plan(self.count, self.batch, self.growth, self.grid)

    def checked(self, probe: int) -> int:
        """What ``check`` should be where `zoo.codec.lossless.check` gives ``probe``: it holds the other fields too."""
        return zlib.crc32(self.model_dump_json(exclude={"check", "by"}).encode(), probe)


def encode(
    pair: Pair,
    x: Tensor,
    *,
    batch: int = 512,
    dtype: str = "float32",
    shape: list[int] | None = None,
    watch: Watch = lambda done: None,
) -> bytes:
    """A whole file of data ``x``, shape ``(n, *event.shape)``, coded by ``pair``; `decode` is its inverse.

    Args:
        batch: the most data in one pass; more is faster and takes more memory.
        dtype, shape: of the array that ``x`` came from, noted for whoever writes it back.
        watch: is told how many data are done.

    Raises:
        ZooError: ``x`` is no data of the pair's event, or the pair is no lossless code (the message says why).
    """
    _check_data(pair, x)
    if reason := why_not(pair):
        raise ZooError(f"{pair.label} is no lossless code: {reason}")
    weights = weights_digest(pair.state())
    with precisely(pair):
        cut = plan(pair, x, batch)
        words, probe = push_data(pair, x, cut, watch), check(pair, cut.grid)
    header = Header(
        family=pair.label,
        weights=weights,
        event=str(pair.event),
        count=len(x),
        batch=batch,
        growth=cut.growth,
        grid=cut.exponent,
        crc=crc(x),
        check=0,
        by=environment(),
        dtype=dtype,
        shape=shape,
    )
    return pack(header.model_copy(update={"check": header.checked(probe)}), words)


def decode(pair: Pair, file: bytes, *, watch: Watch = lambda done: None) -> Tensor:
    """The data of a file that `encode` made with the same weights: shape ``(n, *event.shape)``, float32, on the CPU.

    Raises:
        RunError: the file is damaged, made with other weights, or this machine computes other numbers than the one
            that wrote it; never wrong data.
    """
    return decode_counting(pair, file, watch)[0]


def decode_counting(pair: Pair, file: bytes, watch: Watch = lambda done: None) -> tuple[Tensor, int]:
    """`decode`, and how many seed bits the file holds."""
    header, words = unpack(file)
    if header.weights != weights_digest(pair.state()) or Event.parse(header.event) != pair.event:
        raise RunError(
            f"the file was made by other weights than these of {pair.label}: {header.family}, {header.event}"
        )
    with precisely(pair):
        if header.checked(check(pair, header.plan.grid)) != header.check:
            raise RunError(_foreign(header))
        x, left = pop_data(pair, words, header.plan, watch)
    if not left.is_seed() or crc(x) != header.crc:
        raise RunError(f"what the file decodes to here is not what was put in: {_foreign(header)}")
    return x.float(), left.bits


def pack(header: Header, words: Words) -> bytes:
    """The bytes of a file."""
    told = header.model_dump_json(exclude_defaults=True).encode()
    payload = words.astype("<u4").tobytes().rstrip(b"\0")
    payload = payload.ljust(-(-header.count * Event.parse(header.event).size // DENSEST), b"\0")
    body = MAGIC + bytes([VERSION]) + len(told).to_bytes(2, "little") + told + payload
    return body + _checksum(body)


def unpack(file: bytes) -> tuple[Header, Words]:
    """The header and the stack's words of a file.

    Raises:
        RunError: it is no such file, of a later version, torn, changed, or says what cannot be.
    """
    if not file.startswith(MAGIC) or len(file) < FRAME + CHECKSUM:
        raise RunError("this is no .zoo file, or only the beginning of one")
    if file[len(MAGIC)] != VERSION:
        raise RunError(f"the file is of version {file[len(MAGIC)]}; this zoo reads version {VERSION}")
    body = file[:-CHECKSUM]
    if file[-CHECKSUM:] != _checksum(body):
        raise RunError("the file is torn or was changed after it was written (checksum)")
    end = FRAME + int.from_bytes(body[FRAME - 2 : FRAME], "little")
    try:
        header = Header.model_validate_json(body[FRAME:end])
        size = Event.parse(header.event).size
    except (ValidationError, ZooError) as error:
        raise RunError("the file's header cannot be read: it is not one that the zoo wrote") from error
    payload = body[end:]
    if header.count * size > DENSEST * len(payload):
        raise RunError(f"the file claims {header.count} data in {len(payload)} bytes, which cannot be")
    payload = payload.rstrip(b"\0")
    return header, np.frombuffer(payload.ljust(-(-len(payload) // 4) * 4, b"\0"), "<u4").astype(np.uint32)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Sixteen hexadecimal digits of the SHA-256 over names, types, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def crc(x: Tensor) -> int:
    """Of the data as 64-bit integers, in order."""
    return zlib.crc32(x.detach().cpu().contiguous().long().numpy().astype("<i8").tobytes())


def environment() -> str:
    """What decides how numbers come out here: versions, processor, and that it is the CPU that computes."""
    kind = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__} ans {version('constriction')} {platform.machine()} {kind} cpu"


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:CHECKSUM]


def _foreign(header: Header) -> str:
    return (
        f"its header was changed, or its numbers come out otherwise here ({environment()}) than where it was written "
        f"({header.by}); decode it with the same versions on such a machine"
    )


def _check_data(pair: Pair, x: Tensor) -> None:
    event = pair.event
    if x.shape[1:] != event.shape or not len(x):
        raise ZooError(f"data to code should have shape (n, {', '.join(map(str, event.shape))}), got {tuple(x.shape)}")
    if event.levels is not None and not bool(((x == x.round()) & (x >= 0) & (x < event.levels)).all()):
        raise ZooError(f"data to code should be whole numbers from 0 to {event.levels - 1} ({event}); these are not")


def as_array(header: Header, x: Tensor) -> Any:
    """The array that was compressed: its type of numbers and its shape."""
    shape = Event.parse(header.event).shape if header.shape is None else tuple(header.shape)
    return x.numpy().reshape(len(x), *shape).astype(header.dtype)
