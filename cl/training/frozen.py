"""The frozen part of a learner's network, kept of the examples that come again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cl.batches import Batch
from cl.data.collate import collate
from cl.data.dataset import Dataset
from cl.models.frozen import FrozenPart

if TYPE_CHECKING:
    from cl.training.learner import Learner


def keep_frozen_parts(learner: Learner) -> None:
    """Makes room for what layers below all that trains make of the examples of an experience: those that it trains on,
    those that plugins remember, and those that an epoch is chosen by; and of all that is scored, for the whole stream.

    Where there is one epoch alone, or one experience, nothing comes again.
    """
    plan, store, options = learner.plan, learner.store, learner.recipe.options
    if plan.num_steps > plan.steps_per_epoch:
        rows = [plan.train.rows, *(data.rows for data in learner.strategy.remembered(learner.tools))]
        if options.keep_best or options.patience is not None:
            rows.append(store.splits[learner.experience.index, "valid"])
        _prepare(learner.network.frozen, learner, rows)
    experiences = learner.evaluator.experiences
    if len(experiences) > 1 and not learner.network.frozen_tests.stands(learner.network.backbone):
        _prepare(learner.network.frozen_tests, learner, [store.splits[e.index, "test"] for e in experiences])


def _prepare(part: FrozenPart, learner: Learner, of: list[Tensor]) -> None:
    def rows_of(rows: Tensor) -> Dataset:
        return learner.store.of(rows, torch.zeros_like(rows))

    def batch_of(rows: Tensor) -> Batch:
        batch = collate(rows_of(rows), learner.experience.index, training=False, placeholder=True)
        return batch.to(learner.device)

    rows = torch.unique(torch.cat(of))
    part.prepare(learner.network.backbone, rows, rows_of(rows).lengths, batch_of)
