"""Metrics: by hand, against Avalanche where it follows the papers, and where R is unfinished or has holes."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from avalanche.evaluation.metrics.forgetting_bwt import BWT, Forgetting
from avalanche.evaluation.metrics.forward_transfer import ForwardTransfer
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cl.evaluation.matrix import EvaluationMatrix
from cl.evaluation.metrics import (
    average_over_time,
    average_score,
    backward_transfer,
    forgetting,
    forgetting_per_experience,
    forward_transfer,
    intransigence,
    learning_accuracy,
    normalised_retention,
    summary,
)

NAN = float("nan")
R = np.array(
    [
        [0.9, 0.3, 0.1],
        [0.5, 0.8, 0.4],
        [0.6, 0.7, 0.7],
    ]
)
INITIAL = np.array([0.2, 0.1, 0.1])
# Class-incremental: an experience cannot be measured before it is learnt.
LOWER = np.where(np.tri(3, dtype=bool), R, NAN)
METRICS = (average_score, average_over_time, learning_accuracy, forgetting, backward_transfer)


def holes():
    """Any matrix of up to 4 of up to 5 experiences, with holes."""
    values = st.floats(0, 1) | st.just(NAN)
    sizes = st.integers(0, 4).flatmap(lambda n: st.tuples(st.just(n), st.integers(max(n, 1), 5)))
    return sizes.flatmap(lambda shape: arrays(np.float64, shape, elements=values))


def test_by_hand():
    # last row: (0.6 + 0.7 + 0.7) / 3
    assert average_score(R) == pytest.approx(2 / 3)
    # 0.9, then (0.5 + 0.8) / 2 = 0.65, then 2/3
    assert average_over_time(R) == pytest.approx((0.9 + 0.65 + 2 / 3) / 3)
    # diagonal: (0.9 + 0.8 + 0.7) / 3
    assert learning_accuracy(R) == pytest.approx(0.8)
    # best of rows 0 and 1, less row 2: max(0.9, 0.5) − 0.6 = 0.3, max(0.3, 0.8) − 0.7 = 0.1
    assert forgetting_per_experience(R) == pytest.approx([0.3, 0.1])
    assert forgetting(R) == pytest.approx(0.2)
    # (0.6 − 0.9) + (0.7 − 0.8) = −0.4, over 2
    assert backward_transfer(R) == pytest.approx(-0.2)
    # (0.3 − 0.1) + (0.4 − 0.1) = 0.5, over 2
    assert forward_transfer(R, INITIAL) == pytest.approx(0.25)


def test_forgetting_looks_for_the_best_in_every_earlier_row():
    # Experience 0 is best after experience 1, and experience 1 before it was learnt at all.
    r = np.array([[0.5, 0.9, NAN], [0.8, 0.6, NAN], [0.4, 0.7, 0.7]])
    assert forgetting_per_experience(r) == pytest.approx([0.8 - 0.4, 0.9 - 0.7])
    assert backward_transfer(r) == pytest.approx(((0.4 - 0.5) + (0.7 - 0.6)) / 2)
    # The last row is no candidate for the maximum: what improves to its best is negative forgetting.
    assert forgetting_per_experience(np.array([[0.5, NAN], [0.75, 0.5]])) == pytest.approx([-0.25])


def test_intransigence_compares_the_diagonals():
    joint = np.diag([0.9, 0.9, 0.9])
    assert intransigence(R, joint) == pytest.approx((0.0 + 0.1 + 0.2) / 3)
    assert intransigence(R[:2], joint) == pytest.approx((0.0 + 0.1) / 2)
    assert intransigence(R, joint[:2]) == pytest.approx((0.0 + 0.1) / 2)


def test_normalised_retention_runs_from_finetuning_to_joint():
    finetune, joint = np.full((3, 3), 0.2), np.full((3, 3), 0.9)
    assert normalised_retention(finetune, finetune, joint) == 0.0
    assert normalised_retention(joint, finetune, joint) == 1.0
    assert normalised_retention(R, finetune, joint) == pytest.approx((2 / 3 - 0.2) / 0.7)
    assert math.isnan(normalised_retention(R, joint, joint))
    assert math.isnan(normalised_retention(R, joint, finetune)), "a bound below finetuning is none"


def test_pre_learning_scores_may_be_missing():
    for metric in METRICS:
        assert metric(LOWER) == pytest.approx(metric(R))  # here no experience is best before it is learnt
    assert math.isnan(forward_transfer(LOWER, INITIAL))


def test_an_experience_that_is_never_measured_is_left_out():
    r = R.copy()
    r[:, 1] = NAN
    assert average_score(r) == pytest.approx((0.6 + 0.7) / 2)
    assert average_over_time(r) == pytest.approx((0.9 + 0.5 + 0.65) / 3)
    assert learning_accuracy(r) == pytest.approx((0.9 + 0.7) / 2)
    assert forgetting(r) == pytest.approx(0.3)
    assert backward_transfer(r) == pytest.approx(-0.3)
    assert forward_transfer(r, INITIAL) == pytest.approx(0.3)


@pytest.mark.parametrize("num_learnt", [0, 1])
def test_undefined_is_nan(num_learnt):
    r = R[:num_learnt]
    assert forgetting_per_experience(r).shape == (0,)
    undefined = [forgetting(r), backward_transfer(r), forward_transfer(r, INITIAL), forward_transfer(R, None)]
    if num_learnt == 0:
        undefined += [metric(r) for metric in METRICS] + [intransigence(r, R), normalised_retention(r, R, R)]
    assert np.isnan(undefined).all()


@given(holes(), arrays(np.float64, 5, elements=st.floats(0, 1) | st.just(NAN)))
def test_an_unfinished_run_is_the_finished_run_over_fewer_experiences(r, initial):
    n, t = r.shape
    short, b = r[:, :n], initial[:t]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # holes are ordinary, not worth a warning
        for metric in METRICS:
            np.testing.assert_equal(metric(r), metric(short))
        np.testing.assert_equal(forward_transfer(r, b), forward_transfer(short, b[:n]))
        np.testing.assert_equal(intransigence(r, r), intransigence(short, short))


# ----------------------------------------------------------------------------------------------- Avalanche


def avalanche_mean(metric):
    values = list(metric.result().values())
    return sum(values) / len(values) if values else NAN


def fed(metric, r):
    """As Avalanche's plugins feed it: first the score after learning an experience, then the current one."""
    for j in range(len(r) - 1):
        metric.update(j, r[j, j], initial=True)
        metric.update(j, r[-1, j])
    return avalanche_mean(metric)


