"""Affine couplings conditioned on the encoder."""

from __future__ import annotations

from collections.abc import Mapping

from pyro.distributions.transforms import ConditionalAffineCoupling
from pyro.nn import ConditionalDenseNN
from torch import Tensor, nn
from torch.distributions import Transform

from zoo.event import Event
from zoo.nn.amortised import AmortizedGuide, ConditionalFlow, turned
from zoo.nn.networks import EncoderNet
from zoo.pairs.registry import guide


@guide("realnvp", paper="Dinh et al. 2016, arXiv:1605.08803")
def realnvp(
    event: Event,
    latents: Mapping[str, tuple[int, ...]],
    *,
    steps: int = 4,
    width: int = 64,
    context: int = 32,
    net: EncoderNet = "auto",
    hidden: int = 1024,
    layers: int = 1,
    dropout: float = 0.1,
) -> AmortizedGuide:
    """Amortised affine couplings of a normal.

        z_0 ~ N(mu(x), diag sigma(x)^2),  (a, b) -> (a, b exp s(a, h(x)) + t(a, h(x))) in steps

    a is the first half of z, b the other; the order of the dimensions is reversed from step to step. Draw and density,
    of any value, take one pass. A latent of one dimension stays normal. With several latents each also depends on those
    drawn before it.

    Args:
        event: the data's event.
        latents: the latents' names and shapes, in the model's order.
        steps: number of couplings.
        width: hidden units of each coupling's network.
        context: dimensions of h, which the encoder computes along with mu and sigma.
        net: the features of x that it sees, one of `zoo.nn.networks.ENCODERS`.
        hidden: width of the encoder's hidden layers.
        layers: number of those layers.
        dropout: share of their units dropped.

    Reference:
        Dinh et al. 2016, arXiv:1605.08803, section 3.2.
    """

    def site(inputs: int, size: int) -> ConditionalFlow:
        couplings = [ReversedCoupling(size, context, width) for _ in range(steps if size > 1 else 0)]
        return ConditionalFlow(inputs, size, couplings, context, (hidden,) * layers, dropout)

    return AmortizedGuide(event, latents, site, net)


class ReversedCoupling(nn.Module):
    """Pyro's affine coupling of ``size`` dimensions given a context, followed by a reversal of their order."""

    def __init__(self, size: int, context: int, width: int) -> None:
        super().__init__()
        kept = size // 2
        net = ConditionalDenseNN(kept, context, [width], [size - kept, size - kept], nonlinearity=nn.SiLU())
        self.size, self.affine = size, ConditionalAffineCoupling(kept, net)

    def condition(self, context: Tensor) -> Transform:
        """The transform for each row of ``context``, shape ``(n, context)``."""
        return turned(self.affine.condition(context), self.size, context.device)
