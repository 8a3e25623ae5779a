"""Normalizing flows on reals and integers: an invertible chain with an exact density, couplings, masked steps.

A new kind of step is a module with ``forward`` and ``inverse`` (see `zoo.flows.flow`). No training or evaluation here.
"""
