"""Networks: perceptrons, dropout, decoders from latents to a likelihood, pixel networks, the amortised part of guides.

Modules of torch that families and guides are composed of. They know events and distributions, and no family.
"""
