"""The learner's own promises: masks of dropout, what is logged and when, who counts as outside, which epoch is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import cl.training.learner
from cl.batches import Batch, Output
from cl.data.collate import collate
from cl.data.dataset import Store
from cl.data.encode import Encoder
from cl.evaluation.evaluator import Evaluator
from cl.models.backbone import word_pieces
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared
from cl.streams.scenarios import by_corpus
from cl.testing.tiny import assert_same, configured, fit, learn, train
from cl.training.callbacks import BestEpoch
from cl.training.learner import Learner, points_apart
from cl.types import SPLITS, Corpus, Examples

Get = Callable[[str], Prepared]


def begun(prepared: Prepared, stream: str, plugins: dict[str, Any] | None = None, **network: Any) -> Learner:
    """A learner that has begun the first experience."""
    config = configured(stream, plugins or {})
    learner = build_learner(replace(config, network=replace(config.network, **network)), prepared, "tested", 0)
    learner.begin(prepared.stream[0])
    return learner


def test_dropout_draws_anew_for_each_step_share_and_seed(prepared: Get) -> None:
    data = prepared("sequence")
    learner = begun(data, "sequence", dropout=0.5).train()
    batch = collate(learner.store.dataset(0, "train")[:4], 0, training=True)

    def loss(num_steps: int = 0, part: int = 0, seed: int = 0) -> float:
        learner.num_steps, learner.seed = num_steps, seed
        return float(learner.training_step(replace(batch, part=part), 0).detach())

    first = loss()
    torch.rand(3)
    assert loss() == first, "a function of its key alone"
    others = [loss(num_steps=1), loss(part=1), loss(seed=1), loss(num_steps=2)]
    learner.experience = data.stream[1]
    others.append(loss())
    assert len({first, *others}) == 6


def logged(
    learner: Learner, config: Any, prepared: Prepared, index: int
) -> list[tuple[int, int, int, dict[str, float]]]:
    rows: list[tuple[int, int, int, dict[str, float]]] = []
    learner.sinks = [lambda experience, epoch, step, values: rows.append((experience, epoch, step, values))]
    learn(learner, config, index, prepared)
    return rows


def test_every_so_many_steps_are_logged_and_the_last(prepared: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 examples, 5 steps an epoch; a curve of 20 points would need each of them."""
    monkeypatch.setattr(cl.training.learner, "POINTS", 1)
    data, config = prepared("sequence"), configured("sequence", {}, log_every_n_steps=7)
    config = replace(config, training=replace(config.training, batch_size=5))
    learner = build_learner(config, data, "tested", 0)
    assert [row[:3] for row in logged(learner, config, data, 0)] == [(0, 1, 7), (0, 1, 10)]
    assert [row[:3] for row in logged(learner, config, data, 1)] == [(1, 1, 17), (1, 1, 20)]


def test_short_experiences_have_curves_too(prepared: Get) -> None:
    """Steps between two points, where nobody has asked: 10, fewer where that leaves less than 20 of them."""
    found = {num_steps: points_apart(num_steps, 10) for num_steps in (1, 8, 39, 40, 150, 200, 10_000)}
    assert found == {1: 1, 8: 1, 39: 1, 40: 2, 150: 7, 200: 10, 10_000: 10}
    data, config = prepared("sequence"), configured("sequence", {}, log_every_n_steps=10)
    learner = build_learner(config, data, "tested", 0)
    assert [row[2] for row in logged(learner, config, data, 0)] == [1, 2, 3, 4, 5, 6]
    assert points_apart(8, 50) == 50, "what a user has said holds"


