"""Graphs: their probability in one order and in any, the family, and the evaluations of graphs and molecules."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from make_believe import MadeUp, study
from members import small
from torch import Tensor
from torch.nn import functional as F

from zoo.contract.check import check
from zoo.data import Dataset, load_data
from zoo.data.molecules import canonical, chemistry, graph_of, graphs_of, keys_of, molecule_of
from zoo.data.qm9 import canonically, of_graphs, read_smiles
from zoo.distributions.canonical import canonical_orders
from zoo.distributions.graphs import ProbabilisticGraph, automorphisms, every_order, graph_fields, in_order, reordered
from zoo.errors import UnfitError, ZooError
from zoo.event import Event
from zoo.nn.bonds import BondsBySums
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.registry import evaluations
from zoo.pairs.traces import log_prob
from zoo.report.page import render, used
from zoo.runs.evaluation import Settings, TrainedRun, evaluate
from zoo.scores import Score
from zoo.seeding import seeded

NODES = 6
QUICK = Settings(particles=4, samples=20)
LABELLED = {1: 1, 2: 1, 3: 4, 4: 38, 5: 728, 6: 26704}
"""Connected labelled graphs by their number of nodes (OEIS A001187)."""


@pytest.fixture(scope="module")
def atlas() -> Dataset:
    return load_data("atlas")


@pytest.fixture(scope="module")
def graphs(atlas: Dataset) -> tuple[Tensor, Tensor]:
    """All connected graphs of up to six nodes: their nodes and pairs."""
    everything = torch.cat([atlas.train, atlas.validation, atlas.test])
    return everything[:, :NODES], everything[:, NODES:]


def random_graph(n: int, nodes: int, levels: tuple[int, int], seed: int = 0) -> ProbabilisticGraph:
    pairs = nodes * (nodes - 1) // 2
    with seeded(seed):
        logits = (
            2 * torch.randn(n, size, k, dtype=torch.float64) for size, k in zip((nodes, pairs), levels, strict=True)
        )
        return ProbabilisticGraph(*(each.log_softmax(-1) for each in logits))


def shuffled(atoms: Tensor, bonds: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Each graph in another random order."""
    with seeded(seed):
        orders = torch.rand(atoms.shape).argsort(1)
    return in_order(atoms, bonds, orders)


def test_the_bounds_are_below_the_sum_of_all_orders(graphs: tuple[Tensor, Tensor]) -> None:
    """On every connected graph of up to six nodes: ordered <= matched <= best of 720 <= their exact sum."""
    given = shuffled(*graphs)
    p = random_graph(len(given[0]), NODES, (2, 2))
    ordered, (matched, orders), exact = p.ordered(*given), p.matched(*given), p.unlabelled(*given)
    best = p.in_orders(*given, every_order(NODES)[None]).amax(1)
    assert len(given[0]) == 143
    assert (ordered <= matched).all()
    assert (matched <= best + 1e-9).all()
    assert (best <= exact + 1e-9).all()
    assert float((matched > best - 1e-9).double().mean()) > 0.6
    torch.testing.assert_close(p.in_orders(*given, orders[:, None])[:, 0], matched)


def test_the_sum_over_orders_does_not_depend_on_the_order(graphs: tuple[Tensor, Tensor]) -> None:
    p = random_graph(len(graphs[0]), NODES, (2, 2))
    torch.testing.assert_close(p.unlabelled(*graphs), p.unlabelled(*shuffled(*graphs)))


def test_the_sum_counts_each_labelled_graph_once(graphs: tuple[Tensor, Tensor]) -> None:
    """Under equal probabilities it is the number of different orders: of all with N nodes, the known numbers."""
    atoms, bonds = graphs
    even = ProbabilisticGraph(torch.zeros(len(atoms), NODES, 2), torch.zeros(len(atoms), 15, 2))
    places = torch.tensor([math.comb(NODES, int(nodes)) for nodes in atoms.sum(1)])
    orders = even.unlabelled(atoms, bonds).exp() / places
    for nodes, count in LABELLED.items():
        assert float(orders[atoms.sum(1) == nodes].sum()) == pytest.approx(count, rel=1e-4)


def test_the_probabilities_of_all_unlabelled_graphs_sum_to_one() -> None:
    levels = torch.cartesian_prod(*[torch.arange(2)] * 3, *[torch.arange(3)] * 3)
    atoms, bonds = levels[:, :3], levels[:, 3:]
    p = random_graph(1, 3, (2, 3))
    wide = ProbabilisticGraph(p.atoms.expand(len(levels), -1, -1), p.bonds.expand(len(levels), -1, -1))
    versions = torch.tensor([math.factorial(3) / automorphisms(*each) for each in zip(atoms, bonds, strict=True)])
    assert float((wide.unlabelled(atoms, bonds).exp() / versions).sum()) == pytest.approx(1)
    assert float(wide.ordered(atoms, bonds).exp().sum()) == pytest.approx(1)


