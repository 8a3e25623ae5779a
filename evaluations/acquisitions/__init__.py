"""Ways to choose the data to label next, one a file; each module registers itself."""
