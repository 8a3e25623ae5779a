"""The user's own data: arrays, and what holds for every kind of file."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from splits import everything

from zoo.data import Dataset, load_data
from zoo.errors import ZooError
from zoo.event import Event


def sizes(data: Dataset) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


LEVELS = np.arange(60).reshape(20, 3) % 5
REAL = np.random.default_rng(1).normal(size=(20, 3))


def save(path: Path, array: np.ndarray) -> Path:
    """Write ``array`` in the format of the path's suffix."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, numbers=array)
    else:
        np.savetxt(path, array, delimiter=",", fmt="%.17g")
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
@pytest.mark.parametrize(
    ("array", "event"),
    [
        (LEVELS, Event(3, 5)),
        (LEVELS % 2, Event(3, "binary")),
        (LEVELS.astype(float), Event(3, 5)),
        (LEVELS + 252, Event(3, "real")),
        (LEVELS - 1, Event(3, "real")),
        (REAL, Event(3, "real")),
    ],
)
def test_event_is_inferred(array: np.ndarray, event: Event, suffix: str, tmp_path: Path) -> None:
    data = load_data(str(save(tmp_path / f"mine{suffix}", array)))
    assert data.name == "mine"
    assert data.event == event
    assert sizes(data) == (16, 2, 2)
    assert np.allclose(sorted(everything(data).tolist()), sorted(array.tolist()), atol=1e-6)
    assert "shuffled with seed 0 and split 0.8/0.1/0.1: 16 train, 2 validation, 2 test" in data.source


@pytest.mark.thorough
@given(st.integers(100, 200), st.integers(0, 2**32), st.tuples(*[st.integers(1, 9)] * 3))
def test_split_is_a_partition(
    tmp_path_factory: pytest.TempPathFactory, n: int, seed: int, parts: tuple[int, int, int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "partition.npy"
    np.save(path, np.arange(n)[:, None] + 0.5)
    split = parts[0] / sum(parts), parts[1] / sum(parts), parts[2] / sum(parts)
    data = load_data(str(path), seed=seed, split=split)
    assert everything(data).flatten().sort().values.tolist() == pytest.approx([i + 0.5 for i in range(n)], abs=1e-6)
    again, other = (load_data(str(path), seed=each, split=split).fingerprint for each in (seed, seed + 1))
    assert again == data.fingerprint != other
    for got, share in zip(sizes(data), split, strict=True):
        assert abs(got - share * n) <= 1


def test_npz_with_its_own_splits_is_kept(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", train=LEVELS[:10], validation=LEVELS[10:15], test=LEVELS[15:])
    data = load_data(str(tmp_path / "own.npz"))
    assert (sizes(data), data.event) == ((10, 5, 5), Event(3, 5))
    assert np.array_equal(everything(data).numpy(), LEVELS)


PIXELS = np.random.default_rng(2).integers(256, size=(20, 6, 5, 3), dtype=np.uint8)


def test_bytes_with_the_channels_last_are_moved(tmp_path: Path) -> None:
    np.save(tmp_path / "photos.npy", PIXELS)
    path = str(tmp_path / "photos.npy")
    moved, kept = load_data(path), load_data(path, event=Event((6, 5, 3), 256))
    assert moved.event == Event((3, 6, 5), int(PIXELS.max()) + 1)
    assert "6x5x3 images as 3x6x5" in moved.source
    assert torch.equal(moved.test, kept.test.permute(0, 3, 1, 2))
    assert torch.equal(load_data(path, event=Event((3, 6, 5), 256)).test, moved.test)
    assert torch.equal(load_data(path, event=Event(90, 256)).test, kept.test.flatten(1))
    np.save(tmp_path / "photos.npy", np.moveaxis(PIXELS, 3, 1))
    assert torch.equal(load_data(path).test, moved.test)
    np.save(tmp_path / "photos.npy", PIXELS.astype(float))
    assert load_data(path).event.shape == (6, 5, 3)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("images", "labels"), False),
        (("data", "target"), False),
        (("x_train", "y_train", "x_test", "y_test"), False),
        (("train_images", "train_labels", "val_images", "val_labels", "test_images", "test_labels"), True),
    ],
)
def test_images_and_labels_are_known_by_usual_names(names: tuple[str, ...], splits: bool, tmp_path: Path) -> None:
    y = np.arange(20)[:, None] % 4
    sizes_of = {"train": slice(0, 12), "val": slice(12, 15), "test": slice(15, 20)}
    parts = {
        name: (y if any(word in name for word in ("y_", "label", "target")) else PIXELS[:, :, :, 0])[
            next((part for split, part in sizes_of.items() if split in name), slice(None))
        ]
        for name in names
    }
    np.savez(tmp_path / "x.npz", **parts)  # type: ignore[arg-type] # arrays by name
    data = load_data(str(tmp_path / "x.npz"))
    assert str(data.event) == f"x=6x5:{int(PIXELS[..., 0].max()) + 1},y=:4@label"
    label = {bytes(image.astype(np.uint8)): int(value) for image, (value,) in zip(PIXELS[..., 0], y, strict=True)}
    for row in everything(data):
        assert label[bytes(row[:30].numpy().astype(np.uint8))] == row[30]
    if "test" in "".join(names):
        assert data.test[:, -1].tolist() == y[15:, 0].tolist()
        assert sizes(data) == ((12, 3, 5) if splits else (11, 1, 5))


