"""Entities by their characters: exports of annotation tools become words with BIO tags."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar, Literal
from unicodedata import category

from cl.streams.readers.base import Column, as_column
from cl.streams.readers.exports import Span, key_of_spans, text_of
from cl.streams.readers.files import TextFile
from cl.streams.readers.json_values import Located, records_in
from cl.streams.readers.records import json_at
from cl.streams.readers.sentences import Word, Words
from cl.system.words import quoted
from cl.types import OUTSIDE, Examples, UserError

JOINS = "_\u200c\u200d"  # they part no word, in Persian or Hindi
Place = tuple[int, int]  # of a word: the character it begins with, and the one after it


@dataclass
class Spans(Words, TextFile):
    """Texts with entities by their characters, as doccano, Label Studio (JSON and JSON-MIN), Prodigy, spaCy and CLUENER
    write them; the shape is recognised. A list of records in JSON, or a record a line.

    A word is a run of letters, digits and accents, or one other character that is no space. A span takes each word
    that it touches: those that cut a word are counted. Where two touch one word, the earlier one has it.

    text: the key of the text.
    spans: the key of the spans. Null: `spans`, `entities`, `labels`, `label` or `annotations`, whichever is there.
    inclusive: whether the end of a span is its last character. Null: only where they stand by type and surface, as in
        CLUENER.
    words: `words`, or `characters` for a language without spaces: each character is a word then.
    overlap: `refuse` texts with spans inside or across others, or keep the `longest` of such spans (of equals the
        first) and count the others.
    """

    text: Any = "text"
    spans: str | None = None
    inclusive: bool | None = None
    words: Literal["words", "characters"] = "words"
    overlap: Literal["refuse", "longest"] = "refuse"

    example: ClassVar[str] = "{name: notes, kind: token, format: spans, overlap: longest, train: export.jsonl}"

    def parse(self, path: str, notes: list[str]) -> Examples:
        """Texts as lists of words, each with its list of BIO tags."""
        counts = Counter[str]()
        examples = self.sentences(self._rows(path, counts), notes)
        notes += [f"{count} {what}" for what, count in counts.items() if count]
        return examples

    def _rows(self, path: str, counts: Counter[str]) -> Iterator[list[Word]]:
        key = as_column(self.text, "text")
        for where, record in self._records(path, key):
            text, spans, others, skipped = text_of(record, key, self.spans, self.inclusive, where)
            places = _places(text, self.words == "characters")
            if skipped or not places:
                counts[f"texts are passed over: {skipped or 'they have no word'}"] += 1
                continue
            counts["annotations are not read: of several of a text the first is"] += others
            if spans is None:
                counts["texts have no key of spans: all of their words are O"] += 1
            tags = _tags(places, self._flat(spans or [], text, counts, where), counts)
            yield [(where, text[a:b], tag) for (a, b), tag in zip(places, tags, strict=True)]

    def _records(self, path: str, key: Column) -> Iterator[Located]:
        value = json_at(self, path)
        if not isinstance(value, Mapping):
            return records_in(value, [], path)
        if isinstance(value.get(key), str) or isinstance(value.get("data"), str | Mapping):  # one record
            return records_in([value], [], path)
        return records_in(value, [key, self.spans or key_of_spans(value)], path)

    def _flat(self, spans: list[Span], text: str, counts: Counter[str], where: str) -> list[Span]:
        """The spans in order, no two of which share a character."""
        kept: list[Span] = []
        different = dict.fromkeys(spans)
        for span in sorted(different, key=lambda each: each.start - each.end):  # stable: of equals the first
            other = next((each for each in kept if span.start < each.end and each.start < span.end), None)
            if other is None:
                kept.append(span)
            elif self.overlap == "longest":
                counts["spans are dropped, as `overlap: longest` says"] += 1
            else:
                raise UserError(
                    f"{where}: {quoted(text[span.start : span.end])} ({span.type}) overlaps "
                    f"{quoted(text[other.start : other.end])} ({other.type}). Correct the spans, or "
                    "set `overlap: longest`."
                )
        return sorted(kept)


def _places(text: str, characters: bool) -> list[Place]:
    """Where the words of a text stand."""
    found, start = [], 0
    for (kind, _), group in groupby(enumerate(text), key=lambda each: _kind(each[0], each[1], characters)):
        end = start + len(list(group))
        if kind != "space":
            found.append((start, end))
        start = end
    return found


def _kind(place: int, character: str, characters: bool) -> tuple[str, int]:
    """What characters of a word share: those of letters go together, each other one is by itself."""
    if character.isspace():
        return "space", 0
    if not characters and (character in JOINS or category(character)[0] in "LMN"):
        return "word", 0
    return "mark", place


def _tags(places: list[Place], spans: list[Span], counts: Counter[str]) -> list[str]:
    """BIO tags of the words: a span has each word that it touches and that no earlier one has."""
    tags = [OUTSIDE] * len(places)
    starts, ends = [start for start, _ in places], [end for _, end in places]
    for span in spans:
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)
        if first < last and (starts[first] < span.start or ends[last - 1] > span.end):
            counts["spans cut a word: they take all of it"] += 1
        free = [word for word in range(first, last) if tags[word] == OUTSIDE]
        if not free:
            counts["spans are dropped: they have no word of their own"] += 1
        for word in free:
            tags[word] = f"{'B' if word == free[0] else 'I'}-{span.type}"
    return tags
