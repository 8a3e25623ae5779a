"""pPCA against Tipping & Bishop's closed form, as computed by scikit-learn."""

import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from zoo.data import Dataset, load_data
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.pairs.traces import capabilities, log_prob, log_weights
from zoo.training.loop import fit

REAL = Event((8, 8), "real")


@pytest.fixture(scope="module")
def dequantised() -> Tensor:
    """Digits with one fixed draw of U[0, 1) noise, float32, shape (1000, 8, 8)."""
    x = load_data("digits").train
    return x + torch.rand(x.shape, generator=torch.Generator().manual_seed(0))


def score(y: Tensor, latent: int) -> float:
    flat = y.double().flatten(1).numpy()
    return float(PCA(latent).fit(flat).score(flat))


def mean_log_prob(pair: Pair, y: Tensor) -> float:
    with torch.no_grad():
        return float(log_prob(pair, y).mean())


def double(event: Event, latent: int) -> Pair:
    pair = build("ppca", event, {"latent": latent})
    pair.extras.double()
    return pair


@pytest.mark.parametrize("latent", [1, 16, 63])
def test_the_closed_form_agrees_with_scikit_learn(dequantised: Tensor, latent: int) -> None:
    y = dequantised.double()
    pair = double(REAL, latent)
    pair.extras.initialise(y)
    pair.extras.set_closed_form(y)
    assert mean_log_prob(pair, y) == pytest.approx(score(y, latent), rel=1e-6)


def test_the_closed_forms_guide_is_the_exact_posterior(dequantised: Tensor) -> None:
    y = dequantised.double()[:50]
    pair = double(REAL, 4)
    pair.extras.set_closed_form(dequantised.double())
    torch.testing.assert_close(log_weights(pair, y), log_prob(pair, y), rtol=1e-9, atol=1e-9)


@pytest.mark.thorough
def test_training_reaches_the_closed_form(dequantised: Tensor) -> None:
    data = Dataset("dequantised", REAL, dequantised, dequantised, dequantised, "digits with fixed noise")
    pair = build("ppca", REAL, {"latent": 8})
    fit(pair, data, {"steps": 300, "batch": 500, "lr": 0.03, "schedule": "onecycle", "checkpoints": 1}, device="cpu")
    assert mean_log_prob(pair, dequantised) == pytest.approx(score(dequantised, 8), rel=1e-3)


def test_exact_on_real_data_and_a_bound_on_integers() -> None:
    real, levels = build("ppca", Event(6, "real")), build("ppca", Event(6, 3))
    assert capabilities(real).likelihood == "exact"
    assert capabilities(real).analytic
    assert capabilities(levels).likelihood == "bound"
    assert set(capabilities(levels).latents) == {"z"}


def test_integers_train(dequantised: Tensor) -> None:
    digits = load_data("digits")
    pair = build("ppca", digits.event)
    progress = fit(pair, digits, {"steps": 40, "lr": 0.02, "checkpoints": 2}, device="cpu")
    assert progress.history[-1]["validation"] < progress.history[0]["validation"] - 1
    assert log_weights(pair, digits.test).isfinite().all()


def test_one_dimension_is_refused() -> None:
    with pytest.raises(ZooError, match="two or more dimensions"):
        build("ppca", Event(1, "real"))