def test_what_is_logged_is_the_loss_of_the_global_batch(prepared: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """Terms of one step, not of all since the last row; the same for any number of shares; the total is their sum."""
    monkeypatch.setattr(cl.training.learner, "POINTS", 1)
    data, plugins, found = prepared("sequence"), {"l2": {"strength": 2.0}, "lwf": {}}, []
    for accumulate, every in ((1, 1), (3, 1), (1, 2)):
        config = configured("sequence", plugins, accumulate, log_every_n_steps=every)
        learner = train(data, config, num_experiences=1).learner
        found.append({step: values for _, _, step, values in logged(learner, config, data, 1)})
    whole, dealt, rarely = found
    assert len(whole) == 6 and list(rarely) == [8, 10, 12]
    for step, values in whole.items():
        assert set(values) == {"loss", "loss/labels", "loss/l2", "loss/lwf", "learning_rate"}
        assert values["loss"] == pytest.approx(values["loss/labels"] + values["loss/l2"] + values["loss/lwf"])
        assert dealt[step] == pytest.approx(values, abs=1e-5)
        if step in rarely:
            assert rarely[step] == pytest.approx(values, abs=1e-9)


def test_a_logged_penalty_is_the_same_on_any_number_of_ranks(prepared: Get) -> None:
    """Where another rank has the same parts as this one."""
    config = configured("sequence", {"l2": {"strength": 2.0}})
    learner = train(prepared("sequence"), config, num_experiences=1).learner
    learner.begin(prepared("sequence").stream[1])
    learner.data()
    learner.network.head("sequence").weight.data += 1.0
    found = []
    for num_ranks in (1, 2):
        optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
        trainer: Any = SimpleNamespace(precision_plugin=None, world_size=num_ranks, optimizers=[optimizer])
        learner.trainer = trainer
        learner.tools.sum = lambda tensors, times=num_ranks: {n: times * t for n, t in tensors.items()}  # type: ignore[method-assign, misc]
        learner.sinks = [lambda experience, epoch, step, values: found.append(values["loss/l2"])]
        learner._terms, learner._counts = {}, {}
        learner.on_before_optimizer_step(None)  # type: ignore[arg-type]
        learner._log_terms()
    assert found[0] == pytest.approx(found[1]) and found[0] > 1.0


def test_words_of_types_learnt_later_are_no_longer_outside(prepared: Get) -> None:
    """The number of words outside all types seen so far, against the tags of the corpus; an experience that is still to
    come brings types of its own and of those before it.
    """
    data = prepared("token")
    learner = train(data, configured("token", {}), num_experiences=3).learner
    (examples,) = {id(e.test.examples): e.test.examples for e in data.stream}.values()
    tags = [tag for sentence in examples.labels for tag in sentence]
    types = [experience.scored or frozenset() for experience in data.stream]
    for learnt in range(3):
        counts = learner.evaluator.counts(
            learner.network, [0, 1, 2], "test", lambda d: learner.tools.batches_of(d, 16), learnt
        )
        for e, found in counts.items():
            seen = frozenset().union(*types[: max(e, learnt) + 1])
            assert set(found[:, 6].tolist()) == {sum(tag == "O" or tag[2:] not in seen for tag in tags)}
            assert set(found[:, 3].tolist()) == {sum(tag[2:] in types[e] for tag in tags)}


def test_words_cut_off_at_the_limit_were_not_found() -> None:
    """Two entities, one of them beyond the limit, for a network that is always right."""
    tags = ["B-per", "O", "O", "O", "B-per"]
    examples = Examples([["Ann", "we", "we", "we", "Ann"]], [tags])
    (experience,) = by_corpus([Corpus("n", "token", dict.fromkeys(SPLITS, examples))])
    store = Store.build([experience], Encoder(word_pieces(["Ann we"], 99), 5))
    evaluator = Evaluator([experience], store)
    batch = collate(store.dataset(0, "test"), 0, training=False)
    right = torch.nn.functional.one_hot(batch.targets["token"].labels, 3)

    class Right(torch.nn.Module):
        def forward(self, batch: Batch) -> Any:
            return {"token": Output(right, right, right, batch.targets["token"])}

    counts = evaluator.counts(Right(), [0], "test", lambda data: [batch], 0)[0]  # type: ignore[arg-type]
    assert counts[:, :3].tolist() == [[1, 1, 2]]
    assert counts[:, 3:].tolist() == [[2, 1, 0, 3]]


def test_scores_are_without_dropout(prepared: Get) -> None:
    data = prepared("sequence")
    config = configured("sequence", {})
    config = replace(config, network=replace(config.network, dropout=0.5))
    learner = train(data, config, num_experiences=1).learner
    learner.network.train()
    rows = [learner.evaluate("test")[0] for _ in range(3)]
    assert rows[0] == rows[1] == rows[2]
    assert learner.network.training
    batch = collate(learner.store.dataset(0, "test"), 0, training=False)
    output = learner.network.eval()(batch)["sequence"]
    assert rows[0][0]["accuracy"] == float((output.logits.argmax(1) == output.targets.labels).double().mean())  # type: ignore[index]


def test_seeds_have_networks_and_draws_of_their_own(prepared: Get) -> None:
    data, config = prepared("token"), configured("token", {})
    learners = [build_learner(config, data, "tested", seed) for seed in (0, 0, 1)]
    weights, rows, draws = [], [], []
    for learner in learners:
        weights.append(learner.network.backbone.model.embeddings.word_embeddings.weight.clone())
        for index in (0, 1):
            learner.begin(data.stream[index])
            rows.append(learner.network.head("token").weight[-2:].clone())
            draws.append(float(torch.rand(1, generator=learner.tools.generator("some"))))
        draws.append(float(torch.rand(1, generator=learner.tools.generator("other"))))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(rows[0], rows[2]) and torch.equal(rows[1], rows[3])
    for one, other in combinations((rows[0], rows[1], rows[4], rows[5]), 2):
        assert not torch.equal(one, other)
    assert draws[:3] == draws[3:6] and len(set(draws)) == 6


@pytest.mark.parametrize("start", [0, 3])
def test_the_rate_follows_the_schedule_wherever_training_starts(prepared: Get, start: int) -> None:
    """Six steps of an experience, or its last three where it goes on from a checkpoint; `progress` beside it."""
    data = prepared("sequence")
    for index, schedule in ((0, "linear"), (0, "drop"), (1, "drop")):
        config = configured("sequence", {})
        training = replace(config.training, schedule=schedule, warmup=0.0, learning_rate=0.01)
        learner = build_learner(replace(config, training=training), data, "tested", 0)
        for experience in data.stream.experiences[: index + 1]:
            learner.begin(experience)
        learner.num_steps = start
        rates, progress = [], []

        def note(experience: int, epoch: int, step: int, values: dict[str, float], of: Learner = learner) -> None:
            rates.append(values["learning_rate"])  # noqa: B023
            progress.append(of.tools.progress)  # noqa: B023

        learner.sinks = [note]
        fit(learner, config)
        factors = {"linear": [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6], "drop": [1.0] * 3 + [1.0 if index else 0.2] * 3}
        assert rates == pytest.approx([0.01 * factor for factor in factors[schedule][start:]])
        assert progress == pytest.approx([n / 6 for n in range(start + 1, 7)])


@pytest.mark.parametrize(
    ("stream", "measured"),
    [
        ("sequence", ["111", "111", "111"]),  # one head from the start
        ("mixed", ["1100", "1100", "1110", "1111"]),  # no column of its own yet
        ("own", ["1000", "1100", "1110", "1111"]),  # no columns of its own yet
    ],
)
def test_who_can_be_scored(prepared: Get, stream: str, measured: list[str]) -> None:
    rows = train(prepared(stream), configured(stream, {}, max_steps=1)).rows
    assert ["".join(str(int(cell is not None)) for cell in row) for row in rows] == measured


def test_only_candidates_are_predicted(prepared: Get) -> None:
    """However sure the network is of another task's class."""
    data = prepared("own")
    learner = train(data, configured("own", {}, max_steps=1), num_experiences=4).learner
    before, _ = learner.evaluate("test")
    head = learner.network.head("sequence")
    assert head.bias is not None
    for experience in (e for e in data.stream if e.kind == "sequence"):
        start, stop = learner.store.views.candidates[experience.index].tolist()
        head.bias.data[start:stop] += 1e6
        assert learner.evaluate("test")[0] == before
        head.bias.data[start:stop] -= 1e6


def test_the_initial_row_is_from_before_any_step(prepared: Get) -> None:
    data, rows = prepared("sequence"), []
    for rate in (0.0, 0.01):
        config = configured("sequence", {})
        config = replace(config, training=replace(config.training, learning_rate=rate))
        config = replace(config, evaluate=replace(config.evaluate, initial=True))
        end = train(data, config, num_experiences=2)
        rows.append((end.learner.initial, end.rows[-1]))
    assert rows[0][0] == rows[0][1] == rows[1][0] != rows[1][1]


def test_pooled_counts_add_up() -> None:
    """Two experiences that share their classes, the second with one of three right and none of its third class."""
    corpora = [
        Corpus(name, "sequence", dict.fromkeys(SPLITS, Examples(["x", "y"], ["no", "yes"]))) for name in ("a", "b")
    ]
    experiences = by_corpus(corpora)
    evaluator = Evaluator(experiences, Store.build(experiences, Encoder(word_pieces(["x y"], 99), 5)))
    pooled = evaluator.pooled({0: torch.tensor([[1, 1, 1], [1, 1, 1]]), 1: torch.tensor([[0, 2, 1], [1, 1, 2]])})
    # no: 2 · 1 / (3 + 2), yes: 2 · 2 / (2 + 3)
    assert pooled == pytest.approx({"accuracy": 3 / 5, "macro_f1": (2 / 5 + 4 / 5) / 2})


def test_pooled_scores_of_two_kinds_stay_apart(prepared: Get) -> None:
    """Both have a macro F1: half of the texts are right, and all entities."""
    evaluator = prepared("mixed").evaluator
    row = {"sequence": [1, 2, 2], "token": [2, 2, 2]}
    counts = {e.index: torch.tensor([row[e.kind]] * len(evaluator._names(e.index))) for e in evaluator.experiences}
    pooled = evaluator.pooled(counts)
    types = {name for e in evaluator.experiences if e.kind == "token" for name in evaluator._names(e.index)}
    expected = {"sequence/accuracy": 0.5, "sequence/macro_f1": 0.5, "token/micro_f1": 1.0, "token/macro_f1": 1.0}
    assert pooled == expected | {f"token/f1/{name}": 1.0 for name in types}
    for kind, name in (("sequence", "accuracy"), ("token", "micro_f1")):
        of_kind = {e: c for e, c in counts.items() if evaluator.experiences[e].kind == kind}
        assert evaluator.pooled(of_kind)[name] == pooled[f"{kind}/{name}"], "of one kind alone without a prefix"


@pytest.mark.parametrize(
    ("scores", "patience", "kept", "num_epochs"),
    [
        ([0.5, 0.5, 0.4], None, 0, 3),  # ties go to the earlier epoch
        ([0.5, 0.6, 0.1], None, 1, 3),
        ([0.5, 0.4, 0.4, 0.9], 2, 0, 3),
        ([0.5, 0.4, 0.6, 0.5, 0.5, 0.9], 2, 2, 5),
    ],
)
def test_the_best_epoch_is_kept_and_patience_ends(
    prepared: Get, scores: list[float], patience: int | None, kept: int, num_epochs: int
) -> None:
    config = configured("sequence", {}, max_epochs=len(scores))
    learner = begun(prepared("sequence"), "sequence")
    learner.max_epochs = len(scores)
    evaluate, epochs = learner.evaluate, []

    def scored(split: Any, which: Any = None, kept: Any = None) -> Any:
        row, pooled = evaluate(split, which)
        if split == "valid":
            row = ({"score": scores[len(epochs)]}, *row[1:])
            epochs.append({name: value.clone() for name, value in learner.network.state_dict().items()})
        return row, pooled

    learner.evaluate = scored  # type: ignore[method-assign]
    fit(learner, config, callbacks=[BestEpoch(patience, keep_best=True)])
    assert len(epochs) == num_epochs
    assert_same(epochs[kept], learner.network.state_dict())


def test_sums_over_ranks_are_exact(prepared: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if another rank had the same: counts beyond what a float holds, and tensors of several shapes and types."""
    learner = begun(prepared("sequence"), "sequence")
    trainer: Any = SimpleNamespace(world_size=2)
    learner.trainer = trainer
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.mul_(2))
    mine = {
        "counts": torch.tensor([[2**24 + 1, 3], [2**54 + 1, 0]]),
        "loss": torch.tensor(1 + 2.0**-40, dtype=torch.float64),
        "gradient": torch.tensor([1.5, 2.5]),
        "more": torch.tensor([7]),
    }
    summed = learner.tools.sum(mine)
    assert list(summed) == list(mine)
    for name, tensor in mine.items():
        assert summed[name].dtype == tensor.dtype
        assert torch.equal(summed[name], tensor * 2), name
    assert mine["more"].item() == 7, "what was given stays as it is"


def test_gradients_of_shares_add_up(prepared: Get) -> None:
    """By hand: the gradient of the mean over the batch, for one share and for three."""
    data, seen = prepared("token"), []
    for accumulate in (1, 3):
        config = configured("token", {"si": {}}, accumulate, max_steps=1)
        learner = build_learner(config, data, "tested", 0)
        plugin: Any = learner.strategy.plugins["si"]
        of_plugin = plugin.after_backward

        def noting(of: Any, gradients: dict[str, Tensor], then: Any = of_plugin) -> None:
            seen.append({name: g.clone() for name, g in gradients.items()})
            then(of, gradients)

        plugin.after_backward = noting
        learner.max_steps = 1
        learner.begin(data.stream[0])
        fresh = {name: value.clone() for name, value in learner.network.state_dict().items()}
        fit(learner, config)
    learner.network.load_state_dict(fresh)
    (first, *_) = learner.plan.global_batches()
    batch: Batch = collate(learner.plan.train[first], 0, training=True)
    learner.network.double()
    output = learner.network(batch)["token"]
    mean = torch.nn.functional.cross_entropy(output.logits, output.targets.labels)
    for name, p in learner.network.named_parameters():
        if p.requires_grad:
            (expected,) = torch.autograd.grad(mean, p, retain_graph=True)
            for found in seen:
                assert torch.allclose(found[name], expected, atol=1e-9), name


@pytest.mark.parametrize(
    ("max_steps", "scores", "scored_at", "kept"),
    [
        (5, [0.1, 0.9], [3, 5], 1),  # the part of an epoch that training ends in
        (5, [0.9, 0.1], [3, 5], 0),
        (2, [0.4], [2], 0),  # less than an epoch
        (6, [0.1, 0.9], [3, 6], 1),  # just two
        (99, [0.1, 0.2, 0.9], [3, 6, 9], 2),
    ],
)
def test_the_part_of_an_epoch_that_max_steps_ends_in_is_scored(
    prepared: Get, max_steps: int, scores: list[float], scored_at: list[int], kept: int
) -> None:
    """Three steps an epoch, three epochs at most: what was learnt since the last whole epoch is not thrown away."""
    data, config = prepared("sequence"), configured("sequence", {}, max_epochs=3, max_steps=max_steps)
    learner = build_learner(config, data, "tested", 0)
    learner.begin(data.stream[0])
    evaluate, at, weights = learner.evaluate, [], []

    def scored(split: Any, which: Any = None, kept: Any = None) -> Any:
        row, pooled = evaluate(split, which)
        if split == "valid":
            row = ({"score": scores[len(at)]}, *row[1:])
            at.append(learner.num_steps)
            weights.append({name: value.clone() for name, value in learner.network.state_dict().items()})
        return row, pooled

    learner.evaluate = scored  # type: ignore[method-assign]
    fit(learner, config, callbacks=[BestEpoch(None, keep_best=True)])
    assert at == scored_at
    assert_same(weights[kept], learner.network.state_dict())