def test_a_certain_graph_is_matched_in_any_order() -> None:
    """Nine atoms that the model is sure of, given in another order: the assignment finds the model's."""
    with seeded(1):
        atoms, bonds = torch.randint(1, 5, (20, 9)), (torch.rand(20, 36) < 0.3).long()
    logs = [torch.nn.functional.one_hot(part, 5).double().clamp(min=1e-4).log() for part in (atoms, bonds)]
    matched, _ = ProbabilisticGraph(*logs).matched(*shuffled(atoms, bonds))
    assert float((matched > -1e-6).double().mean()) > 0.9


def test_large_graphs_are_not_summed() -> None:
    p = random_graph(1, 8, (2, 2))
    with pytest.raises(ZooError, match="take matched"):
        p.unlabelled(torch.zeros(1, 8), torch.zeros(1, 28))
    with pytest.raises(ZooError, match="28 pairs"):
        ProbabilisticGraph(p.atoms, p.bonds[:, :5])


def test_the_canonical_order_gives_one_array_for_each_graph(graphs: tuple[Tensor, Tensor]) -> None:
    rows = set()
    for seed in range(12):
        given = shuffled(*graphs, seed=seed)
        atoms, bonds = in_order(*given, canonical_orders(*given))
        rows |= {tuple(row) for row in torch.cat([atoms, bonds], 1).int().tolist()}
        assert (atoms.diff(dim=1) <= 0).all()  # absent nodes are last
    assert len(rows) == 143


@pytest.mark.thorough
@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("text", ["atoms=4:3,bonds=6:3", "bonds=3:2,atoms=3:2"])
def test_the_contract_holds_for_graphs(text: str, sums: bool) -> None:
    findings = check("graphvae", Event.parse(text), {**small("graphvae"), "sums": sums})
    assert [finding for finding in findings if not finding.ok] == []


def random_bonds(nodes: int, levels: tuple[int, int]) -> tuple[BondsBySums, tuple[Tensor, Tensor, Tensor]]:
    """A network that has learned something, and logits, latents and atoms of four graphs."""
    with seeded(3):
        net = BondsBySums(nodes, levels, latent=2, width=8)
        torch.nn.init.normal_(net.out.weight)
        pairs = nodes * (nodes - 1) // 2
        given = torch.randn(4, pairs, levels[1]), torch.randn(4, 2), torch.randint(levels[0], (4, nodes)).float()
    return net, given


def test_bonds_by_sums_are_normalised_and_drawn_as_they_are_scored() -> None:
    net, given = random_bonds(4, (3, 2))
    logits, stream = net.given(*given)
    every = torch.tensor([[k >> bit & 1 for bit in range(6)] for k in range(64)], dtype=torch.float32)
    with torch.no_grad():
        nats = [
            -F.cross_entropy(logits(b.expand(4, -1)).flatten(0, 1), b.repeat(4).long(), reduction="none") for b in every
        ]
        torch.testing.assert_close(sum(each.reshape(4, -1).sum(1).exp() for each in nats), torch.ones(4))
        bonds = every[[3, 24, 63, 41]]
        one_by_one = stream(4)
        found = [next(one_by_one), *(one_by_one.send(bonds[:, p]) for p in range(5))]
        torch.testing.assert_close(torch.stack(found, 1), logits(bonds))


def test_a_bond_sees_sums_of_earlier_bonds_of_its_two_nodes_only() -> None:
    net, given = random_bonds(5, (3, 4))
    logits, _ = net.given(*given)
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    with torch.no_grad():
        nothing = torch.zeros(4, len(pairs))
        for q, changed in enumerate(pairs):
            other = nothing.clone()
            other[:, q] = 2
            moved = ((logits(other) - logits(nothing)).abs() > 1e-6).any(2)
            for p, pair in enumerate(pairs):
                assert bool(moved[:, p].any()) == (q < p and bool(set(pair) & set(changed)))


@pytest.mark.parametrize("text", ["x=4x4:5,y=:3@label", "atoms=4:3,bonds=5:3", "atoms=4:3,bonds=6:3@given", "8x8:17"])
def test_what_is_no_graph_is_refused(text: str) -> None:
    with pytest.raises(UnfitError):
        graph_fields(Event.parse(text), "graphvae")
    with pytest.raises(UnfitError):
        build("graphvae", Event.parse(text))


