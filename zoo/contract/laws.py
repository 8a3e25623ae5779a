"""The laws in the order in which they are checked: each with its text, its check and how to mend what breaks it."""

from zoo.contract.agreement import agrees_with_log_prob, estimates_its_elbo
from zoo.contract.behaviour import (
    finite,
    gradients_reach,
    independent,
    repeats,
    samples_fit,
    steps_add_up,
    survives_saving,
)
from zoo.contract.densities import densities_are_of_their_draws
from zoo.contract.device import runs_elsewhere
from zoo.contract.findings import Law
from zoo.contract.ground import (
    counts_its_jacobian,
    leaves_x_alone,
    nothing_leaks,
    observes_x,
    same_twice,
    spreads_as_the_prior,
    trains_what_it_uses,
)
from zoo.contract.masks import scores_everything
from zoo.contract.sites import (
    are_amortised,
    guide_is_a_density,
    lie_in_the_plate,
    parameters_are_valid,
    runs,
    same_sites,
    sums_are_sums,
    supports_agree,
)

GROUND = (
    Law(
        "the programs run on any number of data",
        runs,
        "model(x) and guide(x) take a float tensor of shape (n, *event.shape) for every n: take n from len(x), and "
        "declare inner dimensions with .to_event(...); a file that is written for one event says so by "
        "`event = zoo.Event(...)`, or is checked with --event such as 64:binary",
    ),
    Law(
        "latents of a datum are computed from it",
        are_amortised,
        "or leave them to the shelf: @zoo.family(..., guide='normal')",
    ),
    Law(
        "the programs leave x as it is",
        leaves_x_alone,
        "compute a new tensor, x = x / 16, and not in place, x /= 16",
    ),
    Law(
        "every site lies in the data plate, so log-probabilities are per datum",
        lie_in_the_plate,
        "sample every site inside `with pyro.plate('data', len(x)):`; what all data share is a "
        "parameter, or a latent that the guide samples outside the plate as well",
    ),
    Law(
        "the guide's sites are the model's latents",
        same_sites,
        "sample the same names in both, or observe what is no latent",
    ),
    Law(
        "the guide has a density of its latents, and what all data share does not depend on them",
        guide_is_a_density,
        "Pyro's AutoNormal and its like have one, of what all data share",
    ),
    Law(
        "summed latents are read as one value for each entry",
        sums_are_sums,
        "count dimensions from the right (z.unsqueeze(-1), mean(-1)), and index with several indices by "
        "pyro.ops.indexing.Vindex; or sample the latent in the guide",
    ),
    Law(
        "all randomness is at sites",
        same_twice,
        "draw random numbers by pyro.sample only, not by torch.randn or dropout that stays on in evaluation mode",
    ),
    Law(
        "every entry is scored",
        scores_everything,
        "remove poutine.mask, .mask(...) and obs_mask, as what is hidden would count as predicted with certainty, or "
        "declare a sequence with its length, x=20x3:binary~n,n=:21@given, and mask both programs by t < n; remove "
        "pyro.factor, which is no probability",
    ),
    Law(
        "distributions have valid parameters",
        parameters_are_valid,
        "make a scale, a rate or a concentration positive, torch.nn.functional.softplus(raw) + 1e-3 or raw.exp(), and "
        "give what a network puts out to a Bernoulli or Categorical as logits=...",
    ),
    Law(
        "a distribution draws what its log_prob says",
        densities_are_of_their_draws,
        "let log_prob(value) return the logarithm of a probability, or of a density of integral 1, of what sample() "
        "draws; one of Pyro's distributions may do",
    ),
    Law(
        "what the model observes is x",
        observes_x,
        "observe x itself, obs=x, whole or in parts: scale it by the distribution (an AffineTransform counts its "
        "Jacobian), dequantise it by zoo.observe and zoo.dequantise, and threshold or round the data before they are "
        "given to the zoo",
    ),
    Law(
        "supports agree",
        supports_agree,
        "choose a distribution of the right support (zoo.likelihood(event, parameters) gives one for the data; "
        "zoo.observe takes integers under a density; a LogNormal guide suits a positive latent, and Pyro's AutoNormal "
        "any that all data share)",
    ),
    Law(
        "the model reads x by obs=x only",
        nothing_leaks,
        "let the model compute from its latents and parameters alone; what may depend on x belongs in the guide, and "
        "an autoregressive likelihood is a distribution whose log_prob(value) reads value (zoo has Autoregressive)",
    ),
    Law(
        "a guide spreads over as many dimensions as the prior",
        spreads_as_the_prior,
        "use a density, such as dist.Normal(mean, scale): a point mass (MAP) gives no bound on the likelihood",
    ),
    Law(
        "a change of variables in the guide counts its Jacobian",
        counts_its_jacobian,
        "give the latent as dist.Delta(value, log_density=-log |det J|) of its auxiliary site, as AutoNormal does",
    ),
    Law(
        "what is trained is known",
        trains_what_it_uses,
        'register it: pyro.module("net", net) for a module, pyro.param("w", w) for a tensor',
    ),
    Law(
        "data are independent of each other",
        independent,
        "compute what belongs to a datum from that datum alone: no mean, sum or normalisation over the first dimension",
    ),
    Law(
        "log_prob agrees with the programs",
        agrees_with_log_prob,
        "let log_prob(x) return the log-probability of each datum under the model, in nats, shape (n,)",
    ),
    Law(
        "elbo_terms agrees with the programs",
        estimates_its_elbo,
        "let elbo_terms(x) return terms of shape (n,) that add up, on average, to log p(x, z) - log q(z | x)",
    ),
)
"""Without these a number would be wrong (see `zoo.contract.ground`). Each is checked only if those before it hold."""
LAWS = (
    Law(
        "gradients reach every parameter",
        gradients_reach,
        "use it in model or guide without detaching it, or remove it (a constant is a buffer: register_buffer)",
    ),
    Law(
        "losses and log-probabilities are finite",
        finite,
        "keep scales away from zero (softplus plus a small number), and logarithms and divisions off zero",
    ),
    Law(
        "elbo_step adds up to elbo_terms",
        steps_add_up,
        "let elbo_step(x, t) return the term of step t of each datum, shape (n,), without the factor of elbo_terms(x), "
        "which takes one step of many",
    ),
    Law(
        "samples are of the event",
        samples_fit,
        "run without data, the model should draw every latent from its prior and x from them alone; round or threshold "
        "what a deterministic x should give in levels",
    ),
    Law(
        "same seed, same result",
        repeats,
        "draw all random numbers by torch or pyro, from their global generators, and depend on no clock or counter",
    ),
    Law(
        "saving and loading change nothing",
        survives_saving,
        "keep everything that training changes in parameters and buffers (register_buffer), not in other attributes",
    ),
    Law(
        "it runs on another device",
        runs_elsewhere,
        "make tensors where the data are: x.new_zeros(...), torch.arange(..., device=x.device), or register_buffer; or "
        "run it on the CPU alone, --device cpu",
    ),
)
