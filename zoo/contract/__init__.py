"""The contract of a model/guide pair: the laws, the random data they are checked on, and the findings.

`zoo.contract.check` runs them; a new law is a function of a `Case` and an entry in `zoo.contract.laws`.
"""
