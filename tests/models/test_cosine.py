"""The cosine head: cosines over features, and everything that a linear head promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cosine_similarity

from cl.data.collate import collate
from cl.models.network import MASKED
from cl.models.readouts import Cosine
from cl.models.snapshot import frozen_copy, restored_copy
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared
from cl.testing.tiny import assert_same, configured, fresh_learner, learn, train
from cl.training.optimizer import optimizer_of
from cl.training.recipe import Recipe, Training

Get = Callable[[str], Prepared]


def grown(num_columns: int) -> Cosine:
    head = Cosine(4)
    head.grow("abcde"[:num_columns], torch.Generator().manual_seed(0))
    return head


def test_logits_are_scaled_cosines_of_each_target_alone() -> None:
    head, features = grown(3), torch.randn(5, 4)
    assert head.scale == 10.0
    for n in range(5):
        for column in range(3):
            cosine = cosine_similarity(features[n], head.weight[column], dim=0)
            assert torch.allclose(head(features)[n, column], head.scale * cosine, atol=1e-5)
    assert torch.allclose(head(features)[:2], head(features[:2]))  # other targets of the batch do not matter
    assert torch.allclose(head(7 * features), head(features), atol=1e-5)


def test_growth_and_states_are_those_of_a_linear_head() -> None:
    head, features = grown(2), torch.randn(3, 4)
    before = head(features)
    head.grow("abcde", torch.Generator().manual_seed(1))
    assert torch.allclose(head(features)[:, :2], before)  # a product of another width may add up in another order
    assert head.weight[2:].norm(dim=1).min() > 0
    head.scale.data += 1
    other = grown(5)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(features), head(features))
    frozen = grown(2).requires_grad_(False)
    frozen.grow("abc", torch.Generator())
    assert not any(p.requires_grad for p in frozen.parameters())


def test_the_scale_is_learnt() -> None:
    head = grown(3)
    head(torch.randn(5, 4)).logsumexp(1).sum().backward()
    assert head.scale.grad is not None
    assert head.scale.grad.abs() > 0


def test_the_scale_is_trained_and_does_not_decay(prepared: Get) -> None:
    config = configured("token", {})
    config.network = replace(config.network, head="cosine")
    learner = build_learner(config, prepared("token"), "tested", 0)
    learner.begin(prepared("token").stream[0])
    groups = optimizer_of(Recipe(Training(weight_decay=0.3)), learner.network, 0, fused=False).param_groups
    scale = learner.network.head("token").scale
    assert [group["weight_decay"] for group in groups for p in group["params"] if p is scale] == [0.0]


@pytest.mark.parametrize(
    "plugins",
    [
        {},
        {"cfner": {}, "imprint": {}, "replay": {"capacity": 10, "batch_size": 5}},
        {"ewc": {"num_examples": 6}, "si": {}, "mas": {"num_examples": 6}, "l2": {}},
    ],
)
def test_a_stream_is_learnt_and_taken_up_again(prepared: Get, plugins: dict[str, dict[str, int]]) -> None:
    data, config = prepared("mixed"), configured("mixed", plugins)
    config.network = replace(config.network, head="cosine")
    straight = train(data, config)
    half = train(data, config, num_experiences=2)
    resumed = fresh_learner(config, data)
    resumed.restore(half.learner.state())
    for index in (2, 3):
        learn(resumed, config, index, data)
    assert_same(straight.weights, resumed.network.state_dict())
    assert {"heads.token.scale", "heads.sequence.scale"} <= straight.weights.keys()
    assert "heads.token.bias" not in straight.weights


def test_dealing_out_a_batch_changes_nothing(prepared: Get) -> None:
    ends = []
    for accumulate in (1, 3):
        config = configured("mixed", {"imprint": {}}, accumulate)
        config.network = replace(config.network, head="cosine")
        ends.append(train(prepared("mixed"), config))
    assert_same(ends[0].weights, ends[1].weights, 1e-6)


def test_candidates_are_masked(prepared: Get) -> None:
    data, config = prepared("token"), configured("token", {})
    config.network = replace(config.network, head="cosine")
    learner = build_learner(config, data, "tested", 0)
    for experience in data.stream:
        learner.begin(experience)
    batch = collate(data.evaluator.store.dataset(0, "train"), 2, training=True)  # a replayed O leaves later types open
    output = learner.network(batch)["token"]
    outside = output.targets.labels == 0
    assert (output.logits[outside][:, 3:] == MASKED).all()
    assert (output.logits[outside][:, :3] == output.raw[outside][:, :3]).all()


def test_a_teacher_of_a_narrower_head(prepared: Get) -> None:
    data, config = prepared("token"), configured("token", {})
    config.network = replace(config.network, head="cosine")
    learner = build_learner(config, data, "tested", 0)
    learner.begin(data.stream[0])
    teacher = frozen_copy(learner.network)
    learner.begin(data.stream[1])
    restored = restored_copy(learner.network, teacher.state_dict())
    batch = collate(data.evaluator.store.dataset(0, "test"), 1, training=False)
    assert torch.equal(restored(batch)["token"].logits, teacher(batch)["token"].logits)
