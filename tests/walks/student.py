"""A student has PNG images in a folder for each class: a model of the images, its latents, and a classifier."""

import json
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import zoo


def shell(command: str) -> str:
    """Run a command; what it prints."""
    return subprocess.run(command.split(), check=True, stdout=subprocess.PIPE, text=True).stdout


pixels, classes = load_digits(n_class=3, return_X_y=True)
for number, (image, digit) in enumerate(zip(pixels[:240].reshape(-1, 8, 8), classes[:240], strict=True)):
    path = Path("images", ("zero", "one", "two")[digit], f"{number}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image * 15).astype(np.uint8)).save(path)

shell("zoo train vae --data images/:labels=0 --train steps=30 --quiet")
shell("zoo sample vae --data images/:labels=0 --train steps=30 --quiet -n 9 --out samples.png")
assert Image.open("samples.png").size[0] >= 24

model = zoo.load("vae")
some = np.stack([np.asarray(Image.open(path)) for path in sorted(Path("images").glob("*/*.png"))[:4]])
bound = model.log_prob(some, particles=8)
assert (bound.kind, bound.value.shape) == ("lower bound", (4,))
assert np.isfinite(bound.value).all()
assert (bound.value < 0).all()
assert model.encode(some).mean.shape[0] == 4
line = model.interpolate(some[:2], some[2:], steps=5)
assert line.shape == (5, 2, 8, 8)
assert np.allclose(line[0], model.reconstruct(some[:2]), atol=1e-3)
drawn = model.sample(3, seed=0).numpy()
assert drawn.min() >= 0
assert drawn.max() <= 255

answer = shell("zoo evaluate ssvae --data images/ --train steps=40 -e labels --particles 4 --json --quiet")
scores = {score["metric"]: score for score in json.loads(answer)}
assert scores["error"]["status"] == "ok"
assert scores["error"]["value"] < 0.5  # two thirds by chance
