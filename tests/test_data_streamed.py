"""Train data that stay in their file: the same rows, batches and weights as data in memory, and little memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from zoo.cli.app import app
from zoo.data import Dataset, load_data
from zoo.data import streamed as rows
from zoo.data.files import streaming
from zoo.data.streamed import StreamedRows
from zoo.errors import ZooError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.training.callbacks import Progress, StopTraining
from zoo.training.loop import fit

RNG = np.random.default_rng(0)
RECIPE: dict[str, Any] = {"steps": 12, "batch": 7, "checkpoints": 3, "engine": "eager"}


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Dataset, Dataset]:
    """A file read into memory, and the same file streamed."""
    path = tmp_path / "images.npy"
    np.save(path, RNG.integers(256, size=(60, 4, 5), dtype=np.uint8))
    whole = load_data(str(path), seed=3)
    monkeypatch.setattr(rows, "FROM", 1000)
    return whole, load_data(str(path), seed=3)


def path_of(data: Dataset) -> str:
    assert isinstance(data.train, StreamedRows)
    return str(data.train.path)


def weights(data: Dataset, **options: Any) -> tuple[Progress, dict[str, torch.Tensor]]:
    pair = build("vae", data.event, {"hidden": 8, "latent": 2, "guide.hidden": 8})
    end = fit(pair, data, RECIPE, seed=5, device="cpu", **options)
    return end, pair.state()


def test_a_streamed_file_is_split_as_one_in_memory(both: tuple[Dataset, Dataset]) -> None:
    whole, streamed = both
    assert isinstance(streamed.train, StreamedRows)
    assert not isinstance(whole.train, StreamedRows)
    assert whole.event == streamed.event == Event((4, 5), 256)
    for word in ("train", "validation", "test"):
        assert torch.equal(getattr(whole, word)[torch.arange(3)], getattr(streamed, word)[torch.arange(3)]), word
    assert torch.equal(whole.train[2], streamed.train[2])
    assert torch.equal(whole.train[4:9], streamed.train[4:9])
    assert torch.equal(whole.train[torch.tensor([5, 0, 5])], streamed.train[torch.tensor([5, 0, 5])])
    flat = streamed.reshaped(Event(20, 256))
    assert torch.equal(flat.train[1], whole.train[1].flatten())


@pytest.mark.thorough
def test_training_on_it_gives_the_same_bits(both: tuple[Dataset, Dataset]) -> None:
    (_, ours), (_, theirs) = (weights(data) for data in both)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.thorough
def test_a_stopped_run_goes_on_with_the_same_batches(both: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    """To the same bits as one that was not stopped."""

    class Stop:
        def on_progress(self, progress: Progress) -> None: ...

        def on_checkpoint(self, progress: Progress) -> None:
            if progress.step == 8:
                self.found = replace(progress, tensors={name: t.clone() for name, t in progress.tensors.items()})
                raise StopTraining

    _, streamed = both
    stop = Stop()
    with pytest.raises(StopTraining):
        weights(streamed, callbacks=[stop])
    _, resumed = weights(streamed, start=stop.found)
    _, whole = weights(streamed)
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())


def test_its_fingerprint_is_of_the_bytes_and_of_their_order(both: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    _, streamed = both
    path = tmp_path / "images.npy"
    assert load_data(str(path), seed=3).fingerprint == streamed.fingerprint
    assert load_data(str(path), seed=4).fingerprint != streamed.fingerprint
    array = np.load(path)
    array[7, 1, 1] ^= 1
    np.save(path, array)
    assert load_data(str(path), seed=3).fingerprint != streamed.fingerprint


def test_what_needs_all_of_it_is_refused(both: tuple[Dataset, Dataset]) -> None:
    _, streamed = both
    with pytest.raises(ZooError, match=r"streamed from .*images.npy, and this takes all of them in memory"):
        streamed.train.std()
    with pytest.raises(ZooError, match="takes no settings and no fields"):
        load_data(f"{path_of(streamed)}:missing=drop")
    with pytest.raises(ZooError, match=r"expected levels 0 to 16, got 2\d\d"):
        load_data(path_of(streamed), event=Event((4, 5), 17))


def test_held_out_data_take_no_more_memory_than_they_may(
    both: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "HELD_OUT_NUMBERS", 80)
    data = load_data(path_of(both[1]))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [52, 4, 4]


LIMITED = """
import resource, sys
import torch, zoo
from zoo.data import streamed
torch.set_num_threads(1)
streamed.FROM = 2**20
zoo.fit(zoo.build("vae", (moons := zoo.load_data("moons")).event), moons, {{"steps": 1}})  # imports what training takes
held = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + {budget}, held + {budget}))
data = zoo.load_data(sys.argv[1], split=(0.98, 0.01, 0.01))
small = {{"net": "mlp", "likelihood": "logistic", "hidden": 8, "guide.hidden": 8, "latent": 2}}
pair = zoo.build("vae", data.event, small)
progress = zoo.fit(pair, data, {{"steps": 20, "batch": 16, "checkpoints": 1, "engine": "eager"}}, device="cpu")
print(progress.status, progress.step)
"""


@pytest.mark.process
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit on data is Linux's")
def test_a_file_larger_than_the_memory_limit_trains(tmp_path: Path) -> None:
    """512 MiB of bytes, 2 GiB as float32, where 400 MiB may be taken; the file has holes and takes no space."""
    path = tmp_path / "large.npy"
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(2**29 // 1024, 32, 32))
    images[::2000] = RNG.integers(256, size=images[::2000].shape, dtype=np.uint8)
    images.flush()
    code = LIMITED.format(budget=400 * 2**20)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.startswith("finished 20"), done.stderr[-2000:]


def pictures(folder: Path, sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    folder.mkdir()
    found = [RNG.integers(256, size=(*size, 3), dtype=np.uint8) for size in sizes]
    for place, image in enumerate(found):
        Image.fromarray(image).save(folder / f"{place:02}.png")
    return [np.moveaxis(image, -1, 0) for image in found]


SIZES = [(9, 12), (8, 8), (17, 9), (10, 10)] * 3


def test_images_of_any_size_are_cropped(tmp_path: Path) -> None:
    images = pictures(tmp_path / "photos", SIZES)
    data = load_data(f"{tmp_path}/photos:crop=6")
    assert data.event == Event((3, 6, 6), 256)
    middle = images[0][:, 1:7, 3:9]
    every = torch.cat([data.train, data.validation, data.test]).byte().numpy()
    assert sum(np.array_equal(each, middle) for each in every) == 1
    with pytest.raises(ZooError, match=r"01\.png is 8x8 colour, smaller than 9x9"):
        load_data(f"{tmp_path}/photos:crop=9")
    with pytest.raises(ZooError, match="give one of them"):
        load_data(f"{tmp_path}/photos:crop=6,tile=4")


def test_tiles_of_an_image_stay_in_one_split(tmp_path: Path) -> None:
    images = pictures(tmp_path / "photos", SIZES)
    data = load_data(f"{tmp_path}/photos:tile=4", split=(0.5, 0.25, 0.25))
    tiles = [
        {
            image[:, i : i + 4, j : j + 4].tobytes()
            for i in range(0, image.shape[1] - 3, 4)
            for j in range(0, image.shape[2] - 3, 4)
        }
        for image in images
    ]
    assert len(data.train) + len(data.validation) + len(data.test) == sum(map(len, tiles))
    splits = [{each.byte().numpy().tobytes() for each in part} for part in (data.train, data.validation, data.test)]
    assert sum(bool(image & split) for image in tiles for split in splits) <= len(images) + 2


def test_a_folder_is_packed_into_a_file_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(tmp_path / "photos", SIZES)
    out = tmp_path / "photos.npy"
    done = CliRunner().invoke(app, ["data", "pack", f"{tmp_path}/photos:tile=8", str(out)])
    assert done.exit_code == 0, done.output
    packed = np.load(out)
    assert packed.shape == (15, 3, 8, 8)
    assert np.array_equal(packed[0], images[0][:, :8, :8])
    monkeypatch.setattr(rows, "FROM", 1000)
    assert len(load_data(str(out)).train) == 11
    again = CliRunner().invoke(app, ["data", "pack", f"{tmp_path}/photos:tile=8", str(out)])
    assert again.exit_code != 0
    assert "a new file" in again.output
    mixed = CliRunner().invoke(app, ["data", "pack", f"{tmp_path}/photos", str(tmp_path / "mixed.npy")])
    assert "all are of one size" in " ".join(mixed.output.split())


@pytest.mark.thorough
def test_a_run_on_streamed_data_is_evaluated(both: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    settings = ["--set", "hidden=8", "--set", "guide.hidden=8", "--train", "steps=3", "--device", "cpu"]
    path = path_of(both[1])
    asked = ["evaluate", "vae", "--data", path, "-e", "likelihood", "--runs", str(tmp_path / "runs"), *settings]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "nats" in done.output
