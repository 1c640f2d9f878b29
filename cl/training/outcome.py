"""What an experience comes to: a row of scores and its cost, or a loss that is no number."""

from __future__ import annotations

from dataclasses import dataclass, field

from cl.evaluation.matrix import Row
from cl.evaluation.predictions import Predicted


class Diverged(RuntimeError):
    """A loss term is not finite, or no gradient of an experience was."""


@dataclass
class Cost:
    """What one experience took: seconds of training, of plugin upkeep and of evaluation, and steps; how many of them
    the optimizer skipped, since under float16 their gradients were not finite.
    """

    train_seconds: float = 0.0
    plugin_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    num_steps: int = 0
    num_skipped: int = 0


@dataclass(frozen=True)
class Learnt:
    """What is known once an experience has been learnt: the row of scores, those pooled over all learnt, the cost.

    `predicted`: by experience, what was predicted of its targets; empty where predictions are not kept.
    """

    row: Row
    pooled: dict[str, float]
    cost: Cost
    predicted: dict[int, Predicted] = field(default_factory=dict)
