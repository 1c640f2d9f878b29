"""What strategies for NER share: the previous network's word on what the new data calls O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from cl.batches import Batch, Output, Step
from cl.models.network import MASKED
from cl.plugins.base import Tools
from cl.plugins.shared.taught import BATCH_SIZE, Taught
from cl.types import Experience

RELABELS = {"relabels": "both write the labels of a step"}
"""What a plugin excludes whose traits include "relabels"."""


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

    def share_of_sentence(self, some: Tensor, words: Tensor) -> Tensor:
        """`some` over `words` (both bool `[N]`), counted in the sentence of each word, `[N]`; over 1 if none are."""
        rows = self.output.targets.rows
        together = (rows[:, None] == rows).to(self.old)
        return (together @ some.to(self.old)) / (together @ words.to(self.old)).clamp(min=1)


@dataclass
class TaughtOutside(Taught):
    """Asks a teacher, the previous network, what the O of an experience's words may hide.

    Acts on words of the experience being learnt: what a replayed O leaves open stays open, and sequences are
    untouched. Does nothing where candidates are an experience's own, since no old type is one there. The teacher
    cannot answer with a type that the new data has labels for: a word of such a type would not be O.
    """

    traits: ClassVar[frozenset[str]] = Taught.traits | {"outside"}
    excludes: ClassVar[dict[str, str]] = {"outside": "both say what an O of the new data means"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.view: View | None = None  # of the step under way

    def teaches(self, tools: Tools, experience: Experience) -> bool:
        """Whether the teacher has a say in this experience."""
        knows = self.teacher is not None and "token" in self.teacher.heads
        return knows and experience.kind == "token" and not tools.store.views.private[experience.index]

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        if self.teaches(tools, experience):
            self.ask_ahead(tools)

    def guess(self, tools: Tools, experience: Experience, batch: Batch) -> Output:
        """The teacher's output for a batch's words."""
        output = self.ask(batch)["token"]
        return replace(output, logits=_without_labelled(tools, experience, output.raw))

    def guesses(self, tools: Tools, experience: Experience) -> Iterator[Output]:
        """The teacher's outputs for this rank's share of an experience's words."""
        for batch in tools.batches_of(tools.store.dataset(experience.index, "train"), BATCH_SIZE):
            yield self.guess(tools, experience, batch)

    def look(self, tools: Tools, step: Step, old: Tensor | None = None) -> View | None:
        """The view of a step, None where the teacher has no say. Also kept for the loss of the same step.

        `old`: the teacher's logits, if they are at hand.
        """
        self.view = None
        if self.teaches(tools, step.experience):
            output = step.outputs["token"]
            mine = step.batch.experience[output.targets.rows] == step.experience.index
            if old is None:
                old = _without_labelled(tools, step.experience, self.old_logits(tools, step.batch)["token"])
            self.view = View(output, old, mine, mine & (output.targets.labels == 0))
        return self.view


def _without_labelled(tools: Tools, experience: Experience, logits: Tensor) -> Tensor:
    """Logits in which the types that an experience has labels for cannot win."""
    views = tools.store.views
    labelled = views.labelled[views.own(experience.index), : logits.shape[1]].clone()
    labelled[0] = False  # O
    return logits.masked_fill(labelled.to(logits.device), MASKED)
