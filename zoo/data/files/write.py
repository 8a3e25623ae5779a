"""Data as a table, as `zoo.data.files.rows` reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from zoo.data.files.contents import Names
from zoo.data.files.dialect import is_number

if TYPE_CHECKING:
    import pandas as pd


def table_of(x: Tensor, columns: Sequence[str], names: Names) -> pd.DataFrame:
    """Data ``(n, *shape)`` in their own units as a data frame.

    Args:
        x: packed, with as many entries as there are columns.
        columns: the column of each entry.
        names: column -> names of its levels: words, or the points of a grid.

    Example:
        >>> import torch
        >>> table_of(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), ("tree", "size"), {"tree": ("ash", "oak")})
          tree  size
        0  ash   1.0
        1  oak   0.0
    """
    import pandas as pd

    values = x.detach().cpu().double().flatten(1)
    found = {}
    for place, column in enumerate(columns):
        numbers = values[:, place].tolist()
        if column in names:
            points = [float(name) if is_number(name) else name for name in names[column]]
            found[column] = [None if math.isnan(level) else points[round(level)] for level in numbers]
        else:
            found[column] = numbers
    return pd.DataFrame(found)
