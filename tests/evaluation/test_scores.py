"""Counts and scores, against seqeval (strict IOB2) and scikit-learn."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score as seqeval_f1
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, f1_score

from cl.evaluation.scores import (
    BEGIN,
    INSIDE,
    OUTSIDE,
    TagSet,
    accuracy,
    class_counts,
    entity_counts,
    error_counts,
    error_rates,
    macro_f1,
    micro_f1,
    per_class_f1,
    scores,
)

TYPES = ("x", "y", "a/b", "a-b", "y/B-x")
COLUMNS = ("I-y", "B-x", "O", "B-a-b", "B-y", "I-a/b", "I-x", "B-a/b", "I-y/B-x", "I-a-b", "B-y/B-x")
TAGS = TagSet.of(COLUMNS)
# Two types and many I- tags: runs, type changes and stray I- are the rule and not the exception.
dense = st.sampled_from(("O", "B-x", "I-x", "I-x", "B-y", "I-y"))
any_tag = st.sampled_from(COLUMNS)
corpora = st.one_of(*(st.lists(st.lists(st.tuples(tag, tag), max_size=8), max_size=6) for tag in (dense, any_tag)))


def flat(corpus, columns=COLUMNS):
    """`(predicted, gold, sentence)` `[N]` of sentences of (gold, predicted) tags; empty sentences leave no word."""
    words = [(columns.index(p), columns.index(g), i) for i, pairs in enumerate(corpus) for g, p in pairs]
    return torch.tensor(words, dtype=torch.int64).reshape(-1, 3).unbind(dim=1)


def counts_of(corpus, tags=TAGS):
    return entity_counts(*flat(corpus), tags)


def seqeval_input(corpus):
    corpus = corpus or [[]]  # seqeval wants a sentence at least
    return [[g for g, _ in pairs] for pairs in corpus], [[p for _, p in pairs] for pairs in corpus]


# ------------------------------------------------------------------------------------------------ tag sets


def test_tag_set_takes_columns_in_any_order():
    tags = TagSet.of(("I-y", "O", "B-x", "I-x", "B-y"))
    assert tags.types == ("y", "x")
    assert tags.code.tolist() == [INSIDE, OUTSIDE, BEGIN, INSIDE, BEGIN]
    assert tags.type.tolist() == [0, -1, 1, 1, 0]


def test_tag_set_keeps_separators_inside_types():
    assert TagSet.of(COLUMNS).types == ("y", "x", "a-b", "a/b", "y/B-x")


def test_tag_set_strips_only_the_given_prefix():
    columns = ("a/O", "a/B-x/y", "a/I-x/y", "a/b/O", "a/b/B-z", "O", "B-x")
    assert TagSet.of(columns, prefix="a/").types == ("x/y",)  # "b/B-z" is no tag: another experience's column
    assert TagSet.of(columns, prefix="a/b/").types == ("z",)
    assert TagSet.of(columns).types == ("x",)
    assert TagSet.of(columns, prefix="a/").code.tolist() == [OUTSIDE, BEGIN, INSIDE, OUTSIDE, OUTSIDE, OUTSIDE, OUTSIDE]


def test_prefixed_columns_count_as_bare_ones():
    corpus = [[("B-x", "B-x"), ("I-x", "I-x"), ("I-y", "B-y")], [("I-x", "I-x")]]
    private = TagSet.of(tuple(f"an/experience/{column}" for column in COLUMNS), prefix="an/experience/")
    assert private.types == TAGS.types
    assert counts_of(corpus, private).equal(counts_of(corpus))


# ------------------------------------------------------------------------------------------------ entities


@pytest.mark.parametrize(
    ("sentences", "spans"),
    [
        ([["B-x", "I-x", "O", "B-x"]], [(0, 2), (3, 4)]),
        ([["B-x", "B-x"]], [(0, 1), (1, 2)]),
        ([["I-x", "I-x"]], []),  # starts with I-: no entity
        ([["O", "I-x", "B-x"]], [(2, 3)]),
        ([["B-x", "I-y", "I-y"]], [(0, 1)]),  # the type changes: the rest belongs to nothing
        ([["B-x", "I-y", "I-x"]], [(0, 1)]),  # nor does it resume
        ([["B-x"], ["I-x"]], [(0, 1)]),  # a new sentence
        ([["B-x"], [], ["I-x", "B-x"]], [(0, 1), (2, 3)]),  # an empty sentence between
        ([], []),
    ],
)
def test_entities_of_strict_iob2(sentences, spans):
    columns, _, sentence = flat([[(tag, tag) for tag in tags] for tags in sentences])
    end, _ = TAGS.entities(columns, sentence)
    assert [(n, stop) for n, stop in enumerate(end.tolist()) if stop] == spans


def test_an_entity_is_correct_only_in_whole():
    counts = counts_of([[("B-x", "B-x"), ("I-x", "O"), ("O", "O"), ("B-y", "B-x"), ("B-x", "B-x")]])
    # y: one in gold, none found.  x: found 0–1 (too short), 3–4 (it is a y) and 4–5 (correct); gold 0–2 and 4–5
    assert counts[: len("yx")].tolist() == [[0, 0, 1], [1, 3, 2]]
    assert not counts[len("yx") :].any()
    assert micro_f1(counts) == pytest.approx(2 * 1 / (3 + 3))
    assert macro_f1(counts) == pytest.approx((0 + 2 * 1 / (3 + 2)) / 2)


@settings(max_examples=300, deadline=None)
@given(corpora)
def test_entity_counts_are_those_of_seqeval(corpus):
    gold, predicted = seqeval_input(corpus)
    correct, found, wanted = counts_of(corpus).double().unbind(dim=1)
    present = sorted(name for name, n in zip(TAGS.types, found + wanted, strict=True) if n)
    rows = [TAGS.types.index(name) for name in present]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of each zero division
        precision, recall, f1, support = precision_recall_fscore_support(gold, predicted, scheme=IOB2, zero_division=0)
        micro = seqeval_f1(gold, predicted, mode="strict", scheme=IOB2, average="micro", zero_division=0)
        macro = seqeval_f1(gold, predicted, mode="strict", scheme=IOB2, average="macro", zero_division=0)
    np.testing.assert_allclose((correct / found.clamp(min=1))[rows], precision)
    np.testing.assert_allclose((correct / wanted.clamp(min=1))[rows], recall)
    np.testing.assert_allclose(per_class_f1(counts_of(corpus))[rows], f1)
    np.testing.assert_array_equal(wanted[rows], support)
    assert micro_f1(counts_of(corpus)) == pytest.approx(micro if present else math.nan, nan_ok=True)
    assert macro_f1(counts_of(corpus)) == pytest.approx(macro if present else math.nan, nan_ok=True)


@given(corpora, st.sets(st.sampled_from(TYPES)))
def test_types_outside_scored_read_as_outside(corpus, kept):
    def visible(tag):
        return tag if tag[2:] in kept else "O"

    tags = TagSet.of(COLUMNS, scored=kept)
    hidden = [[(visible(g), visible(p)) for g, p in pairs] for pairs in corpus]
    assert set(tags.types) == kept
    assert counts_of(corpus, tags).equal(counts_of(hidden, tags))
    # … which leaves the counts of the kept types as they were
    assert counts_of(corpus, tags).equal(counts_of(corpus)[[TAGS.types.index(name) for name in tags.types]])


@given(corpora, st.integers(1, 4))
def test_entity_counts_add_up_over_ranks(corpus, num_ranks):
    parts = [counts_of(corpus[rank::num_ranks]) for rank in range(num_ranks)]
    assert torch.stack(parts).sum(dim=0).equal(counts_of(corpus))
    assert counts_of(corpus).dtype == torch.int64


# ------------------------------------------------------------------------------------------------- classes

pairs_of_classes = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


@settings(deadline=None)
@given(pairs_of_classes)
def test_class_scores_are_those_of_scikit_learn(pairs):
    predicted, gold = torch.tensor(pairs).unbind(dim=1)
    counts = class_counts(predicted, gold, num_classes=6)
    assert accuracy(counts) == pytest.approx(accuracy_score(gold, predicted))
    assert macro_f1(counts) == pytest.approx(f1_score(gold, predicted, average="macro", zero_division=0))
    assert micro_f1(counts) == pytest.approx(accuracy(counts))
    expected = f1_score(gold, predicted, average=None, labels=range(6), zero_division=np.nan)
    np.testing.assert_allclose(per_class_f1(counts), expected)


@given(pairs_of_classes, st.integers(1, 4))
def test_class_counts_add_up_over_ranks(pairs, num_ranks):
    predicted, gold = torch.tensor(pairs).unbind(dim=1)
    parts = [class_counts(predicted[rank::num_ranks], gold[rank::num_ranks], 5) for rank in range(num_ranks)]
    assert torch.stack(parts).sum(dim=0).equal(class_counts(predicted, gold, 5))


def test_class_counts_by_hand():
    counts = class_counts(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), num_classes=3)
    assert counts.tolist() == [[1, 2, 1], [2, 2, 3], [0, 0, 0]]
    # f1: 2·1/(2+1) = 2/3, 2·2/(2+3) = 4/5, absent
    assert per_class_f1(counts)[:2].tolist() == pytest.approx([2 / 3, 4 / 5])
    assert math.isnan(per_class_f1(counts)[2])
    assert scores("sequence", counts, ("a", "b", "c")) == pytest.approx(
        {"score": 3 / 4, "accuracy": 3 / 4, "macro_f1": (2 / 3 + 4 / 5) / 2}
    )


# -------------------------------------------------------------------------------------------- named scores


def test_scores_of_entities_name_the_types_that_occur():
    counts = torch.tensor([[1, 2, 2], [0, 0, 0], [0, 1, 0]])
    assert scores("token", counts, ("per", "loc", "org/x")) == pytest.approx(
        {"score": 2 / 5, "micro_f1": 2 / 5, "macro_f1": 0.25, "f1/per": 0.5, "f1/org/x": 0.0}
    )


@pytest.mark.parametrize("num_rows", [0, 3])
def test_nothing_to_score_is_not_measured(num_rows):
    counts, names = torch.zeros(num_rows, 3, dtype=torch.int64), "abc"[:num_rows]
    assert math.isnan(accuracy(counts)) and math.isnan(micro_f1(counts)) and math.isnan(macro_f1(counts))
    for kind, named in (("token", ("score", "micro_f1", "macro_f1")), ("sequence", ("score", "accuracy", "macro_f1"))):
        found = scores(kind, counts, names)
        assert tuple(found) == named and all(map(math.isnan, found.values()))


def test_an_empty_gold_is_not_measured_whatever_was_predicted():
    """Else whether a mean counts the experience would depend on the strategy."""
    counts = torch.tensor([[0, 5, 0], [0, 0, 0]])
    assert all(map(math.isnan, scores("token", counts, ("per", "loc")).values()))
    assert micro_f1(counts) == 0.0  # the formula's value, as seqeval's


# --------------------------------------------------------------------------------- what O hides, by words


def test_error_rates_by_hand() -> None:
    tags = TagSet.of(("O", "B-x", "I-x", "B-y", "I-y"), scored=("x",))
    gold = torch.tensor([1, 2, 1, 0, 0, 0, 0, 0])  # x x x, then O; the last two are a y to the full gold
    outside = torch.tensor([False] * 3 + [True] * 3 + [False] * 2)
    predicted = torch.tensor([1, 0, 3, 1, 0, 4, 1, 0])
    counts = error_counts(predicted, gold, outside, 0, tags)
    # Words of x: 3, of which one is called O (another is called y). Words outside: 3, of which one is called x.
    assert counts.tolist() == [[3, 1, 1, 3]]
    assert error_rates(counts) == pytest.approx({"to_outside": 1 / 3, "from_outside": 1 / 3})
    # With a second type: the words outside are the same four for both.
    both = torch.tensor([[3, 1, 1, 4], [2, 0, 1, 4]])
    assert error_rates(both) == pytest.approx({"to_outside": 1 / 5, "from_outside": 2 / 4})


@given(corpora, st.integers(1, 4))
def test_error_counts_add_up_over_ranks(corpus, num_ranks):
    def errors(sentences):
        predicted, gold, _ = flat(sentences)
        return error_counts(predicted, gold, gold == 2, 2, TAGS)

    parts = [errors(corpus[rank::num_ranks]) for rank in range(num_ranks)]
    assert torch.stack(parts).sum(dim=0).equal(errors(corpus))


def test_error_rates_of_nothing_are_not_measured() -> None:
    assert all(math.isnan(rate) for rate in error_rates(torch.zeros(2, 4, dtype=torch.int64)).values())
