"""What `on_gradients` gets and what becomes of it: unscaled, unclipped, of all parameters, in any precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor

from cl.plugins import AGEM
from cl.plugins.base import Gradients, Tools
from cl.plugins.maths.losses import cross_entropy
from cl.plugins.maths.per_example import add_square, by_layer
from cl.plugins.strategy import Strategy
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared
from cl.testing.tiny import configured, learn, train

Get = Callable[[str], Prepared]
PRECISIONS = ["32-true", "bf16-mixed", "16-mixed"]


@dataclass
class Watching(AGEM):
    """A-GEM that remembers what came and what it made of it."""

    seen: list[tuple[Gradients, Gradients]] = field(default_factory=list)

    def on_gradients(self, tools: Tools, gradients: Gradients) -> Gradients:
        before = {name: g.clone() for name, g in gradients.items()}
        after = super().on_gradients(tools, gradients)
        self.seen.append((before, {name: g.clone() for name, g in after.items()}))
        return after


def watched(prepared: Prepared, num_experiences: int, precision: str, **trainer: Any) -> tuple[Watching, Any]:
    """A run of A-GEM in a precision; 16-mixed too, which Lightning itself does not offer on a CPU."""
    config = configured("mixed", {}, **trainer)
    options = config.trainer | {"precision": precision}
    if precision == "16-mixed":
        del options["precision"]
        options["plugins"] = [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))]
    config = replace(config, trainer=options)
    learner = build_learner(config, prepared, "tested", seed=0)
    plugin = Watching(capacity=10, batch_size=5)
    learner.strategy = Strategy({"agem": plugin})
    for index in range(num_experiences):
        if "plugins" in options:
            options["plugins"] = [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))]
        learn(learner, config, index, prepared)
    return plugin, learner


def flat(gradients: Gradients) -> Tensor:
    return torch.cat([g.flatten().double() for g in gradients.values()])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_unscaled_unclipped_and_whole(prepared: Get, precision: str) -> None:
    """As in double precision without clipping, whatever the precision, the clipping and the accumulation."""
    exact, _ = watched(prepared("mixed"), 1, "64-true", max_steps=1)
    plugin, _ = watched(prepared("mixed"), 1, precision, gradient_clip_val=1e-3, accumulate_grad_batches=2)
    expected, found = flat(exact.seen[0][0]), flat(plugin.seen[0][0])
    assert expected.norm() > 0.1
    assert (expected - found).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_reference_gradient_is_that_of_float32(prepared: Get, precision: str) -> None:
    plugin, learner = watched(prepared("mixed"), 2, precision)

    def reference() -> Tensor:
        step = learner.tools.forward_on(plugin.draw(learner.tools, "agem"))
        loss = step.mean(lambda kind, output: cross_entropy(output))
        return torch.cat([g.flatten().double() for g in torch.autograd.grad(loss, [*learner.network.parameters()])])

    found = reference()
    learner.network.double()
    exact = reference()
    assert (found - exact).norm() < 1e-5 * exact.norm()


def test_heads_that_the_batch_does_not_train_are_projected_too(prepared: Get) -> None:
    """Memories of reviews, a batch of sentences: g has no part in the head of reviews, its projection has one."""
    data = prepared("mixed")
    kinds = [experience.kind for experience in data.stream.experiences]
    first = kinds.index("token")
    assert "sequence" in kinds[:first]
    plugin, learner = watched(data, first + 1, "64-true")
    names = {name for name, _ in learner.network.named_parameters()}
    heads = [name for name in names if name.startswith("heads.sequence")]
    last = plugin.seen[-learner.num_steps :]
    assert all(before.keys() == after.keys() == names for before, after in last)
    steps = [(before, after) for before, after in last if not any(before[name].any() for name in heads)]
    projected = [after for before, after in steps if not torch.equal(flat(before), flat(after))]
    assert projected
    assert all(after[name].any() for after in projected for name in heads)


def test_absent_heads_stand_still(prepared: Get) -> None:
    """No decay and no momentum for the head of a kind that nothing asks for."""
    config = configured("mixed", {})
    config = replace(config, training=replace(config.training, weight_decay=0.5))
    learner = train(prepared("mixed"), config, num_experiences=2).learner
    before = [p.clone() for p in learner.network.heads["sequence"].parameters()]
    learn(learner, config, 2, prepared("mixed"))
    assert learner.experience.kind == "token"
    assert all(torch.equal(a, b) for a, b in zip(before, learner.network.heads["sequence"].parameters(), strict=True))


def test_the_fisher_adds_up_in_float32(prepared: Get) -> None:
    data = prepared("sequence")
    learner = train(data, configured("sequence", {}, precision="bf16-true"), num_experiences=1).learner
    with learner.trainer.precision_plugin.forward_context():
        batches = list(learner.tools.batches_of(data.evaluator.store.dataset(0, "train"), 4))
        fisher = by_layer(learner.network, batches, cross_entropy, add_square)
        learner.network.double()
    exact = by_layer(learner.network, batches, cross_entropy, add_square)
    assert all(f.dtype == torch.float32 for f in fisher.values())
    assert (flat(fisher) - flat(exact)).norm() < 0.03 * flat(exact).norm()
