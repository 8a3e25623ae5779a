"""The file of coded data: decoded to the right data, or refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import zoo
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from zoo import Event, Pair, build, load_data
from zoo.codec import decode, encode
from zoo.codec.container import CHECKSUM, FRAME, pack, unpack, weights_digest
from zoo.codec.lossless import precisely, probe
from zoo.errors import RunError, ZooError
from zoo.seeding import seeded
from zoo.use.arrays import compress

EVENT = Event((4, 4), 5)
SMALL = {"hidden": 8, "latent": 2, "guide.hidden": 8}
DIGITS = load_data("digits").test[:60].numpy().astype(np.uint8)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return build("vae", EVENT, SMALL)


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    with seeded(0):
        return torch.randint(5, (9, 4, 4)).float()


@pytest.fixture(scope="module")
def file(pair: Pair, x: torch.Tensor) -> bytes:
    return encode(pair, x)


def sealed(body: bytes) -> bytes:
    """A file with a valid checksum, whatever else is in it."""
    return body + hashlib.sha256(body).digest()[:CHECKSUM]


def with_header(file: bytes, text: bytes, length: int | None = None) -> bytes:
    """The same payload under another header."""
    end = FRAME + int.from_bytes(file[FRAME - 2 : FRAME], "little")
    size = (len(text) if length is None else length).to_bytes(2, "little")
    return sealed(file[: FRAME - 2] + size + text + file[end:-CHECKSUM])


def with_fields(file: bytes, **changes: Any) -> bytes:
    """The file with some header fields changed, or left out where ``None``."""
    end = FRAME + int.from_bytes(file[FRAME - 2 : FRAME], "little")
    fields = json.loads(file[FRAME:end]) | changes
    return with_header(file, json.dumps({key: value for key, value in fields.items() if value is not None}).encode())


def test_the_header_is_small_and_names_its_origin(file: bytes, pair: Pair) -> None:
    header, words = unpack(file)
    assert len(file) - len(words.tobytes().rstrip(b"\0")) <= 256
    assert (header.family, header.event, header.count) == ("vae+normal", "4x4:5", 9)
    assert torch.__version__ in header.by
    assert pack(header, words) == file


def mutated(file: bytes, rng: random.Random) -> bytes:
    """The file with bits flipped, or a part cut, inserted, reversed, zeroed or replaced."""
    at, other = rng.randrange(len(file)), rng.randrange(len(file))
    first, last = min(at, other), max(at, other) + 1
    return rng.choice(
        [
            lambda: file[:at] + bytes([file[at] ^ (1 << rng.randrange(8))]) + file[at + 1 :],
            lambda: file[:at] + rng.randbytes(1 + rng.randrange(8)) + file[at:],
            lambda: file[:at],
            lambda: file + rng.randbytes(1 + rng.randrange(50)),
            lambda: file[:first] + file[last:],
            lambda: file[:first] + file[first:last][::-1] + file[last:],
            lambda: file[:first] + bytes(last - first) + file[last:],
            lambda: rng.randbytes(len(file)),
            lambda: file[:FRAME] + rng.randbytes(len(file) - FRAME),
        ]
    )()


def answer(pair: Pair, file: bytes, x: torch.Tensor) -> str:
    """The one-line reason why a file is refused; empty if it gives the right data. Anything else fails."""
    reason = ""
    try:
        assert torch.equal(decode(pair, file), x)
    except RunError as error:
        reason = str(error)
    assert "\n" not in reason
    return reason


@pytest.mark.thorough
@settings(max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rng=st.randoms(use_true_random=False))
def test_damaged_files_are_refused_in_one_sentence(
    pair: Pair, file: bytes, x: torch.Tensor, rng: random.Random
) -> None:
    damaged = mutated(file, rng)
    assume(damaged != file)
    assert answer(pair, damaged, x)


@pytest.mark.thorough
def test_damage_under_a_valid_checksum_never_gives_wrong_data(pair: Pair, file: bytes, x: torch.Tensor) -> None:
    """Behind the checksum: the header, the weights, the probe, the seed bits and the data's own checksum."""
    rng, body = random.Random(1), file[:-CHECKSUM]
    bodies = [mutated(body, rng) for _ in range(150)]
    bodies += [body[:-52] + mutated(body[-52:], rng) for _ in range(60)]  # of the payload alone
    reasons = {answer(pair, sealed(each), x)[:30] for each in bodies}
    assert len(reasons) >= 4


