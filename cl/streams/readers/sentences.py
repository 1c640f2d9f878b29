"""What readers of words and tags share: their options, and how rows of words become sentences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cl.streams.readers.base import Reader
from cl.streams.readers.notation import Tags
from cl.streams.readers.tags import Scheme, as_bio
from cl.types import Examples, Kind, UserError

Word = tuple[str, str, str]  # where it stands, the token, its tag


@dataclass
class Words(Reader):
    """labels: new names of the labels or entity types. Null drops what has a label, and a type then reads as O. One
        that is not in `labels` is an error.
    strip: a regular expression of what is removed from each token, such as `^en:`. A token that is nothing else stays
        as it is, and is counted.
    """

    labels: dict[Any, Any] = field(default_factory=dict)
    strip: str | None = None

    @property
    def kind(self) -> Kind:
        return "token"

    @property
    def notation(self) -> tuple[Scheme, str | None]:
        """The scheme of the tags, and the type of bare ones."""
        return "bio", None

    def sentences(self, rows: Iterable[Sequence[Word]], notes: list[str]) -> Examples:
        """Sentences as lists of tokens, each with its list of tags as they are written."""
        tags, mark, kept = Tags(*self.notation, self.labels), self._mark(), 0
        inputs, labels = [], []
        for row in rows:
            labels.append(tags.sentence([(where, tag) for where, _, tag in row]))
            tokens = [token for _, token, _ in row]
            if mark:
                bare = [mark.sub("", token) for token in tokens]
                kept += sum(bool(token) and not rest for token, rest in zip(tokens, bare, strict=True))
                tokens = [rest or token for token, rest in zip(tokens, bare, strict=True)]
            inputs.append(tokens)
        notes += [f"{kept} tokens are nothing but what `strip` removes: they stay as they are"] if kept else []
        return Examples(inputs, labels)

    def finish(self, splits: dict[str, Examples], notes: list[str]) -> dict[str, Examples]:
        """The same sentences with BIO tags."""
        return as_bio(splits, self.notation[0], self.labels, notes)

    def _mark(self) -> re.Pattern[str] | None:
        try:
            return re.compile(self.strip) if self.strip else None
        except re.error as error:
            raise UserError(f"`strip` is {self.strip!r}, which is no regular expression: {error}.") from error


@dataclass
class Tagged(Words):
    """scheme: `bio`, `iob1`, `ioe1`, `ioe2`, `iobes` (also for BIOES, BMES, BILOU), `io`, or `auto`: the one that the
        tags of all splits fit best. All read as BIO. `io` is for bare types (`PER`), of which neighbours of one type
        are one entity. `B-x`, `B_x`, `x-B` and `b-x` are the same, and brackets (`(PER*`, `*)`) are understood. Where
        at least as many entities begin with I- as with B-, `auto` is `iob1`: both begin an entity, and a note counts
        those with B-. Where fewer do, but more than one per cent, `auto` refuses: say whether they are entities
        (`iob1`) or mistakes (`bio`).
    entity: the type of bare tags, as in files that have `B`, `I` and `O` only.
    """

    scheme: Scheme = "auto"
    entity: str | None = None

    @property
    def notation(self) -> tuple[Scheme, str | None]:
        return self.scheme, self.entity
