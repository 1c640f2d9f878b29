"""From files and hubs to a corpus, and from a corpus the examples that stand in two of its splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, combinations
from typing import Any

from cl.streams.readers import READERS, Reader
from cl.streams.readers.base import Part
from cl.streams.readers.files import files_at
from cl.streams.readers.tags import num_stray
from cl.system.words import did_you_mean, listed
from cl.types import SPLITS, Corpus, Examples, Kind, UserError

__all__ = ["READERS", "Reader", "num_stray_tags", "paths_of", "read_corpus", "split_overlap", "without_overlap"]

Source = str | Sequence[str] | Mapping[Any, str | Sequence[str]]  # the files of a split


def read_corpus(name: str, kind: Kind, reader: Reader, sources: Mapping[str, Source]) -> Corpus:
    """The corpus with the splits that `sources` names, `train` among them: a path each, a list of them, or a mapping
    to them. A pattern such as `part-*.csv` stands for all files that match.

    Raises `UserError` where the reader does, for an unknown or empty split, and for a reader of another kind.
    """
    for split in sources:
        if split not in SPLITS:
            raise UserError(
                f"corpus {name}: no split is called {split!r}, only {listed(SPLITS)}.{did_you_mean(split, SPLITS)}"
            )
    if "train" not in sources:
        raise UserError(f"corpus {name}: there is no train split. Add `train:` and its file.")
    parts = {split: _parts(f"corpus {name}: {split}", reader, source) for split, source in sources.items()}
    if other := {part.kind for of_split in parts.values() for part, _ in of_split} - {kind}:
        raise UserError(
            f"corpus {name} is of kind {kind!r}, but its format and options read {min(other)!r}. Correct `kind` or "
            "`format`: columns reads words with tags (token), lines reads texts with labels (sequence), and csv, json, "
            "jsonl and datasets read either: words with tags if the option `tokens` names the key that holds them."
        )
    notes: list[str] = []
    parsed = {split: _parsed(name, split, of_split, notes) for split, of_split in parts.items()}
    try:
        splits = parts["train"][0][0].finish(parsed, notes)
    except UserError as error:
        raise UserError(f"corpus {name}: {error}") from error
    return Corpus(name, kind, splits, tuple(f"{name}: {note}" for note in notes))


def paths_of(source: Source) -> list[str]:
    """The files that a split names, patterns replaced by what matches them."""
    if isinstance(source, Mapping):
        return [path for each in source.values() for path in paths_of(each)]
    return [path for each in ([source] if isinstance(source, str) else source) for path in files_at(each)]


def _parts(where: str, reader: Reader, source: Source) -> list[Part]:
    """The files of a split, each with what reads it."""
    if not isinstance(source, Mapping):
        return [(reader, path) for path in paths_of(source)]
    if flags := [key for key in source if isinstance(key, bool)]:  # YAML reads a bare no, yes, on and off so
        raise UserError(f"{where}: a label is {str(flags[0]).lower()}, which is no name: put it in quotes.")
    try:
        return reader.of_mapping({str(key): paths_of(each) for key, each in source.items()})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _parsed(name: str, split: str, parts: Sequence[Part], notes: list[str]) -> Examples:
    """The examples of a split's files, one file after another."""
    of_split: list[str] = []
    found = []
    for reader, path in parts:
        of_file: list[str] = []
        found.append(_parsed_file(reader, path, of_file))
        if len(parts) > 1:
            of_file = [f"{path}: {note}" for note in of_file or ["no examples in it"] * (not len(found[-1]))]
        of_split += of_file
    if not any(map(len, found)):
        dropped = f" ({'; '.join(of_split)})" if of_split else ""
        paths = ", ".join(path for _, path in parts)
        raise UserError(
            f"{paths}: no examples in it, for split {split!r} of corpus {name}{dropped}. Check the file and its "
            "options."
        )
    notes += [f"{split}: {note}" for note in of_split]
    inputs = list(chain.from_iterable(each.inputs for each in found))
    return Examples(inputs, list(chain.from_iterable(each.labels for each in found)))


def _parsed_file(reader: Reader, path: str, notes: list[str]) -> Examples:
    try:
        return reader.parse(path, notes)
    except UserError as error:  # not all of them are about a line
        raise error if str(error).startswith(path) else UserError(f"{path}: {error}") from error


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
