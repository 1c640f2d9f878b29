"""Texts to be predicted, from a file: a text a line, or JSON lines with `text` or `tokens`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from cl.system.words import listed
from cl.types import Pair, UserError

log = logging.getLogger(__name__)


def read_inputs(file: Path) -> Iterator[str | Pair | list[str]]:
    """The texts, pairs of texts and lists of words in a file, `-` for standard input, line by line.

    Lines are JSON records where the file's name ends with `.jsonl`, and in standard input where the first one begins
    with `{`. Blank lines are passed over, and counted in a warning. Raises `UserError` with file and line.
    """
    if file.suffix in (".csv", ".tsv", ".json"):
        raise UserError(
            f"{file}: tables and lists are not read here: give a text a line, or a .jsonl file of records with `text` "
            "or `tokens`"
        )
    given = str(file) == "-"
    name = "standard input" if given else str(file)
    try:
        with open(sys.stdin.fileno() if given else file, encoding="utf-8-sig", closefd=not given) as lines:
            yield from _parsed(name, lines, None if given else file.suffix == ".jsonl")
    except OSError as error:
        raise UserError(f"{file}: cannot read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is no UTF-8 text ({error.reason}): convert it first") from error


def _parsed(name: str, lines: Iterable[str], records: bool | None) -> Iterator[str | Pair | list[str]]:
    num_blank = 0
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            num_blank += 1
            continue
        records = text.startswith("{") if records is None else records
        yield _of_record(text, f"{name}:{number}") if records else text
    if num_blank:
        log.warning("%s: blank lines have no answer, and are passed over: %d", name, num_blank)


def _of_record(line: str, where: str) -> str | Pair | list[str]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'{where}: no JSON ({error}). Each line holds a record, such as {{"text": "so good"}}'
        ) from error
    given = [key for key in ("text", "tokens") if isinstance(record, dict) and key in record]
    if len(given) != 1:
        found = f"the keys {listed(record)}" if isinstance(record, dict) else f"a {type(record).__name__}"
        raise UserError(f"{where}: holds {found}: give a record with either `text` or `tokens`")
    value = record[given[0]]
    if given == ["text"] and isinstance(value, list) and len(value) == 2 and all(map(_is_text, value)):
        return Pair(*value)
    if given == ["text"]:
        if not _is_text(value):
            raise UserError(f"{where}: `text` is {value!r}: give a string that is not blank, or a pair of them")
        return str(value)
    if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
        raise UserError(f"{where}: `tokens` is {value!r}: give a list of at least one string")
    return value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
