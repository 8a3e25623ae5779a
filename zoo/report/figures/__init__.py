"""The figures of the page."""

from zoo.report.figures.elbos import elbo_gaps, elbo_parts
from zoo.report.figures.learning import Panel, curves, discrepancy_span, nats_span
from zoo.report.figures.likelihoods import floors, ranking
from zoo.report.figures.plane import scatter
from zoo.report.figures.rates import rate_distortion
from zoo.report.figures.speeds import speed
from zoo.report.figures.svg import colour

__all__ = [
    "Panel",
    "colour",
    "curves",
    "discrepancy_span",
    "elbo_gaps",
    "elbo_parts",
    "floors",
    "nats_span",
    "ranking",
    "rate_distortion",
    "scatter",
    "speed",
]
