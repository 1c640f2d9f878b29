"""Samples of scenarios that others built: dicts, or tuples as Avalanche has them, become the examples of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cl.streams.holdout import hold_out
from cl.streams.readers.hub import class_names
from cl.streams.readers.records import Jsonl
from cl.system.words import listed
from cl.types import Corpus, UserError

FORMS = (
    'A sample is {"text": …, "label": …} or {"tokens": […], "tags": […]}, or a tuple of the two values, with a task '
    "label behind them or without"
)


def corpus_of(name: str, samples: Mapping[str, Sequence[Any]]) -> Corpus:
    """The corpus of one experience, from the data set of each split. Where there is no valid split, a tenth of train
    becomes one.

    Raises `UserError` for samples that are neither texts with labels nor tokens with tags.
    """
    records = {
        split: [(f"{name}/{split}: sample {n}", _record(sample)) for n, sample in enumerate(each)]
        for split, each in samples.items()
    }
    first = next((record for _, record in records["train"]), None)
    is_token = isinstance(first, dict) and "tokens" in first
    reader = Jsonl(tokens="tokens") if is_token else Jsonl()  # a sample is a record like any other
    names, notes = _names(name, samples.values(), "tags" if is_token else "label"), list[str]()
    try:
        parsed = {split: reader.examples(each, names, notes) for split, each in records.items()}
    except UserError as error:
        raise UserError(f"{error} {FORMS}.") from error
    try:
        splits = reader.finish(parsed, notes)
    except UserError as error:
        raise UserError(
            f"experience {name} of the scenario: {error}. Samples give BIO tags: convert them there"
        ) from error
    corpus = Corpus(name, reader.kind, splits, tuple(f"{name}: {note}" for note in notes))
    return hold_out(corpus, {"valid": 0.1}, seed=0)


def _record(sample: Any) -> Any:
    """A sample as a record; numbers and lists that tensors hold are plain ones."""
    if isinstance(sample, tuple) and len(sample) in (2, 3):  # the third is a task label
        first, second = map(_plain, sample[:2])
        keys = ("tokens", "tags") if isinstance(first, list) else ("text", "label")
        return dict(zip(keys, (first, second), strict=True))
    return {key: _plain(value) for key, value in sample.items()} if isinstance(sample, Mapping) else sample


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _names(name: str, datasets: Any, column: str) -> list[str]:
    """The names of the classes, where the data sets inside those of Avalanche know them."""
    inner = (source for dataset in datasets for source in _sources(dataset))
    found = list(dict.fromkeys(tuple(names) for source in inner if (names := class_names(source, column))))
    if len(found) > 1:
        raise UserError(
            f"experience {name} of the scenario: its data sets name the classes differently ({listed(found)}). Give "
            "labels by name"
        )
    return list(found[0]) if found else []


def _sources(dataset: Any) -> Iterator[Any]:
    """A data set, and those that it is made of."""
    yield dataset
    for inner in (getattr(dataset, "_flat_data", None), *(getattr(dataset, "_datasets", None) or ())):
        if inner is not None:
            yield from _sources(inner)
