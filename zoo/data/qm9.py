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
from zoo.distributions.canonical import canonical_orders
from zoo.distributions.graphs import in_order, pairs_of
from zoo.event import Event, Field
from zoo.files import cached_tensors
from zoo.pairs.registry import dataset

PACKAGE = Package("pip", "qm9pack", "1.0.3", holds="qm9pack/data/qm9_part1.csv")
PARTS = 3
PLACES = 9
TRAIN, VALIDATION = 100_000, 5_000
"""Molecules of the first two splits; the others are the test split."""
SPLIT_SEED = 0
CHUNK = 1000
"""Graphs whose order is found at once."""
LONGEST_FIELD = 2**20
"""Characters: the coordinates of a molecule are one field of the file."""


@dataset("qm9", about="QM9's molecules of up to 9 heavy atoms, as graphs of atoms and bonds", packages=(PACKAGE,))
def qm9(data_dir: Path | None = None) -> Dataset:
    """The molecules of C, N, O and F in QM9 as graphs: ``atoms=9:5,bonds=36:4``.

    From the package qm9pack, 130,831 molecules of up to 9 heavy atoms. A place holds one of `ELEMENTS` or nothing, and
    a pair of places i < j one of `BONDS`, Kekulé's; atoms are in the order of `zoo.distributions.canonical`, behind
    them the empty places. Hydrogen and stereochemistry are left out; molecules that are equal without them are held
    once, and those with charged atoms, which such a graph does not express, not at all. They are read once, in about a
    minute, and kept in the user's cache.

    Raises:
        ZooError: the package is not unpacked, or rdkit not installed.

    Reference:
        Ramakrishnan et al. 2014, Quantum chemistry structures and properties of 134 kilo molecules.
    """
    import pooch

    folder = PACKAGE.folder(data_dir)
    chemistry()  # refuses without rdkit
    path = Path(pooch.os_cache("zoo")) / "qm9.safetensors"
    note = {"qm9pack": PACKAGE.version, "rdkit": version("rdkit"), "places": PLACES, "order": 2}
    held = cached_tensors(path, note, lambda: {"graphs": canonically(graphs_of(read_smiles(folder), PLACES)[0])})
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


def canonically(graphs: Tensor) -> Tensor:
    """Graphs of `PLACES` atoms with these in their canonical order: shape ``(n, 45)``, uint8."""
    found = [torch.zeros(0, graphs.shape[1], dtype=torch.uint8)]
    for part in graphs.split(CHUNK):
        atoms, bonds = part[:, :PLACES], part[:, PLACES:]
        found.append(torch.cat(in_order(atoms, bonds, canonical_orders(atoms, bonds)), 1))
    return torch.cat(found)


def of_graphs(graphs: Tensor, train: int = TRAIN, validation: int = VALIDATION) -> Dataset:
    """The data set of graphs of levels of `PLACES` atoms and of their bonds: shape ``(n, 45)``."""
    event = Event.record(Field("atoms", PLACES, len(ELEMENTS)), Field("bonds", pairs_of(PLACES), len(BONDS)))
    order = torch.randperm(len(graphs), generator=torch.Generator().manual_seed(SPLIT_SEED))
    splits = graphs[order].float().split([train, validation, len(graphs) - train - validation])
    about = (
        f"QM9 from qm9pack {PACKAGE.version}: {len(graphs):,} molecules without charges, those that differ in "
        "stereochemistry alone held once, as graphs whose atoms are in a canonical order; "
        f"{', '.join(f'{len(split):,}' for split in splits)} train, validation and test, drawn with seed {SPLIT_SEED}."
    )
    names = {"atoms": ELEMENTS, "bonds": BONDS}
    return Dataset("qm9", event, splits[0], splits[1], splits[2], about, names=names)
