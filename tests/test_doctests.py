"""The examples in docstrings run as written, in every module."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

DOORS = ("zoo", "zoo.models", "zoo.guides", "zoo.evaluations")


def modules() -> Iterator[str]:
    for door in DOORS:
        package: ModuleType = importlib.import_module(door)
        found = pkgutil.walk_packages(package.__path__, f"{door}.")
        yield from (each.name for each in found if not each.name.endswith(("__main__", "preloaded")))


EXAMPLES = [
    example
    for name in modules()
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if example.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_docstring_examples_run(example: doctest.DocTest) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=report.append)
    assert not report, "".join(report)
