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
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from zoo.codec.forms import STRICT, ArrayForm
from zoo.codec.grids import MAX_EXPONENT
from zoo.codec.lossless import (
    MAX_GROWTH,
    Plan,
    Watch,
    coded_entries,
    plan,
    pop_data,
    precisely,
    probe,
    push_data,
    why_not,
)
from zoo.codec.stack import Words
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.files import checksum
from zoo.pairs.pair import Pair
from zoo.pairs.sampling import contexts

MAGIC, VERSION = b"\x89ZOO", 2
CHECKSUM = 8
"""Bytes of the checksum."""
FRAME = len(MAGIC) + 1 + 2
"""Bytes before the header."""
MAX_DIMS_PER_BYTE = 2**12
"""Of the payload: bounds the work that a file can ask for."""


class Header(BaseModel):
    """What a file says about itself.

    ``crc`` is a checksum of the data that are coded, ``context`` one of the fields that the decoder is given, and
    ``check`` one of the other entries of the header and of the `probe`.
    """

    model_config = STRICT

    family: str = Field(pattern=r"^\w[\w.-]*(\+\w[\w.-]*)?(:[\w.=,-]+)?$", max_length=100)
    weights: str = Field(pattern=r"^[0-9a-f]{16}$")
    event: str = Field(pattern=r"^[\w=:,@~]+$", max_length=4000)
    count: int = Field(ge=1, le=2**40)
    batch: int = Field(ge=1, le=2**16)
    growth: float = Field(ge=0, le=MAX_GROWTH)
    grid: int = Field(ge=0, le=MAX_EXPONENT)
    crc: int = Field(ge=0, lt=2**32)
    check: int = Field(ge=0, lt=2**32)
    by: str = Field(max_length=200)
    missing: int = Field(default=0, ge=0, le=2**40)
    zeros: int = Field(default=0, ge=0, le=2**60)
    negative: int = Field(default=0, ge=0, le=2**60)
    context: int = Field(default=0, ge=0, lt=2**32)
    entries: int = Field(default=0, ge=0, le=2**40)
    """Of one sequence that is coded part by part (`zoo.codec.recording`); 0 in a file of data."""
    rate: int = Field(default=0, ge=0, le=2**24)
    """Of its entries, where they are samples of sound: how many in a second."""
    arrays: dict[str, ArrayForm] | None = None
    """Of the arrays that were compressed, by field; of a datum that is one array, under the name ``x``."""

    @property
    def plan(self) -> Plan:
        """How the data were split."""
        return Plan(self.count, self.batch, self.growth, self.grid, self.missing, self.zeros, self.negative)

    def expected_check(self, probed: int) -> int:
        """What ``check`` should be on a machine where `probe` gives ``probed``."""
        later = set() if self.entries else {"entries", "rate"}  # files of data were written before there were these
        return zlib.crc32(self.model_dump_json(exclude={"check", "by"} | later).encode(), probed)


