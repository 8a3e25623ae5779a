"""The shelf of priors: one a file, found by walking this package."""
