"""Training one pair on one data set: the loop, its recipe, the players' optimisers, checkpoints and callbacks.

Nothing here touches the disk; `zoo.runs` does.
"""
