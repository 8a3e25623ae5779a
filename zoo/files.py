"""Atomic writes, and JSON and tensors with a checksum inside."""

from __future__ import annotations

import hashlib
import json
import os
import re
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
    """Write ``path`` atomically: after a crash it holds the old content or the new."""
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
        raise RunError(f"{path} is not there; train the run first, or delete its folder to start over") from error
    except (ValueError, OSError) as error:
        raise RunError(f"{path} is damaged ({error}); delete its folder to start over") from error
    if not isinstance(value, dict) or value.pop("checksum", "") != digest_of(value):
        raise RunError(f"{path} was changed after it was written (checksum); delete its folder to start over")
    return value


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value; the order of its keys does not matter."""
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
        raise RunError(f"{path} is not there; delete its folder to start over") from error
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged ({error}); delete its folder to start over") from error
    if header.get("checksum") != checksum(tensors, header.get("note", "")):
        raise RunError(f"{path} was changed after it was written (checksum); delete its folder to start over")
    return tensors, json.loads(header["note"])


def cached_tensors(path: Path | None, note: Any, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors at ``path``, or call ``make`` and write its result there.

    Args:
        path: the cache file; ``None`` to call ``make`` each time.
        note: the cache key, a JSON value; a file written with another note is replaced.
        make: computes the tensors.

    Raises:
        RunError: the file is torn or tampered with.
    """
    if path is None:
        return dict(make())
    if path.exists():
        tensors, written = read_tensors(path)
        if written == note:
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


def folder_name(name: str) -> str:
    """A name with ``_`` for characters that a folder's name cannot have on every system.

    Example:
        >>> folder_name("vae:latent=2")
        'vae_latent_2'
    """
    return re.sub(r"[^\w.+*-]+", "_", name)
