"""The seams: where a plugin may act, and how several plugins fold into one strategy.

A seam is typed by what it returns, and the type says how plugins compose: *notify* seams return nothing and
run in listed order, *pipe* seams hand their value on, the *sum* seam adds up. There is nothing else: no event
names, no shared loss to mutate, no place in the list that a plugin must have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import permutations
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from cl.data.dataset import Dataset, Store
from cl.models.network import Network
from cl.plugins.saving import packed, unpacked
from cl.types import Batch, Experience, Kind, Step, Targets, UserError

Gradients = dict[str, Tensor]
T = TypeVar("T")


class Learner(Protocol):
    """What a plugin may use of the learner."""

    network: Network
    store: Store
    experience: Experience
    num_steps: int
    """Optimizer steps taken in this experience."""

    @property
    def progress(self) -> float:
        """Share of this experience's steps already taken, in [0, 1]."""

    def generator(self, *key: object) -> torch.Generator:
        """A generator on the CPU seeded by (seed, experience, *key): the same on every rank, after every resume."""

    def sum(self, tensors: Gradients) -> Gradients:
        """Each tensor summed over ranks."""

    def each(self, data: Dataset, batch_size: int) -> Iterator[Batch]:
        """This rank's share of `data` in batches on the device, without duplicates, longest first."""

    def extend(self, batch: Batch, data: Dataset) -> Batch:
        """`batch` and this share of `data`; `data` is what all shares together add to the global batch."""

    def step_on(self, data: Dataset, batch: Batch | None = None) -> Step:
        """A forward pass over this share of `data`, all of which is a global batch of its own.

        Shares as those of `batch`, for a loss term; or one a rank and without autocast (None), for gradients that
        are then summed over ranks.
        """


@dataclass
class Plugin:
    """One anti-forgetting idea.

    Fields are hyper-parameters, and so the config schema. Fields with `init=False` are state: tensors, plain
    values, dicts and lists of them, dataclasses of them, and frozen networks; they are saved and restored. Anything
    else is refused when it is first saved.
    `traits`: what others may not bear with; `excludes`: trait → why this plugin cannot work beside it. `grows`: what
    is stored more with each experience, "" for nothing. `from_the_start`: acts in the first experience too.
    """

    paper: ClassVar[str] = ""
    traits: ClassVar[frozenset[str]] = frozenset()
    excludes: ClassVar[dict[str, str]] = {}
    grows: ClassVar[str] = ""
    from_the_start: ClassVar[bool] = False

    def adapt_model(self, learner: Learner, experience: Experience) -> None:
        """Notify. The only place where parameters appear, grow or freeze; must bear being called again."""

    def before_experience(self, learner: Learner, experience: Experience) -> None:
        """Notify, before the first step, on the device."""

    def train_data(self, learner: Learner, dataset: Dataset, experience: Experience) -> Dataset:
        """Pipe. What to train on."""
        return dataset

    def on_batch(self, learner: Learner, batch: Batch) -> Batch:
        """Pipe. A micro-batch, on the device, before the network sees it."""
        return batch

    def on_step(self, learner: Learner, step: Step) -> Step:
        """Pipe. The forward pass, before any loss: the place to change what labels say (`Step.labelled`) and how much
        they count (`Step.weighed`). Weights of several plugins multiply; a second one that writes labels is an error.
        """
        return step

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        """Sum. This share of a term (see `Step.mean` and `Step.share`); logged as `loss/<plugin>`."""
        return None

    def after_backward(self, learner: Learner, gradients: Gradients) -> None:
        """Notify. What `on_gradients` gets, but of the loss alone, before any penalty: to be read."""

    def penalty(self, learner: Learner, gradients: Gradients) -> Tensor | None:
        """Sum. A term of the parameters alone, once a step on every rank: its value, and its gradient added in place.

        For any number of parts of a batch it costs one pass over the parameters, and nothing is sent between ranks.
        """
        return None

    def on_gradients(self, learner: Learner, gradients: Gradients) -> Gradients:
        """Pipe. Gradients of all trained parameters, by name: reduced over ranks, unscaled, before clipping.

        Zero where no loss term of this step uses a parameter.
        """
        return gradients

    def after_step(self, learner: Learner) -> None:
        """Notify, after each optimizer step."""

    def after_experience(self, learner: Learner, experience: Experience) -> None:
        """Notify, after the last step, on the device, before evaluation."""

    def network_for(self, learner: Learner, network: Network, experience: Experience) -> Network:
        """Pipe. The network that answers for an experience when it is scored."""
        return network

    def state_dict(self) -> dict[str, Any]:
        """State as tensors and plain values."""
        return {f.name: _packed(self, f.name) for f in fields(self) if not f.init}

    def load_state_dict(self, learner: Learner, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, unpacked(value, learner.network))


