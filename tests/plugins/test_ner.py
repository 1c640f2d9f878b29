"""Strategies for NER against their written-out formulas, on words made by hand and on a tiny network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import exp, log, sqrt
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize, softmax

from cl.batches import Batch, Output, Step, Targets
from cl.data.collate import collate
from cl.models.network import MASKED
from cl.plugins import PLUGINS
from cl.plugins.imprint import imprint
from cl.plugins.maths.losses import attention_distances, cross_entropy
from cl.plugins.shared import neighbours as module
from cl.plugins.shared.neighbours import Neighbours, logits_of, nearest
from cl.plugins.shared.outside import View
from cl.plugins.strategy import Strategy
from cl.runs.prepare import Prepared, prepare
from cl.runs.strategies import build_strategy
from cl.streams import protocols
from cl.streams.scenarios import by_class, by_corpus
from cl.streams.stream import Stream
from cl.streams.toy import toy_ner
from cl.testing.tiny import assert_same, configured, fresh_learner, learn, tiny_config, train
from cl.types import Corpus, Examples, UserError

Get = Callable[[str], Prepared]
TAUGHT = ("selftrain", "extendner", "cfner", "cpfd")

# Three sentences of the second experience and a replayed one of the first: O, B-a, I-a; then B-b, I-b.
ROWS = [0, 0, 0, 1, 1, 2, 2, 3, 3]
LABELS = [0, 3, 0, 0, 0, 3, 4, 0, 1]
STUDENT = torch.tensor(
    [
        [2.0, 1.0, 0.0, -1.0, 0.5],
        [0.0, 0.2, 0.1, 1.5, 0.3],
        [0.3, 1.1, -0.2, 0.9, 0.0],
        [1.0, 0.0, 0.5, 0.2, -0.3],
        [0.1, 0.4, 1.2, 0.0, 0.6],
        [0.2, 0.1, 0.0, 0.8, 0.7],
        [0.5, -0.5, 0.3, 0.1, 1.4],
        [1.5, 0.5, 0.2, 0.3, 0.1],
        [0.0, 2.0, 0.5, 0.4, 0.2],
    ],
    dtype=torch.float64,
)
TEACHER = torch.tensor(
    [
        [3.0, 0.0, 0.1],  # O: certain
        [0.5, 0.4, 0.1],
        [0.2, 2.5, 0.3],  # O by its label, B-a to the teacher: certain
        [0.6, 0.5, 0.4],  # uncertain
        [0.1, 0.0, 3.5],  # I-a: certain
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],
        [0.0, 4.0, 0.0],  # a replayed O that the teacher calls B-a: not ours to say
        [0.0, 1.0, 0.0],
    ],
    dtype=torch.float64,
)
OUTSIDE = [0, 2, 3, 4]  # words of the second experience that are labelled O
MINE = range(7)


class Blind:
    """Attention that is alike in both networks, of two heads and as many tokens as words."""

    def watch(self) -> None: ...

    def unwatch(self) -> tuple[Tensor, ...]:
        return (torch.full((4, 2, 3, 3), 1 / 3, dtype=torch.float64),)


def by_hand(name: str, told: tuple[int, ...] = (0, 3, 4), progress: float = 0.5, **options: Any) -> tuple[Any, ...]:
    """A plugin with a teacher that says TEACHER, a learner, and a step with LABELS and STUDENT."""
    plugin = PLUGINS[name](**options)
    plugin.teacher = SimpleNamespace(heads={"token": None}, backbone=Blind())  # type: ignore[attr-defined]

    def guess(learner: Any, experience: Any, batch: Any) -> Output:
        own = torch.zeros(3, dtype=torch.bool)
        own[[c for c in told if 0 < c < 3]] = True
        return Output(TEACHER.masked_fill(own, MASKED), TEACHER, TEACHER, targets)

    plugin.guess = guess  # type: ignore[attr-defined]
    plugin.old_logits = lambda learner, batch: {"token": TEACHER}  # type: ignore[attr-defined]
    experience = SimpleNamespace(index=1, kind="token")
    learner = SimpleNamespace(
        store=SimpleNamespace(
            views=SimpleNamespace(
                private=[False, False],
                own=lambda experience: experience,
                labelled=torch.zeros(2, 5, dtype=torch.bool).index_fill(1, torch.tensor(told), True),
            )
        ),
        network=SimpleNamespace(backbone=Blind()),
        experience=experience,
        progress=progress,
    )
    rows, labels = torch.tensor(ROWS), torch.tensor(LABELS)
    targets = Targets(rows, torch.zeros_like(rows), labels, torch.arange(len(rows)) * 10)
    who = torch.tensor([1, 1, 1, 0])
    counts = {"sequence": (0, 0), "token": (4, len(rows))}
    batch = Batch(torch.zeros(4, 3), torch.ones(4, 3), who, torch.arange(4), {"token": targets}, counts)  # type: ignore[arg-type]
    step = Step(experience, batch, {"token": Output(STUDENT, STUDENT, STUDENT, targets)})  # type: ignore[arg-type]
    return plugin, learner, step


def kl(word: int, student_temperature: float = 1.0, teacher_temperature: float = 1.0) -> float:
    p = softmax(STUDENT[word] / student_temperature, 0)
    q = softmax(TEACHER[word] / teacher_temperature, 0)
    return sum(float(q[c] * (q[c].log() - p[c].log())) for c in range(3))


# ---------------------------------------------------------------------------------------------- by hand


def test_selftraining_relabels_its_own_outside_words() -> None:
    plugin, learner, step = by_hand("selftrain")
    targets = plugin.on_step(learner, step).outputs["token"].targets
    assert targets.labels.tolist() == [0, 3, 1, 0, 2, 3, 4, 0, 1]
    assert targets.weights is None


def test_what_the_new_labels_tell_of_is_no_question_for_the_teacher(prepared: Get) -> None:
    """Types that come again with new labels: what these call O is none of them."""
    first, again = (toy_ner(seed, num_types=2, num_train=48, num_valid=4, num_test=4) for seed in (0, 1))
    data = prepare(tiny_config(), Stream(by_corpus([first, replace(again, name="again")])))
    end = train(data, configured("token", {"selftrain": {}}, max_epochs=4), num_experiences=1)
    plugin: Any = end.learner.strategy.plugins["selftrain"]
    end.learner.begin(data.stream[1])
    batch = collate(data.evaluator.store.dataset(1, "train"), 1, training=True)
    plain = plugin.teacher(batch)["token"]
    guessed = plugin.guess(end.learner.tools, data.stream[1], batch)
    assert (plain.logits.argmax(1) > 0).any()
    assert not guessed.logits.argmax(1).any()
    plugin.before_experience(end.learner.tools, data.stream[1])
    view = plugin.look(end.learner.tools, Step(data.stream[1], batch, end.learner.network(batch)))
    assert torch.allclose(view.old, guessed.logits), "in a step too, of what is remembered"


@pytest.mark.parametrize(
    ("old", "new", "expected"), [(3, 5, 1.0), (9, 11, 2.0), (3, 11, 0.5), (1, 5, 0.5), (5, 5, 2.0)]
)
def test_balance_is_the_root_of_old_over_new_columns(old: int, new: int, expected: float) -> None:
    """Without O; where either has none, 1 in its place."""
    nothing = torch.zeros(0, dtype=torch.int64)
    logits = torch.zeros(0, new)
    output = Output(logits, logits, logits, Targets(nothing, nothing, nothing, nothing))
    assert View(output, logits[:, :old], nothing, nothing).balance == expected


def test_extendner_is_its_formula() -> None:
    plugin, learner, step = by_hand("extendner", temperature=2.0, teacher_temperature=1.0)
    changed = plugin.on_step(learner, step)
    weights = changed.outputs["token"].targets.weights
    assert weights.tolist() == [0.0 if n in OUTSIDE else 1.0 for n in range(9)]
    assert changed.outputs["token"].targets.labels.tolist() == LABELS
    expected = sum(kl(n, 2.0) for n in OUTSIDE) / 9
    assert plugin.loss(learner, changed).item() == pytest.approx(expected)
    entities = [n for n in range(9) if n not in OUTSIDE]
    nll = -sum(float(log_softmax(STUDENT[n], 0)[LABELS[n]]) for n in entities) / 9
    assert changed.mean(lambda kind, output: cross_entropy(output)).item() == pytest.approx(nll)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.9])
def test_cfner_is_its_formula(monkeypatch: pytest.MonkeyPatch, progress: float) -> None:
    plugin, learner, step = by_hand("cfner", progress=progress, num_neighbours=2)
    around = {1: (5, 6), 5: (1, 6), 6: (5, 1), 2: (4, 9), 4: (2, 9)}
    near = torch.tensor([[10 * k for k in around.get(n, (0, 0))] for n in (1, 2, 4, 5, 6, 9)])
    plugin.neighbours = Neighbours(torch.tensor([10, 20, 40, 50, 60, 90]), near)
    said = torch.randn(10, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(module, "logits_of", lambda learner, experience, words, size: said[words // 10])
    changed = plugin.on_step(learner, step)
    assert changed.outputs["token"].targets.weights.tolist() == [0.0 if n in MINE else 1.0 for n in range(9)]
    total = 0.0
    for n in MINE:
        p, q = softmax(STUDENT[n], 0), softmax(TEACHER[n], 0)
        if n not in OUTSIDE:
            votes = sum(softmax(said[k], 0) for k in around[n]) / 2
            total += -log(float((p + votes)[LABELS[n]]) / 2)
            continue
        p = p[:3]
        if int(q.argmax()) > 0 and float(q.max()) >= 0.9 * (1 - progress):
            votes = sum(softmax(said[k][:3], 0) for k in around[n]) / 2
            p = (p + votes) / 2
            q = softmax(TEACHER[n] / 0.001 ** (1 - progress), 0)
        known = [c for c in range(3) if q[c] > 0]
        total += 2.0 * sqrt(2 / 2) * sum(float(q[c]) * (log(float(q[c])) - log(float(p[c]))) for c in known)
    assert plugin.loss(learner, changed).item() == pytest.approx(total / 9)


def test_cpfd_labels_and_weights_are_its_formula() -> None:
    plugin, learner, step = by_hand("cpfd")
    entropies = [-sum(float(p * p.log()) for p in softmax(TEACHER[n], 0)) for n in range(9)]
    plugin.bounds = torch.tensor([0.6, 0.7, 0.5], dtype=torch.float64)
    certain = [n for n in OUTSIDE if entropies[n] < float(plugin.bounds[TEACHER[n].argmax()])]
    assert certain == [0, 2, 4]
    changed = plugin.on_step(learner, step).outputs["token"].targets
    assert changed.labels.tolist() == [0, 3, 1, 0, 2, 3, 4, 0, 1]
    # Sentence 0: both O words sure; one pseudo-label of an old type beside one word of a new type.
    # Sentence 1: one of two O words sure, an old type, beside no new one. Sentence 2: no O. Sentence 3: replayed.
    sigma = 1 / (1 + exp(-1))
    expected = [1, 1, 0.5 + sigma, 0, 0.5 * (0.5 + sigma), 1, 1, 1, 1]
    assert changed.weights.tolist() == pytest.approx(expected)
    assert plugin.loss(learner, step).item() == pytest.approx(2.0 * sqrt(2 / 2) * sum(kl(n) for n in OUTSIDE) / 9)


def test_pooled_attention_by_loops() -> None:
    torch.manual_seed(0)
    lengths, heads = (3, 2), 2
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    maps = [[torch.rand(2, heads, 3, 3, dtype=torch.float64) for _ in range(2)] for _ in range(2)]
    expected = []
    for b, size in enumerate(lengths):
        layers = []
        for ours, theirs in zip(*maps, strict=True):
            a, t = ours[b, :, :size, :size], theirs[b, :, :size, :size]
            over_heads = ((a.mean(0) - t.mean(0)) ** 2).mean()
            over_queries = ((a.mean(1) - t.mean(1)) ** 2).mean()
            layers.append(over_heads + over_queries)
        expected.append(sum(layers) / 2)
    assert torch.allclose(attention_distances(*maps, mask), torch.stack(expected))  # type: ignore[arg-type]


def test_nearest_by_loops() -> None:
    torch.manual_seed(0)
    features = torch.randn(300, 4, dtype=torch.float64)  # more than a chunk
    unit = normalize(features, dim=1)
    for n, found in enumerate(nearest(features, 3).tolist()):
        distances = {m: float((unit[n] - unit[m]).norm()) for m in range(300) if m != n}
        assert found == sorted(distances, key=distances.__getitem__)[:3]
    assert nearest(features[:2], 3).tolist() == [[1, 0, 0], [0, 1, 1]]  # the word itself stands in
    assert nearest(features[:0], 3).shape == (0, 3)


# --------------------------------------------------------------------------------------- on a network


@pytest.fixture(scope="module")
def ner() -> Prepared:
    return prepare(tiny_config(), Stream(protocols.cfner(toy_ner(0, num_types=3, num_train=72, num_test=20), [1])))


def config_of(name: str, accumulate: int = 1) -> Any:
    """Enough epochs for a teacher that finds entities."""
    return configured("token", {} if name == "finetune" else {name: {}}, accumulate, max_epochs=4)


@pytest.fixture(scope="module")
def straight(ner: Prepared) -> Callable[[str], Any]:
    """A run through the whole stream, once for each strategy."""
    return cache(lambda name: train(ner, config_of(name)))


@pytest.mark.parametrize("name", TAUGHT)
def test_dealing_out_a_batch_changes_nothing_where_the_teacher_finds_entities(
    ner: Prepared, straight: Callable[[str], Any], name: str
) -> None:
    whole = straight(name)
    teacher = whole.learner.strategy.plugins[name].teacher
    batch = collate(ner.evaluator.store.dataset(2, "train"), 2, training=True)
    assert (teacher(batch)["token"].logits.argmax(1) > 0).any()
    dealt = train(ner, config_of(name, accumulate=3))
    assert_same(whole.weights, dealt.weights, 1e-6)
    assert_same(whole.plugins, dealt.plugins, 1e-6)


@pytest.mark.parametrize("name", TAUGHT)
def test_each_forgets_less_than_finetuning(ner: Prepared, straight: Callable[[str], Any], name: str) -> None:
    """What the network says of the first type's words at the end: nats, which do not jump as scores do."""
    kept, lost = (loss_of_old_words(ner, straight(each).learner) for each in (name, "finetune"))
    assert kept < lost - 0.2


