"""Draws of a trained model as ArviZ's ``InferenceData``, with the importance weights of its guide.

The draws are independent draws of the guide, no Markov chain: r_hat and the ESS of a chain say nothing of them. What
says how far the guide is from the posterior is the importance weights, which are in ``sample_stats``.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.files import write_bytes
from zoo.metrics.bounds import FEWEST_PARTICLES, LARGEST_KHAT, log_probs, summarise
from zoo.metrics.memory import MEMORY, rows_within
from zoo.pairs.pair import Pair
from zoo.pairs.sampling import sample
from zoo.pairs.sites import data_first, dequantising_sites, latent_sites, observed_sites, per_datum
from zoo.pairs.structure import listed
from zoo.pairs.traces import Capabilities, capabilities, traced
from zoo.seeding import seeded
from zoo.use.load import load
from zoo.use.model import TrainedModel

if TYPE_CHECKING:
    from arviz import InferenceData

DRAWS = 512
"""Draws of the guide for each datum by default, as many as the particles of a bound."""
NOTE = (
    "independent draws of an approximate posterior (guide), not a Markov chain: r_hat and ess measure nothing here; "
    "sample_stats has log importance weights log p(x, z) - log q(z | x), and for each datum their Pareto k-hat "
    f"(above {LARGEST_KHAT} the weights cannot be relied on) and effective sample size"
)
LOO_NOTE = (
    "log p(x | z) of a datum given its own latents: arviz.loo and arviz.waic leave out an observation that informs "
    "parameters which others share, so they measure nothing here; log p(x) is bounded by the log of the mean weight"
)
EXACT_NOTE = "log p(x), exact: the model has no latents, so there is one value for each datum, and no posterior"
CHAIN_ONLY = {
    "r_hat": "compares chains that may not have mixed; independent draws always agree, also with a wrong guide",
    "ess_bulk": "counts draws by their autocorrelation in a chain; independent draws have none, also of a wrong guide",
    "ess_tail": "counts draws by their autocorrelation in a chain; independent draws have none, also of a wrong guide",
    "mcse_mean": "is the error of a chain's mean about the guide's mean, which is not the posterior's",
    "mcse_sd": "is the error of a chain's deviation about the guide's, which is not the posterior's",
}
"""Statistics of a chain, and what they would mislead about."""
STATISTICS = ("mean", "sd", "guide_mean", "guide_sd", "khat", "ess")


def to_arviz(
    model: TrainedModel | str | Path,
    x: Any = None,
    *,
    data: int = 10,
    draws: int = DRAWS,
    seed: int = 0,
    runs: str | Path = "runs",
) -> InferenceData:
    """Draws of the guide for some data, as ArviZ's ``InferenceData``.

    - ``posterior``: each latent site, dimensions ``(chain, draw, datum, ...)``; absent without latents.
    - ``sample_stats``: ``log_weight`` of each draw, ``(chain, draw, datum)``, and ``khat`` and ``ess`` of each datum.
    - ``log_likelihood``: ``x``, log p(x | z) of each draw, ``(chain, draw, datum)``; with an exact likelihood log p(x).
    - ``posterior_predictive``: ``x``, data drawn given each draw, ``(chain, draw, datum, ...)``.
    - ``observed_data``: ``x``, the data, ``(datum, ...)``.

    There is one chain. Data and log-probabilities are in the data's own units, in nats. A latent that dequantises is
    part of the datum: it is in no group, and ``log_likelihood`` is log p(y | z) - log q(y | x). ``attrs`` of each group
    say what the draws are.

    Args:
        model: a trained model, or what `zoo.load` takes.
        x: data as `TrainedModel` takes them; by default the first of the test split.
        data: number of test data.
        draws: of the guide for each datum, and of the model.
        seed: of the draws.
        runs: the folder in which a name is looked up.

    Returns:
        The groups, which ``to_netcdf`` writes and `arviz.from_netcdf` reads.

    Raises:
        ZooError: an implicit model, a record, latents that are summed or that all data share, or no data or draws.

    Example:
        >>> import zoo
        >>> data = zoo.load_data("digits")
        >>> pair = zoo.build("ppca", data.event, {"latent": 3})
        >>> found = to_arviz(zoo.TrainedModel(pair, data), data=2, draws=30)
        >>> dict(found.posterior["z"].sizes)
        {'chain': 1, 'draw': 30, 'datum': 2, 'z_dim_0': 3}

    Reference:
        Kumar et al. 2019, ArviZ a unified library for exploratory analysis of Bayesian models in Python, J. Open Source
        Softw. 4(33); Vehtari et al. 2024, J. Mach. Learn. Res. 25(72) (k-hat); Yao et al. 2018, arXiv:1802.02538 (of a
        guide).
    """
    if isinstance(model, str | Path):
        model = load(model, runs=runs)
    pair, can = model.pair, capabilities(model.pair)
    _require_draws(pair, can)
    if min(data, draws) < 1:
        raise ZooError(f"data and draws are 1 or more, got {data} and {draws}")
    batch = model.data.test[:data] if x is None else model.packed(x)
    batch = batch.to(pair.device)
    n, scales = len(batch), model._log_scales(batch)
    groups: dict[str, dict[str, Tensor]] = {}
    if can.likelihood == "exact" and not can.latents:
        values = (log_probs(pair, batch, seed=seed) - scales)[None]
        latents = dict[str, Tensor]()
    else:
        latents, values, weights = _draws(model, batch, draws, seed)
        values, weights = values - scales, weights - scales
        groups["sample_stats"] = {"log_weight": weights[None]}
    with seeded(seed):
        by_row = {name: value.flatten(0, 1) for name, value in latents.items()}
        drawn = model._restored(sample(pair, draws * n, latents=by_row))
    if latents:
        groups["posterior"] = {name: value[None] for name, value in latents.items()}
    groups["log_likelihood"] = {"x": values[None]}
    groups["posterior_predictive"] = {"x": drawn.reshape(1, draws, n, *pair.event.shape)}
    groups["observed_data"] = {"x": model._restored(batch)}
    about = {"model": pair.label, "event": str(pair.event), "seed": seed, "remark": model.remark}
    about |= {"run": str(model.run.folder)} if model.run else {}
    return _inference_data(groups, n, about)


def _require_draws(pair: Pair, can: Capabilities) -> None:
    """Refuse a pair whose draws are not those of a datum's own latents."""
    if can.likelihood == "none":
        raise ZooError(f"{pair.label} is an implicit model: it has no likelihood, and no guide to draw latents from")
    if can.likelihood == "unnormalised":
        raise ZooError(f"{pair.label} has log-probabilities up to a constant only, and ArviZ compares values")
    if pair.event.fields:
        raise ZooError(f"{pair.label} is of a record, {pair.event}; data for ArviZ are arrays, of one field")
    if left_out := can.enumerated or can.shared:
        how = "sums" if can.enumerated else "shares between all data"
        raise ZooError(
            f"{pair.label} {how} {listed(left_out)}, so a datum's draws and weights are not of all latents; "
            "zoo.log_weights gives its bound"
        )


