"""Numbers that say how good a pair is: bounds on the likelihood, MMD, two-sample tests, densities in the plane.

And how well novel and attacked data are separated from others. Functions of a pair and data (or of samples and data);
they know neither runs nor reports.
"""
