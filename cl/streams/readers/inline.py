"""Tags beside words: a sentence a line, such as `Anna=B-PER lives=O`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cl.streams.readers.files import TextFile
from cl.streams.readers.sentences import Tagged, Word
from cl.system.words import quoted
from cl.types import Examples, UserError


@dataclass
class Inline(Tagged, TextFile):
    """A sentence a line, each word with its tag: `Anna=B-PER lives=O`. Blank lines are skipped.

    separator: what stands between a word and its tag. The last one counts: `a=b=O` is the word `a=b`.
    after: only what comes after the last such mark is read, such as `####` where the plain text stands before it.
        Null: the whole line.
    """

    separator: str = "="
    after: str | None = None

    example: ClassVar[str] = '{name: news, kind: token, format: inline, separator: "/", train: news.txt}'

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Sentences as lists of tokens, each with its list of tags."""
        if not self.separator or self.separator.isspace():
            raise UserError(f"`separator` is {self.separator!r}: name what stands between a word and its tag.")
        return self.sentences(self._sentences(path), notes)

    def _sentences(self, path: str) -> Iterator[list[Word]]:
        for number, line in enumerate(self.lines(path), 1):
            if line.strip():
                where = f"{path}:{number}"
                yield [self._word(word, where) for word in self._tagged(line, where).split()]

    def _tagged(self, line: str, where: str) -> str:
        """The part of a line that has the tags."""
        if self.after is None:
            return line
        _, mark, tagged = line.rpartition(self.after)
        if not mark or not tagged.strip():
            raise UserError(f"{where}: nothing after {self.after!r}. Correct the line, or the option `after`.")
        return tagged

    def _word(self, word: str, where: str) -> Word:
        token, separator, tag = word.rpartition(self.separator)
        if not separator:
            raise UserError(
                f"{where}: {quoted(word)} has no {self.separator!r} before its tag. Set `separator` to what stands "
                "there, `after` where other text stands before, or correct the line."
            )
        return where, token, tag
