"""The examples in README and CONTRIBUTING run as written."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from test_architecture import ROOMS
from typer.testing import CliRunner

from zoo.cli import app
from zoo.cli.template import kinds, starting_file

ROOT = Path(__file__).parent.parent
README, CONTRIBUTING = (ROOT / "README.md").read_text(), (ROOT / "CONTRIBUTING.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [line.partition("#")[0] for line in README.splitlines() if line.startswith(".venv/bin/zoo ")]


@pytest.mark.thorough
def test_the_declaration_keeps_the_contract_and_its_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(PYTHON[0])
    for command in COMMANDS:
        if "mine" in command and not {"compare", "mine.npz"} & {*shlex.split(command)}:
            words = shlex.split(re.sub(r"steps=\d+", "steps=5", command))[1:]
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, (command, result.output)
    [status] = Path("runs").rglob("status.json")
    assert json.loads(status.read_text())["status"] == "finished"
    assert Path("samples.png").exists()
    with redirect_stdout(io.StringIO()) as said:
        exec(compile(PYTHON[2], "README.md", "exec"), {})
    sizes = "torch.Size([4, 8]) torch.Size([4, 8, 8]) torch.Size([4, 8, 8])"
    assert said.getvalue() == f"lower bound {sizes}\n"


@pytest.mark.thorough
def test_the_python_example_prints_what_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(PYTHON[1], "README.md", "exec"), {})
    assert capsys.readouterr().out == "finished torch.Size([5, 8, 8])\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_the_options_it_is_shown_with(command: str) -> None:
    word, *rest = shlex.split(command)[1:]
    shown = CliRunner().invoke(app, [word, "--help"], env={"COLUMNS": "300"}).output
    for option in (each for each in rest if each.startswith("--")):
        assert re.search(rf"{option}\b", shown), option


def test_contributing_shows_every_example_word_for_word() -> None:
    shown = dict(re.findall(r"<!-- (\S+) -->\n```python\n(.*?)```", CONTRIBUTING, re.DOTALL))
    examples = (ROOT / "zoo/cli/templates").glob("*.py")
    assert shown == {str(path.relative_to(ROOT)): path.read_text() for path in examples}


@pytest.mark.parametrize("kind", kinds())
def test_a_starting_file_differs_from_its_example_by_the_name(kind: str) -> None:
    written = starting_file("some-name", kind).replace("some-name", f"my_{kind}").replace("some_name", f"my_{kind}")
    example = (ROOT / f"zoo/cli/templates/my_{kind}.py").read_text()
    assert written.replace("SomeName", f"My{kind.title()}") == example.replace(f"my-{kind}", f"my_{kind}")


def test_the_map_lists_the_rooms_bottom_up() -> None:
    rooms = re.findall(r"^  (\w+)/ ", CONTRIBUTING.partition("zoo/            the core")[2], re.MULTILINE)
    assert tuple(rooms) == ROOMS[1:]


def test_the_map_shows_every_folder_that_is_tracked() -> None:
    git = shutil.which("git")
    listed = git and subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if not listed or listed.returncode:
        pytest.skip("not a checkout that git reads")
    tracked = listed.stdout.split()
    shown = set(re.findall(r"^(\w+)/ ", CONTRIBUTING, re.MULTILINE))
    assert {path.partition("/")[0] for path in tracked if "/" in path} == shown | {".ci"}
    documents = {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md"}
    settings = {".gitignore", "Makefile", "constraints.txt", "mkdocs.yml", "pyproject.toml", "setup.py"}
    assert {path for path in tracked if "/" not in path} == documents | settings


@pytest.mark.thorough
@pytest.mark.parametrize("kind", kinds())
def test_what_zoo_new_writes_does_what_it_says_next(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written, _, hint = CliRunner().invoke(app, ["new", kind, f"own-{kind}"]).output.strip().partition("\nnext: ")
    assert written == f"own-{kind}.py"
    for command in hint.split(", then "):
        _, word, *rest = shlex.split(command)
        result = CliRunner().invoke(app, [word, *rest, *([] if word == "check" else ["--train", "steps=2"])])
        assert result.exit_code == 0, (command, result.output)
        assert f"own-{kind}" in command
