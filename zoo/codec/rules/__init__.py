"""How each distribution is pushed and popped: a rule for every type, open for more.

`codes` registers a rule, `code` finds one; a distribution without a rule of its own is coded by its support.
Each module holds the rules of one subject.
"""

from zoo.codec.rules.bits_back import LocalBitsBack, MixtureBitsBack
from zoo.codec.rules.finite import FiniteCode, Mapped, Windowed
from zoo.codec.rules.latents import Binned, CholeskyNormal
from zoo.codec.rules.registry import Code, code, codes
from zoo.codec.rules.sequences import Blockwise, Entrywise
from zoo.codec.rules.supports import by_support

__all__ = ["Binned", "Blockwise", "CholeskyNormal", "Code", "Entrywise", "FiniteCode", "LocalBitsBack", "Mapped"]
__all__ += ["MixtureBitsBack", "Windowed", "by_support", "code", "codes"]
