"""What is wrong with a stream's data is told before a run, all of it at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cl.streams import scenarios
from cl.streams.check import errors, undefined_scores, warnings
from cl.streams.read import num_stray_tags
from cl.types import Corpus, Examples


def sequence(name: str = "s", **labels: str) -> Corpus:
    splits = {split: Examples([f"{split} {i}" for i in range(len(each))], list(each)) for split, each in labels.items()}
    return Corpus(name, "sequence", splits)


def token(**tags: list[str]) -> Corpus:
    splits = {
        split: Examples([[split, str(i)] for i in range(len(each))], [["O", tag] for tag in each])
        for split, each in tags.items()
    }
    return Corpus("n", "token", splits)


def told(corpora: list[Corpus], rule: Any = scenarios.by_corpus, **options: Any) -> list[str]:
    return errors(rule(corpora, **options))


def test_nothing_is_wrong_with_good_data() -> None:
    corpora = [
        sequence("s", train="ab", valid="a", test="ba"),
        token(train=["B-x", "B-y"], valid=["O"], test=["B-y", "I-y"]),
    ]
    assert told(corpora) == told(corpora, scenarios.by_class, classes_per_experience=[1]) == []


@pytest.mark.parametrize("options", [{}, {"rule": scenarios.by_class, "classes_per_experience": [1]}])
def test_labels_that_train_never_had(options: dict[str, Any]) -> None:
    """Also where no experience would have them: class-incremental streams would drop them without a word."""
    messages = told([sequence(train="ab", valid="a", test="cabc")], **options)
    assert len(messages) == 1
    assert "test has examples of 'c' (2), which train never has" in messages[0]
    messages = told([token(train=["B-x"], valid=["I-z"], test=["B-y", "B-x"])], **options)
    assert ["valid has examples of 'z' (1)" in messages[0], "test has examples of 'y' (1)" in messages[1]] == [
        True,
        True,
    ]


def test_empty_splits() -> None:
    corpus = sequence(train="ab", valid="", test="")
    (message,) = told([corpus])
    assert message.startswith("s: no example in the test split: check the files, stream.limit and stream.hold_out")
    assert len(errors(scenarios.by_corpus([corpus]), needs_valid=True)) == 2


def test_classes_without_a_training_example() -> None:
    experiences = scenarios.by_corpus([sequence(train="aaab", valid="a", test="ab")])
    (message,) = errors(scenarios.limit(experiences, {"train": 1}, seed=0))
    assert "class 'b' has no training example; raise stream.limit.train" in message


def test_a_type_whose_sentences_all_went_elsewhere_has_no_training_example() -> None:
    """One sentence with two types goes to one of two experiences, where the other type reads as O."""
    one = Examples([["x", "y"]], [["B-a", "B-b"]])
    corpus = Corpus("n", "token", dict.fromkeys(("train", "valid", "test"), one))
    found = told([corpus], scenarios.by_class, classes_per_experience=[1])
    assert [line.partition(": class ")[2][:3] for line in found if "has no training example" in line] in (
        ["'a'"],
        ["'b'"],
    )


def test_every_mistake_is_told() -> None:
    assert (
        len(told([sequence("s", train="ab", valid="a", test="c"), sequence("t", train="a", valid="b", test="")])) == 3
    )


def test_a_stray_tag_continues_nothing_of_its_type() -> None:
    tags = [["B-x", "I-x", "I-y", "I-y"], ["I-x"], ["O", "I-x", "B-y", "I-x"]]
    assert num_stray_tags(Examples([[""] * 4, [""], [""] * 4], tags)) == 4


def test_warnings() -> None:
    corpus = sequence(train="ab", valid="a", test="aab")
    inputs = ["train 0", "train 1", "new"]
    repeated = replace(corpus, splits=corpus.splits | {"test": Examples(inputs, list("aab"))})
    one, contradiction, overlap, remedy, few = warnings(scenarios.by_corpus([repeated]))
    assert "one experience: nothing can be forgotten" in one
    assert "1 texts of test stand in the data more than once, with different labels" in contradiction
    assert overlap == "the same inputs stand in two splits: 2 of 3 test examples of s in train"
    assert remedy.startswith("stream.drop_overlap=true keeps such copies in one split only")
    assert few == "few test examples: s (3): a score from so few depends much on chance"

    stray = token(train=["B-x", "I-x", "B-y"], valid=[], test=["B-x"])
    stray_tags, empty, _, undefined = warnings(scenarios.by_class([stray], [1]))
    assert "x, y: 1 tags in train continue an entity that never began" in stray_tags
    assert empty == "x, y: no validation examples"
    assert undefined.split(",")[0] == "y: no entity (y) in test"


def test_warnings_are_of_the_examples_in_use() -> None:
    """Under a limit, a copy that no experience takes is none."""
    corpus = sequence("s", train="ab" * 30, valid="ab", test="ab" * 30)
    inputs = [*corpus.splits["train"].inputs[:30], *(f"new {i}" for i in range(30))]
    copied = replace(corpus, splits=corpus.splits | {"test": Examples(inputs, list("ab" * 30))})
    (whole,) = [w for w in warnings(scenarios.by_corpus([copied])) if "two splits" in w]
    assert "30 of 60 test examples of s in train" in whole
    limited = scenarios.limit(scenarios.by_corpus([copied]), {"train": 20, "test": 20}, seed=0)
    train, test = ({e["text"] for e in limited[0].split(name)} for name in ("train", "test"))
    (of_limited,) = [w for w in warnings(limited) if "two splits" in w]
    assert 0 < len(train & test) < 20
    assert f"{len(train & test)} of 20 test examples of s in train" in of_limited


def test_many_mistakes_of_a_kind_are_one_line() -> None:
    letters = "abcdefghij"
    (message,) = told([sequence(train="xy", valid="x", test=letters + "x")])
    assert "test has examples of 'a' (1), 'b' (1), 'c' (1) and 7 more, which train never has" in message
    corpora = [sequence(f"s{i}", train="ab", valid="a", test="") for i in range(9)]
    (message,) = told(corpora)
    assert message.startswith("s0, s1, s2 and 6 more: no example in the test split")


def test_leaks_between_experiences_are_told_with_counts() -> None:
    corpora = [sequence(f"s{i}", train="ab", valid="a", test="ab") for i in range(3)]
    shared = replace(corpora[1], splits=corpora[1].splits | {"train": corpora[0].splits["test"]})
    found = [w for w in warnings(scenarios.by_corpus([corpora[0], shared, corpora[2]])) if "another experience" in w]
    (leak,) = found
    assert leak.startswith("4 test examples stand in train of another experience: 2 of s0 in train of s1, 2 of s2")
    more = replace(corpora[2], splits=corpora[2].splits | {"train": corpora[0].splits["test"]})
    (leak,) = [w for w in warnings(scenarios.by_corpus([corpora[0], shared, more])) if "another experience" in w]
    assert leak.startswith("6 test examples stand in train of another experience: 2 of s0 in train of s1, 2 of s0")
    # Experiences that share the sentences of one corpus do not leak to each other.
    words = token(train=["B-x", "B-y"], valid=["B-x", "B-y"], test=["B-x", "B-y"])
    assert not [w for w in warnings(scenarios.by_class([words], [1])) if "another experience" in w]


def test_scores_that_are_undefined_are_named() -> None:
    """A split without an entity of the experience's types, though it has sentences."""
    corpora = [token(train=["B-x", "B-y"], valid=["B-x", "I-y"], test=["B-x", "B-x"])]
    experiences = scenarios.by_class(corpora, [1])
    undefined = [text for text in warnings(experiences) if "undefined" in text]
    assert [text.split(",")[0] for text in undefined] == ["y: no entity (y) in valid", "y: no entity (y) in test"]
    assert all("left out of every mean" in text for text in undefined)
    assert not any("undefined" in text for text in warnings(scenarios.by_corpus(corpora)))
    assert errors(experiences) == []


def test_choosing_by_an_undefined_score_is_refused() -> None:
    corpora = [token(train=["B-x", "B-y"], valid=["B-x", "O"], test=["B-x", "O"])]
    (message,) = errors(scenarios.by_class(corpora, [1]), needs_valid=True)
    assert message.startswith("y: no entity (y) in valid") and "keep_best" in message and "patience" in message
    assert errors(scenarios.by_corpus(corpora), needs_valid=True) == []


def test_sentences_that_experiences_share_are_read_once() -> None:
    """150 experiences of one corpus: its test sentences are no 150 times as long to check."""

    class Tags(list[list[str]]):
        read = 0

        def __getitem__(self, index: Any) -> Any:
            Tags.read += 1
            return super().__getitem__(index)

    corpus = token(train=[f"B-{i}" for i in range(30)], valid=["B-0"], test=["B-1"] * 10)
    shared = Examples(corpus.splits["test"].inputs, Tags(corpus.splits["test"].labels))
    experiences = scenarios.by_class([replace(corpus, splits=corpus.splits | {"test": shared})], [1])
    assert len(undefined_scores(experiences, ["test"])) == 29
    assert Tags.read == 10
