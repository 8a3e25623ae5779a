"""Files that are whole or not there: atomic writes, and tensors with a checksum inside."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zoo.errors import RunError


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``path`` so that a reader, or a crash at any moment, sees the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as strict JSON (no NaN), with a checksum in it."""
    whole = {**value, "checksum": digest_of(value)}
    write_text(path, json.dumps(whole, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        RunError: the file is missing, torn or tampered with; the message names it.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RunError(f"{path} is not there; train the run first, or delete its folder to begin anew") from error
    except (ValueError, OSError) as error:
        raise RunError(f"{path} is damaged ({error}); delete its folder to begin anew") from error
    if not isinstance(value, dict) or value.pop("checksum", "") != digest_of(value):
        raise RunError(f"{path} was changed after it was written (checksum); delete its folder to begin anew")
    return value


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: Any) -> None:
    """Write tensors as safetensors, with ``note`` (JSON) and a checksum of both in the header."""
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    text = json.dumps(note)
    write_bytes(path, save(whole, {"note": text, "checksum": checksum(whole, text)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Read what `write_tensors` wrote: the tensors and the note.

    Raises:
        RunError: the file is missing, torn or tampered with; the message names it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            header = file.metadata() or {}
    except FileNotFoundError as error:
        raise RunError(f"{path} is not there; delete its folder to begin anew") from error
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged ({error}); delete its folder to begin anew") from error
    if header.get("checksum") != checksum(tensors, header.get("note", "")):
        raise RunError(f"{path} was changed after it was written (checksum); delete its folder to begin anew")
    return tensors, json.loads(header["note"])


def cached_tensors(path: Path | None, note: Any, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors that the first who asks makes and writes to ``path``, and that all read who ask with the same ``note``.

    Without a path they are made each time.

    Raises:
        RunError: the file is torn or tampered with.
    """
    if path is None:
        return dict(make())
    if path.exists():
        tensors, told = read_tensors(path)
        if told == note:
            return tensors
    made = dict(make())
    write_tensors(path, made, note)
    return made


def checksum(tensors: Mapping[str, Tensor], note: str = "") -> str:
    """SHA-256 of a note and of all tensors: their names, types, shapes and bytes."""
    digest = hashlib.sha256(note.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
