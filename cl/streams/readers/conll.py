"""Column files with more rules of their own: CoNLL-U and CoNLL-2012."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from cl.streams.readers.columns import Columns, Row
from cl.system.words import did_you_mean, listed, quoted
from cl.types import OUTSIDE, Examples, UserError

NO_WORD = re.compile(r"\d+[-.]\d+")  # the number of a range of words, or of an empty node
NOTHING = "_"


@dataclass
class Conllu(Columns):
    """CoNLL-U: columns with the word in the second, comments, and ranges (`1-2`) and empty nodes (`1.1`), which are
    passed over and counted. `_` as a tag is O.

    key: where the tag is one of several values, `Name=B-PER|SpaceAfter=No`, its key: `Name`. A word without it is O.
    """

    token: int = 1
    delimiter: str | None = "\t"
    comment: str = "#"
    key: str | None = None

    example: ClassVar[str] = "{name: treebank, kind: token, format: conllu, key: Name, train: train.conllu}"

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Sentences as lists of tokens, each with its list of tags."""
        self._keys: dict[str, None] = {}
        examples = super().parse(path, notes)
        if self.key is not None and len(examples) and self.key not in self._keys:
            raise UserError(
                f"{path}: no word has a value `{self.key}=…`; there are {listed(self._keys)}."
                f"{did_you_mean(self.key, self._keys)} Correct `key` or `tag`."
            )
        return examples

    def _rows(self, path: str, notes: list[str]) -> Iterator[Row]:
        skipped = 0
        for number, row in super()._rows(path, notes):
            if row and NO_WORD.fullmatch(row[0]):
                skipped += 1
            else:
                yield number, row
        notes += [f"{skipped} ranges of words and empty nodes are passed over"] if skipped else []

    def _tag_of(self, row: Sequence[str], where: str) -> str:
        cell = super()._tag_of(row, where)
        values = dict(pair.partition("=")[::2] for pair in cell.split("|") if pair != NOTHING)
        if self.key is not None:
            self._keys |= dict.fromkeys(values)
            cell = values.get(self.key, OUTSIDE)
        elif "=" in cell:
            raise UserError(
                f"{where}: the tag is one of {quoted(cell)}: say which, such as `key: {next(iter(values))}`."
            )
        return OUTSIDE if cell in (NOTHING, "") else cell

    def _doubts(self, sentences: list[list[list[str]]]) -> list[str]:
        return []  # other columns are of a parser


@dataclass
class Conll2012(Columns):
    """CoNLL-2012 (OntoNotes): brackets such as `(PERSON*`, `*`, `*)`; sentences may have columns for each verb."""

    token: int = 3
    tag: int = 10
    delimiter: str | None = "whitespace"
    comment: str = "#"

    example: ClassVar[str] = "{name: ontonotes, kind: token, format: conll2012, train: train/*.gold_conll}"

    def _fits(self, columns: int, width: int) -> bool:
        return columns > max(self.token, self.tag)

    def _doubts(self, sentences: list[list[list[str]]]) -> list[str]:
        return []  # lines differ in width