def _inference_data(groups: Mapping[str, Mapping[str, Tensor]], n: int, about: Mapping[str, Any]) -> InferenceData:
    """Variables by group with their dimensions named, k-hat and ESS of their weights, and what the draws are."""
    arviz, exact = _arviz(), "sample_stats" not in groups
    found = arviz.InferenceData()
    for group, variables in groups.items():
        lead = 0 if group == "observed_data" else 2
        found.extend(
            arviz.from_dict(
                **{group: {name: value.cpu().numpy() for name, value in variables.items()}},
                dims={
                    name: ["datum", *(f"{name}_dim_{i}" for i in range(value.dim() - lead - 1))]
                    for name, value in variables.items()
                },
                coords={"datum": range(n)},
            )
        )
        found[group].attrs |= {**about, "draws": EXACT_NOTE if exact else NOTE}
    if not exact:
        bounds = summarise(groups["sample_stats"]["log_weight"][0].T, torch.zeros(n))
        found.sample_stats["khat"] = ("datum", bounds.khat.numpy())
        found.sample_stats["ess"] = ("datum", bounds.ess.numpy())
        found.log_likelihood.attrs["leave_one_out"] = LOO_NOTE
    return found


def write_netcdf(found: InferenceData, path: Path) -> None:
    """Write ``path`` atomically: after a crash it holds the old content or the new.

    Raises:
        ZooError: another suffix than ``.nc``.
    """
    require_netcdf(path)
    with tempfile.TemporaryDirectory() as folder:
        made = found.to_netcdf(os.path.join(folder, "draws.nc"))
        write_bytes(path, Path(made).read_bytes())


def require_netcdf(path: Path) -> None:
    """Refuse a file that ArviZ would not know by its name.

    Raises:
        ZooError: another suffix than ``.nc``.
    """
    if path.suffix != ".nc":
        raise ZooError(f"ArviZ reads NetCDF, a file that ends in .nc; got {path.name!r}")


