"""Self-training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from cl.batches import Step
from cl.plugins.base import Tools
from cl.plugins.shared.outside import RELABELS, TaughtOutside


@dataclass
class SelfTraining(TaughtOutside):
    """Where a word is labelled O and the previous network calls it an old type, take that for its label.

    The baseline of the papers on continual NER; its mistakes become labels. Cost: as LwF. When to use it: as the first
    thing to try when new sentences contain old types and the previous network is good.
    """

    paper: ClassVar[str] = "Rosenberg et al., 2005: Semi-supervised self-training of object detection models"
    traits: ClassVar[frozenset[str]] = TaughtOutside.traits | {"relabels"}
    excludes: ClassVar[dict[str, str]] = TaughtOutside.excludes | RELABELS

    def on_step(self, tools: Tools, step: Step) -> Step:
        view = self.look(tools, step)
        if view is None:
            return step
        return step.labelled("token", labels=torch.where(view.outside, view.old.argmax(1), view.output.targets.labels))