def loss_of_old_words(ner: Prepared, learner: Any) -> float:
    """The mean cross-entropy of the entity words of the first experience's test split, at the end."""
    output = learner.network.eval()(collate(ner.evaluator.store.dataset(0, "test"), 2, training=False))["token"]
    theirs = (output.targets.labels > 0) & (output.targets.labels < ner.evaluator.store.views.width(0, "token"))
    return float(cross_entropy(output)[theirs].mean().detach())


@pytest.mark.parametrize("name", TAUGHT)
def test_the_teacher_is_a_frozen_earlier_network(straight: Callable[[str], Any], name: str) -> None:
    teacher = straight(name).learner.strategy.plugins[name].teacher
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize("name", ["cfner", "cpfd"])
def test_what_is_taken_from_the_data_survives_a_restart(ner: Prepared, name: str) -> None:
    """In the middle of an experience, when `before_experience` is not called again."""
    end = train(ner, config_of(name), num_experiences=2)
    state = end.learner.state()
    resumed = fresh_learner(config_of(name), ner)
    resumed.restore(state)
    assert_same(resumed.strategy.state_dict(), end.plugins)
    plugin: Any = resumed.strategy.plugins[name]
    assert len(plugin.neighbours.words if name == "cfner" else plugin.bounds)
    learn(resumed, config_of(name), 2, ner)


