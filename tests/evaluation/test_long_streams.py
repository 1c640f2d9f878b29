"""What a stream of many experiences costs, in calls: nothing is found anew for each of them that stays the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from cl.evaluation import evaluator as evaluator_module
from cl.evaluation import matrix as matrix_module
from cl.evaluation.matrix import EvaluationMatrix
from cl.models import backbone
from cl.runs.learners import build_learner
from cl.runs.networks import _training_words, build_backbone
from cl.runs.prepare import prepare
from cl.streams import scenarios
from cl.streams.stream import Stream
from cl.testing.tiny import tiny_config
from cl.training.callbacks import BestEpoch
from cl.types import Corpus, Examples


def many_classes(num_classes: int = 12) -> Stream:
    """A class an experience."""
    labels = [f"class{i}" for i in range(num_classes)] * 2
    examples = {s: Examples([f"{s} {label}" for label in labels], labels) for s in ("train", "valid", "test")}
    return Stream(scenarios.by_class([Corpus("c", "sequence", examples)], [1]))


def test_columns_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, calls = prepare(tiny_config(), many_classes()).evaluator, []
    columns_after = evaluator_module.columns_after
    monkeypatch.setattr(evaluator_module, "columns_after", lambda *a: calls.append(a) or columns_after(*a))
    assert len({evaluator._columns("sequence") for _ in range(5)}) == 1
    assert len(evaluator._names(3)) == 12
    assert len(calls) == 1


def test_a_row_of_the_matrix_is_read_and_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its table and its text are asked for after each experience: earlier rows are known by then."""
    grown, read, encoded = EvaluationMatrix(("a", "b"), ("sequence", "token")), [], []
    column, dumps = matrix_module._column, json.dumps
    monkeypatch.setattr(matrix_module, "_column", lambda cells, name: read.append(name) or column(cells, name))
    monkeypatch.setattr(json, "dumps", lambda *a, **options: encoded.append(a[0]) or dumps(*a, **options))
    grown.set_initial([{"score": 0.1}, None])
    for row, names in ((0.5, ["score"]), (0.25, ["score"]), (1.0, ["score", "f1/x"])):
        grown.add([{"score": row}, dict.fromkeys(names, row)], {"micro_f1": row})
        assert grown.to_json() == dumps(grown.to_dict(), ensure_ascii=False)
        assert grown.array().tolist() == [[value] * 2 for value in (0.5, 0.25, 1.0)[: grown.num_learnt]]
    assert [v for v in encoded if v in ([0.5, 0.5], [0.25, 0.25], [1.0, 1.0])] == [[0.5, 0.5], [0.25, 0.25], [1.0, 1.0]]
    assert np.isnan(grown.array("f1/x")[:2]).all()
    assert EvaluationMatrix.from_dict(json.loads(grown.to_json())) == grown


def test_pooled_counts_add_up_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of experiences, a kind is scored once."""
    evaluator, calls = prepare(tiny_config(), many_classes()).evaluator, []
    scores = evaluator_module.scores
    monkeypatch.setattr(evaluator_module, "scores", lambda *a: calls.append(a) or scores(*a))
    counts = {e: torch.eye(12, dtype=torch.int64)[:, [e] * 3] for e in range(12)}
    assert evaluator.pooled(counts)["accuracy"] == 1.0
    (call,) = calls
    assert call[1].tolist() == [[1, 1, 1]] * 12


def test_words_of_a_shared_corpus_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, config, read = many_classes(), tiny_config(), []
    count_words = backbone.count_words
    monkeypatch.setattr(backbone, "count_words", lambda texts: count_words(read.append(t) or t for t in texts))
    prepared = prepare(config, stream)
    for seed in range(2):
        build_learner(config, prepared, "finetune", seed)
    assert len(read) == 24


def test_the_vocabulary_is_that_of_all_training_texts() -> None:
    """A corpus counts for each experience that has it, as if its texts were read for each."""
    examples = Examples(["rare rare rare words", "class1"], ["a", "b"])
    other = Corpus("d", "sequence", dict.fromkeys(("train", "valid", "test"), examples))
    stream = Stream([*many_classes(3), *scenarios.by_corpus([other])])
    texts = [text for e in stream for text in backbone.words_of(e.train.examples.inputs)]
    assert _training_words(stream) == backbone.count_words(texts)
    _, tokenizer = build_backbone(tiny_config().network, stream)
    assert tokenizer.get_vocab() == backbone.word_pieces(texts, 400).get_vocab()


class Scored:
    """A learner whose epochs have given scores."""

    def __init__(self, scores: list[float]) -> None:
        self.scores, self.num_steps, self.recorded = iter(scores), 1, []
        self.plan = type("Plan", (), {"steps_per_epoch": 1})
        self.experience = type("Experience", (), {"index": 0})
        self.network = type("Network", (), {"state_dict": staticmethod(dict), "base": staticmethod(dict)})
        self.ends_epoch = True
        self.tools = type("Tools", (), {"record": self.recorded.append})

    def evaluate(self, split: str, which: list[int]) -> tuple[list[dict[str, float]], dict[str, float]]:
        return [{"score": next(self.scores)}], {}


def test_an_undefined_score_neither_improves_nor_stops() -> None:
    nan = float("nan")
    best, learner = BestEpoch(patience=2, keep_best=True), Scored([nan, nan, nan, 0.5, nan, 0.4, 0.3])
    trainer = type("Trainer", (), {"should_stop": False})()
    stopped = [best.after_step(trainer, learner) or trainer.should_stop for _ in range(7)]
    assert stopped == [False] * 6 + [True]
    assert best.best == 0.5
    assert learner.recorded == [{"valid/score": score} for score in (0.5, 0.4, 0.3)]
