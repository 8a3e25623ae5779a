"""The shelf of evaluations: one a file, found by walking this package."""