def test_the_guide_does_not_see_the_order(graphs: tuple[Tensor, Tensor], atlas: Dataset) -> None:
    family: Any = build("graphvae", atlas.event, small("graphvae")).extras
    with torch.no_grad():
        pooled = family.pooled(*graphs)
        torch.testing.assert_close(pooled, family.pooled(*shuffled(*graphs)), rtol=1e-4, atol=1e-5)
    apart = torch.cdist(pooled, pooled) + torch.eye(len(pooled))
    assert float(apart.min()) > 1e-4


def run_of(pair: Pair, data: Dataset) -> TrainedRun:
    extras: Any = pair.extras
    with torch.no_grad():
        extras.initialise(data.train)
    return TrainedRun(pair, data, seed=0, history=[])


def scores_of(name: str, run: TrainedRun) -> dict[str, Score]:
    return {score.metric: score for score in evaluate(name, [run], QUICK)}


def test_independent_nodes_and_pairs_have_exact_scores(atlas: Dataset) -> None:
    run = run_of(build("independent", atlas.event), atlas)
    found, x = scores_of("matching", run), atlas.test[:20]
    with run.pair.evaluating():
        assert found["ordered_nats"].value == pytest.approx(-float(log_prob(run.pair, x).mean()), rel=1e-5)
    exact = []
    for row in x:
        others = reordered(row[None, :NODES], row[None, NODES:], every_order(NODES)[None])
        different = torch.cat([part[0] for part in others], 1).unique(dim=0)
        with run.pair.evaluating():
            exact.append(-float(log_prob(run.pair, different).double().logsumexp(0)))
    assert found["unlabelled_nats"].value == pytest.approx(sum(exact) / len(exact), rel=1e-5)
    assert [found[name].kind for name in ("ordered_nats", "unlabelled_nats", "matched_nats")] == [
        "exact", "exact", "lower bound",
    ]  # fmt: skip


def test_matching_raises_the_bound_and_no_higher_than_the_sum(atlas: Dataset) -> None:
    found = scores_of("matching", run_of(build("graphvae", atlas.event, small("graphvae")), atlas))
    values = {name: score.value for name, score in found.items() if score.value is not None}
    assert values["unlabelled_nats"] < values["matched_nats"] < values["ordered_nats"]
    assert values["matching_gain"] == pytest.approx(values["ordered_elbo"] - values["matched_elbo"], abs=1e-6)
    assert {found[name].kind for name in ("ordered_nats", "matched_nats", "unlabelled_nats")} == {"lower bound"}


def test_bonds_that_depend_on_each_other_are_decoded_and_not_matched(atlas: Dataset) -> None:
    import zoo.evaluations.molecules as module

    run = run_of(build("graphvae", atlas.event, {**small("graphvae"), "sums": True}), atlas)
    reasons = {(score.status, "independent given" in score.reason) for score in evaluate("matching", [run], QUICK)}
    assert reasons == {("skipped", True)}
    with seeded(0):
        drawn = module.draws(run.pair, 7)
    assert {split.shape for split in drawn.values()} == {(7, atlas.event.size)}


def test_evaluations_of_graphs_skip_other_data(coins: Dataset, atlas: Dataset) -> None:
    run = TrainedRun(build("independent", coins.event), coins, seed=0, history=[])
    for name in ("matching", "molecules"):
        assert {(score.status, "atoms=9:5" in score.reason) for score in evaluate(name, [run], QUICK)} == {
            ("skipped", True)
        }
    nameless = run_of(build("independent", atlas.event), atlas)
    assert {score.status for score in evaluate("molecules", [nameless], QUICK)} == {"skipped"}


def test_without_rdkit_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch, atlas: Dataset) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    chemistry.cache_clear()
    with pytest.raises(ZooError, match=r"pyro-zoo\[graphs\]"):
        graph_of("CCO", 9)
    chemistry.cache_clear()


def test_the_shares_of_molecules_are_counted() -> None:
    """Four draws: one molecule twice, one that is known, and one graph that is none."""
    import zoo.evaluations.molecules as module

    found = {score.metric: score for score in module.shares("x", torch.tensor([7, 7, 5, -1]), torch.tensor([5, 9]))}
    assert {name: score.value for name, score in found.items()} == {
        "valid_x": 3 / 4, "unique_x": 2 / 3, "novel_x": 1 / 2, "vun_x": 1 / 4,
    }  # fmt: skip
    assert found["valid_x"].stderr == pytest.approx(math.sqrt(3 / 16 / 4))
    none = module.shares("x", torch.tensor([-1, -1]), torch.tensor([5]))
    assert [score.status for score in none] == ["ok", "skipped", "skipped", "ok"]
    assert evaluations["molecules"].ask is module.molecules


SMILES = ("C", "N#N", "CC=O", "c1ccccc1", "c1ccc[nH]1", "CC(=O)N", "C1CC1F", "OC=C", "C=CO", "[NH3+]CC(=O)[O-]", "CCl")


