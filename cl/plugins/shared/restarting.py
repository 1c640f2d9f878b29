"""What plugins share that start each experience from fresh weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from cl.models.snapshot import snapshot, take_back
from cl.plugins.base import Plugin, Tools
from cl.types import Experience


@dataclass
class Restarting(Plugin):
    """Sets the network back to the weights with which the stream began; head rows to those they arrived with."""

    traits: ClassVar[frozenset[str]] = frozenset({"restarts"})
    excludes: ClassVar[dict[str, str]] = {
        "anchored": "an experience that starts from fresh weights is nowhere near the earlier network to stay close to"
    }

    initial: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)

    def copies(self, num_experiences: int) -> int:
        return 2  # fresh weights, and those that they are taken over from

    def adapt_model(self, tools: Tools, experience: Experience) -> None:
        fresh = {name: value.clone() for name, value in snapshot(tools.network).items()}
        for name, old in self.initial.items():
            fresh[name][tuple(map(slice, old.shape))] = old.to(fresh[name])  # rows that arrive now are fresh
        self.initial = fresh
        take_back(tools.network, fresh)

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        base = tools.network.base()  # all plugins have frozen what they freeze
        self.initial = {name: value for name, value in self.initial.items() if name not in base}
