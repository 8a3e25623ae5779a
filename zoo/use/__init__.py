"""Trained models in use: load a run, ask it for log-probabilities, latents, samples and missing values, score rows.

A question that a family has no answer to is refused with a sentence; every answer says whether it is exact.
"""
