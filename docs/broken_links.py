"""Find the links of a built site that lead nowhere."""

from __future__ import annotations

from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag


def broken_links(site: Path) -> list[str]:
    """``page: target`` for each relative link of the built pages to a file or an anchor that is not there."""
    found = {path: _Links(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    broken = []
    for path, links in found.items():
        for target in sorted(links.targets):
            name, anchor = urldefrag(target)
            goal = (path.parent / unquote(name)).resolve() if name else path
            goal = goal / "index.html" if goal.is_dir() else goal
            known = found[goal].anchors if goal in found else set()
            if not goal.exists() or (anchor and goal.suffix == ".html" and unquote(anchor) not in known):
                broken.append(f"{path.relative_to(site)}: {target}")
    return broken


class _Links(HTMLParser):
    """The relative links and the anchors of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = defaultdict(str, {name: value or "" for name, value in attrs})
        self.anchors |= {values["id"], values["name"]}
        self.targets |= {url for url in (values["href"], values["src"]) if url and ":" not in url and url != "#"}
