"""What reads without an error and is probably not meant is told."""

from __future__ import annotations

import pytest

from cl.streams.doubts import doubts, unjoined
from cl.types import Corpus, Examples


def texts(name: str, *labels: str) -> Corpus:
    return Corpus(name, "sequence", {"train": Examples([f"{name} {i}" for i in range(len(labels))], list(labels))})


def sentences(name: str, *tags: list[str]) -> Corpus:
    words = [[f"w{i}{k}" for k in range(len(each))] for i, each in enumerate(tags)]
    return Corpus(name, "token", {"train": Examples(words, list(tags))})


@pytest.mark.parametrize(
    ("first", "second", "remedy"),
    [
        (("negative", "neutral", "positive"), ("0", "1", "2"), "{'0': negative, '1': neutral, '2': positive}"),
        (("neg", "pos"), ("-1", "1"), "{'-1': neg, '1': pos}"),
        (("0", "1"), ("0.0", "1.0"), "{'0.0': '0', '1.0': '1'}"),
        (("pos", "neg"), ("Neg", "Pos"), "{Neg: neg, Pos: pos}"),
        (("pos", "neg"), ("Neg", "pos"), "{Neg: neg, pos: pos}"),
        (("a", "b"), ("c", "d"), "{c: …, d: …}"),
    ],
)
def test_labels_that_seem_to_mean_the_same(first: tuple[str, ...], second: tuple[str, ...], remedy: str) -> None:
    (told,) = unjoined([texts("one", *first), texts("two", *second)])
    assert told.startswith("two has the labels")
    assert told.endswith(f"set its `labels: {remedy}`")


def test_entity_types_that_seem_to_mean_the_same() -> None:
    (told,) = unjoined([sentences("one", ["B-PER", "B-LOC"]), sentences("two", ["B-person", "B-location"])])
    assert "`labels: {location: LOC, person: PER}`" in told


def test_labels_that_are_shared_or_new_are_none() -> None:
    assert not list(unjoined([texts("one", "a", "b"), texts("two", "b", "c"), texts("three", "c", "d")]))
    assert not list(unjoined([texts("one", "a", "b"), sentences("two", ["B-x"])]))


def test_one_text_with_two_labels() -> None:
    corpus = Corpus("c", "sequence", {"train": Examples(["good " * 50, "b", "good " * 50], ["x", "y", "y"])})
    (told,) = doubts(corpus)
    assert told.startswith("c: 1 texts of train stand in the data more than once, with different labels")
    assert "such as 'good good" in told and len(told) < 250
    same = Corpus("c", "sequence", {"train": Examples(["a", "a", "b"], ["x", "x", "y"])})
    assert not list(doubts(same))
    (told,) = doubts(Corpus("c", "sequence", {"train": Examples(["a", "b"], ["x", "x"])}))
    assert told == "c: 'x' is its only class: every answer is right, unless other corpora share its head"


def test_one_text_with_another_label_in_another_split() -> None:
    splits = {"train": Examples([["a"], ["b"]], [["B-x"], ["O"]]), "test": Examples([["b"], ["a"]], [["B-x"], ["B-x"]])}
    (told,) = doubts(Corpus("c", "token", splits))
    assert told.startswith("c: 1 sentences of test stand in the data more than once") and "'b'" in told


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        (("pos", "Pos", "neg"), "{pos: Pos}"),
        (("1", "1.0", "0"), "{'1.0': '1'}"),
        (("a", "b", "no", "NO"), "{'no': 'NO'}"),
    ],
)
def test_labels_of_one_corpus_that_differ_in_form(labels: tuple[str, ...], pairs: str) -> None:
    (told,) = doubts(texts("c", *labels))
    assert "differ in their form only" in told and f"with {pairs} among them" in told
    assert not list(doubts(sentences("c", ["B-PER", "B-PERCENT", "B-LOC"])))


def test_a_label_that_says_that_there_is_none() -> None:
    (told,) = doubts(texts("c", "pos", "nan", "neg"))
    assert "'nan' is a class there" in told and "null in `labels`" in told
    assert not list(doubts(texts("c", "none", "neg")))  # a class of many data sets


def test_a_proposed_map_of_many_labels_is_short() -> None:
    (told,) = unjoined([texts("one", *map(str, range(90))), texts("two", *(f"c{i}" for i in range(90)))])
    assert len(told) < 700


def test_missing_sentence_breaks_and_missing_entities() -> None:
    (told,) = doubts(sentences("c", ["B-x", "O"] * 60))
    assert "train has 1 sentence(s) of 120 words" in told and "blank lines" in told
    assert not list(doubts(sentences("c", ["B-x", "O"] * 60, ["O"])))  # a long one among others
    (told,) = doubts(sentences("c", ["O", "O"]))
    assert "train has no entity" in told and "`tag`" in told
