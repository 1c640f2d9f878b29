"""Exports of annotation tools: characters become words with BIO tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from reading import pairs, refused, sentences

from cl.streams.readers import Reader, Spans
from cl.types import UserError

Write = Callable[..., str]

TEXT = "Ann Lee sings in Rome."
READ = sentences("Ann/B-PER Lee/I-PER sings/O in/O Rome/B-LOC ./O")
PER, LOC = (0, 7, "PER"), (17, 21, "LOC")


def region(start: int, end: int, kind: str) -> dict[str, Any]:
    return {"value": {"start": start, "end": end, "text": TEXT[start:end], "labels": [kind]}, "type": "labels"}


RECORDS = {
    "doccano": {"id": 1, "text": TEXT, "label": [PER, LOC], "Comments": []},
    "doccano, older": {"id": 1, "data": TEXT, "labels": [PER, LOC]},
    "doccano with relations": {
        "text": TEXT,
        "entities": [
            {"id": n, "start_offset": s, "end_offset": e, "label": k} for n, (s, e, k) in enumerate([PER, LOC])
        ],
        "relations": [],
    },
    "Label Studio": {
        "id": 7,
        "data": {"text": TEXT},
        "annotations": [
            {"was_cancelled": True, "result": []},
            {"was_cancelled": False, "result": [region(*PER), region(*LOC), {"type": "relation"}]},
        ],
    },
    "Label Studio, JSON-MIN": {"id": 7, "text": TEXT, "label": [region(*PER)["value"], region(*LOC)["value"]]},
    "Prodigy": {
        "text": TEXT,
        "spans": [{"start": s, "end": e, "label": k, "token_start": 0} for s, e, k in (PER, LOC)],
        "answer": "accept",
    },
    "spaCy": [TEXT, {"entities": [PER, LOC]}],
    "CLUENER": {"text": TEXT, "label": {"PER": {"Ann Lee": [[0, 6]]}, "LOC": {"Rome": [[17, 20]]}}},
}


@pytest.mark.parametrize("tool", RECORDS)
def test_the_shape_is_recognised(write: Write, tool: str) -> None:
    record = RECORDS[tool]
    line = json.dumps(record)
    twice = [*READ, *READ]
    assert pairs(Spans().read(write(f"\ufeff{line}\r\n\r\n{line}\r\n"))) == twice
    assert pairs(Spans().read(write(json.dumps([record, record], indent=1)))) == twice


def test_other_keys_and_ids_and_columns(write: Write) -> None:
    record = {"body": TEXT, "marks": [PER, LOC]}
    reader = Spans(text="body", spans="marks")
    assert pairs(reader.read(write(json.dumps(record)))) == READ
    assert pairs(reader.read(write(json.dumps({"a": record, "b": record})))) == [*READ, *READ]
    assert pairs(reader.read(write(json.dumps({"body": [TEXT], "marks": [[PER, LOC]]})))) == READ
    assert pairs(reader.read(write(json.dumps({"annotations": [record]})) + "#annotations")) == READ


def parse(write: Write, reader: Spans, *records: Any) -> tuple[list[tuple[Any, Any]], list[str]]:
    notes: list[str] = []
    path = write("\n".join(map(json.dumps, records)))
    return pairs(reader.parse(path, notes)), notes


def test_what_is_not_read_is_counted(write: Write) -> None:
    accepted = RECORDS["Prodigy"]
    records = [
        accepted,
        {**accepted, "answer": "reject"},
        {"text": " "},
        None,
        {"data": {"text": "a"}, "annotations": []},
    ]
    found, notes = parse(write, Spans(), *records)
    assert found == READ
    assert notes == [
        "1 texts are passed over: `answer` is reject",
        "1 texts are passed over: they have no word",
        "1 texts are passed over: null stands in their place",
        "1 texts are passed over: no annotation",
    ]
    found, notes = parse(write, Spans(), {"text": "a b"}, {"text": "c", "spans": []})
    assert found == sentences("a/O b/O", "c/O")
    assert notes == ["1 texts have no key of spans: all of their words are O"]
    task = {"data": {"text": TEXT}, "annotations": [{"result": [region(*PER)]}, {"result": [region(*LOC)]}]}
    found, notes = parse(write, Spans(), task)
    assert found == sentences("Ann/B-PER Lee/I-PER sings/O in/O Rome/O ./O")
    assert notes == ["1 annotations are not read: of several of a text the first is"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("U.S.-based, don't", "U . S . - based , don ' t"),
        ("a_1  b\u00a0c\n\nd", "a_1 b c d"),
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),  # vowel signs are no letters, and part of a word
        ("café cafe\u0301", "café cafe\u0301"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("北京 a1", "北京 a1"),
    ],
)
def test_words(write: Write, text: str, words: str) -> None:
    assert parse(write, Spans(), {"text": text})[0][0][0] == words.split(" ")


def test_characters_are_words_where_that_is_said(write: Write) -> None:
    record = {"text": "我在北京 ok", "label": [[2, 4, "LOC"]]}
    found, notes = parse(write, Spans(words="characters"), record)
    assert found == sentences("我/O 在/O 北/B-LOC 京/I-LOC o/O k/O")
    assert notes == []
    assert parse(write, Spans(), record)[1] == ["1 spans cut a word: they take all of it"]


def test_spans_that_cut_words_take_them_whole(write: Write) -> None:
    """The earlier span has a word that two touch; spaces at the ends of a span are none of its words."""
    spans = [[0, 5, "A"], [5, 7, "B"], [7, 9, "C"]]
    found, notes = parse(write, Spans(), {"text": "Rome Berlin", "spans": spans})
    assert found == sentences("Rome/B-A Berlin/B-B")
    assert notes == [
        "2 spans cut a word: they take all of it",
        "1 spans are dropped: they have no word of their own",
    ]


def test_spans_inside_others(write: Write) -> None:
    record = {"text": "New York Times", "spans": [[0, 8, "LOC"], [0, 14, "ORG"], [9, 14, "X"], [0, 14, "ORG"]]}
    refused(Spans(), write(json.dumps(record)), "record 1", "'New York' (LOC)", "'New York Times' (ORG)", "longest")
    found, notes = parse(write, Spans(overlap="longest"), record)
    assert found == sentences("New/B-ORG York/I-ORG Times/I-ORG")
    assert notes == ["2 spans are dropped, as `overlap: longest` says"]
    equals = {"text": "a b c", "spans": [[2, 5, "Y"], [0, 3, "X"]]}
    assert parse(write, Spans(overlap="longest"), equals)[0] == sentences("a/O b/B-Y c/I-Y")


def test_neighbours_are_two_entities_and_names_may_change(write: Write) -> None:
    record = {"text": "Rome Bonn", "spans": [[0, 4, "CITY"], [5, 9, "TOWN"]]}
    path = write(json.dumps(record))
    assert pairs(Spans(labels={"CITY": "LOC", "TOWN": "LOC"}).read(path)) == sentences("Rome/B-LOC Bonn/B-LOC")
    assert pairs(Spans(labels={"CITY": None, "TOWN": "T"}).read(path)) == sentences("Rome/O Bonn/B-T")


def test_ends_and_places_as_tools_count_them(write: Write) -> None:
    record = {"text": "Rome is big", "spans": [[0, 3, "LOC"]]}
    assert parse(write, Spans(inclusive=True), record) == (sentences("Rome/B-LOC is/O big/O"), [])
    browser = {"text": "😀 Rome", "label": [{"start": 3, "end": 7, "text": "Rome", "labels": ["LOC"]}]}
    assert parse(write, Spans(), browser)[0] == sentences("😀/O Rome/B-LOC")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"txt": "a"}, ["no key 'text'", "mean 'txt'"]),
        ({"text": 3}, ["the text is a int"]),
        (3, ["3 is no record"]),
        ({"data": {"text": 3}, "annotations": [{"result": []}]}, ["the text is a int"]),
        ({"data": {"text": "a"}, "annotations": [{"result": 3}]}, ["the `result` of an annotation is a int"]),
        ({"text": "ab", "spans": [[0, 9, "X"]]}, ["from 0 to 9", "2 characters"]),
        ({"text": "ab", "spans": [[1, 1, "X"]]}, ["from 1 to 1", "`inclusive`"]),
        ({"text": "ab", "spans": [[-1, 1, "X"]]}, ["from -1 to 1"]),
        ({"text": "ab", "spans": [["0", 1, "X"]]}, ["from '0' to 1", "whole numbers"]),
        ({"text": "ab", "spans": [[0, 1, ""]]}, ["the type ''"]),
        ({"text": "ab", "spans": [{"start": 0, "end": 1, "labels": ["X", "Y"]}]}, ["['X', 'Y']", "one name"]),
        ({"text": "ab", "spans": [{"start": 0, "label": "X"}]}, ["no 'end'", "'start', 'label'"]),
        ({"text": "ab", "spans": ["X"]}, ["'X' is no span"]),
        ({"text": "ab", "spans": [{"start": 0, "end": 1, "text": "b", "label": "X"}]}, ["says that it is 'b'", "'a'"]),
        ({"text": "ab", "label": {"X": {"b": [[0, 0]]}}}, ["says that it is 'b'"]),
        ({"text": "ab", "label": {"X": [[0, 0]]}}, ["under 'X' stands a list"]),
    ],
)
def test_refused_spans(write: Write, record: Any, words: list[str]) -> None:
    path = write(json.dumps([record]))
    refused(Spans(), path, f"{path}: record 1", *words)


def test_a_key_of_spans_that_is_another_thing(write: Write) -> None:
    refused(Spans(spans="label"), write('{"text": "a", "label": "pos"}'), "'label' is a str", "`spans`")
    refused(Spans(), write('{"text": "a",\n "spans" 3}'), ":2:10:", "no JSON")
    with pytest.raises(UserError, match="strip"):
        Spans(strip="(").read(write('{"text": "a"}'))


def test_it_is_a_reader() -> None:
    assert isinstance(Spans(), Reader) and Spans().kind == "token"


def test_the_key_that_holds_something_is_that_of_the_spans(write: Write) -> None:
    record = {"text": "Ann sings", "entities": [], "label": [[0, 3, "PER"]]}
    assert parse(write, Spans(), record)[0] == sentences("Ann/B-PER sings/O")
