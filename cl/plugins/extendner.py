"""ExtendNER."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cl.batches import Step
from cl.plugins.base import Tools
from cl.plugins.maths.losses import imitation
from cl.plugins.shared.outside import TaughtOutside


@dataclass
class ExtendNER(TaughtOutside):
    """Learn entities from their labels, and what is labelled O from the previous network's distribution.

    On words labelled with a type, cross-entropy; on words labelled O, in its place, KL(teacher ‖ student), in which
    the teacher gives no probability to the new types. `temperature` > 0 divides the student's logits there,
    `teacher_temperature` > 0 the teacher's. Ours: both are summed over their words and divided by all words of the
    global batch, where the paper takes a mean over each kind of word (which depends on how a batch is dealt out).
    Cost: as LwF.
    When to use it: class-incremental NER whose new sentences contain old types.
    """

    paper: ClassVar[str] = "Monaikul et al., 2021: Continual learning for named entity recognition"

    temperature: float = 2.0
    teacher_temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.temperature, self.teacher_temperature) <= 0:
            raise ValueError("temperature and teacher_temperature are above 0")

    def on_step(self, tools: Tools, step: Step) -> Step:
        view = self.look(tools, step)
        return step if view is None else step.weighed("token", (~view.outside).to(view.old))

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        view = self.view
        if view is None:
            return None
        distance = imitation(view.output.logits, view.old, self.temperature, self.teacher_temperature)
        return step.mean(lambda kind, output: view.outside * distance, ["token"])