def summary(found: InferenceData, statistics: Sequence[str] = STATISTICS) -> pd.DataFrame:
    """Mean and deviation of each latent under the posterior, by smoothed importance weights, next to the guide's.

        mean = sum_k v_k z_k,  v the weights smoothed by PSIS, sum_k v_k = 1

    Args:
        found: what `to_arviz` made, or `arviz.from_netcdf` of what was exported.
        statistics: columns: ``mean`` and ``sd`` of the posterior, ``guide_mean`` and ``guide_sd``; ``khat`` and ``ess``
            of the datum's weights. Where k-hat is above 0.7 the first two are not to be relied on.

    Returns:
        A row for each datum and entry of its latents, indexed by ``(datum, entry)``.

    Raises:
        ZooError: draws of something else, too few of them, or statistics of a chain.

    Example:
        >>> import zoo
        >>> data = zoo.load_data("digits")
        >>> model = zoo.TrainedModel(zoo.build("ppca", data.event, {"latent": 1}), data)
        >>> found = to_arviz(model, data=2, draws=30)
        >>> summary(found, ["mean", "khat"]).index.tolist()
        [(0, 'z[0]'), (1, 'z[0]')]
        >>> summary(found, ["r_hat"])
        Traceback (most recent call last):
            ...
        zoo.errors.ZooError: r_hat compares chains that may not have mixed; independent draws always agree...

    Reference:
        Vehtari et al. 2024, Pareto smoothed importance sampling, J. Mach. Learn. Res. 25(72).
    """
    for name in statistics:
        if name in CHAIN_ONLY:
            raise ZooError(f"{name} {CHAIN_ONLY[name]}; take khat and ess, of the importance weights")
        if name not in STATISTICS:
            raise ZooError(f"statistics are {', '.join(STATISTICS)}; got {name!r}")
    if "posterior" not in found or "log_weight" not in found.get("sample_stats", {}):
        raise ZooError(
            "there are no latents with importance weights of a guide; draws of a Markov chain are for arviz.summary"
        )
    draws = found.posterior.sizes["draw"]
    if draws < FEWEST_PARTICLES:
        raise ZooError(f"weights are smoothed from {FEWEST_PARTICLES} draws on, got {draws}; export more")
    weights = found.sample_stats["log_weight"].values[0].T
    khat, ess = (torch.from_numpy(found.sample_stats[name].values) for name in ("khat", "ess"))
    smoothed = torch.from_numpy(_arviz().psislw(weights)[0])
    plain = torch.from_numpy(weights).log_softmax(1)
    shares = torch.where(khat.isfinite()[:, None], smoothed, plain).exp().T  # (draw, datum); no tail, nothing to smooth
    rows = dict[tuple[int, str], dict[str, float]]()
    for name, variable in found.posterior.items():
        z = torch.as_tensor(variable.values[0], dtype=torch.float64)
        flat = z.reshape(*z.shape[:2], -1)
        mean, middle = (shares[..., None] * flat).sum(0), flat.mean(0)
        deviation = (shares[..., None] * (flat - mean).square()).sum(0).sqrt()
        spread = flat.std(0, correction=0)
        shape = z.shape[2:]
        for datum in range(z.shape[1]):
            for entry in range(flat.shape[2]):
                place = ", ".join(str(int(i)) for i in torch.unravel_index(torch.tensor(entry), shape)) if shape else ""
                rows[datum, f"{name}[{place}]" if place else str(name)] = {
                    "mean": float(mean[datum, entry]),
                    "sd": float(deviation[datum, entry]),
                    "guide_mean": float(middle[datum, entry]),
                    "guide_sd": float(spread[datum, entry]),
                    "khat": float(khat[datum]),
                    "ess": float(ess[datum]),
                }
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(STATISTICS))
    frame.index.names = ["datum", "entry"]
    return frame[list(statistics)]


def _draws(model: TrainedModel, x: Tensor, draws: int, seed: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Draws of the guide for each datum: latents by site ``(draws, n, ...)``, log p(x | z) and log-weights.

    The last two are float64, of shape ``(draws, n)``, on the CPU.
    """
    pair = model.pair
    pair.structure.require_sound()

    def work(rows: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        model_trace, guide_trace = traced(pair, rows)
        datum = observed_sites(model_trace)
        datum |= set(dequantising_sites(model_trace, datum))
        latents = latent_sites(model_trace) - datum
        values = {
            name: data_first(name, guide_trace.nodes[name], len(rows))
            for name in pair.structure.sampled
            if name in latents
        }
        own = per_datum(model_trace, len(rows), datum) - per_datum(guide_trace, len(rows), datum)
        weight = per_datum(model_trace, len(rows)) - per_datum(guide_trace, len(rows))
        return values, own, weight

    with pair.evaluating(), seeded(seed):
        limit = rows_within(MEMORY, x, work)
        parts = [work(rows) for rows in x.repeat(draws, *(1 for _ in x.shape[1:])).split(limit)]
    names = list(parts[0][0])
    shaped = (draws, len(x))
    latents = {name: torch.cat([part[0][name] for part in parts]).unflatten(0, shaped) for name in names}
    own = torch.cat([part[1].cpu().double() for part in parts]).reshape(shaped)
    weights = torch.cat([part[2].cpu().double() for part in parts]).reshape(shaped)
    return latents, own, weights


def _arviz() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it announces its next major version on import
        import arviz  # here, because it takes seconds to import
    return arviz
