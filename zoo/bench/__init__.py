"""Speed that anyone can check: contenders that do the same work, measured in turn within one run."""
