"""Several plugins that change a step: one may write labels, and weights multiply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from cl.batches import Batch, Output, Step, Targets
from cl.plugins.base import Plugin, PluginError
from cl.plugins.cpfd import CPFD
from cl.plugins.selftrain import SelfTraining
from cl.plugins.strategy import Strategy
from cl.runs.prepare import Prepared
from cl.runs.strategies import build_strategy
from cl.testing.tiny import assert_same, configured, fit, fresh_learner
from cl.types import Kind, UserError

Get = Callable[[str], Prepared]


def targets(labels: list[int], weights: list[float] | None = None) -> Targets:
    n = len(labels)
    return Targets(
        torch.arange(n), torch.zeros(n, dtype=torch.long), torch.tensor(labels), torch.arange(n),
        weights=None if weights is None else torch.tensor(weights),
    )  # fmt: skip


def batch_of(of_kind: dict[Kind, Targets]) -> Batch:
    n = max(map(len, of_kind.values()))
    one = torch.ones(n, 3, dtype=torch.long)
    zeros = torch.zeros(n, dtype=torch.long)
    return Batch(one, one, zeros, zeros, of_kind, {kind: (len(t), len(t)) for kind, t in of_kind.items()})


def step_of(of_kind: dict[Kind, Targets]) -> Step:
    outputs = {
        kind: Output(torch.zeros(len(t), 4), torch.zeros(len(t), 4), torch.zeros(len(t), 2), t)
        for kind, t in of_kind.items()
    }
    return Step(None, batch_of(of_kind), outputs)  # type: ignore[arg-type]


@dataclass
class Weighs(Plugin):
    """Counts labels so many times."""

    factor: tuple[float, ...] = (1.0,)
    kind: Kind = "token"

    def on_step(self, tools: Any, step: Step) -> Step:
        return step.weighed(self.kind, torch.tensor(self.factor))


@dataclass
class SetsWeights(Weighs):
    """As one that does not know of `weighed`: it sets what others may have set."""

    def on_step(self, tools: Any, step: Step) -> Step:
        output = step.outputs[self.kind]
        given = replace(output, targets=replace(output.targets, weights=torch.tensor(self.factor)))
        return replace(step, outputs=step.outputs | {self.kind: given})


@dataclass
class SetsWeightsOfTheBatch(Weighs):
    """Before the network sees it."""

    def on_batch(self, tools: Any, batch: Batch) -> Batch:
        given = replace(batch.targets[self.kind], weights=torch.tensor(self.factor))
        return replace(batch, targets=batch.targets | {self.kind: given})

    def on_step(self, tools: Any, step: Step) -> Step:
        return step


@dataclass
class Labels(Plugin):
    """Writes a label everywhere."""

    label: int = 0
    kind: Kind = "token"

    def on_step(self, tools: Any, step: Step) -> Step:
        return step.labelled(self.kind, torch.full_like(step.outputs[self.kind].targets.labels, self.label))


class LabelsInPlace(Labels):
    """As `Labels`, where the labels lie."""

    def on_step(self, tools: Any, step: Step) -> Step:
        step.outputs[self.kind].targets.labels.fill_(self.label)
        return step


class LabelsOfTheBatch(Labels):
    """As `Labels`, before the network sees them."""

    def on_batch(self, tools: Any, batch: Batch) -> Batch:
        given = batch.targets[self.kind]
        labels = torch.full_like(given.labels, self.label)
        return replace(batch, targets=batch.targets | {self.kind: replace(given, labels=labels)})

    def on_step(self, tools: Any, step: Step) -> Step:
        return step


class Adds(Plugin):
    """Adds an example to the batch, at its end."""

    def on_batch(self, tools: Any, batch: Batch) -> Batch:
        old = batch.targets["token"]
        more = targets([*old.labels.tolist(), 3], None if old.weights is None else [*old.weights.tolist(), 1.0])
        return replace(batch, targets=batch.targets | {"token": more})


def through(strategy: Strategy, labels: dict[Kind, Targets]) -> Step:
    """A step as the learner sends it through both seams."""
    batch = strategy.on_batch(None, batch_of(labels))  # type: ignore[arg-type]
    return strategy.on_step(None, step_of(batch.targets))  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ weights


def test_a_step_is_weighed_twice() -> None:
    step = step_of({"token": targets([1, 2])})
    once = step.weighed("token", torch.tensor([2.0, 3.0]))
    twice = once.weighed("token", torch.tensor([0.5, 4.0]))
    assert step.outputs["token"].targets.weights is None
    assert once.outputs["token"].targets.weights.tolist() == [2.0, 3.0]  # type: ignore[union-attr]
    assert twice.outputs["token"].targets.weights.tolist() == [1.0, 12.0]  # type: ignore[union-attr]


@pytest.mark.parametrize("first", [Weighs, SetsWeights, SetsWeightsOfTheBatch])
@pytest.mark.parametrize("second", [Weighs, SetsWeights])
def test_weights_of_two_plugins_multiply(first: type[Weighs], second: type[Weighs]) -> None:
    """In either order, however they are set: 2 · 3, 0.5 · 4, 1 · 0."""
    for order in ((first((2.0, 0.5, 1.0)), second((3.0, 4.0, 0.0))), (second((3.0, 4.0, 0.0)), first((2.0, 0.5, 1.0)))):
        step = through(Strategy({"one": order[0], "two": order[1]}), {"token": targets([1, 2, 3])})
        assert step.outputs["token"].targets.weights.tolist() == [6.0, 2.0, 0.0]  # type: ignore[union-attr]


def test_the_weights_of_one_plugin_and_of_another_kind_stay() -> None:
    found = through(
        Strategy({"words": SetsWeights((2.0,)), "texts": SetsWeights((5.0,), "sequence"), "none": Plugin()}),
        {"token": targets([1]), "sequence": targets([0])},
    )
    assert found.outputs["token"].targets.weights.tolist() == [2.0]  # type: ignore[union-attr]
    assert found.outputs["sequence"].targets.weights.tolist() == [5.0]  # type: ignore[union-attr]


def test_weights_of_examples_that_join_later_are_their_own() -> None:
    strategy = Strategy({"weighs": SetsWeightsOfTheBatch((2.0, 3.0)), "adds": Adds()})
    found = through(strategy, {"token": targets([1, 2])})
    assert found.outputs["token"].targets.weights.tolist() == [2.0, 3.0, 1.0]  # type: ignore[union-attr]
    one, two = SetsWeightsOfTheBatch((2.0, 3.0)), SetsWeightsOfTheBatch((10.0, 10.0, 7.0))
    two.on_batch = lambda learner, batch: SetsWeightsOfTheBatch.on_batch(two, learner, Adds().on_batch(learner, batch))  # type: ignore[method-assign]
    found = through(Strategy({"one": one, "two": two}), {"token": targets([1, 2])})
    assert found.outputs["token"].targets.weights.tolist() == [20.0, 30.0, 7.0]  # type: ignore[union-attr]


class LeavesOut(Plugin):
    """Drops the first example of a batch."""

    def on_batch(self, tools: Any, batch: Batch) -> Batch:
        old = batch.targets["token"]
        names = ("rows", "positions", "labels", "words")
        fewer = replace(old, **{name: getattr(old, name)[1:] for name in names})
        return replace(batch, targets=batch.targets | {"token": fewer})


def test_an_example_that_is_left_out_takes_its_weight_with_it() -> None:
    """And to leave it out writes no label."""
    strategy = Strategy({"weighs": SetsWeightsOfTheBatch((2.0, 3.0)), "fewer": LeavesOut(), "labels": Labels(1)})
    found = through(strategy, {"token": targets([1, 2])}).outputs["token"].targets
    assert found.weights is not None and found.weights.tolist() == [3.0]
    assert found.labels.tolist() == [1]


def test_mistakes_of_a_plugin_name_it() -> None:
    class Forgets(Plugin):
        def on_step(self, tools: Any, step: Step) -> Step:
            return None  # type: ignore[return-value]

    class Drops(Plugin):
        def on_batch(self, tools: Any, batch: Batch) -> Batch:
            return replace(batch, targets={})

    both = {"token": targets([1, 2])}
    for plugin, said in (
        (Forgets(), "plugin 'mine' returned nothing in on_step"),
        (Drops(), "plugin 'mine' has dropped the targets of kind token"),
        (SetsWeights((1.0,)), "plugin 'mine' gives 1 weights to 2 targets"),
    ):
        with pytest.raises(PluginError, match=said):
            through(Strategy({"mine": plugin, "other": Half()}), both)
    with pytest.raises(PluginError, match="returned nothing"):
        through(Strategy({"mine": Forgets()}), both)


@dataclass
class Half(Plugin):
    """Every word counts so much."""

    factor: float = 0.5

    def on_step(self, tools: Any, step: Step) -> Step:
        return step.weighed("token", torch.full((len(step.outputs["token"].targets),), self.factor).double())


def test_weights_that_multiply_to_one_are_none(prepared: Get) -> None:
    """A half and twice, in a whole run: the loss, and so the network, is that of finetuning."""
    ends = []
    for plugins in ({}, {"half": Half(0.5), "twice": Half(2.0)}, {"half": Half(0.5)}):
        learner = fresh_learner(configured("token", {}, max_epochs=1), prepared("token"))
        learner.strategy = Strategy(plugins)
        learner.begin(prepared("token").stream[0])
        fit(learner, configured("token", {}, max_epochs=1))
        ends.append({name: value.clone() for name, value in learner.network.state_dict().items()})
    assert_same(ends[0], ends[1], 1e-12)
    with pytest.raises(AssertionError):
        assert_same(ends[0], ends[2], 1e-12)


# ------------------------------------------------------------------------------------------ labels


def test_two_that_say_that_they_write_labels_are_refused_at_once() -> None:
    """Whatever the order, and whether both are listed or one is the user's own."""

    class Own(Labels):
        traits = SelfTraining.traits
        excludes = SelfTraining.excludes

    for pair in ((SelfTraining(), CPFD()), (CPFD(), SelfTraining()), (Own(), CPFD()), (SelfTraining(), Own())):
        with pytest.raises(UserError, match=r"one cannot work together with two: .*Drop one of them"):
            Strategy(dict(zip(("one", "two"), pair, strict=True)))
    with pytest.raises(UserError, match=r"selftrain cannot work together with cpfd: "):
        build_strategy({"selftrain": {}, "cpfd": {}}, "tested")


