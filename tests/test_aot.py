"""Libraries made of graphs: made once, by whichever process, and found by all later ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo.engine import aot
from zoo.engine.aot import LIBRARY, PROGRAM, CompilationError, compiled, has_compiler
from zoo.engine.private import COMPILER, graph_of

A, B = torch.linspace(-1.0, 1.0, 12).reshape(3, 4), torch.linspace(0.0, 2.0, 8).reshape(4, 2)


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    return tmp_path / "zoo"


def program(a: Tensor, b: Tensor) -> list[Tensor]:
    noise = torch.rand(3, 2)
    return [(a @ b).exp() + torch.tensor([1.0, -1.0]) * noise, a.sum()]


def build_nothing(folder: Path) -> None:
    raise CompilationError("no library is to be made here")


@pytest.mark.process
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
def test_a_library_made_by_another_process_is_right_and_made_once(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, COMPILER, raising=False)  # so that this process leaves it to another
    graph = graph_of(program)(A, B)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = compiled(graph, [A, B])
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("build", "_build_elsewhere"):
        monkeypatch.setattr(aot, name, build_nothing)
    for run in (first, compiled(graph, [A, B])):
        torch.manual_seed(3)
        expected = program(A, B)
        torch.manual_seed(3)
        for ours, theirs in zip(run(A, B), expected, strict=True):
            torch.testing.assert_close(ours, theirs)
    (folder,) = shelf.iterdir()
    assert {PROGRAM, LIBRARY} <= {path.name for path in folder.iterdir()}
    with pytest.raises(CompilationError, match="no library"):
        compiled(graph, [A.t().contiguous().t(), B])  # another layout is another library


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own, when its compiler is imported
@pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
def test_compiling_here_draws_no_random_numbers(shelf: Path) -> None:
    __import__(COMPILER)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    compiled(graph_of(program)(A, B), [A, B])
    assert torch.equal(torch.get_rng_state(), before)
    assert len(list(shelf.iterdir())) == 1


def test_a_failure_is_one_line_and_leaves_nothing_behind(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, COMPILER, raising=False)
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(CompilationError, match=r"^exit code 1$"):
        compiled(graph_of(program)(A, B), [A, B])
    assert list(shelf.iterdir()) == []


def test_of_two_that_make_the_same_library_one_is_kept(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(folder: Path) -> None:
        (folder / LIBRARY).write_text("this one")
        started.append(folder)
        if len(started) == 1:
            nested.append(aot._library("program", shelf))

    started, nested = list[Path](), list[Path]()
    monkeypatch.setitem(sys.modules, COMPILER, sys)
    monkeypatch.setattr(aot, "build", build)
    assert aot._library("program", shelf) == nested[0]
    assert nested[0].read_text() == "this one"
    assert [path.name for path in shelf.iterdir()] == [nested[0].parent.name]
