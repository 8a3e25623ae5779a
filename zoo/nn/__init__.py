"""Networks: perceptrons, convolutions, decoders from latents to a likelihood, pixel networks, amortised guides.

Modules of torch that families and guides are composed of. They know events and distributions, and no family.
`zoo.nn.networks` is the shelf from which a user chooses by name.
"""
