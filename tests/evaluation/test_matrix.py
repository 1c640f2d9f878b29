"""The matrix: arrays, plain values, and files that survive a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl.evaluation.matrix import EvaluationMatrix
from cl.types import UserError

NAN = float("nan")


def example():
    """Two of three experiences learnt; the last one has no column yet."""
    matrix = EvaluationMatrix(("news", "tweets", "reviews"), ("token", "token", "sequence"))
    matrix.set_initial([{"score": 0.1, "micro_f1": 0.1}, None, {"score": 0.5, "accuracy": 0.5}])
    matrix.add([{"score": 0.8, "micro_f1": 0.8, "f1/per": 0.7}, None, None])
    matrix.add([{"score": 0.6, "micro_f1": 0.6}, {"score": 0.9, "micro_f1": 0.9}, None], pooled={"micro_f1": 0.75})
    return matrix


cells = st.none() | st.dictionaries(st.sampled_from(("score", "accuracy", "f1/ü")), st.floats(-1, 1) | st.just(NAN))


@st.composite
def matrices(draw):
    size = draw(st.integers(1, 4))
    rows = st.lists(cells, min_size=size, max_size=size)
    matrix = EvaluationMatrix(tuple(f"é{i}" for i in range(size)), ("sequence",) * size)
    for _ in range(draw(st.integers(0, size))):
        matrix.add(draw(rows), draw(cells))
    if draw(st.booleans()):
        matrix.set_initial(draw(rows))
    return matrix


def test_arrays():
    matrix = example()
    assert matrix.num_learnt == 2
    assert matrix.score_names == ("score", "accuracy", "f1/per", "micro_f1")
    np.testing.assert_array_equal(matrix.array(), [[0.8, NAN, NAN], [0.6, 0.9, NAN]])
    np.testing.assert_array_equal(matrix.array("f1/per"), [[0.7, NAN, NAN], [NAN, NAN, NAN]])
    np.testing.assert_array_equal(matrix.initial_array(), [0.1, NAN, 0.5])
    np.testing.assert_array_equal(matrix.pooled_array("micro_f1"), [NAN, 0.75])
    assert matrix.pooled_names == ("micro_f1",)
    assert matrix.array().dtype == np.float64


def test_an_empty_matrix_has_shapes_too():
    matrix = EvaluationMatrix(("a", "b"), ("token", "token"))
    assert matrix.array().shape == (0, 2)
    assert matrix.pooled_array().shape == (0,)
    assert matrix.initial_array() is None
    assert matrix.score_names == ("score",)


def test_nan_and_absent_are_the_same():
    matrix = EvaluationMatrix(("a", "b"), ("token", "token"))
    matrix.add([{"score": NAN}, {"score": 0.5, "f1/x": NAN}], pooled={"score": NAN})
    assert matrix.rows == [(None, {"score": 0.5})]
    assert matrix.pooled == [None]


def test_a_row_has_a_cell_for_each_experience():
    with pytest.raises(ValueError, match="2 experiences, not 1"):
        EvaluationMatrix(("a", "b"), ("token", "token")).add([None])


def test_plain_values():
    assert example().to_dict() == {
        "experiences": [
            {"index": 0, "name": "news", "kind": "token"},
            {"index": 1, "name": "tweets", "kind": "token"},
            {"index": 2, "name": "reviews", "kind": "sequence"},
        ],
        "scores": {
            "score": [[0.8, None, None], [0.6, 0.9, None]],
            "accuracy": [[None, None, None], [None, None, None]],
            "f1/per": [[0.7, None, None], [None, None, None]],
            "micro_f1": [[0.8, None, None], [0.6, 0.9, None]],
        },
        "initial": {
            "score": [0.1, None, 0.5],
            "accuracy": [None, None, 0.5],
            "f1/per": [None, None, None],
            "micro_f1": [0.1, None, None],
        },
        "pooled": {"micro_f1": [None, 0.75]},
    }


@given(matrices())
def test_round_trip_is_exact(matrix):
    text = json.dumps(matrix.to_dict(), allow_nan=False)
    assert EvaluationMatrix.from_dict(json.loads(text)) == matrix


def test_save_and_load(tmp_path):
    path = tmp_path / "matrix.json"
    example().save(path)
    assert EvaluationMatrix.load(str(path)) == example()
    assert os.listdir(tmp_path) == ["matrix.json"]


@pytest.mark.parametrize("moment", ["open", "fsync", "replace"])
def test_a_crash_while_saving_leaves_the_old_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "matrix.json"
    old = example()
    old.save(path)

    def crash(*_, **__):
        raise KeyboardInterrupt

    longer = example()
    longer.add([None, None, {"score": 1.0}])
    with monkeypatch.context() as patch:
        patch.setattr(*(Path, "open") if moment == "open" else (os, moment), crash)
        with pytest.raises(KeyboardInterrupt):
            longer.save(path)
    assert EvaluationMatrix.load(path) == old
    longer.save(path)  # what the crash left behind is in nobody's way
    assert EvaluationMatrix.load(path) == longer


WHOLE = json.dumps(example().to_dict())


@pytest.mark.parametrize(
    "text",
    [
        "",
        WHOLE[:-1],
        WHOLE[: len(WHOLE) // 2],
        "null",
        "[]",
        "{}",
        WHOLE.replace('"sequence"', '"picture"'),
        WHOLE.replace("0.9", '"good"'),
        WHOLE.replace("[0.8, null, null]", "[0.8, null]"),
        WHOLE.replace("[[0.7, null, null], [null, null, null]]", "[[0.7, null, null]]"),
        WHOLE.replace("[null, 0.75]", "[0.75]"),
        WHOLE.replace('"initial"', '"begin"'),
        "\udcff",
    ],
)
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "matrix.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"matrix\.json: damaged"):
        EvaluationMatrix.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json: cannot read .*No such file"):
        EvaluationMatrix.load(tmp_path / "absent.json")
