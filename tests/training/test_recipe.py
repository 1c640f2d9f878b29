"""The training recipes of papers: optimizer, learning rates by experience, data in the order of the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from cl.data.module import ExperienceData
from cl.plugins.base import Plugin
from cl.runs.prepare import Prepared
from cl.testing.tiny import assert_same, configured, fresh_learner, train
from cl.testing.watching import fit_and_save, go_on
from cl.training.optimizer import optimizer_of
from cl.training.recipe import Recipe, Training
from cl.types import Experience, UserError

Get = Callable[[str], Prepared]


def test_learning_rates_by_experience() -> None:
    paper = Training(learning_rate=2e-3, later_learning_rate=4e-4, schedule="drop")
    assert paper.rates(0) == (2e-3, 2e-3)
    assert paper.rates(1) == paper.rates(5) == (4e-4, 4e-4)
    assert [paper.factor(step, 10, 0) for step in (0, 4, 5, 9)] == [1.0, 1.0, 0.2, 0.2]
    assert {paper.factor(step, 10, 1) for step in range(10)} == {1.0}
    assert Training(learning_rate=1e-3, head_learning_rate=1e-2).rates(1) == (1e-3, 1e-2)
    assert Training(schedule="linear", warmup=0.5).factor(9, 10, 3) == pytest.approx(1 / 5)


def test_the_rate_rises_from_above_nothing_and_falls_to_nothing() -> None:
    rising = Training(schedule="linear", warmup=0.5)
    expected = [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5, 0]
    assert [rising.factor(step, 10, 0) for step in range(11)] == pytest.approx(expected)
    assert [Training(warmup=0.2).factor(step, 10, 0) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert [Training(schedule="linear").factor(step, 4, 0) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]


def test_matrices_alone_decay(prepared: Get) -> None:
    """No bias, no LayerNorm; each group at the rate of the backbone or of the heads."""
    learner = train(prepared("token"), configured("token", {}), num_experiences=1).learner
    recipe = Training(learning_rate=1e-3, head_learning_rate=1e-2, weight_decay=0.3)
    groups = optimizer_of(Recipe(recipe), learner.network, 0, fused=False).param_groups
    found = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    trained = {name: p for name, p in learner.network.named_parameters() if p.requires_grad}
    assert len(found) == sum(len(group["params"]) for group in groups) == len(trained)
    assert {p.ndim for p in trained.values()} == {1, 2}
    for name, p in trained.items():
        assert found[id(p)] == (1e-2 if name.startswith("heads.") else 1e-3, 0.3 if p.ndim == 2 else 0.0), name


def test_data_in_the_order_of_the_file(prepared: Get) -> None:
    data = prepared("token").evaluator.store.dataset(0, "train")
    plan = ExperienceData(data, 0, batch_size=7, max_epochs=2, seed=0, shuffle=False)
    batches = [batch.tolist() for batch in plan.global_batches()]
    assert [i for batch in batches for i in batch] == 2 * list(range(len(data)))
    assert {len(batch) for batch in batches[:-1]} <= {7, len(data) % 7}
    later = ExperienceData(data, 0, batch_size=7, max_epochs=2, seed=0, start=2, shuffle=False)
    assert [batch.tolist() for batch in later.global_batches()] == batches[2:]


def recipe(accumulate: int = 1, **changes: Any) -> Any:
    config = configured("token", {}, accumulate)
    options: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.5, "later_learning_rate": 0.1, "shuffle": False}
    return replace(config, training=replace(config.training, **(options | changes)))


def test_sgd_takes_the_rate_and_the_momentum_of_the_experience(prepared: Get) -> None:
    for num_experiences, rate in ((1, 0.5), (2, 0.1)):
        learner = train(prepared("token"), recipe(), num_experiences).learner
        (optimizer,) = learner.trainer.optimizers
        assert isinstance(optimizer, torch.optim.SGD)
        assert {(group["lr"], group["momentum"]) for group in optimizer.param_groups} == {(rate, 0.9)}


def test_a_batch_in_file_order_may_be_dealt_out(prepared: Get) -> None:
    whole, dealt = (train(prepared("token"), recipe(accumulate)) for accumulate in (1, 3))
    assert_same(whole.weights, dealt.weights, 1e-6)
    shuffled = train(prepared("token"), recipe(shuffle=True))
    assert any(not torch.equal(a, b) for a, b in zip(whole.weights.values(), shuffled.weights.values(), strict=True))


def test_batches_of_a_token_budget_may_be_dealt_out(prepared: Get) -> None:
    budget = {"batch_tokens": 60, "shuffle": True}
    whole, dealt = (train(prepared("token"), recipe(accumulate, **budget)) for accumulate in (1, 3))
    assert_same(whole.weights, dealt.weights, 1e-6)
    plan = whole.learner.plan
    batches = list(plan.global_batches())
    assert len(batches) == plan.num_steps == 2 * plan.steps_per_epoch
    assert max(len(batch) * int(plan.train.lengths[batch].max()) for batch in batches) <= 60


# ------------------------------------------------------------------------- what a plugin says of the recipe


@dataclass
class Slower(Plugin):
    """The backbone learns at a tenth of its rate once something was learnt, and stops when told to."""

    stops: bool = False
    learnt: int = field(default=0, init=False)

    def recipe(self, tools: Any, recipe: Recipe, experience: Experience) -> Recipe:
        if not self.learnt:
            return replace(recipe, options=replace(recipe.options, optimizer="sgd", batch_size=6))
        return replace(recipe, rates={"backbone.": 0.0 if self.stops else recipe.options.learning_rate / 10})

    def after_step(self, tools: Any) -> None:
        self.learnt += 1


def slower(**options: Any) -> Any:
    return configured("sequence", {f"{__name__}.Slower": options})


def test_a_plugin_sets_optimizer_batches_and_rates(prepared: Get) -> None:
    learners = [train(prepared("sequence"), slower(), number).learner for number in (1, 2)]
    (first,), (second,) = (learner.trainer.optimizers for learner in learners)
    assert isinstance(first, torch.optim.SGD) and isinstance(second, torch.optim.AdamW)
    assert [learner.plan.batch_size for learner in learners] == [6, 8]
    rates = {name: group["lr"] for group in second.param_groups for name in [group["params"][0].shape]}
    assert set(rates.values()) == {1e-2, 1e-3}
    heads = {id(p) for p in learners[1].network.heads.parameters()}
    for group in second.param_groups:
        assert {id(p) in heads for p in group["params"]} == {group["lr"] == 1e-2}


def test_a_rate_of_nothing_leaves_parameters_as_they_are(prepared: Get) -> None:
    one, two = (train(prepared("sequence"), slower(stops=True), number) for number in (1, 2))
    for name, weight in one.weights.items():
        if name.startswith("backbone."):
            assert torch.equal(weight, two.weights[name]), name
    assert not torch.equal(one.weights["heads.sequence.weight"], two.weights["heads.sequence.weight"])


def test_inside_an_experience_a_run_goes_on_by_the_recipe_of_its_beginning(prepared: Get) -> None:
    """A fresh plugin would say another thing: it has learnt nothing yet."""
    data, config = prepared("sequence"), slower()
    straight = train(data, config, 1).learner
    straight.begin(data.stream[1])
    _, saved = fit_and_save(straight, config, every_steps=3)
    assert saved[0]["learner"]["num_steps"] == 3
    resumed = fresh_learner(config, data)
    go_on(resumed, config, saved[0])
    assert isinstance(resumed.trainer.optimizers[0], torch.optim.AdamW)
    assert_same(straight.network.state_dict(), resumed.network.state_dict())
    assert_same(straight.strategy.state_dict(), resumed.strategy.state_dict())


def test_a_rate_for_parameters_that_are_not_there(prepared: Get) -> None:
    learner = train(prepared("sequence"), configured("sequence", {}), 1).learner
    with pytest.raises(UserError, match="'bakbone' a learning rate of its own, and no trained parameter begins so"):
        optimizer_of(Recipe(Training(), {"bakbone": 0.1}), learner.network, 0, fused=False)
