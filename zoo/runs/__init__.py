"""A run on disk: one family, one data set, one seed, as a folder, and the scores that are stored with it.

File formats are decided here and nowhere else.
"""
