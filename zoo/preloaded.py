"""What the server that forks the workers imports once, so that a worker starts in milliseconds."""

from importlib import import_module

from zoo.registry import load_shelves

LATE = ("sklearn.datasets", "sklearn.model_selection", "torch._dynamo")
"""Modules that libraries import on first use; torch's optimisers take a second or two for the last."""

for each in LATE:
    import_module(each)
load_shelves()