def test_labels_are_chosen_among_data_that_have_a_class(tmp_path: Path) -> None:
    y = np.arange(20) % 4 + 0.0
    y[3] = math.nan
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=y)
    assert int(load_data(f"{tmp_path}/x.npz").event.missing(everything(load_data(f"{tmp_path}/x.npz"))).sum()) == 1
    with pytest.raises(ZooError, match="labels= chooses among data that all have a class"):
        load_data(f"{tmp_path}/x.npz:labels=4")
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=np.nan_to_num(y))
    assert str(load_data(f"{tmp_path}/x.npz:labels=4").event) == "x=3x6x5:256,y=:4@label"


def test_fields_keep_names_that_are_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=np.arange(20) % 4)
    path = str(tmp_path / "x.npz")
    assert [field.name for field in load_data(path).event.fields] == ["x", "y"]
    given = load_data(path, roles={"labels": "given"}).event
    assert [field.name for field in given.fields] == ["images", "labels"]
    np.savez(tmp_path / "x.npz", images=PIXELS, data=REAL, labels=np.arange(20) % 4)
    assert [field.name for field in load_data(path).event.fields] == ["images", "data", "labels"]


def test_arrays_that_an_event_leaves_out_do_not_count(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", other=REAL[:3], w=REAL, v=REAL[:, 0])
    data = load_data(str(tmp_path / "x.npz"), event=Event.parse("w=3:real,v=:real@given"))
    assert sizes(data) == (16, 2, 2)


def test_train_and_test_alone_leave_train_data_for_validation(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", train=REAL[:14], test=REAL[14:])
    path = str(tmp_path / "own.npz")
    data, other = load_data(path), load_data(path, seed=1)
    assert sizes(data) == (13, 1, 6)
    assert "10% of train drawn with seed 0 for validation" in data.source
    assert np.allclose(data.restore(data.test), REAL[14:], atol=1e-6)
    assert np.allclose(sorted(everything(data).tolist()), sorted(REAL.tolist()), atol=1e-6)
    assert not torch.equal(other.validation, data.validation)


def test_the_event_given_reshapes_a_file(tmp_path: Path) -> None:
    path = str(save(tmp_path / "mine.npy", np.arange(80).reshape(20, 4) % 5))
    assert load_data(path, event=Event((2, 2), 17)).train.shape == (16, 2, 2)
    assert load_data(path, event=Event((2, 2), "real")).event == Event((2, 2), "real")
    constant = save(tmp_path / "constant.npy", changed(LEVELS, 3, slice(None)))  # which levels may be
    assert load_data(str(constant)).event == Event(3, 5)


def changed(array: np.ndarray, value: float, rows: int | slice = 7) -> np.ndarray:
    copy = array.astype(np.float64)
    copy[rows, 1] = value
    return copy


def raw(name: str, content: bytes) -> Callable[[Path], Path]:
    return lambda folder: ((folder / name).write_bytes(content), folder / name)[1]


def filed(name: str, array: np.ndarray) -> Callable[[Path], Path]:
    return lambda folder: save(folder / name, array)


def packed(**named: np.ndarray) -> Callable[[Path], Path]:
    return lambda folder: (np.savez(folder / "x.npz", **named), folder / "x.npz")[1]  # type: ignore[arg-type] # arrays by name


BROKEN: dict[str, tuple[Callable[[Path], Path], dict[str, object], str]] = {
    "nan": (filed("x.npy", changed(REAL, math.nan)), {}, r"got nan at index \(7, 1\)"),
    "too great": (filed("x.npz", changed(REAL, 1e300)), {}, r"got 1e\+300 at index"),
    "nan in csv": (filed("x.csv", changed(REAL, math.nan)), {}, r"got nan at data row 8, column '2'"),
    "missing in csv": (raw("x.csv", b"a,b\n1,2\n3,\n"), {}, "got nan at data row 2, column 'b'"),
    "rank 1": (filed("x.npy", np.arange(20)), {}, r"expected shape \(n, \.\.\.\)"),
    "no data": (filed("x.npy", np.zeros((0, 3))), {}, "empty"),
    "empty split": (filed("x.npy", REAL[:4]), {}, "4 data split by 0.8/0.1/0.1 leave 4/0/0"),
    "empty own split": (packed(train=REAL, validation=REAL[:0], test=REAL), {}, "array 'validation' is empty"),
    "shares": (filed("x.npy", REAL), {"split": (0.5, 0.5, 0.5)}, "three positive shares"),
    "zero share": (filed("x.npy", REAL), {"split": (0.9, 0.1, 0.0)}, "three positive shares"),
    "split of own splits": (
        packed(train=REAL, validation=REAL, test=REAL),
        {"split": (0.8, 0.1, 0.1)},
        "its own train, validation, test",
    ),
    "constant": (filed("x.npy", changed(REAL, 1.5, slice(None))), {}, r"entry \(1,\) of a datum is constant \(1.5\)"),
    "constant in csv": (raw("x.csv", b"age,size\n" + b"1.5,2\n2.5,2\n" * 9), {}, "column 'size' is constant"),
    "levels": (filed("x.npy", LEVELS), {"event": Event(3, 4)}, r"levels 0 to 3, got 4 at index \(1, 1\)"),
    "negative level": (filed("x.csv", LEVELS - 1), {"event": Event(3, 5)}, r"got -1 at data row 1, column '1'"),
    "fraction": (filed("x.npy", changed(LEVELS, 0.5)), {"event": Event(3, 5)}, r"got 0.5 at index \(7, 1\)"),
    "size": (filed("x.npy", LEVELS), {"event": Event(4, 5)}, "needs 4"),
    "halves": (packed(x_train=REAL, x_test=REAL, y_train=REAL), {}, "holds x_test, x_train, y_train; expected train"),
    "halves of halves": (
        packed(x_train=REAL, x_test=REAL, y_train=REAL[:, 0], y_test=REAL[:7, 0]),
        {},
        "the splits of 'x' and 'y' differ in their numbers of data",
    ),
    "nan in a split": (packed(train=REAL, test=changed(REAL, math.nan)), {}, r"got nan at index \(7, 1\) of 'test'"),
    "two of one meaning": (
        packed(x_train=REAL, images_train=REAL, x_test=REAL),
        {},
        "holds images_train, x_test, x_train, of which two are",
    ),
    "one to train": (packed(train=REAL[:1], test=REAL), {}, "has 1 train datum, of which none can validate"),
    "shapes": (packed(train=REAL, validation=REAL[:, :2], test=REAL), {}, "different shapes"),
    "arrays": (packed(train=REAL, validation=REAL), {}, "holds train, validation; expected train, validation and test"),
    "objects": (filed("x.npy", np.array([{}, []], dtype=object)), {}, "without pickles"),
    "complex": (filed("x.npy", np.array([[1j], [2j]])), {}, "expected real numbers or words, got complex128"),
    "two names missing": (raw("x.csv", b",,b\n0,1,2\n1,3,4\n"), {}, "does not name every column"),
    "short header": (raw("x.csv", b"a,b\n0,1,2\n1,3,4\n"), {}, "does not name every column"),
    "ragged csv": (raw("x.csv", b"1,2\n3,4,5\n"), {}, "cannot read"),
    "damaged npz": (raw("x.npz", b"PK\x03\x04 damaged"), {}, "cannot read"),
    "suffix": (raw("x.pt", b""), {}, "expected .npz, .npy, .csv, .*or a folder of images"),
    "seed": (filed("x.npy", REAL), {"seed": -1}, "from 0 on, got -1"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_data_are_refused_in_one_clear_sentence(case: str, tmp_path: Path) -> None:
    write, options, words = BROKEN[case]
    path = write(tmp_path)
    with pytest.raises(ZooError, match=words) as caught:
        load_data(str(path), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [
        ("digit", {}, "did you mean .*digits"),
        ("qqqqqqqq", {}, r"known: .*digits, .*or name a file \(.npz, .npy, .csv, .*\) or a folder"),
        ("absent.csv", {}, "there is no file or folder absent.csv"),
        ("digits", {"split": (0.8, 0.1, 0.1)}, "fixed split of its own"),
    ],
)
def test_wrong_asking_is_refused(spec: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        load_data(spec, **options)


def test_a_name_wins_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("moons.npy"), LEVELS).rename("moons")
    assert load_data("moons").event == Event(2, "real")
    with pytest.raises(ZooError, match="moons is of an unknown kind"):
        load_data("./moons")
