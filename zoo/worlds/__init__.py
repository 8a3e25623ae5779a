"""An agent that learns inside its own model of a world (Ha & Schmidhuber 2018, arXiv:1803.10122).

Here live the environment, episodes of it, the environment that a model dreams, the controller that is trained in the
dream, and the experiment from the first to the last. The two models are families on the shelf; they are found by name.
"""
