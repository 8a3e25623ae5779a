"""What the server that forks the workers imports once, so that a worker starts in milliseconds."""

import sklearn.datasets
import sklearn.model_selection  # noqa: F401 (imported to be there)

from zoo.registry import load_shelves

load_shelves()