def test_molecules_survive_as_graphs() -> None:
    pytest.importorskip("rdkit")
    chem = chemistry()
    for text in SMILES[:-2]:
        graph = graph_of(text, 9)
        assert graph is not None
        assert canonical(molecule_of(*graph)) == canonical(chem.MolFromSmiles(text))
    rows, keys = graphs_of([*SMILES, "F[C@H](O)C", "F[C@@H](O)C", "no molecule", "C" * 10], 9)
    assert len(rows) == len(SMILES) - 3 + 1  # charged, chlorine, one vinyl alcohol; one of the mirror images
    assert torch.equal(keys_of(rows[:, :9], rows[:, 9:]), keys)
    ordered = canonically(rows)
    assert torch.equal(keys_of(ordered[:, :9], ordered[:, 9:]), keys)


def test_what_is_in_pieces_or_breaks_valences_is_no_molecule() -> None:
    pytest.importorskip("rdkit")
    assert molecule_of([1, 1, 0], [1, 0, 0]) is not None
    for atoms, bonds in (
        ([1, 1, 0], [0, 0, 0]),  # two methanes
        ([1, 1, 0], [1, 1, 0]),  # a bond to nothing
        ([0, 0, 0], [0, 0, 0]),
        ([4, 1, 1], [1, 1, 0]),  # fluorine of two bonds
        ([3, 1, 0], [3, 0, 0]),  # oxygen of three
    ):
        assert molecule_of(atoms, bonds) is None


def test_the_files_of_the_package_become_a_data_set(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    (tmp_path / "qm9pack/data").mkdir(parents=True)
    for part in (1, 2, 3):
        with (tmp_path / f"qm9pack/data/qm9_part{part}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Index", "SMILES", "XYZ_Ang"])
            writer.writerows([[i, text, "9" * 200_000] for i, text in enumerate(SMILES[part - 1 :: 3])])
    assert sorted(read_smiles(tmp_path)) == sorted(SMILES)
    data = of_graphs(canonically(graphs_of(read_smiles(tmp_path), 9)[0]), train=4, validation=2)
    assert str(data.event) == "atoms=9:5,bonds=36:4"
    assert [len(split) for split in (data.train, data.validation, data.test)] == [4, 2, 2]


def test_draws_of_molecules_are_scored_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rdkit")
    import zoo.evaluations.molecules as module
    from zoo.files import read_tensors
    from zoo.report.pictures import molecules

    monkeypatch.setattr(module, "DRAWS", 200)
    rows, _ = graphs_of([f"{'C' * i}{end}" for i in range(1, 8) for end in ("O", "N", "=O", "F")], 9)
    data = of_graphs(canonically(rows), train=20, validation=4)
    folder = tmp_path / "run"
    run = TrainedRun(run_of(build("independent", data.event), data).pair, data, 0, [], folder=folder, shared=tmp_path)
    found = {score.metric: score for score in evaluate("molecules", [run], QUICK)}
    assert found["valid_argmax"].n == 200
    values = {name: score.value for name, score in found.items() if score.value is not None}
    assert 0 < values["valid_sampled"] < 1
    product = math.prod(values[f"{word}_sampled"] for word in ("valid", "unique", "novel"))
    assert values["vun_sampled"] == pytest.approx(product)
    kept, _ = read_tensors(folder / "shown" / "molecules.safetensors")
    shown = {name: value.tolist() for name, value in kept.items()}
    pictures = molecules({"independent": shown}, {"independent": "floor"})
    assert [picture.label for picture in pictures] == ["real data", "independent, sampled", "independent, argmax"]
    assert "not valid" in str(pictures[1].html)
    assert "not valid" not in str(pictures[0].html)


def test_the_report_shows_molecules_among_its_pictures() -> None:
    """Carbon monoxide and a graph that is none, from stored numbers alone, and no second page for them."""
    numbers, orders = [[6, 8, 0], [6, 6, 0]], [[3, 0, 0], [0, 0, 0]]
    places = [[[0.0, 0.0], [1.5, 0.0], [None, None]], [[None, None]] * 3]
    made = study(seeds=1, families=[MadeUp("ppca", group="prescribed", kind="exact", nats=98.3)])
    kept = {f"{way}_{part}": value for way in ("real", "sampled", "argmax") for part, value in (
        ("numbers", numbers), ("orders", orders), ("places", places),
    )}  # fmt: skip
    made.uses = {"digits": {"ppca": {"molecules": kept}}}
    made.scores = [row for row in made.scores if row["evaluation"] != "novelty"]  # which is a use
    page = render(made)
    assert not used(made)
    assert [page.count(word) for word in ('class="bond"', ">not valid<", "2 graphs, 1 of them molecules")] == [9, 3, 3]
    assert "<h4>ppca, argmax</h4>" in page.replace("<wbr>", "")
