"""Model/guide pairs: how they are registered, named and built, and what is read off their traces.

Everything above this room sees a family through `Pair` and the functions of `zoo.pairs.traces` and
`zoo.pairs.sampling` only.
"""