def encode(
    pair: Pair,
    x: Tensor,
    *,
    batch: int = 512,
    arrays: dict[str, ArrayForm] | None = None,
    watch: Watch = lambda done: None,
) -> bytes:
    """Compress data without loss; `decode` is the inverse.

    Of a record, all fields are coded but those that are given: the decoder needs them too, and the file has their
    checksum. A label that is missing takes no bits but those of which data miss it.

    Args:
        pair: the trained pair; the decoder needs the same weights.
        x: data, shape ``(n, *event.shape)``; a record is packed (`zoo.event.Event.pack`).
        batch: the most data in one pass; more is faster and takes more memory.
        arrays: the forms of the arrays that ``x`` came from, by field, stored for `as_arrays`.
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
    x = x.cpu()
    check_data(pair, x)
    if reason := why_not(pair, x):
        raise ZooError(f"{pair.label} has no lossless code: {reason}")
    with precisely(pair):
        split = plan(pair, x, batch)
        words, probed = push_data(pair, x, split, watch), probe(pair, split)
    header = Header(
        family=pair.label,
        weights=weights_digest(pair.state()),
        event=str(pair.event),
        count=len(x),
        batch=batch,
        growth=split.growth,
        grid=split.exponent,
        crc=crc(x[:, coded_entries(pair)]),
        check=0,
        by=environment(),
        missing=split.missing,
        zeros=split.zeros,
        negative=split.negative,
        context=context_crc(pair.event, contexts(pair.event, x, len(x))),
        arrays=arrays,
    )
    return pack(header.model_copy(update={"check": header.expected_check(probed)}), words)


def decode(
    pair: Pair, file: bytes, *, given: Mapping[str, Tensor] | None = None, watch: Watch = lambda done: None
) -> Tensor:
    """Decompress a file of `encode`.

    Args:
        pair: with the weights that the file was encoded with.
        file: its bytes.
        given: the fields that the model is given, each of shape ``(n, *field.shape)``, as they were encoded with.
        watch: called with the number of data done so far.

    Returns:
        The data, shape ``(n, *event.shape)``, float32, on the CPU; never wrong data.

    Raises:
        ZooError: ``given`` are not the fields that the model is given.
        RunError: the file is damaged or made with other weights or with other values of what is given, or this machine
            computes other probabilities than the one that wrote it.

    Example:
        >>> import torch
        >>> from zoo import Event, build
        >>> pair = build("uniform", Event(2, 5))
        >>> decode(pair, encode(pair, torch.tensor([[0.0, 4.0]])))
        tensor([[0., 4.]])
    """
    return decode_counting(pair, file, given, watch)[0]


def decode_counting(
    pair: Pair, file: bytes, given: Mapping[str, Tensor] | None = None, watch: Watch = lambda done: None
) -> tuple[Tensor, int]:
    """`decode`, and how many seed bits the file contains."""
    header, words = unpack(file)
    if header.entries:
        raise RunError("the file holds one recording: zoo decompress writes it to a .wav")
    if header.weights != weights_digest(pair.state()) or Event.parse(header.event) != pair.event:
        raise RunError(
            f"the file was made by {header.family} on {header.event} with other weights than those of {pair.label}: "
            "decode it with the pair that encoded it"
        )
    context = {name: value.cpu().float() for name, value in (given or {}).items()}
    needed = {field.name: (header.count, *field.shape) for field in pair.event.fields if field.role == "given"}
    if {name: tuple(value.shape) for name, value in context.items()} != needed:
        wanted = ", ".join(f"{name} of shape {shape}" for name, shape in needed.items())
        got = ", ".join(f"{name} of shape {tuple(value.shape)}" for name, value in context.items())
        raise ZooError(f"to decode the file takes {wanted or 'nothing'} besides; got {got or 'nothing'}")
    if context_crc(pair.event, context) != header.context:
        raise RunError(
            f"the values of {', '.join(needed)} are not those that the data were encoded with (checksum): give the "
            "same data, in the same order"
        )
    with precisely(pair):
        if header.expected_check(probe(pair, header.plan)) != header.check:
            raise RunError(other_machine(header))
        x, left = pop_data(pair, words, header.plan, context, watch)
    if not left.is_seed() or crc(x[:, coded_entries(pair)]) != header.crc:
        raise RunError(f"the file does not decode to the data that were encoded: {other_machine(header)}")
    return x.float(), left.bits


def pack(header: Header, words: Words) -> bytes:
    """The bytes of a file."""
    text = header.model_dump_json(exclude_defaults=True).encode()
    payload = words.astype("<u4").tobytes().rstrip(b"\0")
    payload = payload.ljust(-(-_coded_size(header) // MAX_DIMS_PER_BYTE), b"\0")
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
        other = "a later" if file[len(MAGIC)] > VERSION else "an earlier"
        raise RunError(
            f"the file has version {file[len(MAGIC)]}, this zoo reads version {VERSION}: decode it with {other} zoo"
        )
    body = file[:-CHECKSUM]
    if file[-CHECKSUM:] != _checksum(body):
        raise RunError("the file was cut or changed after it was written (checksum)")
    end = FRAME + int.from_bytes(body[FRAME - 2 : FRAME], "little")
    try:
        header = Header.model_validate_json(body[FRAME:end])
        size = _coded_size(header)
    except (ValidationError, ZooError) as error:
        raise RunError("the file's header is not one that the zoo wrote") from error
    payload = body[end:]
    if size > MAX_DIMS_PER_BYTE * len(payload):
        raise RunError(f"the file claims {header.count} data in {len(payload)} bytes, which is impossible")
    payload = payload.rstrip(b"\0")
    return header, np.frombuffer(payload.ljust(-(-len(payload) // 4) * 4, b"\0"), "<u4").astype(np.uint32)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """Sixteen hexadecimal digits that identify a pair's weights."""
    return checksum(state)[:16]


