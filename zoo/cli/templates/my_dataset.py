"""my_dataset: say in one sentence what these data are.

Next: zoo train ppca --data my_dataset --with my_dataset.py
"""

import math

import torch

import zoo


@zoo.dataset("my_dataset", about="a noisy circle in the plane")
def my_dataset(seed: int) -> zoo.Dataset:
    """Points on the unit circle with normal noise; a function with the argument ``data_dir`` may read files."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(3000, generator=generator)
    noise = 0.1 * torch.randn(3000, 2, generator=generator)
    points = torch.stack([angle.cos(), angle.sin()], -1) + noise  # float32, shape (n, *event.shape)
    train, validation, test = points.split([2000, 500, 500])
    source = f"A circle with noise 0.1, drawn with seed {seed}: 2000 train, 500 validation, 500 test."
    return zoo.Dataset("my_dataset", zoo.Event(2, "real"), train, validation, test, source)
