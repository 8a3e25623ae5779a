"""The classifier and its training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from zoo import Event, ZooError
from zoo.nn.classifier import CHUNK, Classifier
from zoo.training.classifier import CLASSIFIER, fit_classifier

IMAGE = Event((8, 8), 17)
SHORT = CLASSIFIER.updated({"steps": 8, "batch": 4})


def images(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(17, (n, 8, 8), generator=generator).float(), torch.arange(n) % 3


@pytest.mark.parametrize(
    ("event", "kind", "cnn"),
    [
        (IMAGE, "auto", True),
        (Event((3, 9, 10), 256), "auto", True),
        (IMAGE, "mlp", False),
        (Event(64, 17), "auto", False),
        (Event((2, 2), "binary"), "auto", False),
        (Event((5, 8, 8), "real"), "auto", False),
    ],
)
def test_images_get_convolutions_and_other_shapes_an_mlp(event: Event, kind: str, cnn: bool) -> None:
    classifier = Classifier(event, 4, kind)
    assert any(isinstance(layer, torch.nn.Conv2d) for layer in classifier.modules()) is cnn
    assert classifier(event.zeros(3)).shape == (3, 4)


def test_probabilities_are_normalised_and_the_same_in_chunks() -> None:
    classifier = Classifier(IMAGE, 3).eval()
    x = images(CHUNK + 5)[0]
    found = classifier.log_probs(x)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(len(x)))
    torch.testing.assert_close(found[CHUNK:], classifier.log_probs(x[CHUNK:]))
    torch.testing.assert_close(classifier.embed(x)[CHUNK:], classifier.features(x[CHUNK:]).detach())


def test_training_depends_on_its_arguments_alone() -> None:
    x, y = images(10)
    found = []
    for noise in range(2):
        torch.manual_seed(noise)
        found.append(fit_classifier(IMAGE, 3, x, y, SHORT, seed=1).log_probs(x))
    assert torch.equal(*found)
    assert not torch.equal(found[0], fit_classifier(IMAGE, 3, x, y, SHORT, seed=2).log_probs(x))


def test_training_leaves_the_global_random_numbers_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit_classifier(IMAGE, 3, *images(10), SHORT)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.thorough
def test_few_images_are_learnt_by_heart() -> None:
    x, y = images(12)
    assert torch.equal(fit_classifier(IMAGE, 3, x, y).log_probs(x).argmax(1), y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.tensor([0, 1, 3]), "one label from 0 to 2 of each datum"),
        (torch.tensor([0, -1, 2]), "one label from 0 to 2"),
        (torch.tensor([0, 1]), "got 2 of 3"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y: Tensor, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        fit_classifier(IMAGE, 3, images(3)[0], y)


def test_wrong_classifiers_are_refused() -> None:
    with pytest.raises(ZooError, match="a cnn takes images of 4x4 or more in one or three colours, got 64:17"):
        Classifier(Event(64, 17), 3, "cnn")
    with pytest.raises(ZooError, match="two classes or more, got 1"):
        Classifier(IMAGE, 1)
    with pytest.raises(ZooError, match="auto, cnn, mlp; got 'forest'"):
        Classifier(IMAGE, 3, "forest")
