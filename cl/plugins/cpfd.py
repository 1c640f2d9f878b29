"""CPFD."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from cl.batches import Batch, Step
from cl.plugins.base import Tools
from cl.plugins.maths.losses import attention_distances, entropy, imitation, median_of_each
from cl.plugins.shared.outside import RELABELS, TaughtOutside
from cl.types import Experience


@dataclass
class CPFD(TaughtOutside):
    """Take the previous network's word for what an O is where it is sure, no label where it is not, and keep to its
    attention maps, pooled.

    Sure: the entropy of its distribution is below the median of those of all words labelled O that it gives the same
    class, and below `least_bound` nats in any case. Labels of a sentence count by the share of its O words that are
    sure; pseudo-labels of old types by ½ + σ(how many there are for each word of a new type). Distillation, ×
    `balance` · √(old / new columns): KL on words labelled O, and the squared distance of attention maps pooled over
    heads and over queries (pooled over keys they are all alike), over real tokens. Ours: sums are divided by all
    words, or sentences, of the global batch; a sentence without O counts in full. Set network.dropout to 0: maps are
    compared as dropout leaves them.
    Cost: a forward pass of the teacher each step and one over the data before; attention without fused kernels, which
    keeps layers · sentences · heads · tokens² numbers of both networks (time × 1.5 to 2); one more network in memory.
    When to use it: class-incremental NER whose new sentences contain many entities of old types.
    """

    paper: ClassVar[str] = "Zhang et al., 2023: Continual named entity recognition without catastrophic forgetting"

    traits: ClassVar[frozenset[str]] = TaughtOutside.traits | {"relabels"}
    excludes: ClassVar[dict[str, str]] = TaughtOutside.excludes | RELABELS

    balance: float = 2.0
    least_bound: float = 0.001
    bounds: Tensor = field(init=False, repr=False, default_factory=lambda: torch.zeros(0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.balance < 0 or self.least_bound <= 0:
            raise ValueError("balance is at least 0 and least_bound above 0")
        self.distances = torch.zeros(0)  # of the attention maps of the step under way

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        if not self.teaches(tools, experience):
            return
        called = torch.zeros(len(tools.store.labels), dtype=torch.int64)  # 1 + what the teacher calls an O
        doubt = torch.zeros(len(called), dtype=torch.float64)
        for old in self.guesses(tools, experience):
            outside = old.targets.labels == 0
            words = old.targets.words[outside].cpu()
            called[words] = 1 + old.logits[outside].argmax(1).cpu()
            doubt[words] = entropy(old.logits[outside]).cpu().double()
        called, doubt = (tools.sum({"each": each})["each"] for each in (called, doubt))
        medians = median_of_each(doubt, called - 1, tools.network.head("token").num_columns)
        # The word in the middle is not below the median, however its entropy is rounded next time.
        self.bounds = medians.clamp(min=self.least_bound) * (1 - 1e-4)

    def on_batch(self, tools: Tools, batch: Batch) -> Batch:
        if self.teaches(tools, tools.experience):
            tools.network.backbone.watch()
        return batch

    def on_step(self, tools: Tools, step: Step) -> Step:
        self.view = None
        if self.teacher is None or not self.teaches(tools, step.experience):
            return step
        maps = tools.network.backbone.unwatch()
        self.teacher.backbone.watch()
        view = self.look(tools, step, self.guess(tools, step.experience, step.batch).logits)
        assert view is not None
        self.distances = attention_distances(maps, self.teacher.backbone.unwatch(), step.batch.attention_mask)
        guess = view.old.argmax(1)
        certain = view.outside & (entropy(view.old) < self.bounds.to(view.old.device)[guess])
        old, new = certain & (guess > 0), view.mine & ~view.outside
        trust = 1 - view.share_of_sentence(view.outside & ~certain, view.outside)
        of_type = torch.where(old, 0.5 + view.share_of_sentence(old, new).sigmoid(), 1.0)
        step = step.labelled("token", labels=torch.where(certain, guess, view.output.targets.labels))
        return step.weighed("token", (certain | ~view.outside) * trust * of_type)

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        if (view := self.view) is None:
            return None
        words = step.mean(lambda kind, _: view.outside * imitation(view.output.logits, view.old), ["token"])
        return self.balance * view.balance * (words + step.mean_of_examples(self.distances))
