"""Texts and labels in the columns of a line: comma and tab separated files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from cl.streams.readers.base import (
    Column,
    LabelledText,
    TextFile,
    as_column,
    as_columns,
    as_text,
    check_labels,
    labelled_texts,
    text_columns,
)
from cl.system.words import did_you_mean, listed
from cl.types import Examples, Kind, UserError

LARGEST_FIELD = 2**31 - 1  # the csv module's own limit, 128 KiB, is less than a long review; this fits any C long


@dataclass
class Csv(TextFile):
    """A text and a label a line, in columns; blank lines are skipped, surrounding whitespace is dropped.

    text, label: a column's name in the header line, or its number from 0. A list of text columns is joined by spaces.
    pair: the two text columns are a pair, such as premise and hypothesis, and encoded as the tokenizer encodes pairs.
    header: whether the first line names the columns. None: it does if `text` or `label` is a name.
    delimiter: what separates columns, one character where there is quoting.
    quoting: fields may be quoted as CSV has it, and then hold delimiters, line ends and doubled quotes.
    columns: how many columns a line has; the last one takes the rest of the line, delimiters and all.
        None: as many as the first line.
    labels: new names of the labels; null drops the examples with a label, one that is not in it is an error.
    skip_empty: pass over examples with an empty text, which are errors otherwise.
    """

    text: Any = "text"
    label: Any = "label"
    pair: bool = False
    header: bool | None = None
    delimiter: str = ","
    quoting: bool = True
    columns: int | None = None
    labels: dict[Any, Any] = field(default_factory=dict)
    skip_empty: bool = False

    @property
    def kind(self) -> Kind:
        return "sequence"

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Texts with their labels."""
        return labelled_texts(self._labelled(path), self.labels, self.skip_empty, notes)

    def finish(self, splits: dict[str, Examples], notes: list[str]) -> dict[str, Examples]:
        """The same examples."""
        if not self.labels:
            check_labels(splits, notes)
        return splits

    def _labelled(self, path: str) -> Iterator[LabelledText]:
        if self.columns is not None and self.columns < 2:
            raise UserError(f"`columns` is {self.columns}: a line needs two at least, a text and a label.")
        rows = self._rows(path)
        first = next(rows, None)
        if first is None:
            return
        start, header = first
        where = f"{path}:{start}"
        text = [self._index(column, header, where) for column in text_columns(self.text, self.pair)]
        label = self._index(as_column(self.label, "label"), header, where)
        if label % len(header) in [index % len(header) for index in text]:
            raise UserError(f"{where}: the text and the label are one column ({label}). Correct `text` or `label`.")
        if not self._has_header():
            rows = chain([first], rows)
        for line, row in rows:
            if len(row) != len(header):
                raise UserError(
                    f"{path}:{line}: {len(row)} column(s), but line {start} has {len(header)}. Correct the line, check "
                    "`delimiter` and `quoting`, or set `columns` where the last one may hold delimiters."
                )
            yield f"{path}:{line}", as_text([row[i] for i in text], self.pair), row[label]

    def _rows(self, path: str) -> Iterator[tuple[int, list[str]]]:
        """The number of the line a row starts at, and its fields."""
        for line, row in self._quoted(path) if self.quoting else self._plain(path):
            if any(cell.strip() for cell in row):
                if self.columns is not None and len(row) > self.columns:
                    row[self.columns - 1 :] = [self.delimiter.join(row[self.columns - 1 :])]
                yield line, row

    def _plain(self, path: str) -> Iterator[tuple[int, list[str]]]:
        if not self.delimiter:
            raise UserError(r"`delimiter` is empty. Name what separates the columns, for example `delimiter: '\t'`.")
        for number, line in enumerate(self.lines(path), 1):
            yield number, line.split(self.delimiter)

    def _quoted(self, path: str) -> Iterator[tuple[int, list[str]]]:
        if len(self.delimiter) != 1:
            raise UserError(f"`delimiter` {self.delimiter!r} is not one character: with it, set `quoting: false`.")
        csv.field_size_limit(LARGEST_FIELD)
        # Strict, so that an unclosed quote is an error instead of swallowing the lines after it.
        reader = csv.reader((line + "\n" for line in self.lines(path)), delimiter=self.delimiter, strict=True)
        start = 1
        try:
            for row in reader:
                yield start, row
                start = reader.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"{path}:{start}: the row that starts here is no CSV: {error}. "
                "Correct its quotes, or set `quoting: false`."
            ) from None

    def _has_header(self) -> bool:
        named = any(isinstance(column, str) for column in [*as_columns(self.text), as_column(self.label, "label")])
        return named if self.header is None else self.header

    def _index(self, column: Column, header: list[str], where: str) -> int:
        if isinstance(column, str):
            names = [name.strip() for name in header]
            if names.count(column) > 1:
                raise UserError(f"{where}: {names.count(column)} columns are named {column!r}. Give one by its number.")
            if column in names and self._has_header():
                return names.index(column)
            raise UserError(
                f"{where}: no column is named {column!r}; the line has {listed(names)}.{did_you_mean(column, names)} "
                "In a file without a header line, give columns by number: `text: 0`, `label: 1`."
            )
        if not -len(header) <= column < len(header):
            tabs = len(header) == 1 and "\t" in header[0]
            raise UserError(
                f"{where}: {len(header)} column(s), so there is no column {column}. They count from 0."
                + (" The line holds tabs: take `format: tsv`." if tabs else f" The line has {listed(header)}.")
            )
        return column


@dataclass
class Tsv(Csv):
    """As `csv`, but separated by tabs, and quotation marks are text."""

    delimiter: str = "\t"
    quoting: bool = False
