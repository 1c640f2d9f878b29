"""Column files, as CoNLL writes them: a token and its tag a line, a blank line after each sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cl.streams.readers.base import TextFile
from cl.streams.readers.tags import IOBES, Scheme, Tags, as_bio, num_entities
from cl.types import OUTSIDE, Examples, Kind, UserError

DOCUMENT = "-DOCSTART-"
CHUNKS = {"NP", "VP", "PP"}  # of a parser: not what NER is about
FEW = 5  # entities that another column may have by chance


@dataclass
class Columns(TextFile):
    """Tokens and tags in columns. This is not CSV: a quotation mark is a token like any other.

    Sentences end at blank lines and at `-DOCSTART-`. A blank token (` <tab>O`) is a token and ends nothing.

    token, tag: numbers of their columns, from 0; negative ones count from the last.
    delimiter: what separates columns, or `whitespace` for any run of spaces and tabs. None: a tab if the
        first row of the file has one, else whitespace.
    scheme: `bio`, `iob1`, `ioe1`, `ioe2`, `iobes` (also for BIOES, BMES, BILOU), or `auto`: the one that the tags of
        all splits fit best. All read as BIO. Where at least as many entities begin with I- as with B-, that is `iob1`:
        both begin an entity, and a note counts those with B-. Where fewer do, but more than one per cent, `auto`
        refuses: say whether they are entities (`iob1`) or mistakes (`bio`).
    entity: the type of bare tags, as in files that have `B`, `I` and `O` only.
    labels: new names of the entity types; null drops a type (it reads as O), one that is not in it is an error.
    comment: lines that start so are skipped, unless they read as a row: `#` may be a token.
    """

    token: int = 0
    tag: int = -1
    delimiter: str | None = None
    scheme: Scheme = "auto"
    entity: str | None = None
    labels: dict[Any, Any] = field(default_factory=dict)
    comment: str = "# "

    @property
    def kind(self) -> Kind:
        return "token"

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Sentences as lists of tokens, each with its list of tags."""
        tags = Tags(self.scheme, self.entity, self.labels)
        inputs: list[list[str]] = [[]]
        labels: list[list[str]] = [[]]
        sentences: list[list[list[str]]] = [[]]
        for number, row in self._rows(path):
            if row:
                inputs[-1].append(row[self.token])
                labels[-1].append(tags.parse(row[self.tag].strip(), f"{path}:{number}"))
                sentences[-1].append(row)
            elif inputs[-1]:
                inputs.append([])
                labels.append([])
                sentences.append([])
        if not inputs[-1]:
            del inputs[-1], labels[-1], sentences[-1]
        notes += other_columns(sentences, self.tag)
        return Examples(inputs, labels)

    def finish(self, splits: dict[str, Examples], notes: list[str]) -> dict[str, Examples]:
        """The same sentences with BIO tags."""
        return as_bio(splits, self.scheme, self.labels, notes)

    def _rows(self, path: str) -> Iterator[tuple[int, list[str]]]:
        """Line numbers and their columns; no columns where a sentence ends."""
        lines = self.lines(path)
        candidates = (n for n, line in enumerate(lines) if not (_ends_sentence(line) or self._commented(line)))
        first = next(candidates, None)
        if first is None:
            return
        delimiter = self.delimiter or ("\t" if "\t" in lines[first] else "whitespace")
        width = len(_cut(lines[first], delimiter))
        self._check_columns(width, f"{path}:{first + 1}")
        for number, line in enumerate(lines, 1):
            if _ends_sentence(line):
                yield number, []
                continue
            row = _cut(line, delimiter)
            if self._commented(line) and not (len(row) == width and _is_tag(row[self.tag])):
                continue
            if len(row) != width:
                raise UserError(
                    f"{path}:{number}: {len(row)} column(s), but line {first + 1} has {width}. Correct the line, or "
                    "set `delimiter`, or `comment` to what lines to skip start with."
                )
            yield number, row

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


def _cut(line: str, delimiter: str) -> list[str]:
    if delimiter != "whitespace":
        return line.split(delimiter)
    # Not str.split(): it cuts at U+00A0 and U+3000 too, and drops a blank first token.
    return re.split(r"[ \t]+", line.rstrip(" \t"))


def _ends_sentence(line: str) -> bool:
    return not line.strip() or line.startswith(DOCUMENT)


def _is_tag(cell: str) -> bool:
    return cell == OUTSIDE or cell.partition("-")[0] in IOBES
