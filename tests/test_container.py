"""The file of coded data: whole, or refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from zoo.cli import app
from zoo.codec import decode, encode
from zoo.codec.container import CHECKSUM, FRAME, Header, pack, unpack
from zoo.codec.lossless import check, precisely
from zoo.errors import RunError
from zoo.event import Event
from zoo.pairs.build import build
from zoo.pairs.pair import Pair
from zoo.seeding import seeded

EVENT = Event((4, 4), 5)
SMALL = {"hidden": 8, "latent": 2, "guide.hidden": 8}


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
    """A file with a right checksum, whatever it says."""
    return body + hashlib.sha256(body).digest()[:CHECKSUM]


def with_header(file: bytes, text: bytes, length: int | None = None) -> bytes:
    """The same payload under another header."""
    end = FRAME + int.from_bytes(file[FRAME - 2 : FRAME], "little")
    told = (len(text) if length is None else length).to_bytes(2, "little")
    return sealed(file[: FRAME - 2] + told + text + file[end:-CHECKSUM])


def saying(file: bytes, **changes: Any) -> bytes:
    end = FRAME + int.from_bytes(file[FRAME - 2 : FRAME], "little")
    told = json.loads(file[FRAME:end]) | changes
    return with_header(file, json.dumps({key: value for key, value in told.items() if value is not None}).encode())


def test_the_header_is_small_and_says_where_the_file_came_from(file: bytes, pair: Pair) -> None:
    header, words = unpack(file)
    assert len(file) - len(words.tobytes().rstrip(b"\0")) <= 256
    assert (header.family, header.event, header.count) == ("vae+normal", "4x4:5", 9)
    assert torch.__version__ in header.by
    assert "cpu" in header.by
    assert pack(header, words) == file


def mutated(file: bytes, rng: random.Random) -> bytes:
    """The file flipped, cut, lengthened, shuffled or filled up somewhere."""
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
    """Why a file is refused; empty if it gives the right data. Anything else fails."""
    try:
        back = decode(pair, file)
    except RunError as error:
        return str(error).replace("\n", "A SECOND LINE")
    assert torch.equal(back, x)
    return ""


def test_two_thousand_damaged_files_never_give_wrong_data(pair: Pair, file: bytes, x: torch.Tensor) -> None:
    rng = random.Random(0)
    damaged = [each for each in (mutated(file, rng) for _ in range(2100)) if each != file]
    assert len(damaged) >= 2000
    answers = [answer(pair, each, x) for each in damaged]
    assert all(answers)
    assert "A SECOND LINE" not in "".join(answers)


def test_damaged_files_with_a_right_checksum_never_give_wrong_data(pair: Pair, file: bytes, x: torch.Tensor) -> None:
    """Past the checksum: the header, the weights, the check block, the seed bits and the data's own sum."""
    rng, reasons = random.Random(1), set()
    for _ in range(150):
        body = mutated(file[:-CHECKSUM], rng)
        reasons.add(answer(pair, sealed(body), x)[:30])
    for _ in range(60):  # of the payload alone
        at = rng.randrange(len(file) - 60, len(file) - CHECKSUM)
        body = file[:at] + bytes([file[at] ^ (1 << rng.randrange(8))]) + file[at + 1 : -CHECKSUM]
        reasons.add(answer(pair, sealed(body), x)[:30])
    assert len(reasons) >= 4


HOSTILE: list[dict[str, Any]] = [
    {"count": 2**40},
    {"count": 10**30},
    {"count": -1},
    {"count": 0},
    {"count": 8},
    {"count": 10},
    {"count": 50},
    {"count": 9.5},
    {"count": "9"},
    {"count": True},
    {"batch": 10**9},
    {"batch": 0},
    {"batch": 3},
    {"growth": -1.0},
    {"growth": 1e308},
    {"growth": 0.0},
    {"grid": 64},
    {"grid": -1},
    {"grid": 3},
    {"event": "99999999x99999999:5"},
    {"event": "4x4:6"},
    {"event": "16:5"},
    {"event": "4x4:" + "9" * 5000},
    {"event": "x" * 60000},
    {"family": "../../etc/passwd"},
    {"family": "*"},
    {"family": "/"},
    {"family": "vae+*"},
    {"weights": "0" * 16},
    {"weights": "../../../weights"},
    {"crc": 1},
    {"check": 1},
    {"crc": -1},
    {"dtype": "object"},
    {"dtype": "O8"},
    {"more": 1},
    {"by": "y" * 5000},
    {"by": None},
    {"family": None},
]


