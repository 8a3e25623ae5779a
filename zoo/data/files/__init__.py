"""The user's own data: a module for each kind of file, which reads it as `Contents`, and what makes a data set of them.

A reader is ``read(path, **settings) -> Contents`` and stands in `zoo.data.files.read`. It checks what only the file
knows; shapes, supports, roles and splits are checked for all kinds alike.
"""

from zoo.data.files.load import load_file
from zoo.data.files.read import SUFFIXES, path_and_settings
from zoo.data.files.rows import read_rows, table_columns
from zoo.data.files.saved import save_data
from zoo.data.files.streaming import pack_folder
from zoo.data.files.write import table_of

__all__ = [
    "SUFFIXES",
    "load_file",
    "pack_folder",
    "path_and_settings",
    "read_rows",
    "save_data",
    "table_columns",
    "table_of",
]
