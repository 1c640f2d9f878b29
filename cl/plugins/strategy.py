"""A strategy: an ordered list of plugins, folded seam by seam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from typing import Any, TypeVar

from torch import Tensor

from cl.plugins.base import Gradients, Learner, Plugin, PluginError
from cl.plugins.writers import Writers
from cl.types import Batch, Step, UserError

T = TypeVar("T")


class Strategy:
    """An ordered list of plugins, folded seam by seam. `plugins`: by the name that logs and errors use.

    Raises `UserError` for plugins that exclude each other.
    """

    def __init__(self, plugins: dict[str, Plugin]) -> None:
        for (first, one), (second, other) in permutations(plugins.items(), 2):
            for trait in sorted(one.excludes.keys() & other.traits):
                raise UserError(f"{first} cannot work together with {second}: {one.excludes[trait]}. Drop one of them")
        self.plugins, self.writers = plugins, Writers()
        self.acts_on_gradients = any(map(self._on, ("after_backward", "penalty", "on_gradients")))

    def notify(self, seam: str, *arguments: Any) -> None:
        """Calls a notify seam of each plugin, in listed order."""
        for name, plugin in self._on(seam):
            _call(name, seam, getattr(plugin, seam), *arguments)

    def pipe(self, seam: str, learner: Learner, value: T, *arguments: Any) -> T:
        """Sends a value through a pipe seam of each plugin, in listed order."""
        if seam == "on_batch":
            self.writers = Writers()  # of the labels of the step that begins
        for name, plugin in self._on(seam):
            call = partial(_piped, name, seam, getattr(plugin, seam), learner)
            if len(self.plugins) > 1 and isinstance(value, Batch | Step):
                value = self.writers.watched(name, value, call)
            else:
                value = call(value, *arguments)
        return value

    def losses(self, learner: Learner, step: Step) -> dict[str, Tensor]:
        """The loss terms by plugin."""
        terms = {name: _call(name, "loss", plugin.loss, learner, step) for name, plugin in self._on("loss")}
        return {name: term for name, term in terms.items() if term is not None}

    def penalties(self, learner: Learner, gradients: Gradients) -> dict[str, Tensor]:
        """The terms of the parameters alone by plugin; their gradients are added to `gradients` in place."""
        terms = {n: _call(n, "penalty", plugin.penalty, learner, gradients) for n, plugin in self._on("penalty")}
        return {name: term for name, term in terms.items() if term is not None}

    def state_dict(self) -> dict[str, Any]:
        """Every plugin's state by name."""
        return {name: plugin.state_dict() for name, plugin in self.plugins.items()}

    def load_state_dict(self, learner: Learner, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        for name, plugin in self.plugins.items():
            plugin.load_state_dict(learner, state[name])

    def _on(self, seam: str) -> Sequence[tuple[str, Plugin]]:
        # A seam that a plugin leaves alone costs nothing.
        return [(n, p) for n, p in self.plugins.items() if getattr(type(p), seam) is not getattr(Plugin, seam)]


def _call(name: str, seam: str, function: Callable[..., T], *arguments: Any) -> T:
    try:
        return function(*arguments)
    except Exception as error:
        raise PluginError(f"plugin {name!r} failed in {seam}: {type(error).__name__}: {error}") from error


def _piped(name: str, seam: str, function: Callable[..., T], *arguments: Any) -> T:
    value = _call(name, seam, function, *arguments)
    if value is None:
        raise PluginError(f"plugin {name!r} returned nothing in {seam}: return what the next plugin gets")
    return value
