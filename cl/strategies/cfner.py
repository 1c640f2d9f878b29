"""CFNER."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from cl.strategies.neighbours import logits_of, nearest_of_group
from cl.strategies.outside import TaughtOutside, weighed
from cl.strategies.plugin import Learner
from cl.strategies.taught import BATCH_SIZE
from cl.types import Experience, Step


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

    paper: ClassVar[str] = (
        "Zheng et al., 2022: Distilling causal effect from miscellaneous other-class for continual named entity "
        "recognition"
    )

    balance: float = 2.0
    num_neighbours: int = 3
    confidence: float = 0.9
    temperature: float = 0.001
    words: Tensor = field(init=False, repr=False, default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    nearest: Tensor = field(init=False, repr=False, default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.balance < 0 or self.num_neighbours < 1 or not 0 < self.temperature <= 1 or not 0 <= self.confidence < 1:
            raise ValueError(
                "balance is at least 0, num_neighbours at least 1, temperature in (0, 1] and confidence in [0, 1)"
            )

    def before_experience(self, learner: Learner, experience: Experience) -> None:
        if not self.teaches(learner, experience):
            return
        group = torch.zeros(len(learner.store.labels), dtype=torch.int64)  # 1: an entity, 2: an O called an old type
        parts = []
        for batch in learner.each(learner.store.dataset(experience.index, "train"), BATCH_SIZE):
            old = self.guess(learner, experience, batch)
            kind = torch.where(old.targets.labels > 0, 1, 2 * (old.logits.argmax(1) > 0))
            words = old.targets.words[kind > 0].cpu()
            group[words] = kind[kind > 0].cpu()
            parts.append((words, old.features[kind > 0].cpu()))
        self.words, self.nearest = nearest_of_group(learner, group, parts, self.num_neighbours)

    def on_step(self, learner: Learner, step: Step) -> Step:
        view = self.look(learner, step)
        return step if view is None else weighed(step, (~view.mine).to(view.old))

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        view = self.view
        if view is None:
            return None
        targets, known = view.output.targets, view.old.shape[1]
        entity = view.mine & ~view.outside
        confident = view.old.softmax(1).max(1).values >= self.confidence * (1 - learner.progress)
        sure = view.outside & (view.old.argmax(1) > 0) & confident
        around = torch.zeros_like(view.output.logits)
        chosen = (entity | sure).nonzero().flatten()
        if len(chosen):
            place = torch.searchsorted(self.words, targets.words[chosen].cpu())
            logits = logits_of(learner, step.experience, self.nearest[place], BATCH_SIZE)
            old = logits[..., :known].softmax(-1)  # an old type's neighbours vote for old types alone
            old = torch.cat([old, torch.zeros_like(logits[..., known:])], -1)
            around[chosen] = torch.where(entity[chosen, None, None], logits.softmax(-1), old).mean(1)
        own = log_softmax(view.output.logits, 1)
        joint = torch.where((entity | sure)[:, None], ((own.exp() + around) / 2).clamp(min=1e-30).log(), own)
        heat = torch.where(sure, self.temperature ** (1 - learner.progress), 1.0)
        teacher = log_softmax(view.old / heat[:, None], 1)
        distance = (teacher.exp() * (teacher - joint[:, :known])).sum(1)
        effect = -joint.gather(1, targets.labels[:, None])[:, 0]
        value = entity * effect + view.outside * self.balance * view.balance * distance
        return step.mean(lambda kind, output: value, ["token"])
