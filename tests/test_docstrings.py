"""The form of docstrings: what is registered or public says what it is, what it takes and where it comes from."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.pairs.registry import acquisitions, evaluations, families, guides, load_shelves, priors

load_shelves()
ROOT = Path(__file__).parent.parent
SECTIONS = ("Args", "Returns", "Yields", "Raises", "Example", "Reference")
"""In this order."""
REGISTERED = [
    pytest.param(entry, id=f"{registry.word}-{entry.name}")
    for registry in (families, guides, priors, evaluations, acquisitions)
    for entry in registry
]


def sections(doc: str) -> dict[str, str]:
    """The named sections of a docstring, in its order."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):$", inspect.cleandoc(doc), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def has_summary(doc: str) -> bool:
    """The first paragraph is one line, and a sentence."""
    paragraph = inspect.cleandoc(doc).partition("\n\n")[0]
    return bool(paragraph) and "\n" not in paragraph and paragraph.endswith(".")


def documented(doc: str) -> set[str]:
    """The names that the section Args explains."""
    entries = re.findall(r"^    (\w[\w, ]*):", sections(doc).get("Args", ""), flags=re.MULTILINE)
    return {name.strip() for entry in entries for name in entry.split(",")}


def parameters(what: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a callable."""
    starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if isinstance(what, type) and issubclass(what, Exception):
        return {}
    found = inspect.signature(what).parameters
    return {name: parameter for name, parameter in found.items() if parameter.kind not in starred}


@pytest.mark.parametrize("entry", REGISTERED)
def test_what_is_registered_names_its_source_and_settings(entry: Any) -> None:
    assert has_summary(entry.doc)
    assert getattr(entry, "paper", "") or "Reference" in sections(entry.doc), "give a paper or a section Reference"
    made = getattr(entry, "make", None) or entry.ask
    settings = {name for name, each in parameters(made).items() if each.kind is inspect.Parameter.KEYWORD_ONLY}
    assert settings - documented(entry.doc) == set(), "explain every setting under Args"


@pytest.mark.parametrize("name", zoo.__all__)
def test_public_names_explain_arguments_and_show_an_example(name: str) -> None:
    public = getattr(zoo, name)
    doc = public.__doc__ or ""
    assert has_summary(doc)
    fields = {field for field, info in getattr(public, "model_fields", {}).items() if info.description}
    assert documented(doc) | fields == set(parameters(public)), "explain every argument under Args, and no other"
    assert ">>> " in sections(doc).get("Example", "")


def test_sections_stand_in_one_order() -> None:
    wrong = []
    for path in (
        path for folder in ("zoo", "models", "guides", "evaluations") for path in (ROOT / folder).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found = list(sections(ast.get_docstring(node) or ""))
                if found != sorted(found, key=SECTIONS.index):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {', '.join(found)}")
    assert wrong == []
