"""Bounds and simple baselines: who answers, what stays, what is trained on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from cl.data.collate import collate
from cl.data.dataset import Store
from cl.data.encode import Encoder
from cl.models.backbone import word_pieces
from cl.plugins import Joint
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared
from cl.runs.strategies import build_strategy
from cl.streams.scenarios import by_class
from cl.testing.tiny import configured, learn, train
from cl.training.learner import Learner
from cl.types import SPLITS, Corpus, Examples, UserError

Get = Callable[[str], Prepared]


def backbone_of(learner: Learner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.network.backbone.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name].to(a[name])) for name in a)


@pytest.mark.parametrize("stream", ["sequence", "token", "mixed"])
def test_what_an_independent_network_has_learnt_stays(prepared: Get, stream: str) -> None:
    rows = train(prepared(stream), configured(stream, {"independent": {}})).rows
    for j in range(len(rows)):
        for i in range(j, len(rows)):
            # What is outside all types seen so far shrinks as more are seen.
            differing = {name for name, value in rows[i][j].items() if value != rows[j][j][name]}
            assert differing <= {"from_outside"}


@pytest.mark.parametrize("stream", ["sequence", "token", "mixed"])
def test_the_network_of_an_experience_answers_as_it_did_then(prepared: Get, stream: str) -> None:
    """To the last bit, where finetuning answers otherwise."""
    data = prepared(stream)
    kind = data.stream[0].kind
    batch = collate(data.evaluator.store.dataset(0, "test"), len(data.stream) - 1, training=False)
    said = {}
    for name, plugins in (("finetuned", {}), ("independent", {"independent": {}})):
        for num_experiences in (1, len(data.stream)):
            learner = train(data, configured(stream, plugins), num_experiences).learner
            network = learner.strategy.network_for(learner.tools, learner.network, data.stream[0]).eval()
            with torch.no_grad():
                columns = data.evaluator.store.views.width(0, kind)
                said[name, num_experiences > 1] = network(batch)[kind].raw[:, :columns]
    assert torch.equal(said["independent", True], said["independent", False])
    assert torch.equal(said["independent", False], said["finetuned", False]), "the first network is that of finetuning"
    assert (said["finetuned", True] - said["finetuned", False]).abs().max() > 0.01


@pytest.mark.parametrize("name", ["independent", "gdumb"])
def test_an_experience_starts_from_the_initial_weights(prepared: Get, name: str) -> None:
    data, config = prepared("token"), configured("token", {name: {}})
    learner = build_learner(config, data, "tested", seed=0)
    initial = backbone_of(learner)
    heads: list[Tensor] = []
    for index in range(3):
        learner.begin(data.stream[index])
        assert same(initial, backbone_of(learner))
        heads.append(learner.network.head("token").weight.detach().clone())
        learn(learner, config, index, data)
        assert not same(initial, backbone_of(learner))
    for earlier, later in pairwise(heads):
        assert torch.equal(later[: len(earlier)], earlier.to(later))


def test_a_probe_trains_the_head_alone_on_everything(prepared: Get) -> None:
    data, config = prepared("mixed"), configured("mixed", {"probe": {}})
    learner = build_learner(config, data, "tested", seed=0)
    before = backbone_of(learner)
    num_examples = 0
    for index in range(3):
        learn(learner, config, index, data)
        assert not learner.network.backbone.training
        num_examples += len(learner.store.splits[index, "train"])
        assert len(learner.plan.train) == num_examples
    assert same(before, backbone_of(learner))
    assert not torch.equal(learner.network.head("sequence").bias, torch.zeros(2))


@pytest.mark.parametrize(
    ("candidates", "first", "second"),
    [("seen", [3, 0, 1], [3, 0, 1]), ("own", [0, 0, 1], [4, 3, 3])],
)
def test_joint_training_labels_old_sentences_with_every_type_seen(
    candidates: Literal["seen", "own"], first: list[int], second: list[int]
) -> None:
    """Columns: O, B-loc, I-loc, then B-per, I-per; or with candidates of its own an O for each experience."""
    both = Examples([["Ann", "left", f"Bali{n}"] for n in range(8)], [["B-per", "O", "B-loc"]] * 8)
    stream = by_class([Corpus("ner", "token", dict.fromkeys(SPLITS, both))], [1], candidates=candidates)
    store = Store.build(stream, Encoder(word_pieces(["Ann left Bali"], 99), 16))
    learner: Any = SimpleNamespace(store=store)
    data = Joint().train_data(learner, store.dataset(1, "train"), stream[1])
    old, new = (data[data.experience == e] for e in (0, 1))
    assert len(old) + len(new) == 8 and len(old) and len(new)
    assert old.labels()[0].tolist() == first * len(old)
    assert new.labels()[0].tolist() == second * len(new)
    assert store.dataset(0, "train").labels()[0].tolist() == [0, 0, 1] * len(old)


@pytest.mark.parametrize("stream", ["token", "mixed"])
def test_old_rows_of_seq_star_stay_bit_for_bit(prepared: Get, stream: str) -> None:
    """With weight decay, clipping and Adam's momentum; and clipping sees the new rows alone."""
    data = prepared(stream)
    config = configured(stream, {"seq*": {}}, gradient_clip_val=0.01)
    config.training.weight_decay = 0.5
    learner = build_learner(config, data, "tested", seed=0)
    learn(learner, config, 0, data)
    encoder = backbone_of(learner)
    for index in range(1, len(data.stream)):
        old = {kind: head.weight.detach().clone() for kind, head in learner.network.heads.items()}
        learner.begin(data.stream[index])
        arrived = {kind: head.weight.detach().clone() for kind, head in learner.network.heads.items()}
        norms: list[float] = []
        watched(learner, norms)
        learn_on(learner, config, data, index)
        for kind, head in learner.network.heads.items():
            known = len(old.get(kind, ()))
            assert not known or torch.equal(head.weight[:known], old[kind])
            new = known < len(head.weight)
            assert new == (not torch.equal(head.weight, arrived[kind].to(head.weight)))
        assert all(norm == 0.0 for norm in norms)
    assert same(encoder, backbone_of(learner))
    assert not learner.network.backbone.training


