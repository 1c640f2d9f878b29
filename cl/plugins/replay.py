"""Experience replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cl.batches import Batch
from cl.plugins.base import Tools
from cl.plugins.shared.remembering import Remembering


@dataclass
class Replay(Remembering):
    """Add remembered examples to every batch.

    `capacity` examples are remembered in all, `batch_size` of them join each global batch; `policy` says who
    stays: reservoir, class_balanced, experience_balanced or herding. A remembered "O" tells nothing of entity types
    that its labels did not cover. Cost: the time of the added examples; 32 bytes an example.
    When to use it: whenever examples may be stored; hard to beat.
    """

    paper: ClassVar[str] = "Chaudhry et al., 2019: On tiny episodic memories in continual learning"

    def on_batch(self, tools: Tools, batch: Batch) -> Batch:
        return tools.with_examples(batch, self.draw(tools, "replay")) if len(self.buffer) else batch
