"""Independent networks: the bound without forgetting and without transfer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from cl.models.network import Network
from cl.models.snapshot import frozen_copy
from cl.plugins.base import Tools
from cl.plugins.shared.restarting import Restarting
from cl.types import Experience


@dataclass
class Independent(Restarting):
    """Train a network of its own for each experience, from the initial weights; it alone answers for it.

    A bound rather than a strategy: nothing is forgotten, nothing is passed on, and a test example must say which
    experience it is of. Experiences that have not been learnt are answered by the newest network.
    Cost: the time of finetuning; memory grows by one network an experience, and the initial weights are kept.
    When to use it: to tell what transfer between experiences gains or loses.
    """

    paper: ClassVar[str] = "Lopez-Paz & Ranzato, 2017: Gradient episodic memory for continual learning"
    grows: ClassVar[str] = "one network an experience"
    bound: ClassVar[str] = "is told which experience a test example is of"

    networks: dict[int, Network] = field(init=False, repr=False, default_factory=dict)

    def copies(self, num_experiences: int) -> int:
        return super().copies(num_experiences) + num_experiences

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        self.networks[experience.index] = frozen_copy(tools.network)

    def network_for(self, tools: Tools, network: Network, experience: Experience) -> Network:
        if experience.index not in self.networks:
            return network
        device = next(network.parameters()).device  # a checkpoint brings them on the CPU
        return self.networks[experience.index].to(device)
