"""Fast gradients of a pair: objectives, tracing to a flat graph, ahead-of-time compilation, and the choice among them.

Everything that touches private interfaces of torch for speed lives here. Without it, results agree to float rounding.
"""