@pytest.mark.parametrize("first", [Labels, LabelsInPlace, LabelsOfTheBatch])
@pytest.mark.parametrize("second", [Labels, LabelsInPlace])
def test_two_that_do_not_say_so_are_named(first: type[Labels], second: type[Labels]) -> None:
    """Both of them, with the kind of labels."""
    for names in (("mine", "yours"), ("yours", "mine")):
        strategy = Strategy({names[0]: first(1), "between": Plugin(), names[1]: second(2)})
        with pytest.raises(
            PluginError, match=rf"plugins '{names[0]}' and '{names[1]}' both write the labels of a step \(token\)"
        ):
            through(strategy, {"token": targets([0, 3])})


def test_two_writers_of_a_batch_are_named() -> None:
    strategy = Strategy({"one": LabelsOfTheBatch(1), "two": LabelsOfTheBatch(2)})
    with pytest.raises(PluginError, match="'one' and 'two' both write the labels"):
        through(strategy, {"token": targets([0, 3])})


@pytest.mark.parametrize("writer", [Labels, LabelsInPlace, LabelsOfTheBatch])
def test_one_writer_is_none_too_many(writer: type[Labels]) -> None:
    """In step after step; beside one that writes labels of the other kind, weighs or adds examples."""
    others = {"weighs": Weighs((2.0, 2.0)), "texts": Labels(3, "sequence")}
    for strategy in (Strategy({"one": writer(1), **others}), Strategy({**others, "one": writer(1)})):
        for _ in range(3):
            found = through(strategy, {"token": targets([0, 2]), "sequence": targets([0])})
            assert found.outputs["token"].targets.labels.tolist() == [1, 1]
            assert found.outputs["sequence"].targets.labels.tolist() == [3]
    for names in (("adds", "writes"), ("writes", "adds")):
        both = {"adds": Adds(), "writes": writer(1)}
        assert (
            len(through(Strategy({n: both[n] for n in names}), {"token": targets([0, 2])}).outputs["token"].targets)
            == 3
        )


