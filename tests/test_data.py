"""Named data sets, the value `Dataset`, MNIST's files, and data from the user's own files."""

import gzip
import hashlib
import math
import os
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import run
from sys import executable

import numpy as np
import pooch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from zoo.data import Dataset, load_data
from zoo.data.mnist import OFFICIAL, IdxFile, binarised, mnist, parse_idx
from zoo.data.toys import RADII, RING_NOISE, rings_log_density
from zoo.errors import ZooError
from zoo.event import Event


def sizes(data: Dataset) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


def everything(data: Dataset) -> torch.Tensor:
    return torch.cat([data.train, data.validation, data.test])


# ---------------------------------------------------------------------------------------------- the zoo's own data


@pytest.mark.parametrize("name", ["digits", "digits-binary", "moons", "rings"])
def test_named_data_are_finite_and_the_same_each_time(name: str) -> None:
    data = load_data(name)
    assert everything(data).isfinite().all()
    assert load_data(name).fingerprint == data.fingerprint


def test_digits_are_split_in_file_order() -> None:
    from sklearn.datasets import load_digits

    data = load_data()
    assert data.event == Event((8, 8), 17)
    assert sizes(data) == (1000, 350, 447)
    assert np.array_equal(everything(data).numpy(), load_digits().images)
    assert torch.equal(load_data("digits-binary").test, (data.test >= 8).float())


@pytest.mark.parametrize("name", ["moons", "rings"])
def test_toys_depend_on_the_seed(name: str) -> None:
    assert sizes(load_data(name)) == (20_000, 2000, 2000)
    assert load_data(name, seed=1).fingerprint != load_data(name, seed=0).fingerprint
    assert "seed 1" in load_data(name, seed=1).source


def test_moons_lie_near_their_half_circles() -> None:
    x, y = everything(load_data("moons")).unbind(-1)
    distance = torch.minimum((torch.hypot(x, y) - 1).abs(), (torch.hypot(x - 1, y - 0.5) - 1).abs())
    assert distance.mean() < 0.1
    assert y.min() < -0.3 < 0.8 < y.max()


def test_density_of_the_rings_integrates_to_one() -> None:
    step = 0.02
    axis = torch.arange(-4, 4, step, dtype=torch.float64) + step / 2
    grid = torch.cartesian_prod(axis, axis)
    assert rings_log_density(grid).exp().sum() * step**2 == pytest.approx(1, abs=1e-4)
    assert rings_log_density(torch.zeros(1, 2)).isfinite().all()


def test_density_of_the_rings_matches_their_samples() -> None:
    """The mean log-density of samples is minus the entropy, which ring, radius and angle have in closed form."""
    x = everything(load_data("rings"))
    entropy = 0.5 * math.log(2 * math.pi * math.e * RING_NOISE**2) + math.log(len(RADII) * 2 * math.pi)
    entropy += sum(math.log(radius) - RING_NOISE**2 / (2 * radius**2) for radius in RADII) / len(RADII)
    score = -rings_log_density(x)
    assert score.mean() == pytest.approx(entropy, abs=4 * float(score.std()) / math.sqrt(len(x)))
    share = ((x.norm(dim=-1) - 2).abs() < RING_NOISE).float().mean()
    assert share == pytest.approx(math.erf(1 / math.sqrt(2)) / 3, abs=0.03)


# ---------------------------------------------------------------------------------------------- the value itself


def test_reshaped_changes_the_shape_only() -> None:
    data = load_data("digits", event=Event(64, 17))
    assert data.test.shape == (447, 64)
    assert torch.equal(data.test[5], load_data("digits").test[5].flatten())
    assert data.fingerprint != load_data("digits").fingerprint


@pytest.mark.parametrize("event", [Event(63, 17), Event((8, 8), 16), Event(64, "binary"), Event(64, "real")])
def test_reshaped_refuses_another_size_or_support(event: Event) -> None:
    with pytest.raises(ZooError, match="only the shape may differ"):
        load_data("digits", event=event)


def test_fingerprint_tells_data_apart() -> None:
    data = load_data("moons")
    nudged = data.test + torch.eye(len(data.test), 2)
    swapped = replace(data, train=data.validation, validation=data.train)
    others = [replace(data, test=nudged), swapped, data.reshaped(Event((2, 1), "real"))]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert replace(data, name="other").fingerprint == data.fingerprint


