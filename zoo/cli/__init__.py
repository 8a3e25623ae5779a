"""The command line. Torch is imported inside the commands, so that ``zoo --help`` answers at once."""

from zoo.cli import coding, look, suites, work
from zoo.cli.app import app

__all__ = ["app", "coding", "look", "suites", "work"]
