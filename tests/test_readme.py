"""The README's examples run as written."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zoo.cli import app

TEXT = (Path(__file__).parent.parent / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line.partition("#")[0] for line in TEXT.splitlines() if line.startswith(".venv/bin/zoo ")]


def test_the_declaration_keeps_the_contract_and_its_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(PYTHON[0])
    for command in COMMANDS:
        if "mine.py" in command and "compare" not in command:
            words = shlex.split(command)[1:] + (["--train", "steps=5"] if "steps" in command else [])
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, (command, result.output)
    [status] = Path("runs").rglob("status.json")
    assert json.loads(status.read_text())["status"] == "finished"
    assert Path("samples.png").exists()


def test_the_python_example_prints_what_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(PYTHON[1], "README.md", "exec"), {})
    assert capsys.readouterr().out == "finished torch.Size([5, 8, 8])\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_options_it_is_shown_with(command: str) -> None:
    word, *rest = shlex.split(command)[1:]
    told = CliRunner().invoke(app, [word, "--help"], env={"COLUMNS": "300"}).output
    for option in (each for each in rest if each.startswith("--")):
        assert re.search(rf"{option}\b", told), option