def test_cpfd_bounds_are_medians(ner: Prepared) -> None:
    end = train(ner, config_of("cpfd"), num_experiences=2)
    plugin: Any = end.learner.strategy.plugins["cpfd"]
    before = train(ner, config_of("cpfd"), num_experiences=1).learner.strategy.plugins["cpfd"].teacher  # type: ignore[attr-defined]
    found: dict[int, list[float]] = {}
    data = ner.evaluator.store.dataset(1, "train")
    for i in range(len(data)):
        output = before(collate(data[i : i + 1], 1, training=False))["token"]
        for logits, label in zip(output.raw, output.targets.labels.tolist(), strict=True):
            if label == 0:
                p = softmax(logits, 0)
                found.setdefault(int(p.argmax()), []).append(float(-(p * p.log()).sum()))
    assert set(found) > {0}
    for column, bound in enumerate(plugin.bounds.tolist()):
        expected = max(np.median(found[column]) if column in found else 0.0, 0.001)
        assert bound == pytest.approx(expected, rel=2e-4)


def test_maps_are_watched_only_when_asked(ner: Prepared) -> None:
    network = train(ner, configured("token", {}), num_experiences=1).learner.network.eval()
    batch = collate(ner.evaluator.store.dataset(0, "train")[:4], 0, training=False)
    plain = network(batch)["token"].logits
    assert network.backbone.attentions is None
    network.backbone.watch()
    watched = network(batch)["token"].logits
    (layer,) = network.backbone.unwatch()
    assert network.backbone.attentions is None
    assert torch.allclose(plain, watched)
    real = batch.attention_mask.bool()
    assert torch.allclose(layer.sum(3)[real[:, None].expand(-1, 2, -1)], layer.new_ones(()))
    assert not layer.permute(0, 3, 1, 2)[~real].any()  # padding is not looked at
    assert torch.equal(network(batch)["token"].logits, plain)


