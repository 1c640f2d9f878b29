"""Replay, LwF and A-GEM against Avalanche's plugins: the same head on the same dense features, to the last step.

The backbone is frozen, so that a head on its features is a linear model, which both sides train with AdamW on a whole
experience a step: no order and no draw comes in, nor dropout, which Avalanche's teacher would keep.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from cl.data.collate import collate
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared, prepare
from cl.streams.scenarios import by_corpus
from cl.streams.stream import Stream
from cl.streams.toy import LABELS, toy_sentiment
from cl.testing.tiny import configured, learn
from cl.training.learner import Learner
from cl.types import Corpus, Examples

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from avalanche.benchmarks.scenarios.dataset_scenario import benchmark_from_datasets
    from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_classification_dataset
    from avalanche.training.plugins import AGEMPlugin, EvaluationPlugin, LwFPlugin, ReplayPlugin
    from avalanche.training.supervised import Naive

NUM_EPOCHS = 12
RATE = 0.05


def ours(data: Prepared, plugins: dict[str, Any]) -> tuple[nn.Linear, nn.Linear, list[tuple[Tensor, Tensor]]]:
    """The head before and after two experiences, and their features and labels."""
    config = configured("sequence", plugins)
    training = replace(config.training, batch_size=24, learning_rate=RATE, weight_decay=0.0)
    config = replace(config, training=training, trainer=config.trainer | {"max_epochs": NUM_EPOCHS})
    learner = build_learner(config, data, "tested", seed=0)
    learner.network.backbone.freeze()
    learner.begin(data.stream[0])
    before = linear_of(learner)
    for index in range(2):
        learn(learner, config, index, data)
    dense = []
    for index in range(2):
        batch = collate(learner.store.dataset(index, "train"), index, training=True)
        with torch.no_grad():
            output = learner.network.eval()(batch)["sequence"]
        dense.append((output.features, output.targets.labels))
    return before, linear_of(learner), dense


@pytest.fixture(scope="module")
def data() -> Prepared:
    """The same reviews twice, the second time with the other label: what helps one hurts the other."""
    (corpus,) = toy_sentiment(num_domains=1, num_train=24, num_valid=6, num_test=16)
    other = dict(zip(LABELS, reversed(LABELS), strict=True))
    flipped = {
        name: Examples(split.inputs, [other[label] for label in split.labels]) for name, split in corpus.splits.items()
    }
    return prepare(configured("sequence", {}), Stream(by_corpus([corpus, Corpus("flipped", "sequence", flipped)])))


def linear_of(learner: Learner) -> nn.Linear:
    head = learner.network.head("sequence")
    linear = nn.Linear(head.weight.shape[1], head.num_columns).double()
    linear.load_state_dict({name: value.double() for name, value in head.state_dict().items()})
    return linear


def avalanches(model: nn.Linear, dense: list[tuple[Tensor, Tensor]], plugins: list[Any]) -> nn.Linear:
    """The same course with Avalanche; the optimizer starts anew with each experience, as ours does."""
    sets = [
        _make_taskaware_classification_dataset(TensorDataset(x, y), targets=y.tolist(), task_labels=0) for x, y in dense
    ]
    strategy = Naive(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=24,
        train_epochs=NUM_EPOCHS,
        plugins=plugins,
        evaluator=EvaluationPlugin(),
    )
    for experience in benchmark_from_datasets(train=sets).train_stream:
        strategy.optimizer.state.clear()
        strategy.train(experience)
    return model


CASES: dict[str, tuple[dict[str, Any], Callable[[], list[Any]]]] = {
    "finetune": ({}, list),
    "replay": ({"replay": {"capacity": 24, "batch_size": 24}}, lambda: [ReplayPlugin(24, 24, 24)]),
    "agem": ({"agem": {"capacity": 24, "batch_size": 24}}, lambda: [AGEMPlugin(24, 24)]),
    # Avalanche leaves out the factor T² = 4.
    "lwf": ({"lwf": {"strength": 1.5, "temperature": 2.0}}, lambda: [LwFPlugin(alpha=6.0, temperature=2.0)]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_linear_model_ends_where_avalanches_does(data: Prepared, name: str) -> None:
    plugins, theirs = CASES[name]
    before, after, dense = ours(data, plugins)
    other = avalanches(before, dense, theirs())
    assert torch.allclose(after.weight, other.weight, atol=1e-9)
    assert torch.allclose(after.bias, other.bias, atol=1e-9)
    if plugins:
        _, finetuned, _ = ours(data, {})
        assert not torch.allclose(after.weight, finetuned.weight, atol=1e-4)
