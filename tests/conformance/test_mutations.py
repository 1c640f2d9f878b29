"""The suite finds what it is for: broken copies of strategies, with defects that published code had, fail it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from cl.batches import Step
from cl.data.sampler import share
from cl.plugins.base import Gradients, Plugin, Tools
from cl.plugins.ewc import EWC
from cl.plugins.lwf import LwF
from cl.plugins.maths.algebra import copies, parameters_of
from cl.plugins.maths.losses import cross_entropy, distillation
from cl.plugins.replay import Replay
from cl.plugins.writers import Writers
from cl.testing.composition import COMPOSED, composes
from cl.testing.promises import PROMISES, Subject
from cl.types import Experience


class DetachedPenalty(EWC):
    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        return super().penalty(tools, copies(gradients))


class BatchMeanFisher(EWC):
    def after_experience(self, tools: Tools, experience: Experience) -> None:
        fisher = {name: torch.zeros_like(p) for name, p in parameters_of(tools.network).items()}
        for batch in tools.batches_of(tools.store.dataset(experience.index, "train"), batch_size=8):
            loss = torch.stack([cross_entropy(output).sum() for output in tools.network(batch).values()]).sum()
            for name, gradient in zip(fisher, torch.autograd.grad(loss, list(_trained(tools))), strict=True):
                fisher[name] += gradient**2 / len(batch)
        self.anchor.add(tools.sum(fisher), copies(parameters_of(tools.network)))


class TeacherInTrainMode(LwF):
    def after_experience(self, tools: Tools, experience: Experience) -> None:
        super().after_experience(tools, experience)
        assert self.teacher is not None
        self.teacher.train()
        self.teacher.backbone.model.train()


class RankLocalBuffer(Replay):
    """Found in `test_conformance.py`, where two processes have been started."""

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        super().after_experience(tools, experience)
        mine = share(torch.arange(len(self.buffer)), tools.trainer.global_rank, tools.trainer.world_size)  # type: ignore[attr-defined]
        for name in ("rows", "experience", "groups", "keys"):
            setattr(self.buffer, name, getattr(self.buffer, name)[mine])


class DistilsOverPadding(LwF):
    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        if self.teacher is None:
            return None
        logits = []
        for network in (tools.network, self.teacher):
            hidden = network.backbone(step.batch.input_ids, step.batch.attention_mask)
            logits.append(network.head("token")(hidden).flatten(0, 1))
        everywhere = distillation(*logits, self.temperature)
        return self.strength * everywhere.sum() / step.batch.counts["token"][1]


@dataclass
class WeighsOldTypes(Plugin):
    """Counts words so many times, without a look at what another plugin has said of them."""

    factor: float = 2.0

    def on_step(self, tools: Tools, step: Step) -> Step:
        if "token" not in step.outputs or tools.experience.index == 0:
            return step
        output = step.outputs["token"]
        weights = 1.0 + self.factor * output.targets.labels.double()
        weighed = replace(output, targets=replace(output.targets, weights=weights))
        return replace(step, outputs=step.outputs | {"token": weighed})


class WeighsOthers(WeighsOldTypes):
    """As another author would."""


@dataclass
class SaysOutside(Plugin):
    """Takes O for the label of every other word, and does not say that it writes labels."""

    column: int = 0

    def on_step(self, tools: Tools, step: Step) -> Step:
        if "token" not in step.outputs or tools.experience.index == 0:
            return step
        labels = step.outputs["token"].targets.labels.clone()
        labels[::2] = self.column
        return step.labelled("token", labels)


class SaysInside(SaysOutside):
    """Takes an entity for it."""


def broken(plugin: type, promise: str, stream: str, **options: object) -> bool:
    try:
        PROMISES[promise][0](Subject(f"{plugin.__module__}.{plugin.__name__}", options), stream)
    except AssertionError:
        return True
    return False


def test_a_detached_penalty_is_found() -> None:
    assert not broken(EWC, "its_term_can_be_descended", "token")
    assert broken(DetachedPenalty, "its_term_can_be_descended", "token")


def test_a_fisher_of_batch_means_is_found() -> None:
    assert not broken(EWC, "batching_of_upkeep_changes_nothing", "token")
    assert broken(BatchMeanFisher, "batching_of_upkeep_changes_nothing", "token")


def test_a_teacher_in_train_mode_is_found() -> None:
    assert not broken(LwF, "its_term_can_be_descended", "token")
    assert broken(TeacherInTrainMode, "its_term_can_be_descended", "token")


def test_distillation_over_padding_is_found() -> None:
    assert not broken(LwF, "padding_changes_nothing", "token")
    assert broken(DistilsOverPadding, "padding_changes_nothing", "token")


def test_weights_that_overwrite_each_other_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they did before they were multiplied."""
    pair = [Subject(f"{each.__module__}.{each.__name__}", {"factor": f}) for each, f in
            ((WeighsOldTypes, 2.0), (WeighsOthers, 0.5))]  # fmt: skip
    for stream in COMPOSED:
        composes(*pair, stream)
    monkeypatch.setattr(Writers, "watched", lambda self, name, value, change: change(value))
    for stream in COMPOSED:
        with pytest.raises(AssertionError, match="the order matters"):
            composes(*pair, stream)


def test_two_that_write_labels_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """They break the promise by their names; a plugin of one's own beside a listed one that relabels does so too."""
    inside, outside = (Subject(f"{each.__module__}.{each.__name__}", {"column": column}) for each, column in
                       ((SaysInside, 1), (SaysOutside, 0)))  # fmt: skip
    for stream in COMPOSED:
        with pytest.raises(AssertionError, match=r"SaysInside' and .*SaysOutside' both write the labels of a step"):
            composes(inside, outside, stream)
    with pytest.raises(AssertionError, match=r"with selftrain: .* both write the labels of a step"):
        composes(inside, Subject.listed("selftrain"), "token")
    monkeypatch.setattr(Writers, "watched", lambda self, name, value, change: change(value))
    for stream in COMPOSED:
        with pytest.raises(AssertionError, match="the order matters"):
            composes(inside, outside, stream)


def _trained(tools: Tools) -> list[Tensor]:
    return list(parameters_of(tools.network).values())