@pytest.mark.parametrize("changes", HOSTILE, ids=lambda changes: "-".join(f"{k}={v}"[:30] for k, v in changes.items()))
def test_a_hostile_header_is_refused(changes: dict[str, Any], pair: Pair, file: bytes, x: torch.Tensor) -> None:
    assert answer(pair, saying(file, **changes), x)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{", b"[" * 60000, b'{"family":' * 5000, b"\xff\xfe", b'{"count":1e999}', b"{}" * 9]
)
def test_bad_json_is_refused(text: bytes, pair: Pair, file: bytes, x: torch.Tensor) -> None:
    assert answer(pair, with_header(file, text), x)
    assert answer(pair, with_header(file, text, 65535), x)


def test_other_weights_and_other_versions_are_refused(pair: Pair, file: bytes, x: torch.Tensor) -> None:
    assert "other weights" in answer(build("vae", EVENT, SMALL, seed=1), file, x)
    later = sealed(file[:4] + b"\x02" + file[5:-CHECKSUM])
    assert "version 2" in answer(pair, later, x)
    assert "no .zoo file" in answer(pair, b"PK\x03\x04" + file[4:], x)


def test_another_machine_is_refused_by_the_check_block_and_named(pair: Pair, file: bytes, x: torch.Tensor) -> None:
    """What it says of itself does not matter as long as its numbers come out the same."""
    assert answer(pair, saying(file, by="torch 1.0 abacus"), x) == ""
    foreign = answer(pair, saying(file, by="torch 1.0 abacus", check=7), x)
    assert "torch 1.0 abacus" in foreign
    assert torch.__version__ in foreign


def test_numbers_that_came_out_otherwise_are_noticed(file: bytes, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the check block to miss it, the seed bits and the sum of the data would not."""
    from zoo.codec import container

    with precisely(pair):
        probe = check(pair, unpack(file)[0].plan.grid)
    monkeypatch.setattr(container, "check", lambda pair, grid: probe)
    softplus = torch.nn.functional.softplus
    monkeypatch.setattr(torch.nn.functional, "softplus", lambda raw: softplus(raw) * (1 + 1e-4))
    with pytest.raises(RunError, match="not what was put in"):
        decode(pair, file)


def test_a_file_of_next_to_nothing_is_long_enough_to_be_believed() -> None:
    """Certain data take no bits, yet the work that a file can ask for is bounded by its length."""
    pair = build("independent", Event((40, 40), "binary"), {"pseudocount": 1e-9})
    pair.extras.initialise(torch.zeros(100, 40, 40))
    x = torch.zeros(1000, 40, 40)
    file = encode(pair, x)
    assert len(file) < 700
    assert torch.equal(decode(pair, file), x)


def test_the_header_holds_no_defaults() -> None:
    told = Header(
        family="a", weights="0" * 16, event="2:binary", count=1, batch=1, growth=0.0, grid=0, crc=0, check=0, by=""
    )
    assert "dtype" not in told.model_dump_json(exclude_defaults=True)


# the command line


def zoo(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from zoo.data import load_data

    monkeypatch.chdir(tmp_path)
    np.save("x.npy", load_data("digits").test[:60].numpy().astype(np.uint8))
    return tmp_path


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


def test_a_bad_file_is_one_sentence_exit_code_1_and_nothing_written(digits: Path) -> None:
    zoo("compress", "uniform", "x.npy", "-o", "x.zoo", "--quiet")
    good = Path("x.zoo").read_bytes()
    bad = {
        "empty": b"",
        "cut": good[:-30],
        "long": good + b"0",
        "flipped": good[:300] + bytes([good[300] ^ 1]) + good[301:],
        "foreign": Path("x.npy").read_bytes(),
        "weights": saying(good, weights="0" * 16),
        "huge": saying(good, count=2**40),
        "sealed": saying(good, crc=1),
    }
    for name, content in bad.items():
        Path(f"{name}.zoo").write_bytes(content)
        told = zoo("decompress", f"{name}.zoo", "-o", "back.npy", "--quiet", code=1).stderr
        assert told.startswith("zoo: ")
        assert told.count("\n") == 1
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
        (["compress", "uniform", "high.npy", "-o", "y.zoo"], "from 0 to 16"),
        (["compress", "uniform", "between.npy", "-o", "y.zoo"], "from 0 to 16"),
        (["decompress", "nowhere.zoo", "-o", "y.npy"], "nowhere.zoo"),
        (["decompress", "x.npy", "-o", "y.png"], ".npy"),
    ],
)
def test_a_mistake_is_one_sentence(digits: Path, words: list[str], message: str) -> None:
    x = np.load("x.npy", allow_pickle=False)
    Path("torn.npy").write_bytes(Path("x.npy").read_bytes()[:200])
    np.save("other.npy", np.zeros((3, 5)))
    np.save("words.npy", np.array(["a", "b"]))
    np.save("high.npy", x + np.uint8(5))
    np.save("between.npy", x + 0.5)
    told = zoo(*words, "--quiet", code=2).stderr
    assert message in told
    assert told.count("\n") == 1
    assert not Path("y.zoo").exists()


def test_who_is_no_lossless_code_says_so_on_the_command_line(digits: Path) -> None:
    words = ["compress", "gan", "x.npy", "-o", "y.zoo", "--quiet", "--train", "steps=1"]
    assert "implicit" in zoo(*words, code=2).stderr
