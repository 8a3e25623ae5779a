"""The shelf of models: one a file, found by walking this package."""