HOSTILE: dict[str, list[Any]] = {
    "count": [2**40, 10**30, -1, 0, 8, 10, 50, 9.5, "9", True],
    "batch": [10**9, 0, 3],
    "growth": [-1.0, 1e308, 0.0],
    "grid": [64, -1, 3],
    "event": ["99999999x99999999:5", "4x4:6", "16:5", "4x4:" + "9" * 5000, "x" * 60000],
    "family": ["../../etc/passwd", "*", "/", "vae+*", None],
    "weights": ["0" * 16, "../../../weights"],
    "crc": [1, -1],
    "check": [1],
    "arrays": [{"x": {"dtype": each}} for each in ("object", "|O8", "<f16", "<U4")] + [{"x": {"order": "K"}}, []],
    "missing": [1, -1, 2**50],
    "zeros": [1, -1],
    "negative": [1, -1],
    "context": [1],
    "by": ["y" * 5000, None],
    "more": [1],
}


@pytest.mark.parametrize("field", HOSTILE)
def test_a_hostile_header_is_refused(field: str, pair: Pair, file: bytes, x: torch.Tensor) -> None:
    for value in HOSTILE[field]:
        assert answer(pair, with_fields(file, **{field: value}), x), value


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{", b"[" * 60000, b'{"family":' * 5000, b"\xff\xfe", b'{"count":1e999}', b"{}" * 9]
)
def test_bad_json_is_refused(text: bytes, pair: Pair, file: bytes, x: torch.Tensor) -> None:
    assert answer(pair, with_header(file, text), x)
    assert answer(pair, with_header(file, text, 65535), x)


def test_other_weights_and_other_versions_are_refused(pair: Pair, file: bytes, x: torch.Tensor) -> None:
    assert "other weights" in answer(build("vae", EVENT, SMALL, seed=1), file, x)
    for version, other in ((1, "an earlier"), (3, "a later")):
        reason = answer(pair, sealed(file[:4] + bytes([version]) + file[5:-CHECKSUM]), x)
        assert f"version {version}" in reason
        assert f"with {other} zoo" in reason
    assert "no .zoo file" in answer(pair, b"PK\x03\x04" + file[4:], x)


def test_another_machine_is_refused_and_named(pair: Pair, file: bytes, x: torch.Tensor) -> None:
    """What it says about itself does not matter while it computes the same probabilities."""
    assert answer(pair, with_fields(file, by="torch 1.0 abacus"), x) == ""
    reason = answer(pair, with_fields(file, by="torch 1.0 abacus", check=7), x)
    assert {"abacus", torch.__version__} <= set(re.split(r"[ ();]", reason))


def test_other_probabilities_are_noticed_even_past_the_probe(pair: Pair, file: bytes, x: torch.Tensor) -> None:
    """A pair of slightly other weights that claims to be the file's: seed bits and the data's checksum differ."""
    other = build("vae", EVENT, SMALL)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter *= 1 + 1e-3
    header, words = unpack(file)
    claimed = header.model_copy(update={"weights": weights_digest(other.state())})
    with precisely(other):
        check = claimed.expected_check(probe(other, header.plan))
    assert "does not decode to the data" in answer(other, pack(claimed.model_copy(update={"check": check}), words), x)


def test_data_that_take_no_bits_are_padded() -> None:
    """The work that a file can ask for is bounded by its length."""
    pair = build("independent", Event((40, 40), "binary"), {"pseudocount": 1e-9})
    pair.extras.initialise(torch.zeros(100, 40, 40))
    x = torch.zeros(1000, 40, 40)
    file = encode(pair, x)
    assert len(file) < 700
    assert torch.equal(decode(pair, file), x)


# the command line


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", DIGITS)
    return tmp_path


@pytest.mark.process
def test_compress_and_decompress_in_fresh_processes(digits: Path) -> None:
    zoo("compress", "independent", "x.npy", "-o", "x.zoo", "--quiet")
    code = "from zoo.__main__ import main; main()"
    subprocess.run([sys.executable, "-c", code, "decompress", "x.zoo", "-o", "back.npy"], check=True, timeout=120)
    assert Path("back.npy").read_bytes() == Path("x.npy").read_bytes()
    assert Path("x.zoo").stat().st_size < Path("x.npy").stat().st_size / 2
    assert not list(Path().glob(".*"))


def test_the_array_comes_back_in_its_own_shape_and_type(digits: Path) -> None:
    x = np.load("x.npy", allow_pickle=False).reshape(60, 64)
    np.save("flat.npy", x.astype(np.int64))
    [run] = {Path(json.loads(zoo("compress", "uniform", "flat.npy", "-o", "x.zoo", "--json").stdout)["run"])}
    zoo("compress", run, "flat.npy", "-o", "again.zoo", "--quiet")
    assert Path("again.zoo").read_bytes() == Path("x.zoo").read_bytes()
    zoo("decompress", "x.zoo", "-o", "back.npy", "--quiet")
    assert Path("back.npy").read_bytes() == Path("flat.npy").read_bytes()


@pytest.mark.parametrize(
    "array",
    [
        DIGITS.astype(">i2"),
        DIGITS.astype("<f8") * -1.0 * (DIGITS == 0) + DIGITS,
        np.where(np.arange(60 * 64).reshape(60, 8, 8) % 3 == 0, -0.0, 0.0).astype(np.float16),
        np.asfortranarray(DIGITS),
        (DIGITS > 8),
        DIGITS[:, ::2].repeat(2, 1).reshape(60, 64).astype(np.uint64),
    ],
    ids=["big-endian", "minus zeros", "signs at random", "columns first", "booleans", "flat"],
)
def test_any_array_comes_back_byte_for_byte(digits: Path, array: np.ndarray[Any, Any]) -> None:
    np.save("any.npy", array)
    zoo("compress", "uniform", "any.npy", "-o", "x.zoo", "--quiet")
    zoo("decompress", "x.zoo", "-o", "back.npy", "--quiet")
    assert Path("back.npy").read_bytes() == Path("any.npy").read_bytes()


def test_signs_of_zeros_cost_their_entropy() -> None:
    x = torch.where(torch.arange(40000).reshape(-1, 4, 4) % 8 == 0, -0.0, 0.0)
    pair = build("uniform", EVENT)
    more = len(encode(pair, x)) - len(encode(pair, x.abs()))
    entropy = -(1 / 8 * np.log2(1 / 8) + 7 / 8 * np.log2(7 / 8))
    assert 8 * more == pytest.approx(40000 * entropy, rel=0.02)
    assert decode(pair, encode(pair, x)).numpy().tobytes() == x.numpy().tobytes()


def test_a_bad_file_exits_1_and_writes_nothing(digits: Path) -> None:
    zoo("compress", "uniform", "x.npy", "-o", "x.zoo", "--quiet")
    good = Path("x.zoo").read_bytes()
    for content in (b"", good[:-30], with_fields(good, weights="0" * 16), with_fields(good, crc=1)):
        Path("bad.zoo").write_bytes(content)
        message = zoo("decompress", "bad.zoo", "-o", "back.npy", "--quiet", code=1).stderr
        assert message.startswith("zoo: ")
        assert message.count("\n") == 1
    assert not Path("back.npy").exists()
    assert "--runs" in zoo("decompress", "x.zoo", "-o", "back.npy", "--runs", "elsewhere", code=1).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compress", "uniform", "nowhere.npy", "-o", "y.zoo"], "nowhere.npy"),
        (["compress", "uniform", "x.txt", "-o", "y.zoo"], ".npy"),
        (["compress", "uniform", "torn.npy", "-o", "y.zoo"], "torn.npy"),
        (["compress", "uniform", "other.npy", "-o", "y.zoo"], "got (3, 5)"),
        (["compress", "uniform", "words.npy", "-o", "y.zoo"], "plain numbers"),
        (["compress", "uniform", "one.npy", "-o", "y.zoo"], "a single number without axes"),
        (["compress", "uniform", "none.npy", "-o", "y.zoo"], "an empty array of shape (0, 8, 8)"),
        (["compress", "uniform", "long.npy", "-o", "y.zoo"], "the array has the type float128; only plain numbers"),
        (["compress", "uniform", "named.npz", "-o", "y.zoo"], "are one array in a .npy file, got a, b"),
        (["compress", "uniform", "torn.npz", "-o", "y.zoo"], "torn.npz"),
        (["compress", "uniform", "high.npy", "-o", "y.zoo"], "from 0 to 16"),
        (["compress", "uniform", "between.npy", "-o", "y.zoo"], "from 0 to 16"),
        (["compress", "gan", "x.npy", "-o", "y.zoo", "--train", "steps=1"], "implicit"),
        (["decompress", "nowhere.zoo", "-o", "y.npy"], "nowhere.zoo"),
        (["decompress", "x.npy", "-o", "y.png"], ".npy"),
    ],
)
def test_a_mistake_is_one_sentence(digits: Path, words: list[str], message: str) -> None:
    x = np.load("x.npy", allow_pickle=False)
    Path("torn.npy").write_bytes(Path("x.npy").read_bytes()[:200])
    np.save("other.npy", np.zeros((3, 5)))
    np.save("words.npy", np.array(["a", "b"]))
    np.save("one.npy", np.array(3.0))
    np.save("none.npy", x[:0])
    np.save("long.npy", x.astype(np.longdouble))
    np.savez("named.npz", a=x, b=x)
    Path("torn.npz").write_bytes(Path("named.npz").read_bytes()[:300])
    np.save("high.npy", x + np.uint8(5))
    np.save("between.npy", x + 0.5)
    stderr = zoo(*words, "--quiet", code=2).stderr
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not Path("y.zoo").exists()


def test_real_data_are_refused_because_they_are_real() -> None:
    pair, x = build("realnvp", Event(2, "real")), np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(ZooError, match="no lossless code: real data under a density"):
        compress(pair, {"": x}, lambda stage, done: None)
