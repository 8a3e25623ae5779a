"""The command line in a test."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from zoo.cli import app


def zoo(*words: object, code: int = 0) -> Any:
    """Run a command, which ends with ``code`` and without a traceback."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result
