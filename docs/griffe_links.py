"""Extension of griffe: the shelves as parts of ``zoo``, and names in backticks as links to their documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from griffe import Alias, Attribute, Extension, GriffeLoader, Module, NameResolutionError, Object

SHELVES = ("models", "guides", "evaluations")
LONGEST_VALUE = 100
"""Characters of a constant's value that are shown; longer ones are in the source."""
SHELVED = tuple(f"zoo.{shelf}." for shelf in SHELVES)
"""Of a shelf, only what is registered has a page."""
NAME = re.compile(r"(?<![`\w])`([A-Za-z_][\w.]*)`(?!`)")


class Links(Extension):
    """A full ``zoo...`` name in backticks has to exist, or the build fails; short ones are links if they resolve."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **kwargs: Any) -> None:
        """Attach the shelves to ``zoo``, hide imported names in its rooms, and rewrite all docstrings."""
        if pkg.path != "zoo":
            return
        for shelf in SHELVES:
            pkg.set_member(shelf, loader.load(shelf))
        for each in _objects(pkg):
            if isinstance(each, Alias):
                each.public = each.parent is pkg  # elsewhere it is documented where it is defined
                continue
            if isinstance(each, Attribute) and len(str(each.value)) > LONGEST_VALUE:
                each.value = None
            if each.docstring:
                text = re.sub(r"^Example:$", "Examples:", each.docstring.value, flags=re.MULTILINE)
                each.docstring.value = NAME.sub(partial(_link, each), text)


def _objects(parent: Object | Alias) -> Iterator[Object | Alias]:
    yield parent
    for member in parent.members.values() if isinstance(parent, Object) else ():
        yield from _objects(member)


def _link(where: Object, found: re.Match[str]) -> str:
    """Markdown for a name in backticks in the docstring of ``where``."""
    name = found[1]
    try:
        path = name if name.startswith("zoo.") else where.resolve(name)
        target = where.package[path.removeprefix("zoo.")]
        path = target.canonical_path
        shown = target.has_docstring and target.is_public and not path.startswith(SHELVED)
    except NameResolutionError:
        return found[0]
    except KeyError:  # such a link fails the build, with the place of the docstring
        path, shown = name, name.startswith("zoo.")
    return f"[`{name}`][{path}]" if shown else found[0]
