"""Penalties that hold parameters: importances against plain loops, closed forms and written-out sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, one_hot, softmax
from torch.utils.data import TensorDataset
from transformers import (
    AlbertConfig,
    AlbertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
)

from cl.batches import Output
from cl.data.collate import collate
from cl.models.backbone import Backbone
from cl.plugins.base import PluginError
from cl.plugins.ewc import EWC, _drawn
from cl.plugins.maths import per_example
from cl.plugins.maths.algebra import parameters_of
from cl.plugins.maths.losses import cross_entropy
from cl.plugins.maths.per_example import add_magnitude, add_square, by_layer, by_pass
from cl.plugins.maths.quadratic import Quadratic
from cl.runs.prepare import Prepared
from cl.testing.tiny import assert_same, configured, fit, fresh_learner, train
from cl.training.learner import Learner

Get = Callable[[str], Prepared]


def squared_norm(output: Output) -> Tensor:
    return output.raw.square().sum(1)


# ------------------------------------------------------------------------------------- gradients by example


@pytest.mark.parametrize("head", ["linear", "cosine"])
@pytest.mark.parametrize("stream", ["sequence", "token", "own"])
def test_a_pass_a_batch_is_a_pass_an_example(prepared: Get, stream: str, head: Any) -> None:
    config = configured(stream, {})
    config = replace(config, network=replace(config.network, head=head))
    learner = train(prepared(stream), config, num_experiences=2).learner
    data = learner.store.dataset(1, "train")
    for value, add in ((cross_entropy, add_square), (squared_norm, add_magnitude)):
        some, others = (
            by_layer(learner.network, learner.tools.batches_of(data, 7), value, add),
            by_pass(learner.network, learner.tools.batches_of(data, 1), value, add),
        )
        assert_same(some, others, 1e-7 * max(float(other.max()) for other in others.values()))
        assert all(not tensor.requires_grad for tensor in some.values())
    assert all(p.requires_grad for n, p in learner.network.named_parameters() if not n.endswith("key.bias"))


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
OTHERS = {
    "roberta": lambda **o: RobertaModel(RobertaConfig(**SMALL, **o), add_pooling_layer=False),
    "distilbert": lambda **o: DistilBertModel(DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=24, **o)),
    "albert": lambda **o: AlbertModel(AlbertConfig(**SMALL, embedding_size=8, **o)),  # one layer, called twice
    "deberta": lambda **o: DebertaV2Model(
        DebertaV2Config(
            **SMALL,
            relative_attention=True,
            pos_att_type=["c2p", "p2c"],
            position_buckets=8,
            initializer_range=0.5,
            **o,
        )
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_backbones_of_other_makes(prepared: Get, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By batch where that is right, by example where it is not: what comes out is the same."""
    data = prepared("token")
    learner = train(data, configured("token", {}), num_experiences=1).learner
    vocabulary = learner.network.backbone.model.config.vocab_size
    torch.manual_seed(0)
    learner.network.backbone = Backbone(OTHERS[name](vocab_size=vocabulary)).double()
    passes = []
    monkeypatch.setattr(per_example, "by_pass", lambda *a: passes.append(a) or by_pass(*a))
    chosen = data.evaluator.store.dataset(0, "train")[:5]
    found = per_example.per_example(learner.tools, chosen, cross_entropy, add_square)
    expected = by_pass(learner.network, learner.tools.batches_of(chosen, 1), cross_entropy, add_square)
    assert_same(found, expected, 1e-7 * max(float(f.max()) for f in expected.values()))
    assert len(passes) == (2 if name == "deberta" else 1)


@pytest.mark.parametrize("stream", ["sequence", "token"])
def test_fisher_of_the_head_has_a_closed_form(prepared: Get, stream: str) -> None:
    """For logits W h + b the gradient of Σ log p is Σ (1[y] − p) hᵀ: squared by example, then summed."""
    data = prepared(stream)
    end = train(data, configured(stream, {}), num_experiences=1)
    network, store = end.learner.network.eval(), data.evaluator.store
    examples = store.dataset(0, "train")[:7]
    fisher = by_layer(network, [collate(examples, 0, training=False)], cross_entropy, add_square)
    expected = torch.zeros_like(network.head(stream).weight)  # type: ignore[arg-type]
    for i in range(7):
        output = network(collate(examples[i : i + 1], 0, training=False))[stream]  # type: ignore[index]
        p = softmax(output.logits, 1)
        error = one_hot(output.targets.labels, p.shape[1]) - p
        expected += (error.T @ output.features) ** 2
    assert torch.allclose(fisher[f"heads.{stream}.weight"], expected)


