"""Newcomers' walks and the notebooks of the documentation run to their end, on public names only."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from notebook_pages import NOTEBOOKS, notebook_page

import zoo

WALKS = sorted((Path(__file__).parent / "walks").glob("*.py"))


def code(path: Path) -> str:
    """The Python code of a walk or a notebook, without magics."""
    if path.suffix == ".py":
        return path.read_text()
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return "\n".join(re.sub(r"^%(%.*|.*$)", "", cell, flags=re.DOTALL | re.MULTILINE) for cell in cells)


def names_of_zoo(tree: ast.AST) -> Iterator[str]:
    """What a program takes from the package ``zoo``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name.removeprefix("zoo.") for each in node.names if each.name.startswith("zoo."))
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "zoo":
            yield from (f"{node.module}.{each.name}".removeprefix("zoo.") for each in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "zoo":
            yield node.attr


@pytest.mark.process
@pytest.mark.parametrize("path", WALKS, ids=lambda path: path.stem)
def test_a_walk_reaches_its_end(path: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run([sys.executable, path], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow  # `make docs` runs them too
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_a_figure(path: Path) -> None:
    page = notebook_page(path)
    assert '<img alt="' in page
    assert len(page) < 300_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert "assert " in cells[-1].source


@pytest.mark.parametrize("path", [*WALKS, *NOTEBOOKS], ids=lambda path: path.stem)
def test_only_public_names_are_used(path: Path) -> None:
    used = set(names_of_zoo(ast.parse(code(path))))
    assert "load" in used or "build" in used
    assert used <= set(zoo.__all__)


def test_a_private_name_is_found() -> None:
    program = "import zoo.runs\nfrom zoo import fit\nfrom zoo.use.load import load\nzoo.pairs.pair"
    assert sorted(names_of_zoo(ast.parse(program))) == ["fit", "pairs", "runs", "use.load.load"]
