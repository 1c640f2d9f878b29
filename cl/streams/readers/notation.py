"""Notation: however a file writes its tags, each becomes a letter of IOBES and a type, `B-PER`, or `O`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cl.streams.readers.labels import Names
from cl.streams.readers.tags import IOBES, LETTERS, Scheme
from cl.system.words import quoted
from cl.types import OUTSIDE, UserError

Cell = tuple[str, str]  # where it stands, and what
PREFIXED = re.compile(r"([A-Za-z])(?:[-_](.+))?", re.DOTALL)  # B-PER, B_PER, b-per, B
SUFFIXED = re.compile(r"(.+)[-_]([A-Z])", re.DOTALL)  # PER-B
BRACKETED = re.compile(r"(\([^()*\s]+)*\*?\)*")  # (PER*, *, *), (PER)


class Tags:
    """Checks the tags of a corpus, one by one; `as_bio` reads them once all are known."""

    def __init__(self, scheme: Scheme, entity: str | None, labels: Mapping[Any, Any]) -> None:
        self.scheme, self.entity, self.names = scheme, entity, Names(labels)
        self._seen = {OUTSIDE: OUTSIDE}  # a file has few distinct tags: each is checked once

    def sentence(self, cells: Sequence[Cell]) -> list[str]:
        """The tags of a sentence, each as `parse` gives it; brackets are told by their looks."""
        if self.scheme == "auto" and all(tag and BRACKETED.fullmatch(tag) for _, tag in cells):
            cells = _without_brackets(cells)
        return [self.parse(tag, where) for where, tag in cells]

    def parse(self, tag: str, where: str) -> str:
        """`B-PER` with the letter of IOBES; a bare `B` gets the type `entity`. Raises `UserError` for other words."""
        if tag not in self._seen:
            self._seen[tag] = self._parse(tag, where)
        return self._seen[tag]

    def _parse(self, tag: str, where: str) -> str:
        if tag == OUTSIDE.lower():
            return OUTSIDE
        letter, name = self._bare(tag, where) if self.scheme == "io" else self._lettered(tag, where)
        name = name or self.entity or ""
        if not name:
            raise UserError(f"{where}: tag {tag!r} names no entity type. Name it, for example `entity: disease`.")
        self.names.of(name, where)  # raises; types get their new names where it is known which tags are one entity
        return f"{IOBES[letter]}-{name}"

    def _lettered(self, tag: str, where: str) -> tuple[str, str | None]:
        """The letter of a tag, and its type if it names one."""
        letters = LETTERS[self.scheme]
        if (found := PREFIXED.fullmatch(tag)) and found[1].upper() in letters:
            return found[1].upper(), found[2]
        if (found := SUFFIXED.fullmatch(tag)) and found[2] in letters:
            return found[2], found[1]
        raise UserError(
            f"{where}: {quoted(tag)} is no tag of scheme `{self.scheme}`, such as '{min(letters)}-person' or 'O'. "
            "Check which column or key holds the tags and the `scheme` option (`io` is for bare types, such as "
            "'person'), or correct the tag."
        )

    def _bare(self, tag: str, where: str) -> tuple[str, str | None]:
        """A bare type is part of an entity, as is one after I-."""
        if not tag or tag.startswith("B-"):
            raise UserError(
                f"{where}: {quoted(tag)} is no tag of scheme `io`, such as 'person' or 'O'. Drop `scheme` if tags "
                "begin with letters, or check which column or key holds the tags."
            )
        return "I", tag.removeprefix("I-")


def _without_brackets(cells: Sequence[Cell]) -> list[Cell]:
    """`(PER*`, `*)`, `(LOC)`, `*` → `B-PER`, `I-PER`, `B-LOC`, `O`. Raises `UserError` for entities inside others."""
    found, inside = [], ""
    for where, cell in cells:
        opened = re.findall(r"\(([^()*]+)", cell)
        if len(opened) + bool(inside) > 1:
            raise UserError(f"{where}: {cell!r} begins an entity inside another one, which is not supported.")
        inside, letter = (opened[0], "B") if opened else (inside, "I")
        found.append((where, f"{letter}-{inside}" if inside else OUTSIDE))
        if ")" in cell:
            if not inside or cell.count(")") > 1:
                raise UserError(f"{where}: {cell!r} ends an entity that never began. Correct the brackets.")
            inside = ""
    if inside:
        raise UserError(f"{found[-1][0]}: the sentence ends inside an entity {inside!r}. Correct the brackets.")
    return found