def learn_on(learner: Learner, config: Any, data: Prepared, index: int) -> None:
    """As `learn`, for an experience that has begun."""
    begin, learner.begin = learner.begin, lambda experience: None  # type: ignore[method-assign]
    try:
        learn(learner, config, index, data)
    finally:
        learner.begin = begin  # type: ignore[method-assign]


def watched(learner: Learner, norms: list[float]) -> None:
    """Notes the norm of the gradient of old rows at every step, as clipping will see it."""
    plugin = learner.strategy.plugins["seq*"]
    on_gradients = type(plugin).on_gradients
    known = {kind: len(names) for kind, names in learner.store.views.classes[learner.experience.index - 1].items()}

    def watch(of: Any, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        result = on_gradients(plugin, of, gradients)
        norms.extend(
            float(result[name][:num_columns].norm())
            for kind, num_columns in known.items()
            if (name := f"heads.{kind}.weight") in result
        )
        return result

    plugin.on_gradients = watch  # type: ignore[method-assign]


def test_fixed_rows_are_hidden_from_other_plugins(prepared: Get) -> None:
    """A projection cannot bring them back: in either order the rows stay, and the ends agree."""
    data = prepared("token")
    ends = []
    for plugins in ({"seq*": {}, "agem": {}}, {"agem": {}, "seq*": {}}):
        config = configured("token", plugins)
        learner = train(data, config, num_experiences=1).learner
        old = learner.network.head("token").weight.detach().clone()
        learn(learner, config, 1, data)
        assert torch.equal(learner.network.head("token").weight[: len(old)], old)
        ends.append(learner.network.head("token").weight.detach())
    assert torch.allclose(*ends, atol=1e-9)


@pytest.mark.parametrize(
    "pair",
    [
        ("independent", "lwf"),
        ("independent", "featdistill"),
        ("gdumb", "lwf"),
        ("gdumb", "joint"),
        ("joint", "probe"),
        ("seq*", "independent"),
        ("seq*", "gdumb"),
        ("er-ace", "joint"),
    ],
)
def test_what_cannot_work_together_is_refused(pair: tuple[str, str]) -> None:
    for plugins in (pair, pair[::-1]):
        with pytest.raises(UserError, match="cannot work together"):
            build_strategy({name: {} for name in plugins}, "both")
