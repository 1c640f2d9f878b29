"""Texts with labels, or words with tags, in the columns of a line: comma and tab separated files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any, ClassVar

from cl.streams.readers.base import Column, as_column, as_columns
from cl.streams.readers.files import TextFile
from cl.streams.readers.labelled import Labelled, Lists
from cl.streams.readers.labels import LabelledText, Where, as_text, label_name
from cl.streams.readers.lists import list_in
from cl.streams.readers.sentences import Word
from cl.system.words import did_you_mean, listed
from cl.types import Examples, UserError

LARGEST_FIELD = 2**31 - 1  # the csv module's own limit, 128 KiB, is less than a long review; this fits any C long
Located = tuple[str, list[str]]  # where a row stands, and its fields


@dataclass
class Csv(Labelled, TextFile):
    """A text and a label a line, in columns; blank lines are skipped, surrounding whitespace is dropped.

    With `tokens` each line has a list of words and a list of their tags, as JSON, Python or numpy prints lists, or
    words separated by spaces. With `sentence` too, each line has one word and its tag.

    sentence: the column with the number of a word's sentence, on each line of it or on its first one only. Neighbouring
        lines with one number are one sentence.
    header: whether the first line names the columns. Null: it does if an option names a column.
    delimiter: what separates columns, one character where there is quoting.
    quoting: fields may be quoted as CSV has it, and then hold delimiters, line ends and doubled quotes.
    columns: how many columns a line has; the last one takes the rest of the line, delimiters and all.
        Null: as many as the first line.
    """

    sentence: Any = None
    header: bool | None = None
    delimiter: str = ","
    quoting: bool = True
    columns: int | None = None

    example: ClassVar[str] = "{name: shop, kind: sequence, format: csv, text: review, label: stars, train: shop.csv}"

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Texts with their labels, or sentences with their tags."""
        where = Where(self.where)
        if self.tokens is None:
            return self._texts(self._labelled(path, where), where, notes)
        if self.sentence is None:
            return self._sentences(self._lists(path, where), self.names, where, notes)
        examples = self.sentences(self._words(path, where), notes)
        where.tell(notes)
        return examples

    def values(self, path: str, column: Any) -> list[str]:
        """The different values of a column, in file order, of the rows that are read."""
        if self.header is None and isinstance(as_column(column, "each"), str):
            return replace(self, header=True).values(path, column)
        start, header, rows = self._table(path, Where(self.where))
        index = self._index(column, header, start) if header else 0
        return list(dict.fromkeys(as_text(row[index]) for _, row in rows))

    def _labelled(self, path: str, where: Where) -> Iterator[LabelledText]:
        if self.sentence is not None:
            raise UserError("`sentence` is for words: name their column by `tokens`, and that of their tags by `tags`.")
        start, header, rows = self._table(path, where)
        if not header:
            return
        text = [self._index(column, header, start) for column in self.text_columns()]
        label = self._index(as_column(self.label, "label"), header, start)
        if label % len(header) in [index % len(header) for index in text]:
            raise UserError(f"{start}: the text and the label are one column ({label}). Correct `text` or `label`.")
        for at, row in rows:
            name = label_name(row[label].strip(), self.names, at) if self.names else row[label]
            yield at, self.text_of([row[i] for i in text]), name

    def _lists(self, path: str, where: Where) -> Iterator[Lists]:
        """The lists of words and tags, one of each a row."""
        start, header, rows = self._table(path, where)
        if header:
            tokens, tags = self._indices(header, start)
            yield from ((at, list_in(row[tokens], at), list_in(row[tags], at)) for at, row in rows)

    def _words(self, path: str, where: Where) -> Iterator[list[Word]]:
        """The words of each sentence, one a row."""
        start, header, rows = self._table(path, where)
        if not header:
            return
        tokens, tags = self._indices(header, start)
        number = self._index(as_column(self.sentence, "sentence"), header, start)
        for _, group in groupby(_numbered(rows, number), key=lambda each: each[0]):
            yield [(at, row[tokens].strip(), label_name(row[tags].strip(), self.names, at)) for _, at, row in group]

    def _indices(self, header: list[str], start: str) -> tuple[int, int]:
        """The columns of the words and of their tags."""
        tokens = self._index(as_column(self.tokens, "tokens"), header, start)
        tags = self._index(as_column(self.tags, "tags"), header, start)
        if tokens % len(header) == tags % len(header):
            raise UserError(f"{start}: the tokens and the tags are one column ({tags}). Correct `tokens` or `tags`.")
        return tokens, tags

    def _table(self, path: str, where: Where) -> tuple[str, list[str], Iterator[Located]]:
        """Where the first line stands, its fields (none in an empty file), and the rows that are read."""
        if self.columns is not None and self.columns < 2:
            raise UserError(f"`columns` is {self.columns}: a line needs two at least, a text and a label.")
        rows = self._rows(path)
        first = next(rows, None)
        if first is None:
            return path, [], iter(())
        return f"{path}:{first[0]}", first[1], self._kept(path, first, rows, where)

    def _kept(
        self, path: str, first: tuple[int, list[str]], rows: Iterator[tuple[int, list[str]]], where: Where
    ) -> Iterator[Located]:
        start, header = first
        index = {column: self._index(as_column(column, "where"), header, f"{path}:{start}") for column in where.values}
        for line, row in rows if self._has_header() else chain([first], rows):
            if len(row) != len(header):
                raise UserError(
                    f"{path}:{line}: {len(row)} column(s), but line {start} has {len(header)}. Correct the line, check "
                    "`delimiter` and `quoting`, or set `columns` where the last one may hold delimiters."
                )
            if where.keeps(lambda column: row[index[column]]):  # noqa: B023
                yield f"{path}:{line}", row

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
        if self.header is not None:
            return self.header
        if self.tokens is not None:
            columns = [self.tokens, self.tags, self.sentence]
        else:
            columns = [*as_columns(self.text), as_column(self.label, "label")]
        return any(isinstance(column, str) for column in [*columns, *self.where])

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


def _numbered(rows: Iterator[Located], column: int) -> Iterator[tuple[str, str, list[str]]]:
    """Rows of words, each with the number of its sentence: its own, or the last one that was given."""
    number = ""
    for at, row in rows:
        number = row[column].strip() or number
        yield number, at, row


@dataclass
class Tsv(Csv):
    """As `csv`, but separated by tabs, and quotation marks are text."""

    delimiter: str = "\t"
    quoting: bool = False

    example: ClassVar[str] = "{name: shop, kind: sequence, format: tsv, text: 0, label: 1, train: shop.tsv}"
