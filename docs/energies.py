"""Densities in the plane that are known up to a constant, and how well planar flows of different depths fit them.

``python docs/energies.py --depths 2 8 32`` prints the results of Rezende & Mohamed 2015 (arXiv:1505.05770), section
6.1, as rows: energy, depth, seed, KL in nats and its standard error. ``--figure kl.svg`` draws them; ``--rows kl.csv``
reads rows that were printed before.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from zoo.files import write_text
from zoo.report.figures.svg import Scale, colour, drawing, end_labels, grid, label, polyline, tag, tick
from zoo.report.pictures import data_url
from zoo.scores import Score
from zoo.seeding import seeded

Energy = Callable[[Tensor], Tensor]
SIDE = 4.0
"""The energies are those of the paper for |z1| below this; beyond, `_wall` is added."""
GRID = 800
"""Points per side of the grid on which normalisers are summed."""
COLOURS = ("autoregressive", "flow", "implicit", "prescribed")
"""The groups of the report that lend the energies their colours."""


def u1(z: Tensor) -> Tensor:
    """Two arcs of a ring."""
    ring = ((z.norm(dim=-1) - 2) / 0.4) ** 2 / 2
    return ring - torch.logaddexp(_bump(z[..., 0] - 2, 0.6), _bump(z[..., 0] + 2, 0.6))


def u2(z: Tensor) -> Tensor:
    """A wave."""
    return -_bump(z[..., 1] - _w1(z), 0.4) + _wall(z)


def u3(z: Tensor) -> Tensor:
    """A wave that splits and joins again."""
    off = z[..., 1] - _w1(z)
    dip = 3 * _bump(z[..., 0] - 1, 0.6).exp()
    return -torch.logaddexp(_bump(off, 0.35), _bump(off + dip, 0.35)) + _wall(z)


def u4(z: Tensor) -> Tensor:
    """A wave that forks."""
    off = z[..., 1] - _w1(z)
    fork = 3 * torch.sigmoid((z[..., 0] - 1) / 0.3)
    return -torch.logaddexp(_bump(off, 0.4), _bump(off + fork, 0.35)) + _wall(z)


ENERGIES: dict[str, Energy] = {"u1": u1, "u2": u2, "u3": u3, "u4": u4}
"""Table 1 of the paper: points ``(..., 2)`` to U ``(...)``, in nats; the density is exp(-U) / Z."""


def log_normaliser(energy: Energy) -> float:
    """log Z, by a sum over a grid of side 12, in nats."""
    axis = torch.linspace(-6, 6, GRID, dtype=torch.float64)
    total = (-energy(torch.cartesian_prod(axis, axis))).logsumexp(0)
    return float(total) + 2 * math.log(12 / (GRID - 1))


class PlanarChain(nn.Module):
    """z_0 ~ N(0, I); z_k = z_(k-1) + v_k tanh(w_k·z_(k-1) + b_k), with w_k·v_k > -1 (the paper's appendix A.1).

    ``forward(n)`` draws z_K, shape ``(n, 2)``, with log q(z_K), shape ``(n,)``.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.v = nn.Parameter(0.1 * torch.randn(depth, 2))
        self.w = nn.Parameter(torch.randn(depth, 2))
        self.b = nn.Parameter(torch.zeros(depth))

    def forward(self, n: int) -> tuple[Tensor, Tensor]:
        z = torch.randn(n, 2, dtype=self.v.dtype)
        log_q = -(z**2).sum(1) / 2 - math.log(2 * math.pi)
        for v, w, b in zip(self.v, self.w, self.b, strict=True):
            product = v @ w
            m_plus_one = softplus(product + math.log(math.e - 1))  # of the paper's m, shifted to m(0) = 0
            t = torch.tanh(z @ w + b).unsqueeze(1)
            z = z + (v + (m_plus_one - 1 - product) * w / (w @ w)) * t
            log_q = log_q - torch.log(t**2 + (1 - t**2) * m_plus_one).squeeze(1)
        return z, log_q


def planar_kl(energy: Energy, depth: int, *, steps: int = 3000, batch: int = 250, seed: int = 0) -> Score:
    """KL(q || exp(-U) / Z) of a planar flow of ``depth`` maps trained to minimise it; in nats, over 20,000 draws.

    The energy is annealed from a hundredth to its full size over the first half of the steps, so that the flow finds
    all modes.
    """
    with seeded(seed):
        chain = PlanarChain(depth)
        optimiser = torch.optim.Adam(chain.parameters(), 1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            z, log_q = chain(batch)
            loss = (log_q + min(1.0, 0.01 + 2 * step / steps) * energy(z)).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(chain.parameters(), 10.0)
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            z, log_q = chain.double()(20_000)
            gaps = log_q + energy(z) + log_normaliser(energy)
    return Score("kl", float(gaps.mean()), "nats", float(gaps.std()) / math.sqrt(len(gaps)), "estimate", len(gaps))


def rows(depths: Sequence[int], seeds: Sequence[int], **training: int) -> Iterator[dict[str, Any]]:
    """A tidy row for each energy, depth and seed: their ``kl`` with its ``stderr``, in nats."""
    for name, energy in ENERGIES.items():
        for depth in depths:
            for seed in seeds:
                score = planar_kl(energy, depth, seed=seed, **training)
                yield {"energy": name, "depth": depth, "seed": seed, "kl": score.value, "stderr": score.stderr}


def draw(measured: Sequence[Mapping[str, Any]], path: Path) -> None:
    """An SVG of the four densities and, below them, KL against depth: a dot a seed, a line through their means."""
    width, height, picture = 744.0, 512.0, 165.0
    points = [(row["energy"], float(row["depth"]), max(float(row["kl"]), 1e-4)) for row in measured]
    depths, kls = [depth for _, depth, _ in points], [kl for *_, kl in points]
    x = Scale(0.95 * min(depths), 1.05 * max(depths), 56.0, width - 46, log=True)
    y = Scale(0.9 * min(kls), 1.1 * max(kls), height - 46, picture + 66, log=True)
    parts = [tag("style", resources.files("zoo.report").joinpath("page.css").read_text())]
    parts.append(tag("rect", width=width, height=height, style="fill: var(--paper)"))
    parts.append(grid(x, y, tick, sorted(set(depths))))
    parts += [label(12, picture + 52, "KL, nats", "quiet"), label(x.end, height - 8, "planar maps", "quiet", "end")]
    ends = []
    for index, ((name, energy), group) in enumerate(zip(ENERGIES.items(), COLOURS, strict=True)):
        left, own = 12 + index * (width - 24 - picture) / 3, colour(group)
        parts += [label(left, 20, name, "ink"), _density(energy, left, 28.0, picture)]
        found = [(depth, kl) for energy_name, depth, kl in points if energy_name == name]
        means = [(depth, fmean(kl for at, kl in found if at == depth)) for depth in sorted({at for at, _ in found})]
        ends.append((name, "ink", means[-1]))
        parts.append(polyline(means, x, y, f"{own} curve"))
        parts += [tag("circle", cx=x(depth), cy=y(kl), r=2.5, class_=f"{own} full") for depth, kl in found]
    parts += end_labels(ends, x, y, width)
    description = "; ".join(f"{name}, {depth:g} maps: {kl:.3f}" for name, depth, kl in points)
    write_text(path, drawing(width, height, "Planar flows fitted to four densities", description, *parts))


def _density(energy: Energy, left: float, top: float, size: float) -> str:
    """exp(-U) where the paper shows it, as an embedded image: the darker, the denser."""
    side = torch.linspace(-SIDE, SIDE, 200)
    density = (-energy(torch.cartesian_prod(side, side).reshape(200, 200, 2).transpose(0, 1))).exp().flip(0)
    ink = (255 * (1 - density / density.max())).round().byte().numpy()
    frame = tag("rect", x=left, y=top, width=size, height=size, class_="frame")
    return tag("image", x=left, y=top, width=size, height=size, href=data_url(ink), class_="sheet") + frame


def _bump(x: Tensor, width: float) -> Tensor:
    return -((x / width) ** 2) / 2


def _w1(z: Tensor) -> Tensor:
    return torch.sin(math.pi * z[..., 0] / 2)


def _wall(z: Tensor) -> Tensor:
    """U2 to U4 do not grow along z1, so they have no normaliser; the paper shows them for |z1| < 4."""
    return ((z[..., 0].abs() - SIDE).clamp(min=0) / 0.2) ** 2 / 2


def main() -> None:
    """Print `rows` as CSV, and draw them."""
    parser = argparse.ArgumentParser(prog="python docs/energies.py", description=planar_kl.__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 8, 32])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rows", type=Path, help="a CSV that was printed before: nothing is trained")
    parser.add_argument("--figure", type=Path, help="an .svg to draw")
    options = parser.parse_args()
    measured: list[Mapping[str, Any]] = []
    if options.rows:
        measured += csv.DictReader(options.rows.read_text().splitlines())
    else:
        writer = csv.DictWriter(sys.stdout, ["energy", "depth", "seed", "kl", "stderr"], lineterminator="\n")
        writer.writeheader()
        for row in rows(options.depths, options.seeds, steps=options.steps):
            writer.writerow(row)
            measured.append(row)
    if options.figure:
        draw(measured, options.figure)


if __name__ == "__main__":
    main()
