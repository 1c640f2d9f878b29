"""The recipe: optimizer, learning rates and their course within an experience."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

LOG_EVERY = 10  # steps between two logged ones, where a user has not said so


@dataclass
class Training:
    """How each experience is trained. The optimizer starts anew with each of them."""

    batch_size: int = 16
    """Examples in a global batch, over all ranks and accumulated micro-batches."""
    batch_tokens: int | None = None
    """In place of it: as many examples of like length as make up so many tokens, where lengths differ much."""
    shuffle: bool = True
    """false takes examples in the order of the data."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """adamw, or sgd with momentum."""
    momentum: float = 0.9
    """Of sgd."""
    learning_rate: float = 5e-5
    """The rate at its height."""
    head_learning_rate: float | None = None
    """That of the heads, where it differs."""
    later_learning_rate: float | None = None
    """That of all after the first experience, where it differs."""
    weight_decay: float = 0.01
    """Of matrices alone."""
    warmup: float = 0.0
    """The share of an experience's steps over which the rate rises from 0."""
    schedule: Literal["constant", "linear", "drop"] = "constant"
    """Then constant, linear to 0, or drop: in the first experience a fifth of it in the second half."""
    patience: int | None = None
    """Stop an experience after so many epochs without a better validation score; null is never."""
    keep_best: bool = False
    """Go on with the weights of the best epoch on validation."""

    def rates(self, experience: int) -> tuple[float, float]:
        """The learning rates of the backbone and of the heads in an experience."""
        if experience and self.later_learning_rate is not None:
            return self.later_learning_rate, self.later_learning_rate
        head = self.learning_rate if self.head_learning_rate is None else self.head_learning_rate
        return self.learning_rate, head

    def factor(self, step: int, num_steps: int, experience: int) -> float:
        """What the learning rate is multiplied by at a step of an experience, in [0, 1]."""
        warm = round(self.warmup * num_steps)
        if step < warm:
            return (step + 1) / (warm + 1)
        if self.schedule == "linear":
            return max(0.0, (num_steps - step) / max(1, num_steps - warm))
        return 0.2 if self.schedule == "drop" and not experience and 2 * step >= num_steps else 1.0


@dataclass(frozen=True)
class Recipe:
    """How one experience is trained: the options, and what a plugin wants otherwise (see `Plugin.recipe`).

    `rates`: learning rates of their own for parameters whose names begin so, the longest beginning first; 0 leaves them
    as they are. The schedule multiplies them as it does all rates.
    """

    options: Training
    rates: dict[str, float] = field(default_factory=dict)