squares = st.integers(1, 5).flatmap(lambda n: arrays(np.float64, (n, n), elements=st.floats(0, 1)))


@given(squares)
def test_backward_transfer_is_avalanches(r):
    assert backward_transfer(r) == pytest.approx(fed(BWT(), r), nan_ok=True)


@given(squares)
def test_forward_transfer_is_avalanches(r):
    metric, initial = ForwardTransfer(), r[0] / 2
    for j in range(1, len(r)):
        metric.update(j, initial[j], initial=True)
        metric.update(j, r[j - 1, j])
    assert forward_transfer(r, initial) == pytest.approx(avalanche_mean(metric), nan_ok=True)


@given(squares)
def test_forgetting_is_avalanches_where_nothing_beats_the_first_score(r):
    r = np.minimum(r, np.where(np.eye(len(r), dtype=bool), r, r.diagonal()))  # the diagonal is each column's best
    assert forgetting(r) == pytest.approx(fed(Forgetting(), r), nan_ok=True)


def test_forgetting_is_not_avalanches_where_the_best_comes_later():
    r = np.array([[0.5, NAN, NAN], [0.9, 0.8, NAN], [0.6, 0.8, 0.7]])
    # Avalanche: first − current, ((0.5 − 0.6) + (0.8 − 0.8)) / 2: experience 0 seems to gain
    assert fed(Forgetting(), r) == pytest.approx(-0.05)
    # Chaudhry et al.: best − current, ((0.9 − 0.6) + (0.8 − 0.8)) / 2
    assert forgetting(r) == pytest.approx(0.15)


# ------------------------------------------------------------------------------------------------- summary


def test_summary_of_a_run():
    matrix = EvaluationMatrix(("a", "b", "c"), ("token",) * 3)
    matrix.set_initial([{"score": value} for value in INITIAL])
    for row, pooled in zip(R, (0.9, 0.7, 0.5), strict=True):
        matrix.add([{"score": value} for value in row], {"micro_f1": pooled})
    assert summary(matrix) == pytest.approx(
        {
            "average_score": 2 / 3,
            "average_over_time": (0.9 + 0.65 + 2 / 3) / 3,
            "learning_accuracy": 0.8,
            "forgetting": 0.2,
            "backward_transfer": -0.2,
            "forward_transfer": 0.25,
            "initial_score": sum(INITIAL) / 3,
            "pooled/micro_f1": 0.5,
            "pooled_over_time/micro_f1": 0.7,
        }
    )


def test_summary_of_a_run_that_has_learnt_nothing():
    values = summary(EvaluationMatrix(("a", "b"), ("token", "token")))
    assert len(values) == 7
    assert np.isnan(list(values.values())).all()


def test_a_score_that_is_undefined_counts_in_no_mean():
    """A type without an entity in test: R without its column and row says the same of the others."""
    names, whole = ("per", "geo", "org"), EvaluationMatrix(("per", "geo", "org"), ("token",) * 3)
    r = [[0.9, NAN, 0.0], [0.7, NAN, 0.1], [0.5, NAN, 0.8]]
    whole.set_initial([{"score": 0.0}, {"score": NAN}, {"score": 0.0}])
    for row in r:
        whole.add([{"score": value, "micro_f1": value} for value in row])
    found = summary(whole)
    assert found["average_score"] == pytest.approx((0.5 + 0.8) / 2)
    assert found["average_over_time"] == pytest.approx((0.9 + 0.7 + (0.5 + 0.8) / 2) / 3)
    assert found["learning_accuracy"] == pytest.approx((0.9 + 0.8) / 2)
    assert found["forgetting"] == pytest.approx(0.9 - 0.5)
    assert found["backward_transfer"] == pytest.approx(0.5 - 0.9)
    assert found["forward_transfer"] == pytest.approx(0.1 - 0.0)
    joint = np.array([[1.0, NAN, 0.0], [1.0, NAN, 0.0], [1.0, NAN, 1.0]])
    assert intransigence(np.array(r), joint) == pytest.approx((0.1 + 0.2) / 2)
    assert normalised_retention(np.array(r), np.array(r) / 2, joint) == pytest.approx((0.65 - 0.325) / (1 - 0.325))
    assert whole.to_dict()["scores"]["score"][0] == [0.9, None, 0.0]
    assert EvaluationMatrix.from_dict(whole.to_dict()) == whole and whole.names == names


def test_matrices_of_before_still_load():
    """Those had 0 for what is undefined."""
    old = EvaluationMatrix(("per", "geo"), ("token",) * 2)
    old.add([{"score": 0.9}, {"score": 0.0}])
    assert EvaluationMatrix.from_dict(old.to_dict()).array().tolist() == [[0.9, 0.0]]
