"""Held-out splits: the share that was asked, every class on each side, copies together, drawn from the content."""

from __future__ import annotations

import random
import timeit
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl.streams.holdout import hold_out
from cl.types import Corpus, Examples, entity_type

BOTH = {"valid": 0.1, "test": 0.2}


def texts(labels: str) -> Corpus:
    return Corpus("c", "sequence", {"train": Examples([f"text {i}" for i in range(len(labels))], list(labels))})


def counts(corpus: Corpus) -> dict[str, Counter[str]]:
    return {name: Counter(examples.labels) for name, examples in corpus.splits.items()}


def test_only_what_is_missing_is_cut() -> None:
    held = hold_out(texts("ab" * 50), BOTH, seed=0)
    assert list(held.splits) == ["train", "valid", "test"]
    assert counts(held) == {"train": {"a": 35, "b": 35}, "valid": {"a": 5, "b": 5}, "test": {"a": 10, "b": 10}}
    assert sorted(t for each in held.splits.values() for t in each.inputs) == sorted(
        texts("ab" * 50).splits["train"].inputs
    )
    assert held.notes == ()
    whole = Corpus("c", "sequence", {name: Examples(["a"], ["x"]) for name in ("train", "valid", "test")})
    assert hold_out(whole, {}, seed=0) is whole
    assert len(hold_out(texts("ab" * 50), {"valid": 0.0, "test": 0.2}, seed=0).splits["valid"]) == 0


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_three_is_in_each_split(seed: int) -> None:
    """Whatever the seed; two examples go to train and test, one to train."""
    held = counts(hold_out(texts("a" * 40 + "b" * 30 + "ccc" + "dd" + "e"), BOTH, seed))
    assert {name: found["c"] for name, found in held.items()} == {"train": 1, "valid": 1, "test": 1}
    assert held["train"]["d"] == held["test"]["d"] == held["train"]["e"] == 1
    assert sum(held["test"].values()) == 15 and sum(held["valid"].values()) == 8


@given(st.lists(st.sampled_from("aaaabbcde"), min_size=1, max_size=80), st.integers(0, 3))
def test_whatever_the_classes(labels: list[str], seed: int) -> None:
    corpus = texts("".join(labels))
    held = hold_out(corpus, BOTH, seed)
    found = counts(held)
    assert sum(found.values(), Counter()) == Counter(labels)
    for label, count in Counter(labels).items():
        assert found["train"][label] >= 1
        if count >= 3:
            assert min(each[label] for each in found.values()) >= 1
    for name, share in BOTH.items():
        asked = int(share * len(labels) + 0.5)
        assert len(held.splits[name]) == asked or any(f"{name} is" in note for note in held.notes)


@given(st.lists(st.sets(st.sampled_from("xyz"), max_size=2), min_size=3, max_size=60))
def test_entity_types_are_on_each_side(types: list[set[str]]) -> None:
    tags = [[f"B-{name}" for name in sorted(each)] or ["O"] for each in types]
    words = [[f"w{i}-{k}" for k in range(len(each))] for i, each in enumerate(tags)]
    held = hold_out(Corpus("n", "token", {"train": Examples(words, tags)}), BOTH, 0)
    for name, count in Counter(name for each in types for name in each).items():
        sides = [any(name in map(entity_type, tags) for tags in each.labels) for each in held.splits.values()]
        assert sides[0], "train has every type"
        assert count < 3 or all(sides) or any(f"has no {name}" in n or f", {name}" in n for n in held.notes)


def test_neither_names_nor_the_order_of_the_file_matter() -> None:
    examples = [(f"text {i}", "ab"[i % 2]) for i in range(60)]
    held = []
    for name in ("one", "two"):
        random.Random(name).shuffle(examples)
        corpus = Corpus(name, "sequence", {"train": Examples(*map(list, zip(*examples, strict=True)))})
        held.append({split: sorted(each.inputs) for split, each in hold_out(corpus, BOTH, 3).splits.items()})
    assert held[0] == held[1]
    assert held[0] != {split: sorted(each.inputs) for split, each in hold_out(corpus, BOTH, 4).splits.items()}


def test_copies_stay_together_and_none_vanishes() -> None:
    twice = Examples([f"text {n // 2}" for n in range(40)], ["yes", "no"] * 20)
    held = hold_out(Corpus("a", "sequence", {"train": twice, "test": twice}), {"valid": 0.25}, seed=0)
    assert len(held.splits["valid"]) == 10 and len(held.splits["train"]) == 30
    assert not set(held.splits["valid"].inputs) & set(held.splits["train"].inputs)


def test_a_share_that_cannot_be_had_is_told() -> None:
    copies = Corpus("c", "sequence", {"train": Examples(["same"] * 9 + ["a", "b", "c"], ["x"] * 12)})
    held = [hold_out(copies, {"test": 0.5, "valid": 0.0}, seed) for seed in range(8)]
    for each in held:
        told = "c: test is cut from train, 2 of 4 different inputs (with copies of some, 10 examples)"
        assert each.notes == ((told,) if len(each.splits["test"]) == 10 else ())
    assert {len(each.splits["test"]) for each in held} == {2, 10}
    many = hold_out(texts("".join(chr(97 + i) * 3 for i in range(20))), {"valid": 0.1, "test": 0.1}, seed=0)
    assert all(found[chr(97 + i)] == 1 for found in counts(many).values() for i in range(20))
    assert [note[note.index("20 of") :] for note in many.notes] == [
        "20 of 60 different inputs, not 6: every class is to be in every split"
    ] * 2


@pytest.mark.parametrize("seed", range(6))
def test_copies_of_one_input_cost_no_other_class_its_share(seed: int) -> None:
    """Four hundred copies, beside classes of fifty: they are on one side by chance, and the others as ever."""
    labels = ["a"] * 400 + ["b"] * 50 + ["c"] * 50
    corpus = Corpus("c", "sequence", {"train": Examples(["same"] * 400 + [f"text {n}" for n in range(100)], labels)})
    for name, found in counts(hold_out(corpus, BOTH, seed)).items():
        assert {found["b"], found["c"]} <= {"train": {34, 35, 36}, "valid": {5, 6}, "test": {10, 9}}[name]


def test_a_long_corpus_takes_as_many_times_longer_as_it_is_longer() -> None:
    def seconds(number: int) -> float:
        corpus = texts("abcd" * (number // 4))
        return min(timeit.repeat(lambda: hold_out(corpus, BOTH, 0), number=1, repeat=3))

    assert seconds(32_000) < 32 * seconds(2_000)  # 16 times as many; with a step that grows with their square, 80
