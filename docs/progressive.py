"""A trained ``ddpm`` as a lossy code that stops early: ``python docs/progressive.py RUN`` takes the folder of a run.

For each step t it prints the bits per dimension that tell z_t of the test split, which are the ELBO's terms from the
prior down to step t + 1, and the peak signal-to-noise ratio of the expected data given z_t, rounded. The line ``all``
is the whole code, which loses nothing. These rates are expectations: bits-back coding adds header and initial bits.
Then the same of JPEG, all data in one picture, and of quantised principal components, sizes of real bytes.

Reference:
    Ho et al. 2020, arXiv:2006.11239, section 4.3.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

from torch import Tensor

import zoo
from zoo.codec.baselines import references
from zoo.metrics.bounds import elbo_draws, elbo_steps
from zoo.models.ddpm import DDPM
from zoo.nn.amortised import scaled
from zoo.pairs.pair import Pair
from zoo.seeding import seeded

DRAWS = 32
"""Of the noise, for each datum and step."""


def main(run: str) -> None:
    model = zoo.load(run, device="cpu")
    pair, data, event = model.pair, model.data, model.event
    if event.levels is None:
        raise zoo.ZooError(f"expected a run on integer data, got {event}")
    x, peak, bit = data.test, event.levels - 1, event.size * math.log(2)
    print("code setting bits_per_dim psnr")
    for t, nats, mse in curve(pair, x):
        print("ddpm", t, f"{nats / bit:.3f} {10 * math.log10(peak**2 / mse):.1f}", flush=True)
    whole = sum(-float(term.mean()) for term in elbo_draws(pair, x, DRAWS).values())
    print("ddpm", "all", f"{whole / bit:.3f} inf")
    for name, points in references(event, data.train, x).items():
        for point in points:
            print(name, f"{point.setting:g} {8 * point.bytes / x.numel():.3f} {point.psnr:.1f}")


def curve(pair: Pair, x: Tensor) -> Iterator[tuple[int, float, float]]:
    """From the last step to the first: t, the nats that tell z_t of a datum, and the mean squared error given it."""
    made = pair.extras
    if not isinstance(made, DDPM):
        raise zoo.ZooError(f"expected a ddpm, got {pair.label}")
    steps = -elbo_steps(pair, x, DRAWS).mean(0)
    nats = -float(elbo_draws(pair, x, 1)["prior"].mean())
    for t in range(made.timesteps, -1, -1):
        yield t, nats, error_given(pair, made, x, t)
        nats += float(steps[t - 1]) if t else 0.0


def error_given(pair: Pair, made: DDPM, x: Tensor, t: int) -> float:
    """Mean squared error, in levels, of the expected data given z_t, rounded."""
    levels = x.reshape(len(x), -1).repeat(DRAWS, 1)
    wide = scaled(made.event, x.repeat(DRAWS, *(1 for _ in x.shape[1:])))
    with pair.evaluating(), seeded(t):
        v = made.noise(wide)[t].expand(len(wide))
        expected, _ = made.denoise(wide + v.sqrt()[:, None] * wide.new_empty(wide.shape).normal_(), v)
    found = ((expected + 1) / 2 * (len(made.levels) - 1)).round()
    return float((found - levels).square().mean())


if __name__ == "__main__":
    main(*sys.argv[1:])
