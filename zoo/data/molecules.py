"""Molecules as graphs of atoms and bonds, and back, by rdkit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError

ELEMENTS = ("none", "C", "N", "O", "F")
"""The levels of an atom."""
BONDS = ("none", "single", "double", "triple")
"""The levels of a bond: its order."""
WITHOUT_RDKIT = 'molecules are read and checked by rdkit, which is not installed: pip install "pyro-zoo[graphs]"'


@lru_cache(maxsize=1)
def chemistry() -> Any:
    """The module ``rdkit.Chem``, which reports on no molecule that it refuses.

    Raises:
        ZooError: rdkit is not installed.
    """
    try:
        from rdkit import Chem, rdBase
    except ImportError:
        raise ZooError(WITHOUT_RDKIT) from None
    rdBase.DisableLog("rdApp.*")
    return Chem


def graph_of(smiles: str, places: int) -> tuple[list[int], list[int]] | None:
    """The levels of a molecule's heavy atoms and bonds, its atoms in the order of ``smiles``.

    Bonds are Kekulé's, so an aromatic ring has single and double ones. Hydrogen and stereochemistry are left out.

    Args:
        smiles: of the molecule.
        places: for atoms; those behind the last one are absent.

    Returns:
        Levels of the atoms, ``places`` of them, and of the pairs of places i < j, ordered by i and then by j; or None,
        if the graph does not say what the molecule is: an atom is charged, a radical or no `ELEMENTS`, or they are too
        many.

    Example:
        >>> graph_of("C=O", 3)  # doctest: +SKIP
        ([1, 3, 0], [2, 0, 0])
    """
    chem = chemistry()
    molecule = chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() > places:
        return None
    for atom in molecule.GetAtoms():
        if atom.GetFormalCharge() or atom.GetNumRadicalElectrons() or atom.GetSymbol() not in ELEMENTS[1:]:
            return None
    chem.Kekulize(molecule, clearAromaticFlags=True)
    atoms = [ELEMENTS.index(atom.GetSymbol()) for atom in molecule.GetAtoms()]
    order = {
        tuple(sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))): int(bond.GetBondTypeAsDouble())
        for bond in molecule.GetBonds()
    }
    bonds = [order.get((i, j), 0) for i in range(places) for j in range(i + 1, places)]
    return atoms + [0] * (places - len(atoms)), bonds


def molecule_of(atoms: Sequence[int], bonds: Sequence[int], elements: Sequence[str] = ELEMENTS) -> Any:
    """The molecule of a graph, or None if it is not valid.

    It is valid if rdkit sanitises it (valences, Kekulé structure), it has an atom, all of its atoms hang together, and
    no bond leads to an atom that is absent. Hydrogen fills the valences that are left.

    Args:
        atoms: the level of each place for an atom.
        bonds: the level of each pair of places i < j, ordered by i and then by j; level k is a bond of order k.
        elements: the levels of an atom, from level 0 on, which is absence.
    """
    chem = chemistry()
    molecule, place = chem.RWMol(), dict[int, int]()
    for i, level in enumerate(atoms):
        if level:
            place[i] = molecule.AddAtom(chem.Atom(elements[level]))
    kinds = (None, chem.BondType.SINGLE, chem.BondType.DOUBLE, chem.BondType.TRIPLE)
    pairs = ((i, j) for i in range(len(atoms)) for j in range(i + 1, len(atoms)))
    for (i, j), level in zip(pairs, bonds, strict=True):
        if not level:
            continue
        if i not in place or j not in place:
            return None
        molecule.AddBond(place[i], place[j], kinds[level])
    if not place or len(chem.GetMolFrags(molecule)) > 1:
        return None
    if chem.SanitizeMol(molecule, catchErrors=True) != chem.SanitizeFlags.SANITIZE_NONE:
        return None
    return molecule.GetMol()


def canonical(molecule: Any) -> str:
    """The canonical SMILES of a molecule without its stereochemistry: equal for equal molecules.

    Reference:
        Weininger et al. 1989, SMILES 2.
    """
    return str(chemistry().MolToSmiles(molecule, isomericSmiles=False))


def key_of(smiles: str) -> int:
    """A number of 63 bits that stands for a canonical SMILES."""
    return int.from_bytes(hashlib.sha256(smiles.encode()).digest()[:8], "big") >> 1


def graphs_of(smiles: Iterable[str], places: int) -> tuple[Tensor, Tensor]:
    """The graphs of different molecules, in the order of their canonical SMILES, and their `key_of`.

    Each molecule is left out that rdkit does not read, that has stereochemistry alone to tell it from one before it, or
    whose graph is not valid or of another molecule (as of charged ones).

    Args:
        smiles: of each molecule.
        places: for atoms.

    Returns:
        Levels of atoms and then of bonds, shape ``(n, N + N (N - 1) / 2)``, uint8; and keys, shape ``(n,)``, int64.
    """
    chem, found = chemistry(), dict[int, list[int]]()
    for text in smiles:
        molecule = chem.MolFromSmiles(text)
        if molecule is None:
            continue
        name = canonical(molecule)
        key = key_of(name)
        if key in found or (graph := graph_of(name, places)) is None:
            continue
        again = molecule_of(*graph)
        if again is not None and canonical(again) == name:
            found[key] = [*graph[0], *graph[1]]
    size = places * (places + 1) // 2
    rows = torch.tensor(list(found.values()), dtype=torch.uint8).reshape(-1, size)
    return rows, torch.tensor(list(found), dtype=torch.int64)


def keys_of(atoms: Tensor, bonds: Tensor, elements: Sequence[str] = ELEMENTS) -> Tensor:
    """The `key_of` the molecule of each graph, and -1 for a graph that is not valid: shape ``(n,)``, int64."""
    found = (molecule_of(*graph, elements) for graph in zip(atoms.int().tolist(), bonds.int().tolist(), strict=True))
    return torch.tensor([-1 if each is None else key_of(canonical(each)) for each in found], dtype=torch.int64)
