"""From files and hubs to a corpus, and from a corpus the examples that stand in two of its splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from cl.streams.readers import READERS, Reader
from cl.streams.readers.tags import num_stray
from cl.system.words import did_you_mean, listed
from cl.types import SPLITS, Corpus, Examples, Kind, UserError

__all__ = ["READERS", "Reader", "num_stray_tags", "read_corpus", "split_overlap", "without_overlap"]


def read_corpus(name: str, kind: Kind, reader: Reader, paths: dict[str, str]) -> Corpus:
    """The corpus with the splits that `paths` names, `train` among them.

    Raises `UserError` where the reader does, for an unknown or empty split, and for a reader of another kind.
    """
    for split in paths:
        if split not in SPLITS:
            raise UserError(
                f"corpus {name}: no split is called {split!r}, only {listed(SPLITS)}.{did_you_mean(split, SPLITS)}"
            )
    if "train" not in paths:
        raise UserError(f"corpus {name}: there is no train split. Add `train:` and its file.")
    if reader.kind != kind:
        raise UserError(
            f"corpus {name} is of kind {kind!r}, but its format and options read {reader.kind!r}. Correct `kind` or "
            "`format`: columns reads words with tags (token), csv and tsv read texts with labels (sequence), and json, "
            "jsonl and datasets read either: words with tags if the option `tokens` names the key that holds them."
        )
    notes: list[str] = []
    parsed = {split: _parsed(name, split, reader, path, notes) for split, path in paths.items()}
    try:
        splits = reader.finish(parsed, notes)
    except UserError as error:
        raise UserError(f"corpus {name}: {error}") from error
    return Corpus(name, kind, splits, tuple(f"{name}: {note}" for note in notes))


def _parsed(name: str, split: str, reader: Reader, path: str, notes: list[str]) -> Examples:
    of_split: list[str] = []
    try:
        examples = reader.parse(path, of_split)
    except UserError as error:  # not all of them are about a line
        raise error if str(error).startswith(path) else UserError(f"{path}: {error}") from error
    if not len(examples):
        dropped = f" ({'; '.join(of_split)})" if of_split else ""
        raise UserError(
            f"{path}: no examples in it, for split {split!r} of corpus {name}{dropped}. Check the file and its options."
        )
    notes += [f"{split}: {note}" for note in of_split]
    return examples


def split_overlap(corpus: Corpus) -> dict[tuple[str, str], int]:
    """`{("test", "train"): 169}`: how many inputs of a split also stand in an earlier one, where any do."""
    keys = {name: _keys(corpus.splits[name], corpus.kind) for name in SPLITS if name in corpus.splits}
    known = {name: set(each) for name, each in keys.items()}
    # A split that stands in for another (validation for test, while options are chosen) overlaps by intent.
    pairs = [(a, b) for a, b in combinations(keys, 2) if corpus.splits[a] is not corpus.splits[b]]
    counts = {(later, earlier): sum(key in known[earlier] for key in keys[later]) for earlier, later in pairs}
    return {pair: count for pair, count in counts.items() if count}


def leaks(corpora: Sequence[Corpus]) -> tuple[int, dict[tuple[int, int], int]]:
    """How many test inputs stand in train of another corpus, and by pair.

    `{(0, 2): 5}`: five of the first corpus stand in train of the third.
    """
    trained: dict[Hashable, list[int]] = {}
    for number, corpus in enumerate(corpora):
        for key in set(_keys(corpus.splits["train"], corpus.kind)):
            trained.setdefault(key, []).append(number)
    total, pairs = 0, Counter[tuple[int, int]]()
    for number, corpus in enumerate(corpora):
        if "test" in corpus.splits:
            for key in _keys(corpus.splits["test"], corpus.kind):
                others = [other for other in trained.get(key, ()) if other != number]
                total += bool(others)
                pairs.update((number, other) for other in others)
    return total, dict(pairs)


def without_overlap(corpora: Sequence[Corpus]) -> list[Corpus]:
    """The corpora with no test input of any of them in train or valid, and no valid input in train of its own corpus.

    Test splits stay whole. What is dropped is counted in the notes.
    """
    tests = {key for corpus in corpora for key in _keys(corpus.splits.get("test", Examples([], [])), corpus.kind)}
    return [_without(corpus, tests) for corpus in corpora]


def _without(corpus: Corpus, tests: set[Hashable]) -> Corpus:
    splits, notes, seen = dict(corpus.splits), list(corpus.notes), set(tests)
    for name in ("valid", "train"):
        if name not in splits:
            continue
        examples, keys = splits[name], _keys(splits[name], corpus.kind)
        keep = [i for i, key in enumerate(keys) if key not in seen]
        if keys and not keep:
            raise UserError(f"corpus {corpus.name}: all of {name} stands in other splits too. Check its files.")
        if len(keep) < len(keys):
            notes.append(
                f"{corpus.name}: {len(keys) - len(keep)} of {len(keys)} {name} examples are dropped, as "
                "stream.drop_overlap says: they stand in a test split" + (" or in valid" if name == "train" else "")
            )
            splits[name] = examples.at(keep)
        seen.update(keys)
    return replace(corpus, splits=splits, notes=tuple(notes))


def num_stray_tags(examples: Examples) -> int:
    """How many I- tags of an NER split continue no entity of their type: read as they are, but never scored."""
    return num_stray(examples.labels)


def _keys(examples: Examples, kind: Kind) -> list[Hashable]:
    return [key_of(source, kind) for source in examples.inputs]


def key_of(source: Any, kind: Kind) -> Hashable:
    """What tells an input from others: a text, or the words of a sentence."""
    return tuple(source) if kind == "token" else source