def crc(x: Tensor) -> int:
    """A checksum of numbers as float32, which includes the signs of zeros."""
    values = x.detach().cpu().float()
    return zlib.crc32(values.where(~values.isnan(), torch.nan).contiguous().numpy().astype("<f4").tobytes())


def context_crc(event: Event, given: Mapping[str, Tensor]) -> int:
    """A checksum of the fields that a model is given, all zeros alike; 0 if there are none."""
    values = [given[field.name] for field in event.fields if field.role == "given"]
    return crc(torch.cat([value.reshape(len(value), -1) + 0.0 for value in values], 1)) if values else 0


def environment() -> str:
    """What floating-point results depend on: versions and processor; it is always the CPU that computes."""
    kind = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__} ans {version('constriction')} {platform.machine()} {kind} cpu"


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:CHECKSUM]


def other_machine(header: Header) -> str:
    """What is wrong where probabilities differ, and how to mend it."""
    return (
        f"its header was changed, or this zoo on this machine ({environment()}) computes other probabilities than the "
        f"one that wrote it ({header.by}); decode it with the same versions on such a machine"
    )


def _coded_size(header: Header) -> int:
    """The dimensions of all data less those that are given."""
    return header.count * sum(field.size for field in Event.parse(header.event).parts if field.role != "given")


def check_data(pair: Pair, x: Tensor) -> None:
    """Refuse data that do not fit a pair's event.

    Raises:
        ZooError: what is wrong with them.
    """
    event = pair.event
    if x.shape[1:] != event.shape or not len(x):
        raise ZooError(f"data to code should have shape (n, {', '.join(map(str, event.shape))}), got {tuple(x.shape)}")
    for field, values in zip(event.parts, event.unpack(x).values(), strict=True):
        assert values is not None  # data of the event's shape have all fields
        what = f"field {field.name!r} of data to code" if event.fields else "data to code"
        known = values.reshape(len(x), -1)
        if field.role == "label":
            known = known[~known.isnan().all(1)]
        if field.levels is not None and not bool(
            ((known == known.round()) & (known >= 0) & (known < field.levels)).all()
        ):
            raise ZooError(f"{what} should be whole numbers from 0 to {field.levels - 1} ({event}); these are not")
        if not bool(known.isfinite().all()):
            raise ZooError(f"{what} should be finite numbers ({event}); these are not")
    if not torch.equal(event.without_padding(x.nan_to_num(-1)), x.nan_to_num(-1)):
        raise ZooError(f"data to code should be zero beyond the length of a sequence ({event}); these are not")


def as_arrays(event: Event, forms: Mapping[str, ArrayForm] | None, x: Tensor) -> dict[str, NDArray[Any]]:
    """The fields of data ``x`` that are coded, as arrays of these forms; without any, all of them as float32."""
    fields = [field for field in event.parts if field.role != "given" and (forms is None or field.name in forms)]
    values, own = event.unpack(x), forms or {}
    return {each.name: own.get(each.name, ArrayForm()).array(np.asarray(values[each.name]), each) for each in fields}
