"""What strategies for NER share: the previous network's word on what the new data calls O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cl.models.network import MASKED
from cl.strategies.plugin import Learner
from cl.strategies.taught import Taught
from cl.types import Batch, Experience, Output, Step

BATCH_SIZE = 64  # of passes without gradient over an experience's sentences


@dataclass(frozen=True)
class View:
    """A step's `N` words: the student's `output`, the teacher's logits `old` `[N, C']` (C' ≤ C).

    `mine`, bool `[N]`: words of the experience being learnt; `outside`: those of them that are labelled O.
    """

    output: Output
    old: Tensor
    mine: Tensor
    outside: Tensor

    @property
    def balance(self) -> float:
        """√(old columns / new columns), O not counted."""
        known = self.old.shape[1]
        return float((max(known - 1, 1) / max(self.output.logits.shape[1] - known, 1)) ** 0.5)


@dataclass
class TaughtOutside(Taught):
    """Asks a teacher, the previous network, what the O of an experience's words may hide.

    Acts on words of the experience being learnt: what a replayed O leaves open stays open, and sequences are
    untouched. Does nothing where candidates are an experience's own, since no old type is one there. Types that the
    new labels tell of are out of the question for the teacher: what they call O is none of these.
    """

    traits: ClassVar[frozenset[str]] = Taught.traits | {"outside"}
    excludes: ClassVar[dict[str, str]] = {"outside": "both say what an O of the new data means"}

    def __post_init__(self) -> None:
        self.view: View | None = None  # of the step under way

    def teaches(self, learner: Learner, experience: Experience) -> bool:
        """Whether the teacher has a say in this experience."""
        knows = self.teacher is not None and "token" in self.teacher.heads
        return knows and experience.kind == "token" and learner.store.own[experience.index] is None

    def guess(self, learner: Learner, experience: Experience, batch: Batch) -> Output:
        """The teacher's output for a batch's words."""
        assert self.teacher is not None
        with torch.no_grad():
            output = self.teacher.to(batch.row.device)(batch)["token"]  # a checkpoint brings it on the CPU
        told = learner.store.told[experience.index, : output.raw.shape[1]].clone()
        told[0] = False  # O
        logits = output.raw.masked_fill(told.to(output.raw.device), MASKED)
        return Output(logits, output.raw, output.features, output.targets)

    def look(self, learner: Learner, step: Step) -> View | None:
        """The view of a step, None where the teacher has no say. Also kept for the loss of the same step."""
        self.view = None
        if self.teaches(learner, step.experience):
            output = step.outputs["token"]
            mine = step.batch.experience[output.targets.rows] == step.experience.index
            old = self.guess(learner, step.experience, step.batch).logits
            self.view = View(output, old, mine, mine & (output.targets.labels == 0))
        return self.view


def weighed(step: Step, weights: Tensor) -> Step:
    """The step with its words' labels counting `weights` `[N]` times as much."""
    given = step.outputs["token"].targets.weights
    return step.labelled("token", weights=weights if given is None else given * weights)
