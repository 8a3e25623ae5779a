"""The figures of the page."""

from zoo.report.figures.brackets import brackets as brackets
from zoo.report.figures.elbos import elbo_gaps as elbo_gaps
from zoo.report.figures.elbos import elbo_parts as elbo_parts
from zoo.report.figures.fields import bits_by_field as bits_by_field
from zoo.report.figures.learning import learning as learning
from zoo.report.figures.likelihoods import floors as floors
from zoo.report.figures.likelihoods import ranking as ranking
from zoo.report.figures.molecules import molecules as molecules
from zoo.report.figures.passes import passes_and_quality as passes_and_quality
from zoo.report.figures.plane import scatter as scatter
from zoo.report.figures.rates import rate_distortion as rate_distortion
from zoo.report.figures.speeds import speed as speed
from zoo.report.figures.speeds import speed_and_likelihood as speed_and_likelihood
from zoo.report.figures.speeds import speed_and_quality as speed_and_quality
from zoo.report.figures.svg import colour as colour
from zoo.report.figures.uses import attacked as attacked
from zoo.report.figures.uses import curves as curves
from zoo.report.figures.uses import decision as decision
