"""Which standard code measures the complexity of an image? AUROC of -log2 p(x) - L(x), Fashion-MNIST against MNIST.

    python docs/complexity.py --data-dir FOLDER

prints, for each code L, its mean bits of both and the AUROC, of validation garments and MNIST's training digits: the
test splits are left alone. p(x) is ``ppca`` after 1,000 steps.
"""

from __future__ import annotations

import argparse
import io
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.codec.baselines import Pixels, as_images, as_levels, datum_bytes
from zoo.data import Dataset, load_data
from zoo.metrics.bounds import log_likelihoods
from zoo.metrics.detection import auroc
from zoo.pairs.build import build
from zoo.pairs.registry import families, load_shelves
from zoo.training.loop import fit
from zoo.training.recipe import Recipe


def filtered(images: Pixels) -> dict[str, Pixels]:
    """The images less PNG's five predictions, each of all rows, with the byte of the filter before each row."""
    known = np.pad(images.astype(np.int16), ((0, 0), (1, 0), (1, 0)))
    left, up, corner = known[:, 1:, :-1], known[:, :-1, 1:], known[:, :-1, :-1]
    a, b, c = (abs(left + up - corner - each) for each in (left, up, corner))
    paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
    guesses = {"none": 0 * left, "sub": left, "up": up, "average": (left + up) // 2, "paeth": paeth}
    residuals = {name: (images - guess).astype(np.uint8) for name, guess in guesses.items()}
    return {
        name: np.pad(each, ((0, 0), (0, 0), (1, 0)), constant_values=place)
        for place, (name, each) in enumerate(residuals.items())
    }


def jpeg2000(image: Pixels) -> int:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG2000", irreversible=False, no_jp2=True)
    return len(file.getvalue())


def codes(data: Dataset, x: Tensor) -> dict[str, Tensor]:
    """The bits of each image by each code, shape ``(n,)``."""
    images = as_images(data.event, as_levels(data.event, x))
    assert images is not None
    sizes = {name: datum_bytes(name, data.event, images) for name in ("png", "webp")}
    for name, rows in filtered(images).items():
        sizes[f"png, all rows {name}"] = [57 + len(zlib.compress(each.tobytes(), 9)) for each in rows]  # headers
    sizes |= {"deflate": [len(zlib.compress(each.tobytes(), 9)) for each in images], "jp2": [*map(jpeg2000, images)]}
    found = {name: 8 * torch.tensor(each).double() for name, each in sizes.items()}
    pngs = [each for name, each in found.items() if name.startswith("png")]
    every = list(found.values())
    return found | {"shortest png": torch.stack(pngs).amin(0), "shortest": torch.stack(every).amin(0)}


def main(data_dir: Path | None, n: int = 1000) -> None:
    load_shelves()
    ours, theirs = load_data("fashion"), load_data("mnist", data_dir=data_dir)
    pair = build("ppca", ours.event, seed=0)
    fit(pair, ours, Recipe.read(families["ppca"].recipe).updated({"steps": 1000, "checkpoints": 1}), seed=0)
    known, novel = ours.validation[:n], theirs.train[:n]
    bits = [-log_likelihoods(pair, x, 16)[0] / math.log(2) for x in (known, novel)]
    print("code", "garments", "digits", "AUROC", sep=" | ")
    print("the model's own", *(f"{float(each.mean()):.0f}" for each in bits), "", sep=" | ")
    for (name, first), second in zip(codes(ours, known).items(), codes(theirs, novel).values(), strict=True):
        area = auroc(bits[0] - first, bits[1] - second)
        cells = f"{first.mean():.0f}", f"{second.mean():.0f}", f"{area.value:.3f} ± {area.stderr:.3f}"
        print(name, *cells, sep=" | ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    torch.set_num_threads(1)
    main(parser.parse_args().data_dir)