def test_fisher_of_a_batch_is_not_the_squared_batch_gradient(prepared: Get) -> None:
    data = prepared("sequence")
    end = train(data, configured("sequence", {}), num_experiences=1)
    network = end.learner.network.eval()
    examples = data.evaluator.store.dataset(0, "train")[:8]
    batch = collate(examples, 0, training=False)
    fisher = by_layer(network, [batch], cross_entropy, add_square)
    logits, labels = network(batch)["sequence"].logits, batch.targets["sequence"].labels
    mean = -log_softmax(logits, 1)[torch.arange(8), labels].mean()
    gradients = torch.autograd.grad(mean, list(parameters_of(network).values()))
    squared = sum(float((g**2).sum()) for g in gradients)
    assert squared < 0.7 * sum(float(f.sum()) for f in fisher.values()) / 8


@pytest.mark.parametrize("stream", ["sequence", "token"])
def test_importances_of_mas_have_a_closed_form(prepared: Get, stream: Any) -> None:
    """For logits z = W h + b the gradient of Σ ‖z‖² is 2 Σ z hᵀ: its magnitude, mean over examples."""
    data = prepared(stream)
    end = train(data, configured(stream, {"mas": {"num_examples": 0}}), num_experiences=1)
    network, examples = end.learner.network.eval(), data.evaluator.store.dataset(0, "train")
    expected = torch.zeros_like(network.head(stream).weight)
    for i in range(len(examples)):
        output = network(collate(examples[i : i + 1], 0, training=False))[stream]
        expected += (2 * output.raw.T @ output.features).abs()
    omega = end.learner.strategy.plugins["mas"].anchor.curvature[f"heads.{stream}.weight"]  # type: ignore[attr-defined]
    assert torch.allclose(omega, expected / len(examples))


@pytest.mark.parametrize(
    ("name", "value", "add"), [("ewc", cross_entropy, add_square), ("mas", squared_norm, add_magnitude)]
)
@pytest.mark.parametrize("num_examples", [200, 10])
def test_importances_are_means_over_the_examples_taken(
    prepared: Get, name: str, value: Any, add: Any, num_examples: int
) -> None:
    """Of 24 examples: all, where more were asked for; and the 10 that were drawn."""
    data = prepared("sequence")
    plugins = {name: {"num_examples": num_examples, "strength": 0.0}}
    learner = train(data, configured("sequence", plugins), num_experiences=1).learner
    examples = learner.store.dataset(0, "train")
    draw = learner.tools.generator({"ewc": "fisher", "mas": "mas"}[name])
    examples = examples[torch.randperm(24, generator=draw)[:num_examples]]
    expected = by_layer(learner.network, learner.tools.batches_of(examples, 8), value, add)
    plugin: Any = learner.strategy.plugins[name]
    found = plugin.anchor.curvature["heads.sequence.weight"]
    assert torch.allclose(found, expected["heads.sequence.weight"] / min(num_examples, 24))