def test_dynamic_batches_are_drawn_again() -> None:
    train = torch.tensor([[0.0, 1.0, 0.5]]).expand(4000, 3).contiguous()
    data = Dataset("toy", Event(3, "binary"), train, train[:1].round(), train[:1].round(), "", binarise=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 0, 1)]
    first, again, other = (data.batch(torch.arange(4000), generator) for generator in generators)
    assert torch.equal(again, first)
    assert not torch.equal(other, first)
    assert first.unique().tolist() == [0, 1]
    assert first.mean(0) == pytest.approx(torch.tensor([0, 1, 0.5]), abs=0.05)


def test_importing_the_package_is_light() -> None:
    heavy = "sklearn", "pooch", "pandas", "PIL"
    code = f"import sys, zoo.data; print({set(heavy)} & set(sys.modules))"
    assert run([executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# ---------------------------------------------------------------------------------------------- MNIST


def idx(images: np.ndarray) -> bytes:
    return struct.pack(">4I", 0x803, *images.shape) + images.tobytes()


def published(name: str, content: bytes) -> IdxFile:
    packed = gzip.compress(content, mtime=0)
    return IdxFile(OFFICIAL[name].name, *(hashlib.sha256(each).hexdigest() for each in (content, packed)))


SIZES = {"train": 12, "test": 5}
IMAGES = {k: np.random.default_rng(0).integers(256, size=(n, 4, 3), dtype=np.uint8) for k, n in SIZES.items()}
FILES = {name: published(name, idx(images)) for name, images in IMAGES.items()}


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No MNIST on this machine and no network, unless a test brings them."""
    monkeypatch.delenv("ZOO_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr(pooch, "retrieve", _no_network)


def _no_network(url: str, **_: object) -> str:
    raise ConnectionError(url)


retrieve = pooch.retrieve


def put(folder: Path, pack: Callable[[bytes], bytes] = bytes, swapped: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, other in (("train", "test"), ("test", "train")):
        path = folder / (OFFICIAL[name].name + ("" if pack is bytes else ".gz"))
        path.write_bytes(pack(idx(IMAGES[other if swapped else name])))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, partial(gzip.compress, compresslevel=1)])
@pytest.mark.parametrize("where", ["data_dir", "data_dir/mnist", "env", "cache/mnist"])
def test_mnist_is_found_packed_or_not(
    where: str, pack: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data_dir").mkdir()
    put(tmp_path / where, pack)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "env"))
    data = mnist(tmp_path / "data_dir", FILES)
    assert data.event == Event((4, 3), 256)
    assert sizes(data) == (10, 2, 5)
    assert np.array_equal(everything(data).numpy(), np.concatenate([IMAGES["train"], IMAGES["test"]]))


def test_binarised_mnist_shares_its_test_split(tmp_path: Path) -> None:
    put(tmp_path)
    levels = mnist(tmp_path, FILES)
    levels.test[:, 0], levels.test[:, 1] = 0, 255
    static, dynamic = binarised(levels, dynamic=False), binarised(levels, dynamic=True)
    assert static.event == dynamic.event == Event((4, 3), "binary")
    assert torch.equal(static.test, dynamic.test)
    assert torch.equal(static.validation, dynamic.validation)
    assert static.test[:, 0].sum() == 0
    assert static.test[:, 1].min() == 1
    assert static.train.unique().tolist() == [0, 1]
    assert torch.equal(dynamic.train, levels.train / 255)
    assert (static.binarise, dynamic.binarise) == (False, True)
    assert binarised(levels, dynamic=False).fingerprint == static.fingerprint


def test_mnist_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"connect to the network.*--data-dir.*ZOO_DATA"):
        load_data("mnist-static")
    with pytest.raises(ZooError, match="does not exist"):
        load_data("mnist", data_dir=tmp_path / "absent")
    put(tmp_path, gzip.compress)
    with pytest.raises(ZooError, match="damaged or not the published file"):
        load_data("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("tear", [lambda content: content[:-9], lambda content: content[:30] + b"?" + content[31:]])
def test_damaged_gzip_is_refused(tear: Callable[[bytes], bytes], tmp_path: Path) -> None:
    put(tmp_path, lambda content: tear(gzip.compress(content)))
    with pytest.raises(ZooError, match="cannot read"):
        mnist(tmp_path, FILES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"short", "header"),
        (struct.pack(">4I", 0x801, 1, 1, 1) + b"x", "magic number 0x00000801"),
        (struct.pack(">4I", 0x803, 2, 1, 1) + b"x", "announces 2x1x1 bytes but holds 1"),
    ],
)
def test_idx_is_checked(content: bytes, words: str) -> None:
    with pytest.raises(ZooError, match=words):
        parse_idx(content)


@given(arrays(np.uint8, st.tuples(*[st.integers(0, 4)] * 3)))
def test_idx_is_read_as_written(images: np.ndarray) -> None:
    assert np.array_equal(parse_idx(idx(images)), images)
    labels = images.flatten()
    assert np.array_equal(parse_idx(struct.pack(">2I", 0x801, labels.size) + labels.tobytes(), axes=1), labels)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=tmp_path / "mirror")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_mnist_is_fetched_once_and_verified(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(ZooError, match="HTTPError"):
        mnist(None, FILES, mirror)
    put(tmp_path / "mirror", partial(gzip.compress, mtime=0), swapped=True)
    with pytest.raises(ZooError, match="ValueError"):
        mnist(None, FILES, mirror)
    assert not list(tmp_path.glob("cache/**/*.gz"))
    put(tmp_path / "mirror", partial(gzip.compress, mtime=0))
    fetched = mnist(None, FILES, mirror)
    monkeypatch.setattr(pooch, "retrieve", _no_network)
    assert mnist(None, FILES, mirror).fingerprint == fetched.fingerprint


PUBLISHED = os.environ.get("ZOO_DATA")


@pytest.mark.skipif(PUBLISHED is None, reason="ZOO_DATA does not name the folder of the published MNIST files")
def test_published_mnist() -> None:
    data = mnist(Path(PUBLISHED or ""))
    assert data.event == Event((28, 28), 256)
    assert sizes(data) == (50000, 10000, 10000)
    assert everything(data).mean() / 255 == pytest.approx(0.131, abs=0.001)
    static = binarised(data, dynamic=False)
    assert static.train.mean() == pytest.approx(float(data.train.mean()) / 255, abs=0.001)


# ---------------------------------------------------------------------------------------------- the user's own data

LEVELS = np.arange(60).reshape(20, 3) % 5
REAL = np.random.default_rng(1).normal(size=(20, 3))


def save(path: Path, array: np.ndarray) -> Path:
    """Write ``array`` in the format of the path's suffix; a path without one becomes a folder of PNGs."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, numbers=array)
    elif path.suffix == ".csv":
        np.savetxt(path, array, delimiter=",", fmt="%.17g")
    else:
        path.mkdir()
        for index, image in enumerate(array):
            Image.fromarray(image).save(path / f"{index:03}.png")
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
    assert sorted(everything(data).tolist()) == sorted(array.astype(np.float32).tolist())
    assert "shuffled with seed 0 and split 0.8/0.1/0.1: 16 train, 2 validation, 2 test" in data.source


@given(st.integers(100, 200), st.integers(0, 2**32), st.tuples(*[st.integers(1, 9)] * 3))
def test_split_is_a_partition(
    tmp_path_factory: pytest.TempPathFactory, n: int, seed: int, parts: tuple[int, int, int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "partition.npy"
    np.save(path, np.arange(n)[:, None] + 0.5)
    split = parts[0] / sum(parts), parts[1] / sum(parts), parts[2] / sum(parts)
    data = load_data(str(path), seed=seed, split=split)
    assert everything(data).flatten().sort().values.tolist() == [i + 0.5 for i in range(n)]
    again, other = (load_data(str(path), seed=each, split=split).fingerprint for each in (seed, seed + 1))
    assert again == data.fingerprint != other
    for got, share in zip(sizes(data), split, strict=True):
        assert abs(got - share * n) <= 1


def test_npz_with_its_own_splits_is_kept(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", train=LEVELS[:10], validation=LEVELS[10:15], test=LEVELS[15:])
    data = load_data(str(tmp_path / "own.npz"))
    assert (sizes(data), data.event) == ((10, 5, 5), Event(3, 5))
    assert np.array_equal(everything(data).numpy(), LEVELS)


@pytest.mark.parametrize(("shape", "event"), [((6, 4, 5), (4, 5)), ((6, 4, 5, 3), (3, 4, 5))])
def test_folder_of_pngs(shape: tuple[int, ...], event: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(9, size=shape, dtype=np.uint8)
    path, split = str(save(tmp_path / "pictures", pixels)), (0.5, 0.25, 0.25)
    data = load_data(path, split=split)
    assert (data.name, data.event) == ("pictures", Event(event, 256))
    images = pixels if len(shape) == 3 else np.moveaxis(pixels, -1, 1)
    assert sorted(everything(data).tolist()) == sorted(images.astype(float).tolist())
    flat = Event(math.prod(event), 9)
    assert load_data(path, split=split, event=flat).event == flat


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
    return lambda folder: (np.savez(folder / "x.npz", **named), folder / "x.npz")[1]  # type: ignore[arg-type]


def pictures(*modes_and_sizes: tuple[str, tuple[int, int]]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        for index, (mode, size) in enumerate(modes_and_sizes):
            Image.new(mode, size).save(folder / f"{index}.png")
        return folder

    return write


def damaged_picture(folder: Path) -> Path:
    path = save(folder / "x", np.random.default_rng(0).integers(256, size=(2, 30, 30), dtype=np.uint8))
    content = (path / "001.png").read_bytes()
    (path / "001.png").write_bytes(content[: len(content) // 2])
    return path


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
        "its own train, validation and test",
    ),
    "constant": (filed("x.npy", changed(REAL, 1.5, slice(None))), {}, r"entry \(1,\) of a datum is constant \(1.5\)"),
    "constant in csv": (raw("x.csv", b"age,size\n" + b"1.5,2\n2.5,2\n" * 9), {}, "column 'size' is constant"),
    "levels": (filed("x.npy", LEVELS), {"event": Event(3, 4)}, r"levels 0 to 3, got 4 at index \(1, 1\)"),
    "negative level": (filed("x.csv", LEVELS - 1), {"event": Event(3, 5)}, r"got -1 at data row 1, column '1'"),
    "fraction": (filed("x.npy", changed(LEVELS, 0.5)), {"event": Event(3, 5)}, r"got 0.5 at index \(7, 1\)"),
    "levels of images": (
        filed("x", np.full((20, 2, 2), 255, np.uint8)),
        {"event": Event(4, "binary")},
        "levels 0 to 1, got 255",
    ),
    "size": (filed("x.npy", LEVELS), {"event": Event(4, 5)}, "needs 4"),
    "shapes": (packed(train=REAL, validation=REAL[:, :2], test=REAL), {}, "different shapes"),
    "arrays": (packed(train=REAL, test=REAL), {}, "holds test, train; expected train, validation and test"),
    "objects": (filed("x.npy", np.array([{}, []], dtype=object)), {}, "without pickles"),
    "text": (filed("x.npy", np.array([["a"], ["b"]])), {}, "expected real numbers, got <U1"),
    "text in csv": (raw("x.csv", b"a,b\n1,2\n3,four\n"), {}, "column 'b' is not numeric"),
    "index in csv": (raw("x.csv", b",a,b\n0,1,2\n1,3,4\n"), {}, "does not name every column"),
    "short header": (raw("x.csv", b"a,b\n0,1,2\n1,3,4\n"), {}, "does not name every column"),
    "ragged csv": (raw("x.csv", b"1,2\n3,4,5\n"), {}, "cannot read"),
    "damaged npz": (raw("x.npz", b"PK\x03\x04 damaged"), {}, "cannot read"),
    "no pictures": (pictures(), {}, r"no .png file"),
    "damaged picture": (damaged_picture, {}, r"cannot read .*001.png as a PNG"),
    "not a picture": (lambda folder: raw("x.png", b"hello")(folder).parent, {}, "cannot read .* as a PNG"),
    "picture sizes": (pictures(("L", (2, 3)), ("L", (3, 2))), {}, "1.png is 2x3 grey, 0.png is 3x2 grey"),
    "transparency": (pictures(("RGBA", (2, 2))), {}, "mode RGBA"),
    "depth": (pictures(("I;16", (2, 2))), {}, "mode I;16"),
    "suffix": (raw("x.pt", b""), {}, "expected .npz, .npy, .csv or a folder"),
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
        ("qqqqqqqq", {}, r"known: .*digits, .*or name a file \(.npz, .npy, .csv\) or a folder"),
        ("absent.csv", {}, "there is no file or folder absent.csv"),
        ("digits", {"split": (0.8, 0.1, 0.1)}, "fixed split of its own"),
    ],
)
def test_wrong_asking_is_refused(spec: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        load_data(spec, **options)


def test_a_name_wins_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("moons"), np.random.default_rng(0).integers(9, size=(20, 2, 2), dtype=np.uint8))
    assert load_data("moons").event == Event(2, "real")
    assert load_data("./moons").event == Event((2, 2), 256)
