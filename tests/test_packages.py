"""Data from packages: found where they are unpacked, fetched whole or not at all."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

import zoo
from zoo.data.packages import Package
from zoo.pairs.registry import datasets

HOLDS = "package/words.txt"


def _npm(path: Path, member: str = HOLDS) -> None:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(member)
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"a b c"))


def _wheel(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(HOLDS, "a b c")


@pytest.fixture
def managers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that stand for npm and apt-get, and an empty cache."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("ZOO_DATA", raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def _program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_fetched_package_is_found_and_not_fetched_twice(managers: Path, tmp_path: Path) -> None:
    _npm(tmp_path / "words.tgz")
    _program(managers, "npm", f'[ "$*" = "pack words@1.0" ] && cp {tmp_path}/words.tgz .')
    package = Package("npm", "words", "1.0", HOLDS)
    assert package.fetch(tmp_path) == package.folder(tmp_path) == tmp_path / "words"
    assert (tmp_path / "words" / HOLDS).read_text() == "a b c"
    _program(managers, "npm", "exit 1")
    assert package.fetch(tmp_path) == tmp_path / "words"


def test_pip_packages_are_unpacked_from_their_wheels(managers: Path, tmp_path: Path) -> None:
    _wheel(tmp_path / "words.whl")
    package = Package("pip", "words", "1.0", HOLDS)
    package._unpack(tmp_path / "words.whl", tmp_path / "cache" / "zoo" / "words")
    assert package.folder(None) == tmp_path / "cache" / "zoo" / "words"


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")
def test_debian_packages_are_unpacked(managers: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: words\nVersion: 1.0\nArchitecture: all\nMaintainer: x\nDescription: x\n"
    )
    (tree / HOLDS).parent.mkdir()
    (tree / HOLDS).write_text("a b c")
    _program(managers, "apt-get", f'[ "$*" = "download words=1.0" ] && dpkg-deb --build {tree} words.deb > /dev/null')
    assert (Package("deb", "words", "1.0", HOLDS).fetch(tmp_path) / HOLDS).read_text() == "a b c"


def test_a_failed_fetch_leaves_nothing(managers: Path, tmp_path: Path) -> None:
    package = Package("npm", "words", "1.0", HOLDS)
    _program(managers, "npm", "echo no such package >&2; exit 1")
    with pytest.raises(zoo.ZooError, match=r"npm pack words@1\.0 failed: no such package"):
        package.fetch(tmp_path / "data")
    _npm(tmp_path / "words.tgz", member="package/other.txt")
    _program(managers, "npm", f"cp {tmp_path}/words.tgz .")
    with pytest.raises(zoo.ZooError, match=r"has no package/words\.txt"):
        package.fetch(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_a_package_does_not_write_outside_its_folder(managers: Path, tmp_path: Path) -> None:
    _npm(tmp_path / "words.tgz", member="../../escaped.txt")
    _program(managers, "npm", f"cp {tmp_path}/words.tgz .")
    with pytest.raises(zoo.ZooError, match="cannot be unpacked"):
        Package("npm", "words", "1.0", HOLDS).fetch(tmp_path / "data")
    assert not list(tmp_path.rglob("escaped.txt"))


def test_what_is_missing_is_said_with_the_command(managers: Path, tmp_path: Path) -> None:
    package = Package("npm", "words", "1.0", HOLDS)
    with datasets.scoped():

        @zoo.dataset("vocabulary", packages=(package,))
        def vocabulary(data_dir: Path | None = None) -> zoo.Dataset:
            raise AssertionError(package.folder(data_dir))

        with pytest.raises(zoo.ZooError, match="zoo data fetch vocabulary"):
            zoo.load_data("vocabulary", data_dir=tmp_path)


def test_a_missing_manager_is_said(managers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(managers))
    with pytest.raises(zoo.ZooError, match="npm is not installed"):
        Package("npm", "words", "1.0", HOLDS).fetch(tmp_path)
