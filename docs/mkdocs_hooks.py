"""Hooks of mkdocs: add the generated pages, fix the guides' links, and check every link of the built site."""

from __future__ import annotations

import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
from build_pages import pages, site_links

PAGES = pages()
"""Path of each generated page -> Markdown."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages of the sections "Families" and "API" to the navigation."""
    for section in config.nav:
        for items in filter(lambda items: isinstance(items, list), section.values()):
            folder = str(items[0]).removesuffix("index.md")
            items += [path for path in PAGES if folder and path.startswith(folder) and path not in items]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, text in PAGES.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: object, config: MkDocsConfig, files: Files) -> str:
    """Turn the repository's links of the hand-written guides into links between pages."""
    return markdown if page.file.generated_by else site_links(markdown, "docs")  # type: ignore[attr-defined]


def on_post_build(config: MkDocsConfig) -> None:
    """Fail on a link or anchor of the built site that leads nowhere."""
    if broken := broken_links(Path(config.site_dir)):
        raise PluginError("broken links:\n  " + "\n  ".join(broken))


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
