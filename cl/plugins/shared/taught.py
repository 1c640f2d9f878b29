"""What plugins share that learn from the previous network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from cl.batches import Batch, Outputs
from cl.data.dataset import ragged
from cl.models.network import Network
from cl.models.snapshot import frozen_copy
from cl.plugins.base import Plugin, Tools
from cl.types import Experience, Kind

BATCH_SIZE = 64  # of passes without gradient
MEMORY = 2**28  # bytes of logits that are remembered, at most


@dataclass
class Taught(Plugin):
    """Keeps the network as it was when the previous experience had been learnt: the teacher, in eval mode.

    What it says of the experience's own data never changes: it is asked once, before the first step, of all of it.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"anchored"})

    teacher: Network | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self._cached_logits: tuple[Tensor, Tensor] | None = (
            None  # of each word its place, −1 for none, and logits by place
        )

    def copies(self, num_experiences: int) -> int:
        return min(2, num_experiences)  # the next one is there before the last one goes

    def ask(self, batch: Batch) -> Outputs:
        """What the teacher says of a batch, of the kinds that it knows."""
        assert self.teacher is not None
        with torch.no_grad():
            outputs: Outputs = self.teacher.to(batch.row.device)(batch)  # a checkpoint brings it on the CPU
        return outputs

    def ask_ahead(self, tools: Tools) -> None:
        """Asks the teacher of all of the experience's data: for `before_experience`, so that no step waits for it."""
        if self.teacher is not None:
            self._cached_logits = self._ask_of_all(tools)

    def old_logits(self, tools: Tools, batch: Batch) -> dict[Kind, Tensor]:
        """The teacher's logits, without any mask, for a batch's targets: `[N, C']` of each kind that it knows.

        Remembered, for a batch of the experience's own data (`MEMORY` bytes at most); else asked for.
        """
        assert self.teacher is not None
        own = tools.experience.kind
        if self._cached_logits is None:
            self._cached_logits = self._ask_of_all(tools)
        where, logits = self._cached_logits
        kinds: list[Kind] = [kind for kind in batch.targets if kind in self.teacher.heads]
        targets = {kind: len(batch.targets[kind]) for kind in kinds}
        places = where[batch.targets[own].words]
        if sum(targets.values()) > targets.get(own, 0) or (targets.get(own) and bool((places < 0).any())):
            return {kind: output.raw for kind, output in self.ask(batch).items()}
        nothing = {kind: logits.new_zeros(0, self.teacher.head(kind).num_columns) for kind in kinds if kind != own}
        return nothing | ({own: logits[places]} if own in kinds else {})

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        self.teacher, self._cached_logits = frozen_copy(tools.network), None

    def load_state_dict(self, tools: Tools, state: dict[str, Any]) -> None:
        super().load_state_dict(tools, state)
        self._cached_logits = None

    def _ask_of_all(self, tools: Tools) -> tuple[Tensor, Tensor]:
        assert self.teacher is not None
        store, kind = tools.store, tools.experience.kind
        data = store.dataset(tools.experience.index, "train")
        words, _ = ragged(store.word_offsets, data.rows)
        where = torch.full((len(store.labels),), -1)
        device = next(tools.network.parameters()).device
        head = self.teacher.head(kind) if kind in self.teacher.heads else None
        if head is None or len(words) * head.num_columns * head.logit_dtype.itemsize > MEMORY:
            return where.to(device), torch.zeros(0, 0, device=device)
        where[words] = torch.arange(len(words))
        logits = torch.zeros(len(words), head.num_columns, dtype=head.logit_dtype)
        for batch in tools.batches_of(data, BATCH_SIZE):
            output = self.ask(batch)[kind]
            logits[where[output.targets.words.cpu()]] = output.raw.cpu()
        return where.to(device), tools.sum({"logits": logits})["logits"].to(device)
