"""Records: JSON and what is shaped like it, with a text and a label each, or tokens and tags."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from cl.streams.readers.base import Column, as_column, as_columns
from cl.streams.readers.files import TextFile, split_path
from cl.streams.readers.json_values import Located, no_json, records_in, value_of, values_in
from cl.streams.readers.labelled import Labelled, Lists
from cl.streams.readers.labels import LabelledText, Where, as_text, label_name
from cl.types import Examples, UserError


@dataclass
class Records(Labelled):
    """Records are read as sentences if `tokens` is set, as texts otherwise."""

    def examples(self, records: Iterable[Located], names: list[str], notes: list[str]) -> Examples:
        """Records as examples, with tags as they are written; integer labels and tags are places in `names`."""
        where = Where(self.where)
        kept = ((at, record) for at, record in records if where.keeps(lambda key: value_of(record, key, at)))  # noqa: B023
        if self.tokens is not None:
            return self._sentences(self._lists(kept), names, where, notes)
        if as_column(self.label, "label") in as_columns(self.text):
            raise UserError(f"the text and the label are one key ({self.label!r}). Correct `text` or `label`.")
        return self._texts(self._labelled(kept, names), where, notes)

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Texts with labels, or tokens with tags."""
        records, names = self._located(path)
        return self.examples(records, names, notes)

    def values(self, path: str, column: Any) -> list[str]:
        """The different values of a key, in file order, of the records that are read."""
        where, found, column = Where(self.where), dict[str, None](), as_column(column, "each")
        for at, record in self._located(path)[0]:
            if where.keeps(lambda key: value_of(record, key, at)):  # noqa: B023
                found[as_text(value_of(record, column, at))] = None
        return list(found)

    @abstractmethod
    def _located(self, path: str) -> tuple[Iterable[Located], list[str]]:
        """The records at a path, and the names of integer labels."""

    def _keys(self) -> list[Column]:
        """The keys that a record needs."""
        if self.tokens is None:
            named = [*as_columns(self.text), as_column(self.label, "label")]
        else:
            named = [as_column(self.tokens, "tokens"), as_column(self.tags, "tags")]
        return list(dict.fromkeys([*named, *self.where]))

    def _labelled(self, records: Iterable[Located], names: list[str]) -> Iterator[LabelledText]:
        for where, record in records:
            texts = [value_of(record, key, where) for key in self.text_columns()]
            for text in texts:
                if not isinstance(text, str | None):
                    raise UserError(
                        f"{where}: the text is a {type(text).__name__}, not a string. Check the `text` option; lists "
                        "of tokens are read with `tokens` and `tags`."
                    )
            label = value_of(record, self.label, where)
            yield where, self.text_of([text or "" for text in texts]), label_name(label, names, where)

    def _lists(self, records: Iterable[Located]) -> Iterator[Lists]:
        tokens, tags = as_column(self.tokens, "tokens"), as_column(self.tags, "tags")
        if tokens == tags:
            raise UserError(f"the tokens and the tags are one key ({tokens!r}). Correct `tokens` or `tags`.")
        for where, record in records:
            yield where, _list_of(record, tokens, where), _list_of(record, tags, where)


@dataclass
class Jsonl(Records, TextFile):
    """JSON lines: a record a line; blank lines are skipped."""

    example: ClassVar[str] = (
        "{name: shop, kind: sequence, format: jsonl, text: review, label: stars, train: shop.jsonl}"
    )

    def _located(self, path: str) -> tuple[Iterable[Located], list[str]]:
        return self._records(path), self.names

    def _records(self, path: str) -> Iterator[Located]:
        for number, line in enumerate(self.lines(path), 1):
            if line.strip():
                try:
                    yield f"{path}:{number}", json.loads(line)
                except (ValueError, RecursionError) as error:
                    column = f":{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
                    raise UserError(
                        f"{path}:{number}{column}: no JSON: {no_json(error)}. Each line must hold one record; a file "
                        "that is one list of records, or has records over several lines, is read by `json`."
                    ) from None


@dataclass
class Json(Records, TextFile):
    """One file of JSON: a list of records, records under ids (`{"a1": {…}}`), columns (`{"text": […], "label": […]}`,
    also as pandas writes them), or values one after another. `data.json#train` reads what is under the key `train`,
    `#a.b` deeper. Errors number the records from 1.
    """

    example: ClassVar[str] = '{name: desk, kind: sequence, format: json, label: intent, train: "desk.json#train"}'

    def _located(self, path: str) -> tuple[Iterable[Located], list[str]]:
        return records_in(json_at(self, path), self._keys(), path), self.names


def json_at(file: TextFile, path: str) -> Any:
    """What stands in a file of JSON under the keys after `#`. Several values are a list of them."""
    source, keys = split_path(path)
    values = values_in(file.content(source), source)
    value = values[0] if len(values) == 1 else values
    for key in keys.split(".") if keys else []:
        value = value_of(value, key, path)
    return value


def _list_of(record: Any, key: Column, where: str) -> list[Any]:
    """The record's list under that key."""
    value = value_of(record, key, where)
    if isinstance(value, list):
        return value
    raise UserError(f"{where}: {key!r} is a {type(value).__name__}, not a list. Check the `tokens` and `tags` options.")
