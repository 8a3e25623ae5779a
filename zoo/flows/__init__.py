"""Normalizing flows: an invertible chain with an exact density, its couplings and masked steps, on reals and integers.

A new kind of step is a module with ``forward`` and ``inverse`` (see `zoo.flows.flow`); no training or evaluation here.
"""
