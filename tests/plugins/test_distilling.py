"""Distillation against written-out sums: which columns, which positions, whose features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softmax

from cl.batches import Batch, Outputs, Step
from cl.data.collate import collate
from cl.models.snapshot import frozen_copy
from cl.plugins.shared import taught
from cl.plugins.shared.taught import Taught
from cl.runs.prepare import Prepared, prepare
from cl.streams.scenarios import by_class
from cl.streams.stream import Stream
from cl.streams.toy import toy_ner
from cl.testing.tiny import assert_same, configured, train
from cl.training.learner import Learner

Get = Callable[[str], Prepared]


def after_two(data: Prepared, stream: str, name: str, options: dict[str, Any]) -> tuple[Learner, Step]:
    """A learner with a teacher whose network has moved on since, and a pass over new data."""
    learner = train(data, configured(stream, {name: options}), num_experiences=2).learner
    learner.begin(data.stream[2])
    learner.network.eval()
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, dtype=parameter.dtype)
    return learner, step_of(learner, collate(learner.store.dataset(2, "train")[:9], 2, training=True))


def step_of(learner: Learner, batch: Batch) -> Step:
    return Step(learner.experience, batch, learner.network(batch))


def kl(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """T² Σ q log q / p of one target."""
    p, q = (softmax(z / temperature, 0) for z in (student, teacher))
    return temperature**2 * sum(float((q[c] * (q[c] / p[c]).log()).detach()) for c in range(len(q)))


@pytest.mark.parametrize("stream", ["token", "own"])
def test_lwf_distils_the_old_columns_of_each_valid_target(prepared: Get, own: Prepared, stream: str) -> None:
    """Of shared columns all together, of private ones those of each experience on their own."""
    data = own if stream == "own" else prepared(stream)
    learner, step = after_two(data, "token", "lwf", {"strength": 3.0, "temperature": 1.5})
    teacher: Any = learner.strategy.plugins["lwf"].teacher  # type: ignore[attr-defined]
    kind = data.stream[2].kind
    known = learner.store.views.width(1, kind)
    spans = learner.store.views.private_spans(kind, 2) or [(0, known)]
    assert known < step.outputs[kind].raw.shape[1] or stream != "token"
    student, old = step.outputs[kind].raw, teacher(step.batch)[kind].raw
    assert old.shape[1] == known
    every = [sum(kl(student[n, a:b], old[n, a:b], 1.5) for a, b in spans) for n in range(len(student))]
    found = learner.strategy.losses(learner.tools, step)["lwf"]  # type: ignore[arg-type]
    assert float(found) == pytest.approx(3.0 * sum(every) / len(every))


@pytest.mark.parametrize("stream", ["sequence", "token"])
def test_feature_distillation_is_the_mean_squared_distance(prepared: Get, stream: str) -> None:
    learner, step = after_two(prepared(stream), stream, "featdistill", {"strength": 3.0})
    plugin: Any = learner.strategy.plugins["featdistill"]
    kind = step.experience.kind
    now, then = step.outputs[kind].features, plugin.teacher(step.batch)[kind].features
    every = [float(((now[n] - then[n]) ** 2).sum()) / now.shape[1] for n in range(len(now))]
    found = learner.strategy.losses(learner.tools, step)["featdistill"]  # type: ignore[arg-type]
    assert float(found) == pytest.approx(3.0 * sum(every) / len(every))
    plugin.teacher = frozen_copy(learner.network)
    assert float(learner.strategy.losses(learner.tools, step)["featdistill"]) == 0.0  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["lwf", "featdistill"])
def test_positions_without_a_target_teach_nothing(prepared: Get, name: str) -> None:
    """The term of a batch is the sum of its examples' alone, whatever padding they had."""
    learner, step = after_two(prepared("token"), "token", name, {})
    whole = float(learner.strategy.losses(learner.tools, step)[name])  # type: ignore[arg-type]
    parts = 0.0
    examples = learner.store.dataset(2, "train")[:9]
    for i in range(9):
        one = replace(collate(examples[i : i + 1], 2, training=True), counts=step.batch.counts)
        parts += float(learner.strategy.losses(learner.tools, step_of(learner, one))[name])  # type: ignore[arg-type]
    assert whole == pytest.approx(parts)


@pytest.fixture(scope="module")
def own() -> Prepared:
    """Entity types one by one, each with candidates of its own."""
    corpus = toy_ner(0, num_types=3, num_train=72, num_valid=8, num_test=16)
    return prepare(configured("token", {}), Stream(by_class([corpus], [1], candidates="own", seed=0)))


@pytest.mark.parametrize("plugins", [{"lwf": {}}, {"extendner": {}}, {"selftrain": {}}])
def test_a_teacher_is_asked_once_of_data_that_does_not_change(
    prepared: Get, plugins: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the end is that of asking at every step, which is what happens where memory would not do."""
    asked: list[int] = []
    ask = Taught.ask

    def noting(plugin: Taught, batch: Batch) -> Outputs:
        asked.append(len(batch))
        return ask(plugin, batch)

    monkeypatch.setattr(Taught, "ask", noting)
    data, config = prepared("token"), configured("token", plugins)
    remembered = train(data, config)
    new = sum(len(data.evaluator.store.splits[e, "train"]) for e in (1, 2))
    assert sum(asked) == new
    asked.clear()
    monkeypatch.setattr(taught, "MEMORY", 100)
    always = train(data, config)
    assert sum(asked) == 2 * new  # epochs
    assert_same(remembered.weights, always.weights, 1e-9)


@pytest.mark.parametrize("stream", ["mixed", "sequence", "token"])
def test_replayed_examples_are_asked_for(prepared: Get, stream: str) -> None:
    """What a teacher says of them is not remembered, and counts all the same; of the new ones' kind or another."""
    plugins = {"lwf": {}, "replay": {"capacity": 10, "batch_size": 5}}
    learner = train(prepared(stream), configured(stream, plugins), num_experiences=2).learner
    learner.begin(prepared(stream).stream[2])
    plugin = learner.strategy.plugins["lwf"]
    assert isinstance(plugin, Taught)
    tools = learner.tools
    batch = learner.strategy.on_batch(tools, next(tools.batches_of(tools.store.dataset(2, "train"), 4)))
    assert len(batch) == 9
    said = plugin.old_logits(learner.tools, batch)
    for kind, output in plugin.ask(batch).items():
        assert torch.equal(said[kind], output.raw)
