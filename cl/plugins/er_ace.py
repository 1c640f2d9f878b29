"""Experience replay with asymmetric cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from cl.batches import Batch, Targets
from cl.plugins.base import Tools
from cl.plugins.replay import Replay
from cl.types import Kind


@dataclass
class ERACE(Replay):
    """Replay in which new examples compete among the classes of their experience alone, remembered ones among all.

    So new data cannot push the logits of old classes down; only remembered examples set old against new. Knobs as
    replay. Where all experiences share their classes it is replay. Cost: the time of the added examples; 32 bytes an
    example. When to use it: class-incremental streams, whenever examples may be stored.
    """

    paper: ClassVar[str] = (
        "Caccia et al., 2022: New insights on reducing abrupt representation change in online continual learning"
    )
    excludes: ClassVar[dict[str, str]] = {
        "data": "it tells new examples from remembered ones, and there both are training data alike",
        "outside": "it gives words of the new data labels of old classes, which are no candidates for them here",
    }

    def on_batch(self, tools: Tools, batch: Batch) -> Batch:
        targets = {kind: self.narrowed(tools, batch, kind, of_kind) for kind, of_kind in batch.targets.items()}
        return super().on_batch(tools, replace(batch, targets=targets))

    def narrowed(self, tools: Tools, batch: Batch, kind: Kind, targets: Targets) -> Targets:
        """The targets of the current experience with its own classes as candidates, others as they are."""
        views, now = tools.store.views, tools.experience.index
        own = views.labelled[views.own(now), : views.width(now, kind)].to(batch.row.device)
        candidates = own | (batch.experience[targets.rows] != now).unsqueeze(1)
        return replace(
            targets, candidates=candidates if targets.candidates is None else candidates & targets.candidates
        )
