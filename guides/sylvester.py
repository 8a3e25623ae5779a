"""Sylvester flows in three parameterisations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import Transform

from zoo.event import Event
from zoo.flows.bisection import increasing_root
from zoo.nn.amortised import AmortizedFlow, AmortizedGuide, Step
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide

MAX_DIAGONAL = 0.999
"""Bounds the diagonals of R and S, so that 1 + R_ii S_ii > 0.001 whatever the network computes."""
PAPER = "van den Berg et al. 2018, arXiv:1803.05649"


@guide("sylvester-ortho", paper=PAPER)
def ortho(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 4,
    bottleneck: int = 8,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Sylvester flow (see `Sylvester`) whose Q has M orthonormal columns, amortised (O-SNF).

        z_0 ~ N(mu, diag sigma^2),  z_k = z_(k-1) + Q R tanh(S Q'z_(k-1) + b)

    One network computes mu, sigma and every Q, R, S, b from x. The paper orthogonalises Q by iteration to a tolerance;
    here it is the exact Q of a QR decomposition. With several latents each also depends on those drawn before it.

    Args:
        event: the data's event.
        latents: the latents' names and shapes, in the model's order.
        steps: number of Sylvester maps.
        bottleneck: M; at most one less than z has dimensions is used (the last column would not be free).
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of the encoder's hidden layers.
        layers: number of those layers.
        dropout: share of their units dropped.

    Reference:
        van den Berg et al. 2018, arXiv:1803.05649, section 4.1.
    """

    def site(inputs: int, size: int) -> AmortizedFlow:
        columns = max(1, min(bottleneck, size - 1))
        step = Step(partial(steered, orthonormal, size), (size * columns * (size > 1), *_numbers(columns)))
        return AmortizedFlow(inputs, size, [step] * steps, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


@guide("sylvester-householder", paper=PAPER)
def householder(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 4,
    reflections: int = 4,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Sylvester flow (see `Sylvester`) whose Q is a product of reflections, amortised (H-SNF).

        z_0 ~ N(mu, diag sigma^2),  z_k = z_(k-1) + Q R tanh(S Q'z_(k-1) + b)
        Q = prod_h (I - 2 v_h v_h' / |v_h|^2), square

    One network computes mu, sigma and every v, R, S, b from x. With several latents each also depends on those drawn
    before it.

    Args:
        event: the data's event.
        latents: the latents' names and shapes, in the model's order.
        steps: number of Sylvester maps.
        reflections: number of factors of each Q.
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of the encoder's hidden layers.
        layers: number of those layers.
        dropout: share of their units dropped.

    Reference:
        van den Berg et al. 2018, arXiv:1803.05649, section 4.2.
    """

    def site(inputs: int, size: int) -> AmortizedFlow:
        step = Step(partial(steered, reflected, size), (size * reflections * (size > 1), *_numbers(size)))
        return AmortizedFlow(inputs, size, [step] * steps, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


@guide("sylvester-triangular", paper=PAPER)
def triangular(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 4,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Sylvester flow (see `Sylvester`) whose Q alternates between the identity and a reversal (T-SNF).

        z_0 ~ N(mu, diag sigma^2),  z_k = z_(k-1) + Q R tanh(S Q'z_(k-1) + b)

    R and S are upper triangular; one network computes mu, sigma and every R, S, b from x. With several latents each
    also depends on those drawn before it.

    Args:
        event: the data's event.
        latents: the latents' names and shapes, in the model's order.
        steps: number of Sylvester maps.
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of the encoder's hidden layers.
        layers: number of those layers.
        dropout: share of their units dropped.

    Reference:
        van den Berg et al. 2018, arXiv:1803.05649, section 4.3.
    """

    def site(inputs: int, size: int) -> AmortizedFlow:
        each = [Step(partial(steered, turn, size), (0, *_numbers(size))) for turn in (straight, reversal)]
        return AmortizedFlow(inputs, size, (each * steps)[:steps], (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


class Sylvester(Transform):
    """y = x + Q R tanh(S Q'x + b) on vectors, Q of orthonormal columns, R and S upper triangular, R_ii S_ii > -1.

        det(dy/dx) = prod_i (1 + tanh'_i R_ii S_ii) > 0

    The inverse solves for the M coordinates Q'x from the last to the first, each the root of an increasing function.
    Pyro's Sylvester transform cannot be amortised and has no inverse.

    Args:
        Q: shape ``(..., d, M)``.
        R: shape ``(..., M, M)``.
        S: the paper's R with a tilde, shape ``(..., M, M)``.
        b: shape ``(..., M)``.

    Reference:
        van den Berg et al. 2018, arXiv:1803.05649, theorems 1 and 2.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, Q: Tensor, R: Tensor, S: Tensor, b: Tensor) -> None:
        super().__init__(cache_size=1)
        self.Q, self.R, self.S, self.b = Q, R, S, b
        self.product = R.diagonal(dim1=-2, dim2=-1) * S.diagonal(dim1=-2, dim2=-1)

    def _call(self, x: Tensor) -> Tensor:
        return x + _times(self.Q, _times(self.R, self._tanh(self._inner(x))))

    def _inverse(self, y: Tensor) -> Tensor:
        target = self._inner(y)
        inner: list[Tensor] = []  # of the later coordinates
        tanh: list[Tensor] = []
        for i in reversed(range(target.shape[-1])):
            later = slice(i + 1, None)
            shift = self.b[..., i] + _sum(self.S[..., i, later], inner)
            rest = target[..., i] - _sum(self.R[..., i, later], tanh)
            inner.insert(0, self._coordinate(i, shift, rest))
            tanh.insert(0, torch.tanh(self.S[..., i, i] * inner[0] + shift))
        return y - _times(self.Q, _times(self.R, torch.stack(tanh, -1)))

    def _coordinate(self, i: int, shift: Tensor, rest: Tensor) -> Tensor:
        """Solve s + R_ii tanh(S_ii s + shift) = rest."""
        r, s = self.R[..., i, i], self.S[..., i, i]

        def excess(at: Tensor) -> Tensor:
            return at + r * torch.tanh(s * at + shift) - rest

        def slope(at: Tensor) -> Tensor:
            return 1 + r * s * (1 - torch.tanh(s * at + shift) ** 2)

        return increasing_root(excess, slope, rest - r.abs(), rest + r.abs())

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        square = self._tanh(self._inner(x)) ** 2
        # 1 + (1 - tanh^2) R_ii S_ii, written as a sum of positive terms
        return torch.log(square + (1 - square) * (1 + self.product)).sum(-1)

    def _inner(self, x: Tensor) -> Tensor:
        return _times(self.Q.mT, x)

    def _tanh(self, inner: Tensor) -> Tensor:
        return torch.tanh(_times(self.S, inner) + self.b)


def orthonormal(raw: Tensor, size: int, columns: int) -> Tensor:
    """The orthonormal columns of ``raw``, ``(n, size * columns)``, by a QR decomposition: ``(n, size, columns)``."""
    if size == 1:
        return straight(raw, size, columns)
    Q: Tensor = torch.linalg.qr(raw.unflatten(-1, (size, columns))).Q
    return Q


def reflected(raw: Tensor, size: int, columns: int) -> Tensor:
    """The product of the reflections along each of the vectors in ``raw``, ``(n, size * H)``: ``(n, size, size)``."""
    Q = straight(raw, size, columns)
    for v in raw.split(size, -1) if size > 1 else ():
        v = v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)
        Q = Q - 2 * _times(Q, v)[..., None] * v[..., None, :]
    return Q


def straight(raw: Tensor, size: int, columns: int) -> Tensor:
    """The identity, ``(size, size)``."""
    return torch.eye(size, dtype=raw.dtype, device=raw.device)


def reversal(raw: Tensor, size: int, columns: int) -> Tensor:
    """The reversal of the dimensions, ``(size, size)``."""
    return straight(raw, size, columns).flip(0)


def _numbers(columns: int) -> tuple[int, int, int]:
    """The sizes of `steered`'s arguments other than Q."""
    return columns**2, columns, columns


def steered(
    turn: Callable[[Tensor, int, int], Tensor], size: int, raw_Q: Tensor, square: Tensor, diagonal: Tensor, b: Tensor
) -> Sylvester:
    """R is the upper triangle of ``square`` and its diagonal, S the lower one, transposed, and ``diagonal``."""
    columns = b.shape[-1]
    square = square.unflatten(-1, (columns, columns))
    R = square.triu(1) + (MAX_DIAGONAL * square.diagonal(dim1=-2, dim2=-1).tanh()).diag_embed()
    S = square.tril(-1).mT + (MAX_DIAGONAL * diagonal.tanh()).diag_embed()
    return Sylvester(turn(raw_Q, size, columns), R, S, b)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _sum(weights: Tensor, values: list[Tensor]) -> Tensor:
    """sum_j weights[..., j] values[j]; zero of none."""
    return (weights * torch.stack(values, -1)).sum(-1) if values else weights.sum(-1)
