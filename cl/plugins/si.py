"""Synaptic intelligence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from cl.plugins.base import Gradients, Tools
from cl.plugins.maths.algebra import (
    Rows,
    add_product,
    at_least_float32,
    copies,
    embeddings_of,
    parameters_of,
    rows_of,
    set_rows,
    subtract,
    zeros_like,
)
from cl.plugins.shared.anchored import Anchored
from cl.types import Experience

Part = tuple[Rows, Tensor, Tensor]  # rows (None: all), their values before the step, their gradient


@dataclass
class SI(Anchored):
    """Hold each parameter near its newest value, in proportion to how much its way there has lowered the loss.

    `strength` ≥ 0 weighs ½ Σ Ω(θ − θ*)² (half of the paper's 2c), usual values are 0.1 to 100. Ω adds up, by
    experience, −Σ g·Δθ / ((θ − θ₀)² + `damping`), where positive: g is the gradient of the loss without any penalty,
    reduced over ranks and not yet clipped, Δθ the step that was made, θ − θ₀ the way in all.
    Cost: six copies of the parameters (four of embeddings), time × 1.2; no pass over the data. When to use it: as
    EWC, where a pass after each experience is not to be had.
    """

    paper: ClassVar[str] = "Zenke, Poole & Ganguli, 2017: Continual learning through synaptic intelligence"
    excludes: ClassVar[dict[str, str]] = {"projects": "a projected step is not the way that lowers the loss"}

    damping: float = 0.1
    path: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)
    start: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._step: dict[str, Part] = {}  # under way

    def copies(self, num_experiences: int) -> int:
        return 9  # those of the anchor, the start, the path, and what a step under way needs

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        self.start = copies(parameters_of(tools.network))
        self.path = zeros_like(self.start)

    def after_backward(self, tools: Tools, gradients: Gradients) -> None:
        now, embeddings = parameters_of(tools.network), embeddings_of(tools.network)
        for name, g in gradients.items():
            self._step[name] = _part(now[name].detach(), g, name in embeddings, self._step.get(name))

    def after_step(self, tools: Tools) -> None:
        now = parameters_of(tools.network)
        for name, (rows, before, gradient) in self._step.items():
            path = self.path[name] = self.path[name].to(gradient.device)  # a checkpoint brings it on the CPU
            add_product(path, rows, subtract(before, rows_of(now[name].detach(), rows, before)), gradient)

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        now = copies(parameters_of(tools.network))
        way = {name: at_least_float32(p - self.start[name].to(p.device)) for name, p in now.items()}
        omega = {name: (path / (way[name] ** 2 + self.damping)).clamp(min=0) for name, path in self.path.items()}
        self.anchor.replace(omega, now)
        self.path, self.start, self._step = {}, {}, {}


def _part(parameter: Tensor, gradient: Tensor, embeds: bool, last: Part | None) -> Part:
    """What to remember of a parameter over a step; in the memory of the `last` one where it is whole.

    Of embeddings only the rows of words that came: the gradient of all others is zero.
    """
    if embeds:
        rows = gradient.norm(dim=1).nonzero().flatten()
        return rows, at_least_float32(parameter[rows]), at_least_float32(gradient[rows])
    if last is None:
        return None, at_least_float32(parameter.clone()), at_least_float32(gradient.clone())
    set_rows(last[1], None, parameter)
    set_rows(last[2], None, gradient)
    return last
