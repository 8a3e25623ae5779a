"""Hooks of mkdocs: add the generated pages, fix the guides' links, and check every link of the built site."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from broken_links import broken_links
from build_pages import pages, site_links
from notebook_pages import NOTEBOOKS, notebook_page

with ThreadPoolExecutor() as pool:  # a notebook runs in a process of its own
    NOTEBOOK_PAGES = zip(NOTEBOOKS, pool.map(notebook_page, NOTEBOOKS), strict=True)
PAGES = pages() | {f"notebooks/{path.stem}.md": text for path, text in NOTEBOOK_PAGES}
"""Path of each generated page -> Markdown."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the generated pages of the sections "Families" and "API" to the navigation."""
    for section in config.nav or []:
        for items in filter(lambda items: isinstance(items, list), section.values()):
            folder = str(items[0]).removesuffix("index.md")
            items += [path for path in PAGES if folder and path.startswith(folder) and path not in items]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, text in PAGES.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the repository's links of the hand-written guides into links between pages."""
    return markdown if page.file.generated_by else site_links(markdown, "docs")


def on_post_build(config: MkDocsConfig) -> None:
    """Fail on a link or anchor of the built site that leads nowhere."""
    if broken := broken_links(Path(config.site_dir)):
        raise PluginError("broken links:\n  " + "\n  ".join(broken))
