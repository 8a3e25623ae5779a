"""Extension of griffe: the shelves as parts of ``zoo``, and names in backticks as links to their documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from griffe import Extension, GriffeLoader, Module, NameResolutionError, Object

SHELVES = ("models", "guides", "evaluations")
SHELVED = tuple(f"zoo.{shelf}." for shelf in SHELVES)
"""Of a shelf, only what is registered has a page."""
NAME = re.compile(r"(?<![`\w])`([A-Za-z_][\w.]*)`(?!`)")


class Links(Extension):
    """A full ``zoo...`` name in backticks must exist, or the build fails; shorter names are links where they resolve."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **kwargs: Any) -> None:
        """Attach the shelves to ``zoo``, then rewrite all docstrings."""
        if pkg.path != "zoo":
            return
        for shelf in SHELVES:
            pkg.set_member(shelf, loader.load(shelf))
        for each in _objects(pkg):
            if each.docstring:
                text = re.sub(r"^Example:$", "Examples:", each.docstring.value, flags=re.MULTILINE)
                each.docstring.value = NAME.sub(lambda match, each=each: _link(match[1], each), text)


def _objects(parent: Object) -> Iterator[Object]:
    yield parent
    for member in parent.members.values():
        if not member.is_alias:
            yield from _objects(member)


def _link(name: str, where: Object) -> str:
    """Markdown for ``name`` as it is used in the docstring of ``where``."""
    root = where.package
    try:
        path = name if name.startswith("zoo.") else where.resolve(name)
        target = root[path.removeprefix("zoo.")]
        shown = target.has_docstring and target.is_public and not path.startswith(SHELVED)
    except NameResolutionError:
        return f"`{name}`"
    except KeyError:  # a name that does not exist: as a link, it fails the build with the docstring's place
        path, shown = name, name.startswith("zoo.")
    return f"[`{name}`][{path}]" if shown else f"`{name}`"
