"""Training one pair on one data set: the loop, its recipe, callbacks, and validation at checkpoints.

Nothing here touches the disk; `zoo.runs` does.
"""
