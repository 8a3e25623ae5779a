"""The contract of a model/guide pair: its laws, the random data on which they are checked, and the findings.

`zoo.contract.check` runs them; a new law is a function of a `Case` and an entry in `zoo.contract.laws`.
"""
