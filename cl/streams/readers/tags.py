"""Tagging schemes: whatever marks entities in a file becomes BIO, the one scheme of this project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from cl.streams.readers.base import quoted, renamed
from cl.types import OUTSIDE, UserError

Scheme = Literal["auto", "bio", "iob1", "iobes"]

# IOBES, BIOES, BMES, BILOU and BMEWO differ in letters only: a first, inner or last token, or a lone one.
AS_BIO = {"B": "B", "I": "I", "M": "I", "E": "I", "L": "I", "S": "B", "U": "B", "W": "B"}
LETTERS: dict[Scheme, frozenset[str]] = {
    "auto": frozenset(AS_BIO),
    "bio": frozenset("BI"),
    "iob1": frozenset("BI"),
    "iobes": frozenset(AS_BIO),
}


class Tags:
    """Checks the tags of one file, names their types, and turns them into BIO."""

    def __init__(self, scheme: Scheme, entity: str | None, labels: Mapping[Any, str]) -> None:
        self.scheme, self.entity, self.labels = scheme, entity, labels
        self._seen = {OUTSIDE: OUTSIDE}  # a file has few distinct tags: each is checked once

    def parse(self, tag: str, where: str) -> str:
        """`B-PER` with its type renamed by `labels`; a bare `B` gets the type `entity`."""
        if tag not in self._seen:
            self._seen[tag] = self._parse(tag, where)
        return self._seen[tag]

    def _parse(self, tag: str, where: str) -> str:
        letter, dash, name = tag.partition("-")
        if letter not in LETTERS[self.scheme] or bool(dash) != bool(name):
            raise UserError(
                f"{where}: {quoted(tag)} is no tag of scheme `{self.scheme}`, such as 'B-person', 'I-person' or 'O'. "
                "Check which column or key holds the tags and the `scheme` option, or correct the tag."
            )
        name = name or self.entity or ""
        if not name:
            raise UserError(f"{where}: tag {tag!r} names no entity type. Name it, for example `entity: disease`.")
        return f"{letter}-{renamed(name, self.labels, where)}"

    def to_bio(self, sentences: Sequence[list[str]]) -> list[list[str]]:
        """Parsed tags, sentence by sentence, in BIO."""
        scheme = guess_scheme(sentences) if self.scheme == "auto" else self.scheme
        if scheme == "iobes":
            letters = AS_BIO | {OUTSIDE: OUTSIDE}
            return [[letters[tag[0]] + tag[1:] for tag in tags] for tags in sentences]
        if scheme == "iob1":
            return [_from_iob1(tags) for tags in sentences]
        return list(sentences)


def guess_scheme(sentences: Iterable[list[str]]) -> Scheme:
    """The scheme in which these tags make sense; exact for every file that keeps to its scheme.

    `iobes`: some tag starts with a letter other than B, I or O (every IOBES entity ends in one).
    `iob1`: there are entities, and each B- directly follows a tag of its own type: IOB1 writes B- nowhere
    else, whereas the first entity of a BIO sentence opens with a B- that follows none.
    `bio`: all else, so also BIO with stray I- tags, which are kept as they are.
    """
    letters: set[str] = set()
    opening = False  # a B- where IOB1 has none
    for tags in sentences:
        letters.update(tag[0] for tag in tags)
        opening = opening or any(tag[0] == "B" and tag[2:] != before[2:] for before, tag in _pairs(tags))
    if letters - set("BIO"):
        return "iobes"
    return "iob1" if letters - set("O") and not opening else "bio"


def num_stray(sentences: Iterable[Sequence[str]]) -> int:
    """How many I- tags continue no entity of their type: strict scoring of BIO sees no entity there."""
    return sum(tag[0] == "I" and tag[2:] != before[2:] for tags in sentences for before, tag in _pairs(tags))


def _from_iob1(tags: list[str]) -> list[str]:
    return ["B" + tag[1:] if tag[0] == "I" and tag[2:] != before[2:] else tag for before, tag in _pairs(tags)]


def _pairs(tags: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Each tag with the one before it, `O` before the first."""
    return pairwise([OUTSIDE, *tags])
