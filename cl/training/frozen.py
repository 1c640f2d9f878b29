"""The frozen part of a learner's network, for an experience of several epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cl.batches import Batch
from cl.data.collate import collate

if TYPE_CHECKING:
    from cl.training.learner import Learner


def keep_frozen_part(learner: Learner) -> None:
    """Makes room for what layers below all that trains make of the examples that an experience trains on, and of those
    that plugins remember. Where there is one epoch alone, nothing comes again.
    """
    plan, store = learner.plan, learner.store
    if plan.num_steps <= plan.steps_per_epoch:
        return
    remembered = [data.rows for data in learner.strategy.remembered(learner.tools)]
    data = store.of(rows := torch.unique(torch.cat([plan.train.rows, *remembered])), torch.zeros_like(rows))

    def batch_of(rows: Tensor) -> Batch:
        chosen = store.of(rows, torch.zeros_like(rows))
        return collate(chosen, learner.experience.index, training=False, placeholder=True).to(learner.device)

    learner.network.frozen.prepare(learner.network.backbone, data.rows, data.lengths, batch_of)
