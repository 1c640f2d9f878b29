"""CFNER."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

from cl.batches import Step
from cl.plugins.base import Tools
from cl.plugins.shared.neighbours import Neighbours, nearest_of_group
from cl.plugins.shared.outside import TaughtOutside
from cl.plugins.shared.taught import BATCH_SIZE
from cl.types import Experience


@dataclass
class CFNER(TaughtOutside):
    """Predict a word together with its neighbours in the previous network's eyes, so that old knowledge has an effect.

    On words labelled with a type, cross-entropy of the mean of the word's own distribution and that of its
    `num_neighbours` nearest words with a type (their mean, without gradient). On words labelled O, KL(teacher ‖
    student), × `balance` · √(old / new columns); where the teacher is sure of an old type there, the student's is
    again the mean with its neighbours among such words, and the teacher is sharpened. Sure: with a probability of
    `confidence` at the start of an experience, falling to 0; sharpened: by a temperature that rises from
    `temperature` to 1, by powers. Ours: the schedules go by steps, not epochs; the teacher's probability counts for
    sureness; sums are divided by all words of the global batch, not by those of each kind.
    Cost: besides the teacher's pass, one without gradient over the neighbours' sentences each step (time × 2 to 4);
    one more network and 8 · (1 + `num_neighbours`) bytes a word in memory.
    When to use it: as ExtendNER, where time is no matter.
    """

    paper: ClassVar[str] = "Zheng et al., 2022: Distilling causal effect […] for continual named entity recognition"

    balance: float = 2.0
    num_neighbours: int = 3
    confidence: float = 0.9
    temperature: float = 0.001
    neighbours: Neighbours = field(init=False, repr=False, default_factory=Neighbours)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.balance < 0 or self.num_neighbours < 1 or not 0 < self.temperature <= 1 or not 0 <= self.confidence < 1:
            raise ValueError("needed: balance ≥ 0, num_neighbours ≥ 1, 0 < temperature ≤ 1, 0 ≤ confidence < 1")

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        super().before_experience(tools, experience)
        if not self.teaches(tools, experience):
            return
        group = torch.zeros(len(tools.store.labels), dtype=torch.int64)  # 1: an entity, 2: an O called an old type
        parts = []
        for old in self.guesses(tools, experience):
            kind = torch.where(old.targets.labels > 0, 1, 2 * (old.logits.argmax(1) > 0))
            words = old.targets.words[kind > 0].cpu()
            group[words] = kind[kind > 0].cpu()
            parts.append((words, old.features[kind > 0].cpu()))
        self.neighbours = nearest_of_group(tools, group, parts, self.num_neighbours)

    def on_step(self, tools: Tools, step: Step) -> Step:
        view = self.look(tools, step)
        return step if view is None else step.weighed("token", (~view.mine).to(view.old))

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        if (view := self.view) is None:
            return None
        targets, known = view.output.targets, view.old.shape[1]
        entity = view.mine & ~view.outside
        confident = view.old.softmax(1).max(1).values >= self.confidence * (1 - tools.progress)
        sure = view.outside & (view.old.argmax(1) > 0) & confident
        joint = log_softmax(view.output.logits, 1)
        chosen = (entity | sure).nonzero().flatten()
        if len(chosen):
            logits = self.neighbours.logits(tools, step.experience, targets.words[chosen], BATCH_SIZE)
            # An old type's neighbours vote for old types alone.
            votes = entity[chosen, None, None] | (torch.arange(logits.shape[-1], device=logits.device) < known)
            around = torch.where(votes, logits, -torch.inf).softmax(-1).mean(1)
            mean = ((joint[chosen].exp() + around) / 2).clamp(min=1e-30).log()
            joint = joint.index_copy(0, chosen, mean.to(joint))
        heat = torch.where(sure, self.temperature ** (1 - tools.progress), 1.0)
        teacher = log_softmax(view.old / heat[:, None], 1)
        distance = (teacher.exp() * (teacher - joint[:, :known])).sum(1)
        effect = nll_loss(joint, targets.labels, reduction="none")
        value = entity * effect + view.outside * self.balance * view.balance * distance
        return step.mean(lambda kind, output: value, ["token"])
