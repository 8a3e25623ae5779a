"""Affine couplings conditioned on the encoder."""

from __future__ import annotations

from collections.abc import Mapping

from pyro.distributions.transforms import ConditionalAffineCoupling
from pyro.nn import ConditionalDenseNN
from torch import Tensor, nn
from torch.distributions import Transform

from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, ConditionalFlow, turned
from zoo.pairs.registry import guide


@guide("realnvp", paper="Dinh et al. 2016, arXiv:1605.08803")
def realnvp(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 4,
    width: int = 64,
    context: int = 32,
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised affine couplings: z_0 ~ N(mu, diag sigma^2), then (a, b) -> (a, b exp s(a, h) + t(a, h)).

    a is the first half of z, b the other; from step to step the order of the dimensions is reversed. s and t are one
    network of ``width`` units, given ``context`` numbers h(x) of the encoder. Dinh et al. 2016, section 3.2. Draw and
    density, of any value, take one pass. A latent of one dimension has nothing to be coupled with and stays normal. Of
    several latents each is also given those drawn before it.
    """

    def site(inputs: int, size: int) -> ConditionalFlow:
        couplings = [Coupling(size, context, width) for _ in range(steps if size > 1 else 0)]
        return ConditionalFlow(inputs, size, couplings, context, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site)


class Coupling(nn.Module):
    """An affine coupling of ``size`` dimensions that are then reversed, given ``context`` numbers."""

    def __init__(self, size: int, context: int, width: int) -> None:
        super().__init__()
        kept = size // 2
        net = ConditionalDenseNN(kept, context, [width], [size - kept, size - kept], nonlinearity=nn.SiLU())
        self.size, self.affine = size, ConditionalAffineCoupling(kept, net)

    def condition(self, context: Tensor) -> Transform:
        """The transform for each row of ``context``, shape ``(n, context)``."""
        return turned(self.affine.condition(context), self.size, context.device)