def test_neighbours_are_asked_in_their_sentences(ner: Prepared) -> None:
    learner = train(ner, configured("token", {}), num_experiences=2).learner
    store = ner.evaluator.store
    batch = collate(store.dataset(1, "train"), 1, training=False)
    output = learner.network.eval()(batch)["token"]
    order = torch.randperm(len(output.targets))[:6].reshape(3, 2)
    found = logits_of(learner, ner.stream[1], output.targets.words[order], 5)
    assert torch.allclose(found, output.logits[order])


def test_imprinted_rows_and_fixed_ones(ner: Prepared) -> None:
    config = configured("token", {"imprint": {}})
    config.network = replace(config.network, head="cosine")
    end = train(ner, config, num_experiences=1)
    learner = end.learner
    head = learner.network.head("token")
    old = head.weight.detach().clone()
    start: dict[str, Tensor] = {}
    plugin: Any = learner.strategy.plugins["imprint"]
    inner = plugin.before_experience

    def before(learner: Any, experience: Any) -> None:
        inner(learner, experience)
        start["rows"] = learner.network.head("token").weight.detach().clone()
        start["features"], start["labels"] = features_of(learner, ner, 1)

    plugin.before_experience = before
    learn(learner, config, 1, ner)
    assert torch.equal(head.weight[:3], old)
    assert not torch.equal(head.weight[3:], start["rows"][3:])
    norm = old[1:].norm(dim=1).mean()
    for column in (3, 4):
        mean = normalize(start["features"][start["labels"] == column], dim=1).mean(0)
        assert torch.allclose(start["rows"][column], norm * mean / mean.norm())


