"""The built wheel works by itself, also in a folder with its own ``models``."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_works_from_a_folder_with_its_own_models(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(HOME)], check=True, timeout=300)
    [wheel] = tmp_path.glob("pyro_zoo-*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"zoo"}
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)], check=True, timeout=300
    )
    own = tmp_path / "project"
    (own / "models").mkdir(parents=True)
    (own / "models" / "__init__.py").write_text("raise SystemExit('the wrong models')\n")
    script = "import zoo, zoo.models; print(zoo.__file__); import zoo.cli; zoo.cli.app()"
    out = subprocess.run(
        [sys.executable, "-c", script, "list"],
        cwd=own,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert str(tmp_path / "site") in out
    assert "pixelcnn" in out
    assert "table1" in out
    for file in ("cli/templates/my_family.py", "report/page.html.j2", "report/page.css", "report/page.js"):
        assert (tmp_path / "site/zoo" / file).is_file()
