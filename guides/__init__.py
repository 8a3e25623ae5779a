"""The shelf of guides: one a file, found by walking this package."""
