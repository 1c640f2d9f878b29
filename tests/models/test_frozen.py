"""What layers below all that trains make of examples is computed once an experience, and nothing else changes."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from cl.batches import Batch
from cl.config import Config
from cl.models import frozen
from cl.models.backbone import Backbone, of_family
from cl.models.frozen import FrozenPart
from cl.models.options import Scratch
from cl.runs.prepare import Prepared, prepare
from cl.testing.tiny import End, assert_same, configured, fresh_learner, learn, options, train
from cl.testing.watching import fit_and_save, go_on
from cl.training.learner import Learner

DEEP = Scratch(hidden=16, layers=3, heads=2, vocabulary=400)
SIZE: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
LENGTHS = torch.tensor([4, 9, 1, 6, 5, 2])
IDS = torch.randint(5, 100, (6, 9), generator=torch.Generator().manual_seed(0))
ALL = torch.arange(6)


def tried(plugins: dict[str, Any], cache_mb: int = 100, dropout: float = 0.0) -> tuple[Config, Prepared]:
    config = configured("mixed", plugins)
    network = replace(config.network, scratch=DEEP, dropout=dropout, cache_mb=cache_mb)
    config = replace(config, network=network)
    return config, prepare(config)


def freeze_below(learner: Learner, first: int = 2) -> None:
    """Only layers from this one on train."""
    model = learner.network.backbone.model
    for part in (model.embeddings, *model.encoder.layer[:first]):
        part.requires_grad_(False)


def frozen_run(plugins: dict[str, Any], cache_mb: int, num: int | None = 2) -> End:
    config, given = tried(plugins, cache_mb)
    return train(given, config, num, change=freeze_below)


@pytest.mark.parametrize(("plugins", "changes"), [({}, [False, False]), (options("seq*"), [True, False])])
def test_what_is_scored_is_kept_as_long_as_the_same_is_frozen(plugins: dict[str, Any], changes: list[bool]) -> None:
    config, given = tried(plugins)
    learner = fresh_learner(config, given)
    freeze_below(learner)
    kept = []
    for index in range(3):
        learn(learner, config, index, given)
        kept.append(learner.network.frozen_tests._hidden)
        assert all(learner.network.frozen_tests._done)
    assert [one is not other for one, other in pairwise(kept)] == changes


@pytest.mark.parametrize("plugins", [{}, options("probe"), options("replay") | options("lwf"), options("ewc")])
def test_training_is_the_same_with_and_without_a_cache(plugins: dict[str, Any]) -> None:
    with_cache, without = (frozen_run(plugins, cache_mb) for cache_mb in (100, 0))
    assert_same(with_cache.weights, without.weights, tolerance=1e-9)


@pytest.mark.parametrize(("plugins", "trains"), [({}, True), (options("probe"), False)])
def test_frozen_layers_compute_each_example_once(plugins: dict[str, Any], trains: bool) -> None:
    config, given = tried(plugins)
    tokens = {0: 0, 2: 0}

    def watch(learner: Learner) -> None:
        freeze_below(learner)
        for number in tokens:
            layer = learner.network.backbone.model.encoder.layer[number].attention
            layer.register_forward_pre_hook(partial(count, learner, number))

    def count(learner: Learner, number: int, _: object, inputs: tuple[Tensor, ...]) -> None:
        if learner.network.training and learner.network.frozen_tests.num_bytes:
            tokens[number] += inputs[0].shape[1]

    all_tokens = int(train(given, config, 1, change=watch).learner.plan.train.lengths.sum())
    assert tokens == {0: all_tokens, 2: all_tokens * (2 if trains else 1)}  # two epochs


@pytest.mark.parametrize("plugins", [{}, options("replay"), options("probe")])
def test_a_run_resumed_inside_an_experience_is_the_same(plugins: dict[str, Any]) -> None:
    config, given = tried(plugins)
    first = fresh_learner(config, given)
    freeze_below(first)
    learn(first, config, 0, given)
    first.begin(given.stream[1])
    _, saved = fit_and_save(first, config, 3)
    for state in saved:
        other = fresh_learner(config, given)
        freeze_below(other)
        go_on(other, config, state)
        assert_same(other.network.state_dict(), first.network.state_dict())


def llama(dropout: float = 0.0) -> Backbone:
    torch.manual_seed(0)
    config = hf.LlamaConfig(**SIZE, num_key_value_heads=2, attention_dropout=dropout)
    network = Backbone(hf.LlamaModel(config)).double()
    freeze(network)
    return network


def freeze(network: Backbone) -> None:
    network.requires_grad_(False)
    network.model.layers[2].requires_grad_(True)


def batch_of(rows: Tensor, changed: int | None = None) -> Batch:
    ids = IDS.clone()
    if changed is not None:
        ids[changed, 0] = 1
    longest = int(LENGTHS[rows].max())
    mask = (torch.arange(longest) < LENGTHS[rows][:, None]).long()
    return Batch(ids[rows, :longest] * mask, mask, torch.zeros_like(rows), rows, {}, {})


def kept(network: Backbone, rows: Tensor = ALL, limit: int = 10**6) -> FrozenPart:
    part = FrozenPart(limit)
    part.prepare(network, rows, LENGTHS[rows], batch_of)
    return part


def passed(part: FrozenPart, network: Backbone, batch: Batch) -> Tensor:
    hidden = part.pass_of(network, batch)
    assert hidden is not None
    return hidden


def plain(network: Backbone, batch: Batch) -> Tensor:
    hidden: Tensor = network(batch.input_ids, batch.attention_mask)
    return hidden


@pytest.mark.parametrize("rows", [ALL, ALL.flip(0), torch.tensor([2]), torch.tensor([5, 1, 5])])
@pytest.mark.parametrize("limit", [10**6, 3000])
def test_hidden_states_are_those_of_a_pass(rows: Tensor, limit: int) -> None:
    network = llama()
    part, batch = kept(network, limit=limit), batch_of(rows)
    assert 0 < part.num_bytes <= limit * 1.1
    for _ in range(2):
        torch.testing.assert_close(passed(part, network, batch), plain(network, batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_gradients_are_those_of_a_pass_where_layers_are_computed_twice(family: str) -> None:
    network = of_family(family, Scratch(hidden=32, layers=3, heads=4, vocabulary=100)).double()
    network.requires_grad_(False)
    network.layers[2].requires_grad_(True)
    network.checkpoint_gradients()
    network.train()
    part, batch = kept(network), batch_of(ALL)
    trained = list(network.layers[2].parameters())
    hidden = passed(part, network, batch), plain(network, batch)
    ours, theirs = (torch.autograd.grad(each[batch.attention_mask.bool()].sin().sum(), trained) for each in hidden)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_it_serves_under_mixed_precision() -> None:
    config, given = tried({})
    config = replace(config, trainer=config.trainer | {"precision": "bf16-mixed"})
    end = train(given, config, 1, change=freeze_below)
    assert all(end.learner.network.frozen_tests._done)


def test_examples_that_are_not_kept_and_words_that_a_plugin_has_changed_are_computed() -> None:
    network = llama()
    part = kept(network, ALL[[2, 5]])
    assert part.pass_of(network, batch_of(ALL[[0, 1, 3, 4]])) is None
    for batch in (batch_of(ALL), batch_of(ALL[[3, 5]]), batch_of(ALL, changed=5)):
        torch.testing.assert_close(passed(part, network, batch), plain(network, batch), rtol=0, atol=1e-12)


def test_numbers_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "AT_ONCE", 12)
    network = llama()
    first, second = kept(network), kept(network)
    for rows in (ALL[:2], ALL[2:], ALL):
        one = passed(first, network, batch_of(rows))
    other = passed(second, network, batch_of(ALL))
    assert torch.equal(one, other)


def test_a_copy_uses_it_as_long_as_its_frozen_weights_are_the_same_ones() -> None:
    network = llama()
    part = kept(network)
    teacher = copy.deepcopy(network, {id(p): p for p in network.parameters() if not p.requires_grad})
    teacher.model.layers[2].mlp.up_proj.weight.data += 1.0
    other = copy.deepcopy(network)
    other.model.layers[0].mlp.up_proj.weight.data += 1.0
    for each, uses in ((network, True), (teacher, True), (other, False)):
        passes: list[object] = []
        handle = each.model.layers[0].mlp.register_forward_hook(lambda *given, passes=passes: passes.append(given))
        part.pass_of(network, batch_of(ALL))
        passes.clear()
        hidden = part.pass_of(each, batch_of(ALL))
        assert not passes
        assert (hidden is not None) == uses
        if uses:
            torch.testing.assert_close(hidden, plain(each, batch_of(ALL)), rtol=0, atol=1e-12)
        handle.remove()


@pytest.mark.parametrize(
    ("prepared", "why"),
    [(llama(dropout=0.5), "dropout"), (Backbone(hf.LlamaModel(hf.LlamaConfig(**SIZE))), "all layers train")],
    ids=["dropout", "all layers train"],
)
def test_there_is_none_where_it_would_change_something(prepared: Backbone, why: str) -> None:
    assert not kept(prepared.train()).num_bytes, why


def test_what_trains_decides_where_it_ends() -> None:
    network = llama()
    assert network.first_trained_layer() == 2
    network.model.norm.requires_grad_(True)
    network.model.layers[2].requires_grad_(False)
    assert network.first_trained_layer() == 2  # the last layer's output is what the norm gets
    network.model.layers[1].self_attn.q_proj.requires_grad_(True)
    assert network.first_trained_layer() == 1
    network.model.embed_tokens.requires_grad_(True)
    assert network.first_trained_layer() == 0
    network.requires_grad_(False)
    assert network.first_trained_layer() is None
