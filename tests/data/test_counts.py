"""What stands in a stream, counted as the network sees it."""

from __future__ import annotations

import json

import pytest

import cl.data.counts
from cl.data.counts import counts
from cl.data.dataset import Store, ragged
from cl.data.encode import Encoder
from cl.data.windows import Overflow
from cl.models.backbone import word_pieces
from cl.streams.scenarios import by_class, by_corpus, limit
from cl.types import SPLITS, Corpus, Examples, Experience

TRAIN = Examples(
    [["we", "met", "Ann", "Lee"], ["in", "Bali"], ["Ann", "\u200b", "left", "Bali", "and", "Rome"]],
    [["O", "O", "B-per", "I-per"], ["O", "B-loc"], ["B-per", "O", "O", "B-loc", "O", "B-loc"]],
)
TEST = Examples([["Rome"], ["we"]], [["B-loc"], ["O"]])
NER = Corpus("ner", "token", {"train": TRAIN, "valid": TEST, "test": TEST})
TEXT = Examples(["good good", "not"], ["yes", "no"])
REVIEWS = Examples(["good", "not good at all , not good", "good good"], ["yes", "no", "yes"])


def store_of(experiences: list[Experience], max_length: int = 16, overflow: Overflow = "cut") -> Store:
    vocabulary = word_pieces(["we met Ann Lee in Bali left and Rome good not at all ,"], 99)
    return Store.build(experiences, Encoder(vocabulary, max_length, overflow=overflow))


def test_of_sentences() -> None:
    experiences = by_class([NER], [1])
    loc, per = counts(experiences, store_of(experiences, 7))
    assert (loc["experience"], loc["name"], loc["kind"]) == (0, "loc", "token")
    assert loc["splits"]["test"] == {
        "entities": {"loc": 1}, "examples": 2, "words": 2, "tokens": 6, "unknown_tokens": 0,
        "cut_off": 0, "cut_off_share": 0.0, "windows": 2,
    }  # fmt: skip
    assert per["splits"]["test"]["entities"] == {"per": 0}, "a type without an entity is told of"
    both = counts(by_corpus([NER]), store_of(by_corpus([NER]), 7))[0]["splits"]["train"]
    assert both["entities"] == {"loc": 3, "per": 2}
    assert (both["words"], both["unknown_tokens"]) == (12, 1)
    assert (both["cut_off"], both["cut_off_share"], both["tokens"]) == (1, 1 / 3, 6 + 4 + 7)


def test_of_texts_and_windows() -> None:
    experiences = by_corpus([Corpus("a", "sequence", {"train": REVIEWS, "valid": REVIEWS, "test": REVIEWS})])
    (found,) = counts(experiences, store_of(experiences, 5, "split"))
    assert found["splits"]["train"] == {
        "classes": {"no": 1, "yes": 2}, "examples": 3, "tokens": 3 + 3 * 5 + 4, "unknown_tokens": 0,
        "cut_off": 0, "cut_off_share": 0.0, "windows": 5,
    }  # fmt: skip
    assert json.loads(json.dumps(found)) == found


def test_only_what_is_used_is_encoded() -> None:
    corpus = Corpus("a", "sequence", {"train": REVIEWS, "valid": TEXT, "test": TEXT})
    experiences = limit(by_corpus([corpus]), {"train": 1}, 0)
    store, whole = store_of(experiences), store_of(by_corpus([corpus]))
    assert len(store.text) == 1 + len(TEXT)
    (chosen,) = experiences[0].train.indices
    row = whole.splits[0, "train"][chosen]
    expected = whole.ids[whole.offsets[row] : whole.offsets[row + 1]]
    assert store.ids[: store.offsets[1]].tolist() == expected.tolist()
    assert store.dataset(0, "train").labels()[0].tolist() == [["no", "yes"].index(REVIEWS.labels[chosen])]


def test_many_experiences_over_one_corpus_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"t{i:03}" for i in range(150)]
    sentences = Examples([["we"] * 5] * 300, [[f"B-{names[i % 150]}", *["O"] * 4] for i in range(300)])
    experiences = by_class([Corpus("n", "token", {"train": sentences, "valid": sentences, "test": sentences})], [1])
    store, sizes = store_of(experiences, 32), []
    monkeypatch.setattr(
        cl.data.counts, "ragged", lambda offsets, rows: sizes.append(len(rows)) or ragged(offsets, rows)
    )
    found = counts(experiences, store)
    assert found[7]["splits"]["test"]["entities"] == {"t007": 2}
    assert sum(sizes) == 2 * len(sentences), "train once, dealt out, and the test sentences that all share once"


def test_a_vocabulary_that_lacks_many_words_is_warned_of() -> None:
    known, other = ["we met Ann Lee in Bali"] * 30, ["we met ☃"] * 3
    for texts, share in ((known, None), (known + other, "3 of 255 tokens (1.2%)"), (known * 2 + other, None)):
        corpus = Corpus("a", "sequence", dict.fromkeys(SPLITS, Examples(texts, ["x"] * len(texts))))
        told = [warning for warning in store_of(by_corpus([corpus])).warnings() if "unknown token" in warning]
        assert [share in warning for warning in told] == ([True] if share else [])
