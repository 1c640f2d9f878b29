"""Rules from corpora to experiences: who gets which class and which example, drawn from the seed alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from cl.streams import scenarios
from cl.types import SPLITS, Corpus, Examples, Experience, UserError


def sequences(name: str, labels: str, num: int = 4, splits: tuple[str, ...] = SPLITS) -> Corpus:
    """`num` texts of each label in each split."""
    every = [(f"{name} {split} {label}{i}", label) for split in splits for i in range(num) for label in labels]
    by_split = {s: [e for e in every if f" {s} " in e[0]] for s in splits}
    return Corpus(name, "sequence", {s: Examples(*map(list, zip(*rows, strict=True))) for s, rows in by_split.items()})


def sentences(name: str = "ner", num: int = 12) -> Corpus:
    """Sentences with entities of types a, b and c in turn, every fourth with none, every fifth with two."""

    def tags(i: int) -> list[str]:
        first = "O" if i % 4 == 3 else f"B-{'abc'[i % 3]}"
        return [first, "O", "B-a" if i % 5 == 4 else "O"]

    def split(s: str) -> Examples:
        return Examples([[s, str(i), "x"] for i in range(num)], [tags(i) for i in range(num)])

    return Corpus(name, "token", {s: split(s) for s in SPLITS})


def texts(experience: Experience, name: Any) -> list[Any]:
    split = experience.split(name)
    return [sample.get("text") or tuple(sample["tokens"]) for sample in split]


# ------------------------------------------------------------------------------------- domains and tasks


def test_domain_incremental_shares_labels() -> None:
    first, second = scenarios.by_corpus([sequences("a", "xy"), sequences("b", "yz")])
    assert (first.index, second.index) == (0, 1)
    assert (first.name, second.name) == ("a", "b")
    assert (first.columns, second.columns) == (("x", "y"), ("y", "z"))
    assert scenarios.columns_after([first, second], 0) == {"sequence": ("x", "y")}
    assert scenarios.columns_after([first, second], 1) == {"sequence": ("x", "y", "z")}


def test_task_incremental_keeps_labels_apart() -> None:
    experiences = scenarios.by_corpus([sequences("a", "xy"), sequences("b", "xy")], "own")
    assert [e.task_label for e in experiences] == [0, 1]
    assert scenarios.columns_after(experiences, 1) == {"sequence": ("a/x", "a/y", "b/x", "b/y")}


def test_kinds_mix() -> None:
    experiences = scenarios.by_corpus([sequences("a", "xy"), sentences()])
    assert scenarios.columns_after(experiences, 1) == {
        "sequence": ("x", "y"),
        "token": ("O", "B-a", "I-a", "B-b", "I-b", "B-c", "I-c"),
    }


# ---------------------------------------------------------------------------------------------- classes


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([2], ["ab", "cd", "e"]),  # what is left over comes last, and nothing is dropped
        ([3, 1], ["abc", "d", "e"]),
        ([1, 2], ["a", "bc", "de"]),  # the last number goes on
        ([9], ["abcde"]),
    ],
)
def test_class_incremental_sizes(sizes: list[int], groups: list[str]) -> None:
    experiences = scenarios.by_class([sequences("s", "ecabd")], sizes)
    assert ["".join(e.classes) for e in experiences] == groups
    names = ["+".join(group) if len(group) < 4 else f"{group[0]}…{group[-1]}" for group in groups]
    assert [e.name for e in experiences] == names


def test_class_incremental_texts_go_to_the_experience_of_their_label() -> None:
    corpus = sequences("s", "abcd")
    experiences = scenarios.by_class([corpus], [2])
    for name in SPLITS:
        for e in experiences:
            assert {sample["label"] for sample in e.split(name)} == set(e.classes)
        assert sorted(t for e in experiences for t in texts(e, name)) == sorted(corpus.splits[name].inputs)


def test_class_order_goes_across_corpora() -> None:
    corpora = [sequences("s", "abc"), sequences("t", "xb")]
    experiences = scenarios.by_class(corpora, [2], order=list("cxba"))
    assert [(e.name, "".join(e.classes)) for e in experiences] == [("s:c+b", "cb"), ("s:a", "a"), ("t:x+b", "xb")]


@pytest.mark.parametrize(
    ("order", "message"),
    [("abz", "names 'z'; the classes are: a, b, c"), ("ab", "leaves out c"), ("abca", "names 'a' twice")],
)
def test_class_order_names_every_class_once(order: str, message: str) -> None:
    with pytest.raises(UserError, match=f"stream.class_order {message}"):
        scenarios.by_class([sequences("s", "abc")], [1], order=list(order))


def test_class_incremental_sentences() -> None:
    corpus = sentences()
    experiences = scenarios.by_class([corpus], [1])
    assert [e.classes for e in experiences] == [("O", f"B-{x}", f"I-{x}") for x in "abc"]
    assert [e.scored for e in experiences] == [{"a"}, {"b"}, {"c"}]
    # Train: each sentence once, with one that owns a type of its entities, whose types alone are visible.
    owners = [{tag[2:] for tag in tags} - {""} for tags in corpus.splits["train"].labels]
    assert Counter(i for e in experiences for i in e.train.indices) == Counter(range(12))
    for e in experiences:
        (kind,) = e.scored or ()
        assert all(not owners[i] or kind in owners[i] for i in e.train.indices)
        assert {tag for sample in e.train for tag in sample["tags"]} <= set(e.classes)
        # Valid and test: every sentence.
        assert list(e.test.indices) == list(range(12)) == list(e.valid.indices)
    assert all(e.test.examples is corpus.splits["test"] for e in experiences)


def test_every_owner_of_a_sentence_gets_some() -> None:
    """Of sentences with two types half each; of those without an entity a third each."""
    both, none = ["B-a", "B-b"], ["O", "O"]
    examples = Examples(
        [[str(i), "x"] for i in range(600)], [both if i % 2 else none for i in range(599)] + [["B-c", "O"]]
    )
    corpus = Corpus("n", "token", dict.fromkeys(SPLITS, examples))
    got = [Counter(i % 2 for i in e.train.indices if i < 599) for e in scenarios.by_class([corpus], [1])]
    assert [number[1] for number in got] == pytest.approx([150, 150, 0], abs=30)
    assert [number[0] for number in got] == pytest.approx([100, 100, 100], abs=30)


def test_a_slice_shows_what_its_split_shows() -> None:
    for e in scenarios.by_class([sentences()], [1]):
        for split in (e.train, e.test):
            assert list(split[1:5]) == list(split)[1:5]
            assert list(split[::-2]) == list(split)[::-2]


def test_the_seed_alone_decides() -> None:
    def train(seed: int) -> list[list[int]]:
        return [list(e.train.indices) for e in scenarios.by_class([sentences(num=40)], [1], seed=seed)]

    assert train(0) == train(0) != train(1)


# ------------------------------------------------------------------------------ order, limits, held out


def test_reorder() -> None:
    experiences = scenarios.by_corpus([sequences(name, "xy") for name in "abc"], "own")
    moved = scenarios.reorder(experiences, ["c", "a"])
    assert [(e.name, e.index, e.task_label) for e in moved] == [("c", 0, 0), ("a", 1, 1)]
    for order, message in ((["a", "z"], "no experience is called 'z'; there are: a, b, c"), (["a", "a"], "'a' twice")):
        with pytest.raises(UserError, match=f"stream.order.*{message}"):
            scenarios.reorder(experiences, order)


def test_limit_draws_the_same_from_shared_splits() -> None:
    experiences = scenarios.limit(scenarios.by_class([sentences(num=30)], [1]), {"train": 3, "test": 7}, seed=0)
    assert [len(e.train) for e in experiences] == [3, 3, 3]
    assert {len(e.valid) for e in experiences} == {30}
    assert len({tuple(e.test.indices) for e in experiences}) == 1
    assert list(experiences[0].test.indices) == sorted(experiences[0].test.indices)
    assert len(scenarios.limit(experiences, {"test": 100}, seed=0)[0].test) == 7


def test_limit_draws_from_the_experiences_own() -> None:
    corpus = sequences("s", "abcd", num=10)
    drawn = []
    for seed in (0, 0, 1):
        experiences = scenarios.limit(scenarios.by_class([corpus], [2]), {"train": 8, "valid": 5}, seed)
        for e in experiences:
            assert {sample["label"] for sample in e.train} <= set(e.classes)
            assert len(e.train) == 8 and len(set(e.train.indices)) == 8
        drawn.append([list(e.train.indices) for e in experiences])
    assert drawn[0] == drawn[1] != drawn[2]
    limited = scenarios.limit(scenarios.by_class([sentences(num=30)], [1]), {"train": 3}, seed=0)
    assert all({tag for sample in e.train for tag in sample["tags"]} <= set(e.classes) for e in limited)


def test_options_are_chosen_on_validation_examples() -> None:
    experiences = scenarios.by_corpus([sequences("a", "xy"), sequences("b", "xy")])
    for before, after in zip(experiences, scenarios.for_selection(experiences), strict=True):
        assert texts(after, "test") == texts(after, "valid") == texts(before, "valid") != texts(before, "test")
        assert texts(after, "train") == texts(before, "train")