def test_an_inside_row_without_examples_is_that_of_its_begin() -> None:
    """Validation has names of one word alone, and none of the last type: its rows stay as they were drawn."""
    words = {name: ([f"{name}{n}" for n in range(4)], [f"B-{name}"]) for name in ("a", "b", "c")}
    train_split = Examples([[w, w] for each, _ in words.values() for w in each], [])
    train_split = Examples(train_split.inputs, [[f"B-{w[0]}", f"I-{w[0]}"] for w, _ in train_split.inputs])
    valid = Examples([["a9"], ["b9"], ["x"]], [["B-a"], ["B-b"], ["O"]])
    corpus = Corpus("n", "token", {"train": train_split, "valid": valid, "test": train_split})
    data = prepare(tiny_config(), Stream(by_class([corpus], [1, 2])))
    learner = train(data, configured("token", {}), num_experiences=1).learner
    learner.begin(data.stream[1])
    head = learner.network.head("token")
    drawn = head.weight.detach().clone()
    imprint(learner.tools, data.stream[1], 3)  # type: ignore[arg-type]
    rows = head.weight.detach()
    assert torch.equal(rows[4], rows[3]) and not torch.equal(rows[3], drawn[3])
    assert torch.equal(rows[5], drawn[5]) and torch.equal(rows[6], rows[5])
    assert torch.equal(rows[:3], drawn[:3])


def features_of(learner: Any, data: Prepared, index: int) -> tuple[Tensor, Tensor]:
    batch = collate(data.evaluator.store.dataset(index, "valid"), index, training=False)
    was_training = learner.network.training
    output = learner.network.eval()(batch)["token"]
    learner.network.train(was_training)
    return output.features.detach(), output.targets.labels


def test_two_meanings_of_an_outside_word_are_refused() -> None:
    for first in TAUGHT:
        with pytest.raises(UserError, match="both say what an O of the new data means"):
            Strategy({first: PLUGINS[first](), "other": PLUGINS["selftrain"]()})
        build_strategy({first: {}, "lwf": {}, "replay": {}, "imprint": {}}, "fine")
