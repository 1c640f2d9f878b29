"""Incremental LoRA: an adapter an experience."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cl.models.adapters import begin_anew, earlier_bytes, layers_with_earlier
from cl.plugins.base import Plugin, Tools
from cl.types import Experience


@dataclass
class IncLoRA(Plugin):
    """Train a LoRA adapter of its own for each experience; earlier ones stay active and frozen.

    Earlier adapters of a layer are kept side by side as one, so a pass costs the same from the second experience on,
    but for a rank that grows. No experience is told from another at test. It needs `network.adapter: {kind: lora}`.
    Cost: the time of finetuning. When to use it: as the baseline of methods that hold adapters apart.
    """

    paper: ClassVar[str] = "Wang et al., 2023: Orthogonal subspace learning for language model continual learning"
    traits: ClassVar[frozenset[str]] = frozenset({"adapters"})
    excludes: ClassVar[dict[str, str]] = {
        "adapters": "each says what becomes of earlier adapters",
        "holds": "the adapter begins anew in each experience, and its old values mean nothing to it",
        "restarts": "what earlier adapters have learnt stays in the network",
    }
    grows: ClassVar[str] = "one adapter an experience"
    adapter: ClassVar[str] = "lora"

    def copies(self, num_experiences: int) -> int:
        return num_experiences - 1  # the earlier ones

    def stored(self, tools: Tools) -> int:
        return earlier_bytes(tools.network.backbone.model)

    def adapt_model(self, tools: Tools, experience: Experience) -> None:
        if experience.index:  # there is something earlier
            layers_with_earlier(tools.network.backbone.model)

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        if experience.index:
            begin_anew(tools.network.backbone.model, self.generator(tools, "lora"))
