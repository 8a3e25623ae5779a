"""The notebooks of the documentation, which are stored without outputs and run when it is built or tested."""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from measured_rows import STORED
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent / "notebooks").glob("*.ipynb"))
PANDAS_STYLE = re.compile(r'<style.*?</style>\s*| border="1" class="dataframe"| style="[^"]*"', re.DOTALL)
"""What pandas adds to a table, which keeps the site from styling it."""


def notebook_page(path: Path) -> str:
    """Run a notebook in an empty folder, next to the measured rows; its page in Markdown.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # %%bash cells find zoo
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm, where there are no widgets
    }
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(STORED, Path(folder, STORED.name))
        working = Path(folder, "notebooks")
        working.mkdir()
        client = NotebookClient(
            notebook,
            timeout=300,
            coalesce_streams=True,
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(working)}},
        )
        client.execute(env=environment)
    title, *cells = notebook.cells
    download = f'<a href="{path.name}" download>Download this notebook</a>'
    return "\n\n".join([title.source, download, *(part for cell in cells for part in _markdown(cell))]) + "\n"


def _markdown(cell: Any) -> Iterator[str]:
    """A cell with its outputs."""
    if cell.cell_type == "markdown":
        yield cell.source
        return
    magic, _, script = cell.source.partition("\n")
    yield f"```bash\n{script}\n```" if magic == "%%bash" else f"```python\n{cell.source}\n```"
    for output in cell.outputs:
        data = output.get("data", {"text/plain": output.get("text")})
        if "image/svg+xml" in data:
            encoded = base64.b64encode(data["image/svg+xml"].encode()).decode()
            yield f'<img alt="{escape(cell.metadata["alt"])}" src="data:image/svg+xml;base64,{encoded}">'
        elif "text/html" in data:
            yield PANDAS_STYLE.sub("", data["text/html"])
        else:
            yield f"```text\n{data['text/plain'].rstrip()}\n```"
