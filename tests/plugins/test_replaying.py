"""Replay against formulas and plain loops: what is remembered, what it weighs, where gradients are sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import one_hot, softmax

from cl.batches import Step
from cl.data.collate import collate
from cl.data.dataset import Dataset, ragged
from cl.memory.herding import herd, herding_keys
from cl.plugins.base import Tools, stored_bytes
from cl.plugins.gem import dual
from cl.plugins.maths.algebra import copies
from cl.plugins.maths.losses import cross_entropy
from cl.plugins.shared.remembering import features_of
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared, prepare
from cl.streams.scenarios import by_class
from cl.streams.stream import Stream
from cl.streams.toy import toy_ner
from cl.testing.tiny import assert_same, configured, learn, train
from cl.training.learner import Learner

Get = Callable[[str], Prepared]
SMALL: dict[str, Any] = {"capacity": 10, "batch_size": 5}


# ------------------------------------------------------------------------------------------- projections


def linear(data: Prepared, plugins: dict[str, Any], watch: str, num_experiences: int) -> list[tuple[Any, Tensor]]:
    """Trains a head on a frozen backbone, a linear model; what `on_gradients` was given and gave, flat."""
    config = configured("sequence", plugins)
    learner = build_learner(config, data, "tested", seed=0)
    learner.network.backbone.freeze()
    plugin, calls = learner.strategy.plugins[watch], []
    on_gradients = plugin.on_gradients

    def watched(of: Tools, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        before = flat({name: g.clone() for name, g in gradients.items()})
        result = on_gradients(of, gradients)  # type: ignore[arg-type]
        if len(plugin.buffer):  # type: ignore[attr-defined]
            calls.append(((before, references(of, plugin)), flat(result)))
        return result

    plugin.on_gradients = watched  # type: ignore[method-assign, assignment]
    for index in range(num_experiences):
        learn(learner, config, index, data)
    return calls


def flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradients[f"heads.sequence.{name}"].flatten() for name in ("weight", "bias")])


def references(tools: Tools, plugin: Any) -> list[Tensor]:
    """Mean over the drawn examples of (p − y) hᵀ and p − y, written out."""
    drawn = plugin.by_experience(tools) if hasattr(plugin, "by_experience") else [plugin.draw(tools, "agem")]
    return [gradient_of(tools, data) for data in drawn]


def gradient_of(learner: Tools, data: Dataset) -> Tensor:
    head = learner.network.head("sequence")
    with torch.no_grad():
        features = learner.network(collate(data, learner.experience.index, training=True))["sequence"].features
        labels = data.labels()[0]
        error = softmax(features @ head.weight.T + head.bias, 1) - one_hot(labels, head.num_columns)
    return torch.cat([(error.T @ features / len(data)).flatten(), error.mean(0)])


def test_agem_is_the_written_out_projection(prepared: Get) -> None:
    calls = linear(prepared("sequence"), {"agem": SMALL}, "agem", 3)
    projected = 0
    for (g, (r,)), result in calls:
        expected = g if g @ r >= 0 else g - (g @ r) / (r @ r) * r
        projected += int(g @ r < 0)
        assert torch.allclose(result, expected, atol=1e-12)
    assert 0 < projected < len(calls)


def test_gem_is_the_nearest_gradient_that_meets_every_constraint(prepared: Get) -> None:
    """Against a general solver on the primal: min ‖z − g‖² with gₖ·z ≥ 0, in the space of all parameters."""
    calls = linear(prepared("sequence"), {"gem": SMALL | {"margin": 0.0}}, "gem", 3)
    projected = 0
    for (g, old), result in calls:
        rows = torch.stack(old).numpy()
        assert (rows @ result.numpy() >= -1e-9).all()
        projected += int((rows @ g.numpy() < 0).any())
        assert np.allclose(result.numpy(), nearest(g.numpy(), rows), atol=1e-6)
    assert projected > 1 and {len(old) for (_, old), _ in calls} == {1, 2}


def nearest(g: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The z that minimises ‖z − g‖² with a product of at least 0 with each row."""
    solved: np.ndarray = minimize(
        lambda z: 0.5 * ((z - g) ** 2).sum(),
        g,
        jac=lambda z: z - g,
        constraints={"type": "ineq", "fun": lambda z: rows @ z, "jac": lambda z: rows},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    ).x
    return solved


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("dependent", [False, True])
def test_gem_dual_meets_the_conditions_of_optimality(margin: float, dependent: bool) -> None:
    """Karush–Kuhn–Tucker, which hold at the minimum alone: also for gradients that depend on each other."""
    draw = torch.Generator().manual_seed(0)
    for _ in range(50):
        old, g = (torch.randn(n, 7, generator=draw, dtype=torch.double) for n in (4, 1))
        if dependent:
            old[3] = 2 * old[0] - old[1]
        every = torch.cat([old, g])
        v = dual(every @ every.T, margin)
        slope = old @ (g[0] + v @ old)
        assert (v >= margin).all()
        assert (slope >= -1e-7).all()
        assert torch.allclose((v - margin) * slope, torch.zeros(4, dtype=torch.double), atol=1e-6)


