"""What the server that forks the workers imports once, so that a worker starts in milliseconds."""

import signal
from importlib import import_module

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked: it stops this one too

from zoo.registry import load_shelves  # noqa: E402 (imports torch: seconds in which Ctrl-C would be a traceback)

LATE = ("sklearn.datasets", "sklearn.model_selection", "torch._dynamo")
"""Modules that libraries import on first use; torch's optimisers take a second or two for the last."""

for each in LATE:
    import_module(each)
load_shelves()
