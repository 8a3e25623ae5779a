"""Test errors of ``diva`` and of a convolutional classifier alone in a domain that neither was trained on.

``python docs/diva.py --data-dir FOLDER`` prints a line for each domain that is left out and each seed, which draws the
images, the first weights and the batches. Both have the same encoder, optimiser (Adam), batches and number of steps.
Of their weights at every `EVERY` steps, those of the least validation error are tested; validation data are of the
domains that both were trained on. Of angles, the same images are the train images at the angle left out; the new
digits are those of MNIST's test file at that angle. Of voices (``--data speakers --leave en fr es it ru``) there is one
test. A gain is the error of the classifier less that of ``diva``, and its error the standard error of the mean over
seeds; for all domains together, over domains.

``--picture FILE`` draws what one ``diva`` makes of images whose z_d it takes from the prior of each domain.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data import Dataset, load_data
from zoo.nn.amortised import scaled
from zoo.pairs.build import build, parse_settings
from zoo.pairs.registry import load_shelves
from zoo.seeding import seeded

EVERY, BATCH, LR = 50, 100, 1e-3


def trained(
    net: nn.Module,
    loss: Callable[[Tensor], Tensor],
    scores: Callable[[Tensor], Tensor],
    data: Dataset,
    tests: Sequence[Dataset],
    steps: int,
) -> tuple[float, ...]:
    """Errors on validation data and on each test of the weights with the least validation error."""
    optimiser, found = torch.optim.Adam(net.parameters(), lr=LR), list[tuple[float, Any]]()
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        loss(data.train[torch.randint(len(data.train), (BATCH,))]).backward()
        optimiser.step()
        if step % EVERY == 0 or step == steps:
            wrong = error(scores, data, data.validation)
            if not found or wrong < found[0][0]:
                found = [(wrong, deepcopy(net.state_dict()))]
    ((wrong, best),) = found
    net.load_state_dict(best)
    return wrong, *(error(scores, data, test.test) for test in tests)


@torch.no_grad()
def error(scores: Callable[[Tensor], Tensor], data: Dataset, split: Tensor) -> float:
    """The share of data that a classifier gets wrong."""
    y = data.event.unpack(split)["y"]
    found = torch.cat([scores(data.event.main_of(part)) for part in split.split(1000)])
    return float((found.argmax(1) != y).double().mean())


def of_classifier(data: Dataset, tests: Sequence[Dataset], steps: int, seed: int, like: Any) -> tuple[float, ...]:
    """The errors of the encoder of ``like`` and a linear layer, trained by cross-entropy."""
    event = data.event.array
    with seeded(seed):
        last = like.encoder_y.head.out
        body = type(like.encoder_y)(event, like.channels, last.in_features, last.out_features // 2)
        net = nn.Sequential(body, nn.SiLU(), nn.Linear(last.out_features // 2, like.classes))

        def scores(x: Tensor) -> Tensor:
            found: Tensor = net(scaled(event, x))
            return found

        def loss(batch: Tensor) -> Tensor:
            values = data.event.unpack(batch)
            return F.cross_entropy(scores(values["x"]), values["y"].long())

        return trained(net, loss, scores, data, tests, steps)


def of_diva(
    data: Dataset, tests: Sequence[Dataset], steps: int, seed: int, hyper: Mapping[str, Any]
) -> tuple[tuple[float, ...], Any]:
    """The errors of ``diva``, and the family with the weights that were tested."""
    pair = build("diva", data.event, hyper, seed)
    made: Any = pair.extras
    made.initialise(data.train)
    with seeded(seed):
        return trained(made, made.loss, made.log_class, data, tests, steps), made


@torch.no_grad()
def picture(made: Any, data: Dataset, path: Path) -> None:
    """Draw test images, and their reconstructions with z_d at the prior mean of each domain of the train data."""
    from PIL import Image

    domains = len(data.names["d"]) - 1
    x = data.event.main_of(data.validation)[:8]
    inputs, latent = scaled(made.data, x), made.latent
    z_x, z_y = (net(inputs)[:, :latent] for net in (made.encoder_x, made.encoder_y))
    columns = [x]
    for domain in range(domains):
        z_d = made.prior_d.weight[domain, :latent].expand(len(x), -1)
        probs = made.decoder(torch.cat([z_d, z_x, z_y], -1)).base_dist.probs
        columns.append(probs @ torch.arange(probs.shape[-1], dtype=probs.dtype))  # torch's mean of a categorical is NaN
    rows = torch.cat([torch.cat(list(column), 0) for column in columns], 1)
    levels = (rows * 255 / (made.data.levels - 1)).clamp(0, 255).round().to(torch.uint8)
    Image.fromarray(levels.numpy()).resize((levels.shape[1] * 2, levels.shape[0] * 2), 0).save(path)


def nearest(data: Dataset) -> float:
    """The test error of the class of the nearest train datum."""
    (x, y), (new, wanted) = (
        (data.event.main_of(part).flatten(1), data.event.unpack(part)["y"]) for part in (data.train, data.test)
    )
    assert y is not None  # every datum has a label
    return float((y[torch.cdist(new, x).argmin(1)] != wanted).double().mean())


def split(given: argparse.Namespace, leave: str, seed: int) -> dict[str, Dataset]:
    """The data without one domain, by the words for their test data."""
    if given.data == "speakers":
        return {"the voice": load_data(f"speakers:leave={leave}", data_dir=given.data_dir)}
    spec = f"{given.data}:leave={leave},images={given.images}"
    tests = {"same images": False, "new digits": True}
    return {word: load_data(f"{spec},new={new}", data_dir=given.data_dir, seed=seed) for word, new in tests.items()}


def main(given: argparse.Namespace) -> None:
    load_shelves()
    print("left out, seed  classifier: validation, each test  diva: validation, each test")
    hyper = parse_settings(given.set)
    everywhere: dict[str, list[float]] = {}
    for leave in given.leave:
        rows = []
        for seed in range(given.seeds):
            tests = split(given, leave, seed)
            data = next(iter(tests.values()))
            print(f"{leave} {seed} nearest train datum, first test: {nearest(data):.4f}")
            errors, made = of_diva(data, [*tests.values()], given.steps, seed, hyper)
            rows.append((*of_classifier(data, [*tests.values()], given.steps, seed, made), *errors))
            print(leave, seed, *(f"{value:.4f}" for value in rows[-1]), flush=True)
            if given.picture and seed == 0 and leave == given.leave[-1]:
                picture(made, data, given.picture)
        for place, words in enumerate(tests, 1):
            gains = [row[place] - row[place + 1 + len(tests)] for row in rows]
            everywhere.setdefault(words, []).append(fmean(gains))
            print(f"{leave}, {words}: {summary(gains)}", flush=True)
    for words, gains in everywhere.items():
        print(f"all {len(gains)}, {words}: {summary(gains)}")


def summary(gains: Sequence[float]) -> str:
    """Their mean and its standard error."""
    stderr = f"{stdev(gains) / math.sqrt(len(gains)):.4f}" if len(gains) > 1 else "not known of one"
    return f"gain {fmean(gains):.4f}, standard error {stderr}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="rotated", help="rotated, rotated-digits or speakers")
    parser.add_argument("--data-dir", type=Path, help="where MNIST's files are")
    parser.add_argument("--leave", nargs="+", default=["0", "75"], help="angles or voices to leave out, one at a time")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000, help="of both")
    parser.add_argument("--set", action="append", default=[], help="hyper-parameter of diva: alpha_y=1000")
    parser.add_argument("--picture", type=Path, help="a PNG file to write")
    torch.set_num_threads(1)
    main(parser.parse_args())