@dataclass
class Sometimes(Labels):
    """Writes in some steps only."""

    steps: tuple[int, ...] = ()

    def on_step(self, tools: Any, step: Step) -> Step:
        self.now = getattr(self, "now", -1) + 1
        return super().on_step(tools, step) if self.now in self.steps else step


def test_a_writer_in_one_step_and_another_in_the_next_are_none_too_many() -> None:
    """Each step is a new one; in the third both write."""
    strategy = Strategy({"mine": Sometimes(1, steps=(0, 2)), "yours": Sometimes(2, steps=(1, 2))})
    for label in (1, 2):
        found = through(strategy, {"token": targets([0, 3])})
        assert found.outputs["token"].targets.labels.tolist() == [label, label]
    with pytest.raises(PluginError, match="'mine' and 'yours' both write the labels"):
        through(strategy, {"token": targets([0, 3])})


def test_labels_written_as_they_were_are_not_written() -> None:
    strategy = Strategy({"one": Labels(1), "two": Labels(1)})
    assert through(strategy, {"token": targets([0, 2])}).outputs["token"].targets.labels.tolist() == [1, 1]


def test_a_run_with_two_writers_ends_with_their_names(prepared: Get) -> None:
    learner = fresh_learner(configured("token", {}), prepared("token"))
    learner.strategy = Strategy({"mine": Labels(0), "yours": Labels(1)})
    learner.begin(prepared("token").stream[0])
    with pytest.raises(PluginError, match="'mine' and 'yours'"):
        fit(learner, configured("token", {}))
