"""The shapes in which annotation tools and data sets write a text and the entities in it by their characters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cl.streams.readers.base import Column
from cl.streams.readers.json_values import value_of
from cl.system.words import listed, quoted
from cl.types import UserError

SPANS = ("spans", "entities", "labels", "label", "annotations")  # keys that hold spans, the likeliest first
STARTS = ("start", "start_offset", "start_idx", "begin")
ENDS = ("end", "end_offset", "end_idx")
TYPES = ("label", "labels", "type", "entity_type", "entity", "tag")
NOT_DONE = "no annotation"


class Span(NamedTuple):
    """An entity: characters `start` to `end`, which is not one of them, and its type."""

    start: int
    end: int
    type: str


class Text(NamedTuple):
    """A text with its spans, None where its record has no key of them.

    `others`: how many more annotations it has, which are not read. `skipped`: why it is passed over, if it is.
    """

    text: str
    spans: list[Span] | None = None
    others: int = 0
    skipped: str | None = None


def text_of(record: Any, text: Column, key: str | None, inclusive: bool | None, where: str) -> Text:
    """What a record holds, whichever of the shapes it has.

    `text`: the key of the text. `key`: that of the spans, None for the first of `SPANS` that is there. `inclusive`:
    whether `end` is a character of the span, None for what the shape has. Raises `UserError` for no such shape.
    """
    if record is None:
        return Text("", skipped="null stands in their place")
    if isinstance(record, list) and len(record) == 2 and isinstance(record[1], Mapping):  # spaCy
        record = {text: record[0], **record[1]}
    if isinstance(record, Mapping) and record.get("answer", "accept") != "accept":  # Prodigy
        return Text("", skipped=f"`answer` is {record['answer']}")
    if isinstance(record, Mapping) and isinstance(record.get("data"), Mapping):
        return _label_studio(record, text, where)
    if not isinstance(record, Mapping):
        raise UserError(f"{where}: {quoted(record)} is no record with a text and spans. Check the file.")
    written = _written(record, "data" if text not in record and "data" in record else text, where)
    key = key or key_of_spans(record)
    found = record.get(key)
    if isinstance(found, Mapping):
        return Text(written, list(_by_surface(found, written, inclusive is not False, where)))
    if not isinstance(found, list | None):
        raise UserError(f"{where}: {key!r} is a {type(found).__name__}, not a list of spans. Check `spans`.")
    return Text(written, found and [_span(each, written, bool(inclusive), where) for each in found])


def _written(record: Mapping[Any, Any], key: Column, where: str) -> str:
    text = value_of(record, key, where)
    if not isinstance(text, str):
        raise UserError(f"{where}: the text is a {type(text).__name__}, not a string. Check the `text` option.")
    return text


def key_of_spans(record: Mapping[Any, Any]) -> str:
    """The key of a record that holds its spans: the first with any, else the first with none."""
    held = [each for each in SPANS if isinstance(record.get(each), list | Mapping)]
    return next((each for each in held if record[each]), held[0] if held else SPANS[0])


def _label_studio(record: Mapping[str, Any], text: Column, where: str) -> Text:
    """The first annotation of a task that was not cancelled."""
    written = _written(record["data"], text, where)
    given = record.get("annotations", record.get("completions"))
    done = [
        each
        for each in (given if isinstance(given, list) else ())
        if isinstance(each, Mapping) and not each.get("was_cancelled")
    ]
    if not done:
        return Text("", skipped=NOT_DONE)
    found = done[0].get("result")
    if not isinstance(found, list):
        raise UserError(f"{where}: the `result` of an annotation is a {type(found).__name__}, not a list.")
    results = [each.get("value") for each in found if isinstance(each, Mapping)]
    marked = [value for value in results if isinstance(value, Mapping) and "labels" in value]
    return Text(written, [_span(value, written, False, where) for value in marked], len(done) - 1)


def _by_surface(found: Mapping[str, Any], text: str, inclusive: bool, where: str) -> Iterator[Span]:
    """CLUENER: `{type: {surface: [[start, end]]}}`, where the end is the last character."""
    for kind, surfaces in found.items():
        if not isinstance(surfaces, Mapping):
            raise UserError(f"{where}: under {kind!r} stands a {type(surfaces).__name__}, not surfaces with places.")
        for surface, places in surfaces.items():
            for place in places if isinstance(places, list) else [places]:
                start, end = place if isinstance(place, list) and len(place) == 2 else (None, None)
                yield _checked(start, end, kind, surface, text, inclusive, where)


def _span(found: Any, text: str, inclusive: bool, where: str) -> Span:
    """`[start, end, type]`, or a mapping with these under one of their names."""
    if isinstance(found, list) and len(found) == 3:
        start, end, kind = found
        return _checked(start, end, kind, None, text, inclusive, where)
    if not isinstance(found, Mapping):
        raise UserError(f"{where}: {quoted(found)} is no span: [start, end, type], or a mapping with these keys.")
    start, end, kind = (_first(found, names, where) for names in (STARTS, ENDS, TYPES))
    return _checked(start, end, kind, found.get("text"), text, inclusive, where)


def _first(found: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    for name in names:
        if name in found:
            return found[name]
    raise UserError(f"{where}: a span has no {names[0]!r} (or {', '.join(names[1:])}); it has {listed(found)}.")


def _checked(start: Any, end: Any, kind: Any, surface: Any, text: str, inclusive: bool, where: str) -> Span:
    """The span, if it lies in the text, is what it says it is, and has one type."""
    if isinstance(kind, list) and len(kind) == 1:
        kind = kind[0]
    if isinstance(kind, bool) or not isinstance(kind, str | int) or not str(kind).strip():
        raise UserError(f"{where}: a span has the type {quoted(kind)}: give it one name.")
    if not (type(start) is type(end) is int):
        raise UserError(f"{where}: a span of type {kind!r} goes from {start!r} to {end!r}: give whole numbers.")
    stop = end + inclusive
    named = isinstance(surface, str)
    if named and not _is_there(surface, start, stop, text):
        start, stop = _from_utf16(start, stop, text, surface)
    if not 0 <= start < stop <= len(text):
        wrong = f"in a text of {len(text)} characters"
    elif named and not _is_there(surface, start, stop, text):
        wrong = f"which are {quoted(text[start:stop])}, and says that it is {quoted(surface)}"
    else:
        return Span(start, stop, str(kind).strip())
    raise UserError(
        f"{where}: a span of type {kind!r} goes from {start} to {end}, {wrong}. Correct it, or set `inclusive` if its "
        "end is, or is not, its last character."
    )


def _is_there(surface: str, start: int, stop: int, text: str) -> bool:
    return text[max(0, start) : max(0, stop)].strip() == surface.strip()


def _from_utf16(start: int, stop: int, text: str, surface: str) -> tuple[int, int]:
    """Where a span stands whose places a browser counted (an emoji is two characters there); else the same places."""
    code = text.encode("utf-16-le", "surrogatepass")
    moved, end = (len(code[: 2 * max(0, place)].decode("utf-16-le", "replace")) for place in (start, stop))
    return (moved, end) if _is_there(surface, moved, end, text) else (start, stop)
