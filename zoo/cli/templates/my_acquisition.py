"""my_acquisition: say in one sentence which data it asks for.

Next: zoo active --ask random,my_acquisition --seeds 2 --rounds 2 --with my_acquisition.py
"""

from torch import Tensor

import zoo


@zoo.acquisition("my_acquisition", paper="")  # Author et al. year, arXiv:number
def my_acquisition(query: zoo.Query) -> Tensor:
    """The data whose most probable class is least probable; a keyword argument would be a setting of the name."""
    return query.lowest(query.log_probs.amax(1))  # query.pool, x, y, classifier, count and generator are there too
