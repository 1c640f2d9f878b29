"""What a file of JSON holds: a list of records, records under ids, columns, or values one after another."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cl.streams.readers.base import Column
from cl.system.words import did_you_mean, listed
from cl.types import UserError

Located = tuple[str, Any]  # where a record stands, and the record
SPACE = re.compile("[ \\t\\r\\n\\ufeff]*")


def values_in(text: str, path: str) -> list[Any]:
    """The JSON values that stand in a text one after another: most often one, or one a line."""
    decoder, values, position = json.JSONDecoder(), [], _after_space(text, 0)
    while position < len(text):
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            at = getattr(error, "pos", position)
            place = f"{path}:{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"
            raise UserError(
                f"{place}: no JSON: {no_json(error)}. Correct the file; one with a record a line is read by `jsonl`."
            ) from None
        values.append(value)
        position = _after_space(text, end)
    return values


def no_json(error: ValueError | RecursionError) -> str:
    """Why a text is no JSON that can be read: mistaken, a number too long, nested too deep."""
    return "nested too deep" if isinstance(error, RecursionError) else str(getattr(error, "msg", error))


def _after_space(text: str, position: int) -> int:
    found = SPACE.match(text, position)
    return found.end() if found else position


def records_in(value: Any, keys: Sequence[Column], path: str) -> Iterator[Located]:
    """The records of a JSON value: of a list, under ids (`{"a1": {…}}`), or in columns (`{"text": […], "label": […]}`).

    `keys`: those that a record has. Raises `UserError` for a value that is none of these.
    """
    if isinstance(value, Mapping) and value:
        if all(isinstance(value.get(key), list | Mapping) for key in keys):
            value = _rows(value, keys, path)
        elif all(isinstance(record, Mapping) for record in value.values()):
            yield from ((f"{path}: record {name!r}", record) for name, record in value.items())
            return
    if not isinstance(value, list):
        inside = f" with the keys {listed(value)}" if isinstance(value, Mapping) else ""
        raise UserError(
            f"{path}: a {type(value).__name__}{inside}, not a list of records. Name a key: `{path.partition('#')[0]}"
            "#key`."
        )
    yield from ((f"{path}: record {number}", record) for number, record in enumerate(value, 1))


def _rows(columns: Mapping[Any, Any], keys: Sequence[Column], path: str) -> list[dict[Any, Any]]:
    """Columns as lists, or as pandas writes them, `{"text": {"0": …}}`, to records. Others than of these rows are no
    columns.
    """
    index = {key: _index(columns[key]) for key in keys}
    if len(set(index.values())) > 1:
        sizes = ", ".join(f"{key!r} {len(columns[key])}" for key in keys)
        raise UserError(f"{path}: the columns have different rows ({sizes}). Correct the file.")
    named = {key: column for key, column in columns.items() if _index(column) in index.values()}
    lists = [column.values() if isinstance(column, Mapping) else column for column in named.values()]
    return [dict(zip(named, row, strict=True)) for row in zip(*lists, strict=True)]


def _index(column: Any) -> object:
    """What tells the rows of a column."""
    return tuple(column) if isinstance(column, Mapping) else len(column) if isinstance(column, list) else None


def value_of(record: Any, key: Column, where: str) -> Any:
    """The record's value under that key, or at that position; `data.text` and `choices.0` go deeper."""
    if isinstance(record, Mapping):
        if key in record:
            return record[key]
        first, dot, rest = str(key).partition(".")
        if dot and first in record:  # `data.text`: deeper
            return value_of(record[first], int(rest) if rest.isdecimal() else rest, where)
        raise UserError(f"{where}: no key {key!r}; there are {listed(record)}.{did_you_mean(key, record)}")
    if isinstance(record, list) and isinstance(key, str) and key.partition(".")[0].isdecimal():
        first, _, rest = key.partition(".")
        return value_of(value_of(record, int(first), where), rest, where)
    if isinstance(record, list) and isinstance(key, int) and -len(record) <= key < len(record):
        return record[key]
    size = f" of {len(record)}" if isinstance(record, list) else ""
    raise UserError(
        f"{where}: a {type(record).__name__}{size} has no {key!r}. Check the keys, or for lists, positions."
    )