class PluginError(RuntimeError):
    """A plugin raised: names the plugin and the seam."""


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


class Writers:
    """Who wrote labels in a step: one plugin at most, since a second would overwrite what the first has written."""

    def __init__(self) -> None:
        self.names: dict[Kind, str] = {}

    def watched(self, name: str, value: T, change: Callable[[T], T]) -> T:
        """What a plugin's `change` makes of a batch or a step; others' weights are multiplied by those it sets.

        Raises `PluginError` for a second plugin that writes the labels of a kind, and for one that loses a kind.
        """
        before = _targets(value)
        versions = {kind: targets.labels._version for kind, targets in before.items()}
        value = change(_with_weights(value, dict.fromkeys(before)))
        after = _targets(value)
        if missing := before.keys() - after.keys():
            raise PluginError(
                f"plugin {name!r} has dropped the targets of kind {', '.join(sorted(missing))}: keep them"
            )
        weights: dict[Kind, Tensor | None] = {}
        for kind, old in before.items():
            new = after[kind]
            if new.weights is not None and len(new.weights) != len(new):
                raise PluginError(f"plugin {name!r} gives {len(new.weights)} weights to {len(new)} targets ({kind})")
            places = _places(old, new)
            if versions[kind] != old.labels._version or _rewritten(old.labels, new.labels, places):
                self._note(kind, name)
            weights[kind] = _product(old.weights, new.weights, places)
        return _with_weights(value, weights)

    def _note(self, kind: Kind, name: str) -> None:
        if (first := self.names.setdefault(kind, name)) != name:
            raise PluginError(
                f"plugins {first!r} and {name!r} both write the labels of a step ({kind}), and one would overwrite "
                "the other: drop one of them"
            )


def _targets(value: Any) -> dict[Kind, Targets]:
    if isinstance(value, Batch):
        return value.targets
    return {kind: output.targets for kind, output in value.outputs.items()}


def _with_weights(value: T, weights: Mapping[Kind, Tensor | None]) -> T:
    targets = _targets(value)
    changed = {k: replace(targets[k], weights=w) for k, w in weights.items() if w is not targets[k].weights}
    if not changed:
        return value
    if isinstance(value, Batch):
        return replace(value, targets=targets | changed)
    assert isinstance(value, Step)
    outputs = {kind: replace(value.outputs[kind], targets=of_kind) for kind, of_kind in changed.items()}
    return replace(value, outputs=value.outputs | outputs)


def _places(old: Targets, new: Targets) -> Tensor | None:
    """Where each of the new targets stood among the old ones, −1 for one that has joined; None if all are as they were.

    Most plugins change nothing or add at the end; one that leaves examples out is found by the numbers of the words.
    """
    if new.words is old.words:
        return None
    if len(new) >= len(old) and torch.equal(new.words[: len(old)], old.words):
        places = torch.arange(len(new), device=new.words.device)
        return places.masked_fill(places >= len(old), -1)
    order = old.words.argsort(stable=True)
    words = old.words[order]
    found = torch.searchsorted(words, new.words).clamp(max=len(words) - 1)
    return torch.where(words[found] == new.words, order[found], -1)


def _product(given: Tensor | None, more: Tensor | None, places: Tensor | None) -> Tensor | None:
    """Weights that a plugin gives times those that were there, in their new places; 1 for what has joined."""
    if given is not None and places is not None:
        given = torch.where(places < 0, 1.0, given[places.clamp(min=0)]) if len(given) else given.new_ones(len(places))
    if given is None or more is None:
        return given if more is None else more
    return given * more


def _rewritten(old: Tensor, new: Tensor, places: Tensor | None) -> bool:
    """Whether the labels of targets that were there are others now."""
    if places is None:
        return new is not old and not torch.equal(new, old)
    return not torch.equal(new[places >= 0], old[places[places >= 0]])


def stored_bytes(state: Any) -> int:
    """Bytes of all tensors in a state."""
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, dict):
        return sum(stored_bytes(value) for value in state.values())
    return sum(stored_bytes(value) for value in state) if isinstance(state, list | tuple) else 0


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


def _packed(plugin: Plugin, name: str) -> Any:
    try:
        return packed(getattr(plugin, name))
    except TypeError as error:
        raise PluginError(f"{type(plugin).__name__}.{name}: {error}") from error