def test_labels_are_drawn_from_the_prediction() -> None:
    logits = torch.tensor([[0.0, 1.0, -1e9, 0.5]]).double().expand(20000, 4)
    drawn = _drawn(logits, torch.rand(20000, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(drawn.bincount(minlength=4) / 20000, softmax(logits[0], 0).float(), atol=0.01)
    assert (_drawn(logits[:2], torch.tensor([0.0, 1.0])) == torch.tensor([0, 3])).all()


@pytest.mark.parametrize("fisher", ["empirical", "true"])
@pytest.mark.parametrize("stream", ["sequence", "token"])
def test_whose_labels_a_fisher_takes(prepared: Get, stream: Any, fisher: Any) -> None:
    """Of the head: the mean over examples of ((1[y] − p) hᵀ)², y given, or drawn from p by the word's own chance."""
    data = prepared(stream)
    learner = train(data, configured(stream, {}), num_experiences=1).learner
    examples = learner.store.dataset(0, "train")
    chance = torch.rand(len(learner.store.labels), generator=learner.tools.generator("labels"))
    expected, num_others = torch.zeros_like(learner.network.head(stream).weight), 0
    for i in range(len(examples)):
        with torch.no_grad():
            output = learner.network.eval()(collate(examples[i : i + 1], 0, training=False))[stream]
        gradient = torch.zeros_like(expected)
        for logits, feature, given, word in zip(
            output.logits, output.features, output.targets.labels.tolist(), output.targets.words.tolist(), strict=True
        ):
            p = softmax(logits, 0)
            drawn = next(c for c in range(len(p)) if float(p[: c + 1].sum()) > float(chance[word]))
            num_others += drawn != given
            y = drawn if fisher == "true" else given
            gradient += torch.outer(one_hot(torch.tensor(y), len(p)) - p, feature)
        expected += gradient**2 / len(examples)
    plugin = EWC(fisher=fisher, num_examples=0)
    plugin.after_experience(learner.tools, data.stream[0])
    assert torch.allclose(plugin.anchor.curvature[f"heads.{stream}.weight"], expected, atol=1e-9)
    assert num_others >= 3, "labels that are drawn are others than those given"


def test_fisher_is_avalanches_at_batch_size_1(prepared: Get) -> None:
    from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_classification_dataset
    from avalanche.training.plugins import EWCPlugin

    data = prepared("sequence")
    learner = train(data, configured("sequence", {}), num_experiences=1).learner
    batch = collate(data.evaluator.store.dataset(0, "train"), 0, training=False)
    output = learner.network.eval()(batch)["sequence"]
    head = learner.network.head("sequence")
    linear = torch.nn.Linear(head.weight.shape[1], head.num_columns).double()
    linear.load_state_dict(head.state_dict())
    pairs = TensorDataset(output.features.detach(), output.targets.labels)
    theirs = EWCPlugin(1.0).compute_importances(
        linear,
        torch.nn.CrossEntropyLoss(),
        torch.optim.SGD(linear.parameters(), lr=0.1),
        _make_taskaware_classification_dataset(pairs, targets=output.targets.labels.tolist(), task_labels=0),
        torch.device("cpu"),
        1,
    )
    ours = by_layer(learner.network, [batch], cross_entropy, add_square)
    for name in ("weight", "bias"):
        assert torch.allclose(theirs[name].data, (ours[f"heads.sequence.{name}"] / len(batch)).float())


def test_one_example_is_enough(prepared: Get) -> None:
    data = prepared("token")
    learner = train(data, configured("token", {}), num_experiences=1).learner
    chosen = data.evaluator.store.dataset(0, "train")[:1]
    found = per_example.per_example(learner.tools, chosen, cross_entropy, add_square)
    expected = by_pass(learner.network, learner.tools.batches_of(chosen, 1), cross_entropy, add_square)
    assert_same(found, expected, 1e-12)


# ------------------------------------------------------------------------------------------------- penalties


def assert_sums(merged: Quadratic, parts: list[tuple[Tensor, Tensor]], w: Tensor) -> None:
    """Value and gradient are those of the parts' sum."""
    separate = sum((f * (w[: len(f)] - x) ** 2).sum() for f, x in parts)
    (gradient,) = torch.autograd.grad(separate, w)
    gradients = {"w": torch.ones_like(w)}
    assert torch.allclose(merged.apply({"w": w}, gradients, 3.0), 3 * separate)
    assert torch.allclose(gradients["w"], 1 + 3 * gradient)


def test_merged_quadratic_is_the_sum_of_its_parts() -> None:
    merged, parts = Quadratic(), []
    for rows in (2, 2, 4):  # the head grows
        f, x = torch.rand(rows, 3, dtype=torch.double), torch.randn(rows, 3, dtype=torch.double)
        f[0, 0] = 0.0
        merged.add({"w": f}, {"w": x})
        parts.append((f, x))
    w = torch.randn(5, 3, dtype=torch.double, requires_grad=True)
    assert_sums(merged, parts, w)


def test_rows_without_curvature_are_not_kept() -> None:
    """The words that came, not the vocabulary; and the sum of such penalties is still exact."""
    merged, parts = Quadratic(), []
    for words in ([3, 90], [5, 3, 41]):
        f, x = torch.zeros(100, 4, dtype=torch.double), torch.randn(100, 4, dtype=torch.double)
        f[words] = torch.rand(len(words), 4, dtype=torch.double)
        merged.add({"w": f}, {"w": x})
        parts.append((f, x))
    assert merged.rows["w"].tolist() == [3, 5, 41, 90]
    assert merged.curvature["w"].shape == merged.centre["w"].shape == (4, 4)
    w = torch.randn(100, 4, dtype=torch.double, requires_grad=True)
    assert_sums(merged, parts, w)
    for f, _ in parts:
        merged.replace({"w": f}, {"w": w.detach()}, decay=0.0)
    assert merged.rows["w"].tolist() == [3, 5, 41]


@pytest.mark.parametrize("words", [[0, 1, 2, 3], [1]])
def test_curvature_is_kept_in_its_own_precision(words: list[int]) -> None:
    """Parameters may be bfloat16 (`…-true`); importances add up in float32 all the same."""
    merged, f, x = Quadratic(), torch.zeros(4, 2), torch.ones(4, 2, dtype=torch.bfloat16)
    f[words] = 1.001
    for _ in range(2):
        merged.replace({"w": f}, {"w": x})
    curvature, centre = merged.whole("w", x)
    assert torch.equal(curvature, 2 * f)
    assert torch.equal(centre[words], x[words])


def test_ewc_pulls_towards_the_old_parameters(prepared: Get) -> None:
    data = prepared("sequence")
    moved = []
    for strength in (0.0, 1e3, 1e6):
        end = train(data, configured("sequence", {"ewc": {"strength": strength, "num_examples": 0}}), num_experiences=2)
        penalty = end.learner.strategy.plugins["ewc"].anchor  # type: ignore[attr-defined]
        first = train(data, configured("sequence", {}), num_experiences=1)
        moved.append(
            sum(float(((a - b) ** 2).sum()) for a, b in zip(first.weights.values(), end.weights.values(), strict=True))
        )
        assert penalty.curvature
    assert moved[0] > moved[1] > moved[2]


def test_online_ewc_keeps_one_penalty(prepared: Get) -> None:
    """F ← γF + F(new), around the newest parameters."""
    data = prepared("token")
    ends = [
        train(data, configured("token", {"ewc": {"decay": decay, "num_examples": 0}}), num_experiences=n)
        for n, decay in ((1, 0.5), (2, 0.5))
    ]
    before, after = (end.learner.strategy.plugins["ewc"].anchor for end in ends)  # type: ignore[attr-defined]
    learner = ends[1].learner
    data_2 = learner.store.dataset(1, "train")
    newest = by_pass(learner.network, learner.tools.batches_of(data_2, 1), cross_entropy, add_square)
    for name, fisher in newest.items():
        old = before.whole(name, ends[0].weights[name])[0]
        expected = fisher / len(data_2)
        expected[: len(old)] += 0.5 * old
        curvature, centre = after.whole(name, expected)
        assert torch.allclose(curvature, expected)
        assert torch.equal(centre, torch.where(curvature > 0, ends[1].weights[name], centre))
    assert after.constant == 0.0


def test_l2_adds_its_written_out_gradient(prepared: Get) -> None:
    data, config = prepared("token"), configured("token", {"l2": {"strength": 0.7}})
    learner = train(data, config, num_experiences=1).learner
    old = {name: value.clone() for name, value in learner.network.state_dict().items()}
    for name, with_term, alone, now in gradients(learner, config, data, 1):
        pull = torch.zeros_like(now)
        rows = len(old[name])
        pull[:rows] = 0.7 * (now[:rows] - old[name])
        assert torch.allclose(with_term, alone + pull, atol=1e-12)


def test_l2_holds_alike_however_many_experiences(prepared: Get) -> None:
    end = train(prepared("sequence"), configured("sequence", {"l2": {}}), num_experiences=3)
    plugin: Any = end.learner.strategy.plugins["l2"]
    for name, p in parameters_of(end.learner.network).items():
        curvature, centre = plugin.anchor.whole(name, p)
        assert (curvature == 1.0).all() and torch.equal(centre, p)


@pytest.mark.parametrize(("accumulate", "clip"), [(1, None), (3, 0.05)])
def test_si_is_the_written_out_path(prepared: Get, accumulate: int, clip: float | None) -> None:
    """Over two experiences: gradients of the labels alone, steps as made (clipped), importances that add up."""
    data, options = prepared("token"), {"strength": 3.0, "damping": 0.01}
    config = configured("token", {"si": options}, accumulate, gradient_clip_val=clip)
    learner = fresh_learner(config, data)
    omega: dict[str, Tensor] = {}
    for index in range(2):
        path: dict[str, Tensor] = {}
        way: dict[str, Tensor] = {}
        last: dict[str, tuple[Tensor, Tensor]] = {}
        for name, _, alone, now in gradients(learner, config, data, index):
            if name in last:
                before, gradient = last[name]
                path[name] = path.get(name, torch.zeros_like(now)) - gradient * (now - before)
                way[name] = way.get(name, torch.zeros_like(now)) + (now - before)
            last[name] = now, alone
        for name, end in parameters_of(learner.network).items():
            before, gradient = last[name]
            path[name] = path[name] - gradient * (end - before)
            way[name] = way[name] + (end - before)
            new = (path[name] / (way[name] ** 2 + 0.01)).clamp(min=0)
            if name in omega:
                new[: len(omega[name])] += omega[name]
            omega[name] = new.detach()
        penalty = learner.strategy.plugins["si"].anchor  # type: ignore[attr-defined]
        assert_same({name: penalty.whole(name, o)[0] for name, o in omega.items()}, omega, 1e-9)


def gradients(learner: Learner, config: Any, data: Prepared, index: int) -> list[tuple[str, Tensor, Tensor, Tensor]]:
    """Learns an experience; by step and parameter the gradient as it came, that of the labels alone, and the value."""
    found, batches = [], []
    (plugin,) = learner.strategy.plugins.values()
    on_gradients = type(plugin).on_gradients

    def on_batch(of: Learner, batch: Any) -> Any:
        batches.append(batch)
        return batch

    def watch(of: Learner, given: dict[str, Tensor]) -> dict[str, Tensor]:
        parameters = parameters_of(learner.network)
        losses = [
            batch.weight(kind) * cross_entropy(output).sum()
            for batch in batches
            for kind, output in learner.network(batch).items()
        ]
        batches.clear()
        alone = torch.autograd.grad(torch.stack(losses).sum(), list(parameters.values()))
        for (name, p), gradient in zip(parameters.items(), alone, strict=True):
            found.append((name, given[name].clone(), gradient, p.detach().clone()))
        return on_gradients(plugin, of, given)  # type: ignore[arg-type]

    cls = type(plugin)
    watched = type(
        cls.__name__, (cls,), {"on_batch": lambda self, *a: on_batch(*a), "on_gradients": lambda self, *a: watch(*a)}
    )
    plugin.__class__ = watched
    learner.begin(data.stream[index])
    learner.strategy.acts_on_gradients = True
    fit(learner, config)
    plugin.__class__ = cls
    return found


@pytest.mark.parametrize("plugin", ["l2", "ewc", "si", "mas"])
def test_a_parameter_that_has_another_name_now_is_an_error(prepared: Get, plugin: str) -> None:
    """Held parameters are found by their names: one that is not there any more would be held no longer, in silence."""
    data, config = prepared("sequence"), configured("sequence", {plugin: {}})
    learner = train(data, config, num_experiences=1).learner
    embeddings = learner.network.backbone.model.embeddings
    norm = embeddings._modules.pop("LayerNorm")
    embeddings.LayerNorm, embeddings.renamed = norm.forward, norm
    learner.begin(data.stream[1])
    with pytest.raises(PluginError, match=f"plugin '{plugin}' failed in penalty") as error:
        fit(learner, config)
    assert "parameters that the network has no more: backbone.model.embeddings.LayerNorm.bias, " in str(error.value)
    assert "LayerNorm.weight. Parameters keep their names" in str(error.value)


@pytest.mark.parametrize("plugin", ["l2", "ewc", "si", "mas"])
def test_a_parameter_that_does_not_train_now_is_none(prepared: Get, plugin: str) -> None:
    data, config = prepared("sequence"), configured("sequence", {plugin: {}})
    learner = train(data, config, num_experiences=1).learner
    learner.network.backbone.model.embeddings.requires_grad_(False)
    before = learner.network.backbone.model.embeddings.word_embeddings.weight.clone()
    learner.begin(data.stream[1])
    fit(learner, config)
    assert torch.equal(before, learner.network.backbone.model.embeddings.word_embeddings.weight)