def test_gem_protects_a_head_that_the_batch_does_not_train(prepared: Get) -> None:
    """A mixed stream: the reference covers every trained parameter, an absent gradient counts as zero."""
    data, config = prepared("mixed"), configured("mixed", {"gem": SMALL})
    learner = train(data, config, num_experiences=3).learner
    seen = []
    plugin = learner.strategy.plugins["gem"]
    on_gradients = plugin.on_gradients

    def watched(of: Tools, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        before = copies(gradients)
        result = on_gradients(of, gradients)  # type: ignore[arg-type]
        seen.append((before, copies(result)))
        return result

    plugin.on_gradients = watched  # type: ignore[method-assign, assignment]
    other = "token" if data.stream[3].kind == "sequence" else "sequence"
    before = learner.network.head(other).weight.detach().clone()
    learn(learner, config, 3, data)
    absent = f"heads.{other}.weight"
    assert not any(given[absent].any() for given, _ in seen)
    assert any(given_back[absent].any() for _, given_back in seen)
    assert not torch.equal(before, learner.network.head(other).weight)


def in_second(data: Prepared, name: str) -> tuple[Learner, Any]:
    """A learner at the start of the second experience, and its plugin, which remembers the first."""
    learner = train(data, configured("sequence", {name: SMALL}), num_experiences=1).learner
    learner.begin(data.stream[1])
    return learner, learner.strategy.plugins[name]


@pytest.mark.parametrize("name", ["replay", "agem", "der", "er-ace"])
def test_each_step_draws_anew(prepared: Get, name: str) -> None:
    learner, plugin = in_second(prepared("sequence"), name)
    drawn = []
    for learner.num_steps in (0, 1, 2, 0):
        drawn.append(tuple(plugin.draw(learner.tools, "some").rows.tolist()))
    assert len(set(drawn)) == 3 and drawn[0] == drawn[3]
    assert set(drawn[0]) != set(plugin.draw(learner.tools, "other").rows.tolist())


def test_gem_draws_anew_of_each_experience(prepared: Get) -> None:
    learner, plugin = in_second(prepared("sequence"), "gem")
    drawn = []
    for learner.num_steps in (0, 1, 0):
        (of_first,) = plugin.by_experience(learner.tools)
        drawn.append(tuple(of_first.rows.tolist()))
    assert drawn[0] == drawn[2] != drawn[1] and len(drawn[0]) == 5


def test_der_plus_plus_draws_labels_and_logits_apart(prepared: Get) -> None:
    learner, plugin = in_second(prepared("sequence"), "der++")
    draw, drawn = plugin.draw, []

    def noting(of: Learner, purpose: str) -> Dataset:
        drawn.append(draw(of, purpose))
        return drawn[-1]

    plugin.draw = noting
    batch = collate(learner.store.dataset(1, "train")[:4], 1, training=True)
    plugin.loss(learner.tools, Step(learner.experience, batch, learner.network(batch)))
    logits, labels = (set(each.rows.tolist()) for each in drawn)
    assert logits != labels


def test_der_plus_plus_adds_the_cross_entropy_of_its_second_draw(prepared: Get) -> None:
    learner, plugin = in_second(prepared("sequence"), "der++")
    learner.network.eval()
    batch = collate(learner.store.dataset(1, "train")[:4], 1, training=True)
    step = Step(learner.experience, batch, learner.network(batch))
    plugin.strength, plugin.label_strength = 0.0, 3.0
    output = learner.network(collate(plugin.draw(learner.tools, "labels"), 1, training=True))["sequence"]
    assert torch.allclose(plugin.loss(learner.tools, step), 3.0 * cross_entropy(output).mean())
    plugin.strength, plugin.label_strength = 2.0, 0.0
    output = learner.network(collate(plugin.draw(learner.tools, "logits"), 1, training=True))["sequence"]
    assert torch.allclose(plugin.loss(learner.tools, step), 2.0 * plugin.distance("sequence", output).mean())


# --------------------------------------------------------------------------------------------------- ER-ACE


@pytest.mark.parametrize("stream", ["token", "mixed"])
def test_er_ace_by_hand(prepared: Get, stream: str) -> None:
    data = prepared(stream)
    learner = train(data, configured(stream, {"er-ace": SMALL}), num_experiences=len(data.stream) - 1).learner
    now = len(data.stream) - 1
    learner.begin(data.stream[now])
    store, network = learner.store, learner.network.eval()
    new = collate(store.dataset(now, "train")[:6], now, training=True)
    batch = learner.strategy.plugins["er-ace"].on_batch(learner.tools, new)  # type: ignore[arg-type]
    assert len(batch) == len(new) + 5
    for kind, output in network(batch).items():
        told = [{c for c, yes in enumerate(store.views.labelled[e].tolist()) if yes} for e in range(now + 1)]
        losses = cross_entropy(output)
        for n, label in enumerate(output.targets.labels.tolist()):
            e = int(batch.experience[output.targets.rows[n]])
            columns = set(range(output.raw.shape[1]))
            if e == now or (kind == "token" and label == 0):  # new; or an old O, which tells of its own types alone
                columns = told[e]
            z = output.raw[n]
            by_hand = -(z[label] - torch.logsumexp(z[sorted(columns)], 0))
            assert torch.allclose(losses[n], by_hand)


# -------------------------------------------------------------------------------------- herding and memory


def herd_plainly(features: list[list[float]], num_chosen: int) -> list[int]:
    dimensions = range(len(features[0]))
    mean = [sum(f[d] for f in features) / len(features) for d in dimensions]
    chosen: list[int] = []
    for _ in range(num_chosen):
        best, least = -1, float("inf")
        for i in range(len(features)):
            if i in chosen:
                continue
            group = [*chosen, i]
            distance = sum((sum(features[j][d] for j in group) / len(group) - mean[d]) ** 2 for d in dimensions)
            if distance < least - 1e-12:
                best, least = i, distance
        chosen.append(best)
    return chosen


def test_herding_is_the_plain_loop() -> None:
    for seed in range(5):
        features = torch.randn(12, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
        assert herd(features, 7).tolist() == herd_plainly(features.tolist(), 7)


def test_herding_keys_are_ranks_within_a_group_of_features_of_length_1() -> None:
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    groups = torch.arange(20) % 3
    keys = herding_keys(features, groups, capacity=4)
    assert torch.equal(keys, herding_keys(features * torch.arange(1, 21).unsqueeze(1), groups, capacity=4))
    for group in range(3):
        members = (groups == group).nonzero().squeeze(1)
        unit = features[members] / features[members].norm(dim=1, keepdim=True)
        for rank, place in enumerate(herd_plainly(unit.tolist(), 4)):
            assert keys[members[place]] == 1 / (1 + rank)
        assert int((keys[members] > 0).sum()) == 4


@pytest.mark.parametrize("stream", ["sequence", "token"])
def test_a_feature_is_the_mean_over_valid_positions(prepared: Get, stream: str) -> None:
    data = prepared(stream)
    learner = train(data, configured(stream, {}), num_experiences=1).learner
    examples = learner.store.dataset(0, "train")
    found = features_of(learner.tools, examples)  # type: ignore[arg-type]
    learner.network.eval()
    for i in range(len(examples)):
        with torch.no_grad():
            output = learner.network(collate(examples[i : i + 1], 0, training=False))[stream]  # type: ignore[index]
        assert torch.allclose(found[i], output.features.mean(0))
        words, _ = ragged(learner.store.word_offsets, examples.rows[i : i + 1])
        assert len(output.targets) == int((learner.store.positions[words] >= 0).sum())


@pytest.mark.parametrize("stream", ["sequence", "token", "mixed"])
def test_herding_in_a_run(prepared: Get, stream: str) -> None:
    """The same memory however batches were dealt, balanced, and the most typical of what was offered."""
    data, options = prepared(stream), {"replay": {"capacity": 9, "batch_size": 5, "policy": "herding"}}
    whole = train(data, configured(stream, options))
    dealt = train(data, configured(stream, options, accumulate=3))
    assert_same(whole.plugins, dealt.plugins, 1e-6)
    assert_same(whole.weights, dealt.weights, 1e-6)
    buffer = whole.learner.strategy.plugins["replay"].buffer  # type: ignore[attr-defined]
    assert len(buffer) == 9
    sizes = torch.bincount(buffer.groups)
    assert int(sizes.max()) - int(sizes[sizes > 0].min()) <= 2
    first = train(data, configured(stream, options), num_experiences=1).learner.strategy.plugins["replay"]
    kept = first.buffer.keys  # type: ignore[attr-defined]
    for group in torch.unique(first.buffer.groups).tolist():  # type: ignore[attr-defined]
        of_group = kept[first.buffer.groups == group]  # type: ignore[attr-defined]
        expected = 1 / torch.arange(1, len(of_group) + 1, dtype=torch.double)
        assert torch.equal(of_group.sort(descending=True).values, expected)


def test_columns_of_two_kinds_are_two_groups(prepared: Get) -> None:
    """Reviews have the columns 0 and 1, sentences the column 1 of their first type: three groups, not two."""
    data, options = prepared("mixed"), {"replay": {"capacity": 12, "batch_size": 5, "policy": "class_balanced"}}
    learner = train(data, configured("mixed", options), num_experiences=3).learner
    buffer: Any = learner.strategy.plugins["replay"].buffer  # type: ignore[attr-defined]
    kinds = learner.store.is_token[buffer.rows]
    assert not {*buffer.groups[kinds].tolist()} & {*buffer.groups[~kinds].tolist()}


def test_an_example_is_remembered_in_32_bytes(prepared: Get) -> None:
    learner = train(prepared("sequence"), configured("sequence", {"replay": SMALL}), num_experiences=1).learner
    assert stored_bytes(learner.strategy.state_dict()) == 10 * 32
    assert (
        stored_bytes({"a": [torch.zeros(3, dtype=torch.float32), {"b": torch.zeros(2, dtype=torch.int64)}], "c": 5})
        == 28
    )


def test_logits_stay_with_their_examples(prepared: Get) -> None:
    """Where later examples make room: what is stored is still what the first network said."""
    data, config = prepared("sequence"), configured("sequence", {"der": SMALL})
    learner = train(data, config, num_experiences=1).learner
    plugin: Any = learner.strategy.plugins["der"]
    before = dict(zip(plugin.words["sequence"][0].tolist(), plugin.logits["sequence"][0], strict=True))
    learn(learner, config, 1, data)
    after = dict(zip(plugin.words["sequence"][0].tolist(), plugin.logits["sequence"][0], strict=True))
    assert 0 < len(after) < len(before) == 10
    assert all(torch.equal(before[word], logits) for word, logits in after.items())
    kept, _ = ragged(learner.store.word_offsets, plugin.buffer.rows)
    assert sorted([*after, *plugin.words["sequence"][1].tolist()]) == sorted(kept.tolist())


def test_gdumb_trains_on_its_balanced_memory_alone(prepared: Get) -> None:
    data, config = prepared("token"), configured("token", {"gdumb": {"capacity": 12}})
    learner = build_learner(config, data, "tested", seed=0)
    plugin: Any = learner.strategy.plugins["gdumb"]
    for index in range(3):
        learner.begin(data.stream[index])
        before = plugin.state_dict()["buffer"]
        once, again = (learner.data().train for _ in range(2))  # a resumed run asks again
        assert torch.equal(once.rows, again.rows)
        assert_same(before, plugin.state_dict()["buffer"])
        learn(learner, config, index, data)
        assert torch.equal(learner.plan.train.rows, once.rows)
        assert torch.equal(plugin.buffer.rows, once.rows)
        assert len(plugin.buffer) == 12
    offered = torch.cat([learner.store.dataset(e, "train").groups() for e in range(3)])
    sizes, available = torch.bincount(plugin.buffer.groups // 2), torch.bincount(offered)
    fair = int(sizes.max())
    for group, size in enumerate(sizes.tolist()):
        assert size >= min(fair - 1, int(available[group]))


@pytest.mark.parametrize("name", ["replay", "er-ace", "der", "der++", "agem", "gem", "gdumb"])
def test_remembered_examples_keep_their_own_candidates(own: Prepared, name: str) -> None:
    options = {"capacity": 10} if name == "gdumb" else SMALL
    end = train(own, configured("token", {name: options}))
    learner, now = end.learner, len(own.stream) - 1
    assert end.rows[-1][-1] is not None
    buffer: Any = end.learner.strategy.plugins[name].buffer  # type: ignore[attr-defined]
    data = learner.store.of(buffer.rows, buffer.experience)
    targets = collate(data, now, training=True).targets["token"]
    assert targets.candidates is not None
    for row, label, candidates in zip(targets.rows, targets.labels, targets.candidates, strict=True):
        start, stop = learner.store.views.candidates[int(buffer.experience[row])].tolist()
        assert start <= int(label) < stop
        assert candidates.nonzero().squeeze(1).tolist() == list(range(start, stop))


@pytest.fixture(scope="module")
def own() -> Prepared:
    """Entity types one by one, each with candidates of its own."""
    corpus = toy_ner(0, num_types=3, num_train=72, num_valid=8, num_test=16)
    return prepare(configured("token", {}), Stream(by_class([corpus], [1], candidates="own", seed=0)))


def test_stored_logits_are_without_dropout(prepared: Get) -> None:
    data, config = prepared("sequence"), configured("sequence", {"der": SMALL})
    config = replace(config, network=replace(config.network, dropout=0.5))
    learner = train(data, config, num_experiences=1).learner
    plugin: Any = learner.strategy.plugins["der"]
    output = learner.network.eval()(collate(plugin.remembered(learner.tools), 0, training=False))["sequence"]
    for word, raw in zip(output.targets.words, output.raw, strict=True):
        place = torch.searchsorted(plugin.words["sequence"][0], word)
        assert torch.allclose(plugin.logits["sequence"][0][place], raw)
    of_each = [features_of(learner.train().tools, learner.store.dataset(0, "train")) for _ in range(2)]  # type: ignore[arg-type]
    assert torch.equal(*of_each) and learner.network.training


def test_der_is_the_mean_squared_distance_from_the_stored_logits(prepared: Get) -> None:
    """Of each target, over the columns known when it was stored."""
    data, config = prepared("token"), configured("token", {"der": SMALL})
    learner = train(data, config, num_experiences=1).learner
    plugin: Any = learner.strategy.plugins["der"]
    learner.network.eval()
    with torch.no_grad():
        memory = plugin.remembered(learner.tools)
        stored = {
            int(word): row
            for output in learner.network(collate(memory, 0, training=False)).values()
            for word, row in zip(output.targets.words, output.raw, strict=True)
        }
        learner.begin(data.stream[1])
        drawn = plugin.draw(learner.tools, "logits")
        output = learner.network(collate(drawn, 1, training=True))["token"]
        moved = output.raw + torch.randn(output.raw.shape, dtype=torch.double)
        found = plugin.distance("token", replace(output, raw=moved))
    for n, word in enumerate(output.targets.words.tolist()):
        old = stored[word]
        assert len(old) < moved.shape[1]
        assert torch.allclose(found[n], ((moved[n, : len(old)] - old) ** 2).sum() / len(old))


@pytest.mark.parametrize("stream", ["sequence", "token"])
def test_stored_logits_are_moved_once(prepared: Get, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in each step: they are brought to the device and stay, the same tensors in all steps of an experience."""
    data, config = prepared(stream), configured(stream, {"der": SMALL})
    learner = train(data, config, num_experiences=2).learner
    plugin: Any = learner.strategy.plugins["der"]
    kept, asked = [], []
    stay_on = type(plugin).stay_on

    def watched(self: Any, device: torch.device) -> None:
        stay_on(self, device)
        asked.append(device)
        kept.append([id(t) for store in (self.words, self.logits) for t in store[stream].values()])

    monkeypatch.setattr(type(plugin), "stay_on", watched)
    learn(learner, config, 2, data)
    assert asked == 7 * [torch.device("cpu")], "six steps and the upkeep"
    assert all(ids == kept[0] and len(ids) == 4 for ids in kept)


def test_stored_logits_follow_the_network(prepared: Get) -> None:
    """From where a checkpoint, or the upkeep, has left them: all of them, of either kind, and only to that device."""
    learner = train(prepared("mixed"), configured("mixed", {"der": SMALL}), num_experiences=3).learner
    plugin: Any = learner.strategy.plugins["der"]
    stored = [of_kind for store in (plugin.words, plugin.logits) for of_kind in store.values()]
    assert len(stored) == 4 and all(t.device.type == "cpu" for of_kind in stored for t in of_kind.values())
    plugin.stay_on(torch.device("meta"))
    moved = [t for of_kind in stored for t in of_kind.values()]
    assert all(t.device.type == "meta" for t in moved)
    plugin.stay_on(torch.device("meta"))
    assert all(a is b for a, b in zip(moved, [t for of_kind in stored for t in of_kind.values()], strict=True))
