"""Are sampled graphs molecules, and new ones?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from zoo.data.molecules import chemistry, keys_of, molecule_of
from zoo.distributions.autoregressive import Autoregressive, greedy
from zoo.distributions.graphs import graph_fields
from zoo.errors import UnfitError, ZooError
from zoo.files import cached_tensors
from zoo.metrics.two_sample import Share
from zoo.pairs.pair import Pair
from zoo.pairs.registry import evaluation
from zoo.pairs.sites import entries_of, latent_sites
from zoo.runs.evaluation import Settings, TrainedRun, attempt, unmeasurable
from zoo.scores import Score
from zoo.seeding import seeded

DRAWS = 10_000
"""Of the prior, as published scores take; each is decoded in both ways."""
CHUNK = 1000
SHOWN = 12
"""Molecules that a figure shows of the data and of each way to decode."""
DECODINGS = ("sampled", "argmax")
SITES = ("atoms", "bonds")
METRICS = tuple(f"{word}_{way}" for way in DECODINGS for word in ("valid", "unique", "novel", "vun"))


@evaluation("molecules")
def molecules(runs: Sequence[TrainedRun], settings: Settings) -> list[Score]:
    """Shares of 10,000 draws of the prior that are valid, unique and novel molecules.

    Each draw of the latents is decoded by a draw of atoms and bonds (``_sampled``, the model's own draws) and by the
    most probable level of each (``_argmax``), of bonds that depend on others given those before. With standard errors
    of shares of so many:

    - ``valid``: of the draws. rdkit sanitises the molecule, all its atoms hang together and no bond leads to an absent
      one. Loose fragments are not valid.
    - ``unique``: different canonical SMILES, of the valid. It falls with the number of draws.
    - ``novel``: not among the data, all three splits, of those that are different.
    - ``vun``: valid, different and novel, of the draws.

    Args:
        runs: one run.
        settings: ``seed``.

    Returns:
        The scores above; all skipped for data that are no molecules, and without rdkit.

    Reference:
        Simonovsky & Komodakis 2018, arXiv:1802.03480, section 4.2.
    """
    (run,) = runs
    return unmeasurable(run, METRICS) or attempt(METRICS, _of_pair, run, settings)


def _of_pair(run: TrainedRun, settings: Settings) -> list[Score]:
    try:
        graph_fields(run.pair.event, "molecules")
        elements = _elements(run)
        chemistry()
    except ZooError as error:
        return [Score.skipped(metric, str(error)) for metric in METRICS]
    with seeded(settings.seed):
        drawn = draws(run.pair, DRAWS)
    known, scores = _known(run, elements), list[Score]()
    shown = _drawable("real", run.data.event.unpack(run.data.test[:SHOWN].cpu()), elements)
    for way in DECODINGS:
        levels = run.pair.event.unpack(drawn[way])
        scores += shares(way, keys_of(*_both(levels), elements), known)
        shown |= _drawable(way, {name: value[:SHOWN] for name, value in levels.items() if value is not None}, elements)
    run.keep("molecules", shown, settings)
    return scores


def shares(way: str, keys: Tensor, known: Tensor) -> list[Score]:
    """The four shares of molecules by their keys; -1 is the key of what is not valid."""
    valid = keys[keys >= 0]
    unique = valid.unique()
    novel = int((~torch.isin(unique, known)).sum())
    counts = {
        "valid": (len(valid), len(keys)),
        "unique": (len(unique), len(valid)),
        "novel": (novel, len(unique)),
        "vun": (novel, len(keys)),
    }
    scores = []
    for word, (count, of) in counts.items():
        if not of:
            scores.append(Score.skipped(f"{word}_{way}", f"none of {len(keys)} draws is valid"))
            continue
        share = Share(count / of, of)
        scores.append(Score(f"{word}_{way}", share.value, "share", share.stderr, "estimate", of))
    return scores


def draws(pair: Pair, n: int) -> Mapping[str, Tensor]:
    """Packed draws of the prior, decoded in both ways: shape ``(n, event.size)`` each, on the CPU.

    Raises:
        ZooError: the pair does not observe ``atoms`` and ``bonds``, of categorical entries.
    """
    found: dict[str, list[Tensor]] = {way: [] for way in DECODINGS}
    model = poutine.uncondition(pair.model)
    with pair.evaluating():
        for part in torch.zeros(n, *pair.event.shape, device=pair.device).split(CHUNK):
            drawn = poutine.trace(model).get_trace(part)
            found["sampled"].append(pair.event.pack({name: drawn.nodes[name]["value"] for name in SITES}).cpu())
            atoms = _likeliest(drawn, "atoms")
            known = {name: drawn.nodes[name]["value"] for name in latent_sites(drawn)} | {"atoms": atoms}
            with seeded(0):  # the bonds that are drawn here are not used
                given = poutine.trace(poutine.condition(model, known)).get_trace(part)
            found["argmax"].append(pair.event.pack({"atoms": atoms, "bonds": _likeliest(given, "bonds")}).cpu())
    return {way: torch.cat(parts) for way, parts in found.items()}


def _likeliest(trace: Any, name: str) -> Tensor:
    """The most probable level of each entry of a site, in each datum; of bonds one after the other, given those before.

    Raises:
        ZooError: entries that are not categorical.
    """
    fn = entries_of(trace.nodes[name]["fn"])
    match fn:
        case Autoregressive():
            return greedy(fn)
        case dist.Bernoulli():
            levels: Tensor = fn.logits > 0
        case dist.Categorical():
            levels = fn.logits.argmax(-1)
        case _:
            raise ZooError(f"{name} should have categorical entries, got {type(fn).__name__}")
    return levels.to(trace.nodes[name]["value"].dtype)


def _elements(run: TrainedRun) -> Sequence[str]:
    """The names of an atom's levels, from absence on.

    Raises:
        UnfitError: they are no elements.
    """
    names = run.data.names.get("atoms", ())
    atoms, bonds = graph_fields(run.data.event, "molecules")
    table = chemistry().GetPeriodicTable()
    try:
        for name in names[1:]:
            table.GetAtomicNumber(name)
    except RuntimeError:
        names = ()
    if len(names) != atoms.levels or (bonds.levels or 0) > 4:
        raise UnfitError(
            "molecules are graphs whose atoms have the names of elements, and whose bonds are none, single, double or "
            f"triple, as in qm9; got {run.data.event} with atoms {', '.join(names) or 'without names'}"
        )
    return names


def _known(run: TrainedRun, elements: Sequence[str]) -> Tensor:
    """The keys of the molecules of all three splits."""

    def make() -> dict[str, Tensor]:
        everything = torch.cat([run.data.train, run.data.validation, run.data.test]).cpu()
        return {"keys": keys_of(*_both(run.data.event.unpack(everything)), elements)}

    note = {"data": run.data.fingerprint, "rdkit": version("rdkit"), "elements": list(elements)}
    return cached_tensors(run.file("molecules", shared=True), note, make)["keys"]


def _both(values: Mapping[str, Tensor | None]) -> tuple[Tensor, Tensor]:
    atoms, bonds = values["atoms"], values["bonds"]
    assert atoms is not None
    assert bonds is not None
    return atoms, bonds


def _drawable(way: str, values: Mapping[str, Tensor | None], elements: Sequence[str]) -> dict[str, Tensor]:
    """Atomic numbers, orders of bonds and places in the plane of molecules; what is not valid has no place (NaN)."""
    chem = chemistry()
    from rdkit.Chem.rdDepictor import Compute2DCoords

    table = chem.GetPeriodicTable()
    numbers = torch.tensor([0, *(table.GetAtomicNumber(name) for name in elements[1:])])
    atoms, bonds = (part.long() for part in _both(values))
    places = torch.full((*atoms.shape, 2), torch.nan)
    for row, graph in enumerate(zip(atoms.tolist(), bonds.tolist(), strict=True)):
        molecule = molecule_of(*graph, elements)
        if molecule is not None:
            Compute2DCoords(molecule)
            flat = torch.from_numpy(molecule.GetConformer().GetPositions()[:, :2]).float()
            places[row, atoms[row] > 0] = flat
    return {f"{way}_numbers": numbers[atoms], f"{way}_orders": bonds, f"{way}_places": places}
