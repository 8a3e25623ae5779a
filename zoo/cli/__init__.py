"""The command line: one function a command, its options, and what only commands need.

Torch is imported inside the commands, so that ``zoo --help`` answers at once.
"""

from zoo.cli import active, certify, coding, data, inspect, jobs, reproduce, run, suites, trained, tune, world
from zoo.cli.app import app

__all__ = [
    "active",
    "app",
    "certify",
    "coding",
    "data",
    "inspect",
    "jobs",
    "reproduce",
    "run",
    "suites",
    "trained",
    "tune",
    "world",
]
