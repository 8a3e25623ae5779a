"""The modules that the fork server imports once, so that a worker starts in milliseconds."""

import os
import signal
import warnings
from importlib import import_module

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops this process too

from zoo.engine.private import COMPILER  # noqa: E402
from zoo.pairs.registry import load_shelves  # noqa: E402 (imports torch: seconds in which Ctrl-C would be a traceback)

SKLEARN = ("sklearn.datasets", "sklearn.ensemble", "sklearn.model_selection")
LATE = ("arviz", *SKLEARN, "zoo.experiments.compare", "torch._dynamo", COMPILER)
"""Modules that workers import on first use; the last two, of torch's optimisers and its compiler, take seconds."""

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # more would start processes here, before the fork
with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # arviz announces its next major version on import
    for each in LATE:
        import_module(each)
load_shelves()
