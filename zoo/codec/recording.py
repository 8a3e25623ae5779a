"""One long sequence, such as a recording, coded part by part by a model of short ones: each given the part before it.

The decoder has what each part is given from the parts that it has decoded. Nothing but the sequence is in the file, and
the last part is coded as far as the sequence goes.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.codec.container import Header, context_crc, crc, environment, other_machine, pack, unpack, weights_digest
from zoo.codec.lossless import Watch, precisely, why_not
from zoo.codec.rules.sequences import Entrywise
from zoo.codec.stack import Stack
from zoo.distributions.autoregressive import Autoregressive
from zoo.errors import RunError, ZooError
from zoo.event import Event
from zoo.pairs.continuing import PAST, Parts, entrywise
from zoo.pairs.pair import Pair

PROBED = 32
"""Entries that are decoded from seed bits to compare machines."""

Given = Mapping[str, Tensor]


def encode_recording(
    pair: Pair, sequence: Tensor, *, given: Given | None = None, rate: int = 0, watch: Watch = lambda done: None
) -> bytes:
    """Compress a sequence without loss; `decode_recording` is the inverse.

    Args:
        pair: of an event of `zoo.pairs.continuing.Parts`; the decoder needs the same weights.
        sequence: levels, shape ``(entries,)``.
        given: the fields of the event besides the past, each of shape ``field.shape``.
        rate: entries in a second, if they are samples of sound; stored in the file.
        watch: called with the number of entries done so far.

    Returns:
        A whole ``.zoo`` file: about -log2 p bits.

    Raises:
        ZooError: no such sequence or pair; see `zoo.pairs.continuing`.
    """
    parts, given = Parts(pair.event), dict(given or {})
    rows = parts.cut(sequence.cpu().double(), given)
    if reason := why_not(pair, rows[:1]):
        raise ZooError(f"{pair.label} has no lossless code: {reason}")
    stack = Stack()
    with precisely(pair):
        for place in reversed(range(len(rows))):
            size = parts.size(place, len(sequence))
            code = _code(pair, rows[place : place + 1], size)
            code.push(stack, pair.event.main_of(rows[place : place + 1])[:, :size])
            watch(len(sequence) - place * parts.window)
        probed = probe_recording(pair, given)
    header = Header(
        family=pair.label,
        weights=weights_digest(pair.state()),
        event=str(pair.event),
        count=len(rows),
        batch=1,
        growth=0.0,
        grid=0,
        crc=crc(sequence),
        check=0,
        by=environment(),
        context=_context(parts, given),
        entries=len(sequence),
        rate=rate,
    )
    return pack(header.model_copy(update={"check": header.expected_check(probed)}), stack.words())


def decode_recording(
    pair: Pair, file: bytes, *, given: Given | None = None, watch: Watch = lambda done: None
) -> Tensor:
    """Decompress a file of `encode_recording`.

    Args:
        pair: with the weights that the file was encoded with.
        file: its bytes.
        given: as it was encoded with.
        watch: called with the number of entries done so far.

    Returns:
        The sequence, shape ``(entries,)``, float32; never a wrong one.

    Raises:
        RunError: the file is damaged, is none of a sequence, was made with other weights or given other values, or this
            machine computes other probabilities than the one that wrote it.
    """
    (header, words), given = unpack(file), dict(given or {})
    if not header.entries:
        raise RunError("the file holds data, not one recording: zoo decompress writes them to a .npy or .npz")
    if header.weights != weights_digest(pair.state()) or Event.parse(header.event) != pair.event:
        raise RunError(
            f"the file was made by {header.family} on {header.event} with other weights than those of {pair.label}: "
            "decode it with the pair that encoded it"
        )
    parts = Parts(pair.event)
    if _context(parts, given) != header.context:
        raise RunError("the values that are given are not those that the recording was encoded with (checksum)")
    stack, known = Stack(words), parts.before.double()
    with precisely(pair):
        if header.expected_check(probe_recording(pair, given)) != header.check:
            raise RunError(other_machine(header))
        for place in range(header.count):
            code = _code(pair, _blank(parts, known, given), parts.size(place, header.entries))
            known = torch.cat([known, code.pop(stack)[0]])
            watch(len(known) - parts.past)
    found = known[parts.past :].float()
    if len(stack.words()) or len(found) != header.entries or crc(found) != header.crc:
        raise RunError(f"the file does not decode to the recording that was encoded: {other_machine(header)}")
    return found


def probe_recording(pair: Pair, given: Given) -> int:
    """A checksum of the probabilities that this machine computes; call it inside `zoo.codec.lossless.precisely`."""
    stack, parts = Stack(seeded=True), Parts(pair.event)
    found = _code(pair, _blank(parts, parts.before.double(), given), min(PROBED, parts.window)).pop(stack)
    return zlib.crc32(found.numpy().tobytes() + stack.words().tobytes())


def _code(pair: Pair, row: Tensor, size: int) -> Entrywise:
    """The code of the first ``size`` entries of one part, of which the past is read."""
    fn = entrywise(pair, row)
    return Entrywise(Autoregressive(Event(size, fn.event.levels or 0), fn.logits, fn.stream, fn.batch_shape))


def _blank(parts: Parts, known: Tensor, given: Given) -> Tensor:
    """A part of which only what is before it is known."""
    return parts.pack(torch.zeros(1, parts.window, dtype=known.dtype), known[None, len(known) - parts.past :], given)


def _context(parts: Parts, given: Given) -> int:
    """A checksum of what is given besides the past of parts; 0 if nothing is."""
    if not given:
        return 0
    values = {name: value[None] for name, value in given.items()}
    return context_crc(parts.event, {PAST: parts.before[None], **values})
