"""Column files, as CoNLL writes them: a token and its tag a line, a blank line after each sentence."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from cl.streams.readers.files import TextFile
from cl.streams.readers.sentences import Tagged, Word
from cl.streams.readers.tags import IOBES, num_entities
from cl.types import OUTSIDE, Examples, UserError

DOCUMENT = "-DOCSTART-"
CHUNKS = {"NP", "VP", "PP"}  # of a parser: not what NER is about
FEW = 5  # entities that another column may have by chance
Row = tuple[int, list[str]]  # the number of a line, and its columns


@dataclass
class Columns(Tagged, TextFile):
    """Tokens and tags in columns. This is not CSV: a quotation mark is a token like any other.

    Sentences end at blank lines and at `-DOCSTART-`. A blank token (` <tab>O`) is a token and ends nothing.

    token, tag: numbers of their columns, from 0; negative ones count from the last.
    delimiter: what separates columns, or `whitespace` for any run of spaces and tabs. Null: a tab if the
        first row of the file has one, else whitespace.
    comment: lines that start so are skipped, unless they read as a row: `#` may be a token.
    quoting: cells may be in quotation marks, as CSV has it, and hold them doubled.
    """

    token: int = 0
    tag: int = -1
    delimiter: str | None = None
    comment: str = "# "
    quoting: bool = False

    example: ClassVar[str] = "{name: news, kind: token, format: columns, tag: 3, train: train.conll, test: test.conll}"

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Sentences as lists of tokens, each with its list of tags."""
        sentences: list[list[Row]] = [[]]
        for number, row in self._rows(path, notes):
            if row:
                sentences[-1].append((number, row))
            elif sentences[-1]:
                sentences.append([])
        if not sentences[-1]:
            del sentences[-1]
        notes += self._doubts([[row for _, row in sentence] for sentence in sentences])
        return self.sentences(([self._word(f"{path}:{n}", row) for n, row in rows] for rows in sentences), notes)

    def _word(self, where: str, row: Sequence[str]) -> Word:
        return where, row[self.token], self._tag_of(row, where)

    def _tag_of(self, row: Sequence[str], where: str) -> str:
        return row[self.tag].strip()

    def _doubts(self, sentences: list[list[list[str]]]) -> list[str]:
        return other_columns(sentences, self.tag)

    def _rows(self, path: str, notes: list[str]) -> Iterator[Row]:
        """Line numbers and their columns; no columns where a sentence ends."""
        lines = self.lines(path)
        candidates = (n for n, line in enumerate(lines) if not (_ends_sentence(line) or self._commented(line)))
        first = next(candidates, None)
        if first is None:
            return
        delimiter = self.delimiter or ("\t" if "\t" in lines[first] else "whitespace")
        width = len(self._cut(lines[first], delimiter, f"{path}:{first + 1}"))
        self._check_columns(width, f"{path}:{first + 1}")
        for number, line in enumerate(lines, 1):
            if _ends_sentence(line):
                yield number, []
                continue
            if self.quoting and self._commented(line):
                continue
            row = self._cut(line, delimiter, f"{path}:{number}")
            if self._commented(line) and not (len(row) == width and _is_tag(row[self.tag])):
                continue
            if not self._fits(len(row), width):
                raise UserError(
                    f"{path}:{number}: {len(row)} column(s), but line {first + 1} has {width}. Correct the line, or "
                    "set `delimiter`, or `comment` to what lines to skip start with."
                )
            yield number, row

    def _fits(self, columns: int, width: int) -> bool:
        """Whether a line may have so many columns, where the first one has `width`."""
        return columns == width

    def _cut(self, line: str, delimiter: str, where: str) -> list[str]:
        """The cells of a line."""
        if self.quoting:
            return _unquoted(line, " " if delimiter == "whitespace" else delimiter, where)
        if delimiter != "whitespace":
            return line.split(delimiter)
        # Not str.split(): it cuts at U+00A0 and U+3000 too, and drops a blank first token.
        return re.split(r"[ \t]+", line.rstrip(" \t"))

    def _commented(self, line: str) -> bool:
        return bool(self.comment) and line.startswith(self.comment)

    def _check_columns(self, width: int, where: str) -> None:
        for name in ("token", "tag"):
            index = getattr(self, name)
            if not -width <= index < width:
                raise UserError(f"{where}: {width} column(s), none of them `{name}: {index}`. Correct `{name}`.")
        if self.token % width == self.tag % width:
            raise UserError(f"{where}: token and tag are one column of {width}. Set `delimiter`, `token` or `tag`.")


def other_columns(sentences: list[list[list[str]]], tag: int) -> list[str]:
    """A note where another column has many more entities than that of the tags; chunks of a parser are none."""
    if not sentences:
        return []
    width = len(sentences[0][0])
    cells = [{row[column].strip() for rows in sentences for row in rows} for column in range(width)]
    counts = {
        column: num_entities([[row[column].strip() for row in rows] for rows in sentences])
        for column, of_column in enumerate(cells)
        if all(map(_is_tag, of_column)) and not {cell[2:] for cell in of_column} & CHUNKS
    }
    mine = counts.get(tag % width, 0)
    return [
        f"column {column} has {count} entities, that of the tags ({tag % width}) has {mine}: is `tag: {column}` meant?"
        for column, count in counts.items()
        if count > 2 * mine and count >= FEW
    ]


def _unquoted(line: str, delimiter: str, where: str) -> list[str]:
    if len(delimiter) != 1:
        raise UserError(f"`delimiter` {delimiter!r} is not one character, which `quoting` needs.")
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=delimiter == " ", strict=True))
    except csv.Error as error:
        raise UserError(f"{where}: the line is no CSV: {error}. Correct its quotes, or set `quoting: false`.") from None


def _ends_sentence(line: str) -> bool:
    return not line.strip() or line.startswith(DOCUMENT)


def _is_tag(cell: str) -> bool:
    return cell == OUTSIDE or cell.partition("-")[0] in IOBES
