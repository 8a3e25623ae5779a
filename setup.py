"""Every package under ``zoo/``, and the three shelves, which are installed as ``zoo.models`` and so on.

``pyproject.toml`` can find packages or rename them, but not find packages to rename.
"""

from setuptools import find_packages, setup

SHELVES = ("models", "guides", "evaluations")
shelved = [f"zoo.{name}" for shelf in SHELVES for name in find_packages(include=[shelf, f"{shelf}.*"])]
setup(
    packages=find_packages(include=["zoo", "zoo.*"]) + shelved,
    package_dir={f"zoo.{shelf}": shelf for shelf in SHELVES},
)
