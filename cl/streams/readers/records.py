"""Records: JSON and what is shaped like it, with a text and a label each, or tokens and tags."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cl.streams.readers.base import (
    Column,
    LabelledText,
    Reader,
    TextFile,
    as_column,
    as_columns,
    as_text,
    check_labels,
    labelled_texts,
    split_path,
    text_columns,
)
from cl.streams.readers.tags import Scheme, Tags, as_bio
from cl.system.words import did_you_mean, listed, quoted
from cl.types import Examples, Kind, UserError

Located = tuple[str, Any]  # where a record stands, and the record


@dataclass
class Records(Reader):
    """What readers of records share. Records are read as sentences if `tokens` is set, as texts otherwise.

    text, label: keys, or positions where a record is a list. A list of text keys is joined by spaces.
    pair: the two text keys are a pair, such as premise and hypothesis, and encoded as the tokenizer encodes pairs.
    tokens, tags: keys of the lists of tokens and their tags; a record without tokens is passed over.
    names: what integer labels or tags stand for, from 0.
    scheme, entity: of the tags, as for `columns`.
    labels: new names of the labels, or of the entity types; null drops a label's examples, or makes a type O; one that
        is not in it is an error.
    skip_empty: pass over examples with an empty text, which are errors otherwise.
    """

    text: Any = "text"
    label: Any = "label"
    pair: bool = False
    tokens: str | None = None
    tags: str = "tags"
    names: list[str] = field(default_factory=list)
    scheme: Scheme = "auto"
    entity: str | None = None
    labels: dict[Any, Any] = field(default_factory=dict)
    skip_empty: bool = False

    @property
    def kind(self) -> Kind:
        return "sequence" if self.tokens is None else "token"

    def examples(self, records: Iterable[Located], names: list[str], notes: list[str]) -> Examples:
        """Records as examples, with tags as they are written; integer labels and tags are places in `names`."""
        if self.tokens is not None:
            if self.pair:
                raise UserError("`pair` is for texts, and `tokens` reads sentences. Drop one of them.")
            return self._tagged(records, self.tokens, names, notes)
        if as_column(self.label, "label") in as_columns(self.text):
            raise UserError(f"the text and the label are one key ({self.label!r}). Correct `text` or `label`.")
        return labelled_texts(self._labelled(records, names), self.labels, self.skip_empty, notes)

    def finish(self, splits: dict[str, Examples], notes: list[str]) -> dict[str, Examples]:
        """The same examples, tags in BIO."""
        if self.tokens is not None:
            return as_bio(splits, self.scheme, self.labels, notes)
        if not self.labels:
            check_labels(splits, notes)
        return splits

    def _labelled(self, records: Iterable[Located], names: list[str]) -> Iterator[LabelledText]:
        for where, record in records:
            texts = [value_of(record, key, where) for key in text_columns(self.text, self.pair)]
            for text in texts:
                if not isinstance(text, str | None):
                    raise UserError(
                        f"{where}: the text is a {type(text).__name__}, not a string. Check the `text` option; lists "
                        "of tokens are read with `tokens` and `tags`."
                    )
            label = value_of(record, self.label, where)
            yield where, as_text([text or "" for text in texts], self.pair), label_name(label, names, where)

    def _tagged(self, records: Iterable[Located], key: str, names: list[str], notes: list[str]) -> Examples:
        if key == self.tags:
            raise UserError(f"the tokens and the tags are one key ({key!r}). Correct `tokens` or `tags`.")
        parser = Tags(self.scheme, self.entity, self.labels)
        inputs, labels, empty = [], [], 0
        for where, record in records:
            tokens, tags = list_of(record, key, where), list_of(record, self.tags, where)
            if len(tokens) != len(tags):
                raise UserError(f"{where}: {len(tokens)} token(s) but {len(tags)} tag(s). Correct the record.")
            if not tokens:
                empty += 1
                continue
            inputs.append([_word(token, where) for token in tokens])
            labels.append([parser.parse(label_name(tag, names, where), where) for tag in tags])
        notes += [f"{empty} records without tokens are passed over"] if empty else []
        return Examples(inputs, labels)


@dataclass
class Jsonl(Records, TextFile):
    """JSON lines: a record a line; blank lines are skipped."""

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Texts with labels, or tokens with tags."""
        return self.examples(self._records(path), self.names, notes)

    def _records(self, path: str) -> Iterator[Located]:
        for number, line in enumerate(self.lines(path), 1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(
                        f"{path}:{number}:{error.colno}: no JSON: {error.msg}. Each line must hold one record; a file "
                        "that is one list of records is read by `json`."
                    ) from None


@dataclass
class Json(Records, TextFile):
    """One JSON value: a list of records. `data.json#train` reads the list under the key `train`, `#a.b` deeper."""

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Texts with labels, or tokens with tags. Errors number the records of the list from 1."""
        source, keys = split_path(path)
        text = self.content(source)
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{source}:{error.lineno}:{error.colno}: no JSON: {error.msg}. Correct the file; one with a record a "
                "line is read by `jsonl`."
            ) from None
        for key in keys.split(".") if keys else []:
            value = value_of(value, key, path)
        if not isinstance(value, list):
            inside = f" with the keys {listed(value)}" if isinstance(value, Mapping) else ""
            raise UserError(
                f"{path}: a {type(value).__name__}{inside}, not a list of records. Name a key: `{source}#key`."
            )
        return self.examples(((f"{path}: record {n}", record) for n, record in enumerate(value, 1)), self.names, notes)


def value_of(record: Any, key: Column, where: str) -> Any:
    """The record's value under that key, or at that position."""
    if isinstance(record, Mapping):
        if key in record:
            return record[key]
        raise UserError(f"{where}: no key {key!r}; there are {listed(record)}.{did_you_mean(key, record)}")
    if isinstance(record, list) and isinstance(key, int) and -len(record) <= key < len(record):
        return record[key]
    size = f" of {len(record)}" if isinstance(record, list) else ""
    raise UserError(
        f"{where}: a {type(record).__name__}{size} has no {key!r}. Check the keys, or for lists, positions."
    )


def list_of(record: Any, key: str, where: str) -> list[Any]:
    """The record's list under that key."""
    value = value_of(record, key, where)
    if isinstance(value, list):
        return value
    raise UserError(f"{where}: {key!r} is a {type(value).__name__}, not a list. Check the `tokens` and `tags` options.")


def _word(token: Any, where: str) -> str:
    """A token as a string. A number is one; what is empty or several is none."""
    if isinstance(token, bool) or not isinstance(token, str | int | float):
        raise UserError(f"{where}: the token {quoted(token)} is no string. Correct the record, or check `tokens`.")
    return str(token)


def label_name(value: Any, names: list[str], where: str) -> str:
    """A label as a string: a whole number by its name in `names`, if there are any."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: the label is {value}, which is no class. Remove the record, or name its class.")
    if names:
        return _name_of(value, names, where)
    if isinstance(value, bool):
        return str(value).lower()  # as JSON writes it
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list | dict):
        raise UserError(f"{where}: {quoted(value)} are several labels of one example, which is not supported.")
    raise UserError(f"{where}: the label is {value!r}, neither a string nor a number. Check the option that names it.")


def _name_of(value: Any, names: list[str], where: str) -> str:
    """The name of a number, or a name itself."""
    if value in names:
        return str(value)
    if isinstance(value, int | float) and int(value) == value:
        if 0 <= value < len(names):
            return names[int(value)]
        raise UserError(f"{where}: label {value} has no name: there are {len(names)}, from 0. Is this split labelled?")
    raise UserError(f"{where}: label {quoted(value)} is neither one of `names` ({listed(names)}) nor a number of one.")
