"""The suite finds what it is for: broken copies of strategies, with defects that published code had, fail it."""

from __future__ import annotations

import torch
from torch import Tensor

from cl.data.sampler import share
from cl.strategies.ewc import EWC
from cl.strategies.functional import copies, cross_entropy, distillation, parameters_of
from cl.strategies.lwf import LwF
from cl.strategies.plugin import Gradients, Learner
from cl.strategies.replay import Replay
from cl.testing.promises import PROMISES, Subject, prove_on_ranks
from cl.types import Experience, Step


class DetachedPenalty(EWC):
    def penalty(self, learner: Learner, gradients: Gradients) -> Tensor | None:
        return super().penalty(learner, copies(gradients))


class BatchMeanFisher(EWC):
    def after_experience(self, learner: Learner, experience: Experience) -> None:
        fisher = {name: torch.zeros_like(p) for name, p in parameters_of(learner.network).items()}
        for batch in learner.each(learner.store.dataset(experience.index, "train"), batch_size=8):
            loss = torch.stack([cross_entropy(output).sum() for output in learner.network(batch).values()]).sum()
            for name, gradient in zip(fisher, torch.autograd.grad(loss, list(_trained(learner))), strict=True):
                fisher[name] += gradient**2 / len(batch)
        self.anchor.add(learner.sum(fisher), copies(parameters_of(learner.network)))


class TeacherInTrainMode(LwF):
    def after_experience(self, learner: Learner, experience: Experience) -> None:
        super().after_experience(learner, experience)
        assert self.teacher is not None
        self.teacher.train()
        self.teacher.backbone.model.train()


class RankLocalBuffer(Replay):
    def after_experience(self, learner: Learner, experience: Experience) -> None:
        super().after_experience(learner, experience)
        mine = share(torch.arange(len(self.buffer)), learner.global_rank, learner.trainer.world_size)  # type: ignore[attr-defined]
        for name in ("rows", "experience", "groups", "keys"):
            setattr(self.buffer, name, getattr(self.buffer, name)[mine])


class DistilsOverPadding(LwF):
    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        if self.teacher is None:
            return None
        logits = []
        for network in (learner.network, self.teacher):
            hidden = network.backbone(step.batch.input_ids, step.batch.attention_mask)
            logits.append(network.head("token")(hidden).flatten(0, 1))
        everywhere = distillation(*logits, self.temperature)
        return self.strength * everywhere.sum() / step.batch.counts["token"][1]


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


def test_a_buffer_of_one_rank_is_found() -> None:
    found = prove_on_ranks([Subject("conformance.test_mutations.RankLocalBuffer", {"capacity": 10})])
    assert len(found) == 6  # on every stream, with accumulation, with dropout


def _trained(learner: Learner) -> list[Tensor]:
    return list(parameters_of(learner.network).values())
