"""A strategy: an ordered list of plugins, folded seam by seam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from torch import Tensor

from cl.batches import Batch, Step
from cl.data.dataset import Dataset
from cl.models.network import Network
from cl.plugins.base import Gradients, Plugin, PluginError, Tools
from cl.plugins.writers import Writers
from cl.types import Experience, UserError

if TYPE_CHECKING:
    from cl.training.recipe import Recipe

T = TypeVar("T")
P = ParamSpec("P")
Seen = TypeVar("Seen", Batch, Step)


class Strategy:
    """An ordered list of plugins, folded seam by seam. `plugins`: by the name that logs and errors use.

    Raises `UserError` for plugins that exclude each other.
    """

    def __init__(self, plugins: dict[str, Plugin]) -> None:
        for (first, one), (second, other) in permutations(plugins.items(), 2):
            for trait in sorted(one.excludes.keys() & other.traits):
                raise UserError(f"{first} cannot work together with {second}: {one.excludes[trait]}. Drop one of them")
        self.plugins, self.writers = plugins, Writers()
        self.changes_recipe = bool(self._on("recipe"))
        self.chooses_network = bool(self._on("network_for"))
        self.acts_on_gradients = any(map(self._on, ("after_backward", "penalty", "on_gradients")))

    def adapt_model(self, tools: Tools, experience: Experience) -> None:
        """`Plugin.adapt_model` of each plugin, in listed order, as all that follow here."""
        self._notify(Plugin.adapt_model, tools, experience)

    def recipe(self, tools: Tools, recipe: Recipe, experience: Experience) -> Recipe:
        """`Plugin.recipe`, through each."""
        return self._pipe(Plugin.recipe, tools, recipe, experience)

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        """`Plugin.before_experience` of each."""
        self._notify(Plugin.before_experience, tools, experience)

    def train_data(self, tools: Tools, dataset: Dataset, experience: Experience) -> Dataset:
        """`Plugin.train_data`, through each."""
        return self._pipe(Plugin.train_data, tools, dataset, experience)

    def on_batch(self, tools: Tools, batch: Batch) -> Batch:
        """`Plugin.on_batch`, through each: a step begins."""
        self.writers = Writers()
        return self._watched_pipe(Plugin.on_batch, tools, batch)

    def on_step(self, tools: Tools, step: Step) -> Step:
        """`Plugin.on_step`, through each."""
        return self._watched_pipe(Plugin.on_step, tools, step)

    def after_backward(self, tools: Tools, gradients: Gradients) -> None:
        """`Plugin.after_backward` of each."""
        self._notify(Plugin.after_backward, tools, gradients)

    def on_gradients(self, tools: Tools, gradients: Gradients) -> Gradients:
        """`Plugin.on_gradients`, through each."""
        return self._pipe(Plugin.on_gradients, tools, gradients)

    def after_step(self, tools: Tools) -> None:
        """`Plugin.after_step` of each."""
        self._notify(Plugin.after_step, tools)

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        """`Plugin.after_experience` of each."""
        self._notify(Plugin.after_experience, tools, experience)

    def network_for(self, tools: Tools, network: Network, experience: Experience) -> Network:
        """`Plugin.network_for`, through each."""
        return self._pipe(Plugin.network_for, tools, network, experience)

    def losses(self, tools: Tools, step: Step) -> dict[str, Tensor]:
        """The loss terms by plugin."""
        terms = {name: _call(name, "loss", plugin.loss, tools, step) for name, plugin in self._on("loss")}
        return _tensors("loss", terms)

    def penalties(self, tools: Tools, gradients: Gradients) -> dict[str, Tensor]:
        """The terms of the parameters alone by plugin; their gradients are added to `gradients` in place."""
        terms = {n: _call(n, "penalty", plugin.penalty, tools, gradients) for n, plugin in self._on("penalty")}
        return _tensors("penalty", terms)

    @property
    def bound(self) -> str:
        """Why tables mark it as a bound, "" for none: what its plugins have that a strategy may not have."""
        return ", ".join(dict.fromkeys(plugin.bound for plugin in self.plugins.values() if plugin.bound))

    def remembered(self, tools: Tools) -> list[Dataset]:
        """The examples that plugins keep."""
        return [kept for plugin in self.plugins.values() if (kept := plugin.remembered(tools)) is not None]

    def stored(self, tools: Tools) -> int:
        """Bytes that plugins keep."""
        return sum(plugin.stored(tools) for plugin in self.plugins.values())

    def state_dict(self) -> dict[str, Any]:
        """Every plugin's state by name."""
        return {name: plugin.state_dict() for name, plugin in self.plugins.items()}

    def load_state_dict(self, tools: Tools, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        for name, plugin in self.plugins.items():
            plugin.load_state_dict(tools, state[name])

    def _notify(self, seam: Callable[Concatenate[Plugin, P], None], *arguments: P.args, **named: P.kwargs) -> None:
        for name, plugin in self._on(seam.__name__):
            _call(name, seam.__name__, getattr(plugin, seam.__name__), *arguments)

    def _pipe(
        self,
        seam: Callable[Concatenate[Plugin, Tools, T, P], T],
        tools: Tools,
        value: T,
        *arguments: P.args,
        **named: P.kwargs,
    ) -> T:
        for name, plugin in self._on(seam.__name__):
            value = _piped(name, seam.__name__, plugin, tools, value, *arguments)
        return value

    def _watched_pipe(self, seam: Callable[[Plugin, Tools, Seen], Seen], tools: Tools, value: Seen) -> Seen:
        for name, plugin in self._on(seam.__name__):
            change = partial(_piped, name, seam.__name__, plugin, tools)
            value = self.writers.watched(name, value, change) if len(self.plugins) > 1 else change(value)
        return value

    def _on(self, seam: str) -> Sequence[tuple[str, Plugin]]:
        # A seam that a plugin leaves alone costs nothing.
        return [(n, p) for n, p in self.plugins.items() if getattr(type(p), seam) is not getattr(Plugin, seam)]


def _call(name: str, seam: str, function: Callable[..., T], *arguments: Any) -> T:
    try:
        return function(*arguments)
    except UserError as error:
        raise UserError(f"plugin {name!r}: {error}") from error
    except Exception as error:
        raise PluginError(f"plugin {name!r} failed in {seam}: {type(error).__name__}: {error}") from error


def _piped(name: str, seam: str, plugin: Plugin, *arguments: Any) -> Any:
    value = _call(name, seam, getattr(plugin, seam), *arguments)
    if value is None:
        raise PluginError(f"plugin {name!r} returned nothing in {seam}: return what the next plugin gets")
    return value


def _tensors(seam: str, terms: dict[str, Any]) -> dict[str, Tensor]:
    """The terms that there are. Raises `PluginError` for one that is no tensor of a single number."""
    for name, term in terms.items():
        if term is not None and not (isinstance(term, Tensor) and term.ndim == 0):
            what = f"a tensor of shape {list(term.shape)}" if isinstance(term, Tensor) else f"a {type(term).__name__}"
            raise PluginError(f"plugin {name!r}: {seam} returned {what}: return a tensor of one number, or None")
    return {name: term for name, term in terms.items() if term is not None}
