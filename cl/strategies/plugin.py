"""The seams: where a plugin may act, and how several plugins fold into one strategy.

A seam is typed by what it returns, and the type says how plugins compose: *notify* seams return nothing and
run in listed order, *pipe* seams hand their value on, the *sum* seam adds up. There is nothing else: no event
names, no shared loss to mutate, no place in the list that a plugin must have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from itertools import permutations
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from cl.data.dataset import Dataset, Store
from cl.models.network import Network, restored_copy
from cl.types import Batch, Experience, Step, UserError

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
    values, dicts and lists of them, dataclasses of them, and frozen networks; they are saved and restored.
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
        """Pipe. The forward pass, before any loss: the place to change what labels say (`Step.labelled`)."""
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
        return {f.name: _packed(getattr(self, f.name)) for f in fields(self) if not f.init}

    def load_state_dict(self, learner: Learner, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, _unpacked(value, getattr(self, name), learner))


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
        self.plugins = plugins
        self.acts_on_gradients = any(map(self._on, ("after_backward", "penalty", "on_gradients")))

    def notify(self, seam: str, *arguments: Any) -> None:
        """Calls a notify seam of each plugin, in listed order."""
        for name, plugin in self._on(seam):
            _call(name, seam, getattr(plugin, seam), *arguments)

    def pipe(self, seam: str, learner: Learner, value: T, *arguments: Any) -> T:
        """Sends a value through a pipe seam of each plugin, in listed order."""
        for name, plugin in self._on(seam):
            value = _call(name, seam, getattr(plugin, seam), learner, value, *arguments)
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


def _packed(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return {"network": value.state_dict()}
    if is_dataclass(value):
        return {f.name: _packed(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {key: _packed(of_key) for key, of_key in value.items()}
    return [_packed(one) for one in value] if isinstance(value, list) else value


def _unpacked(value: Any, current: Any, learner: Learner) -> Any:
    if is_dataclass(current) and not isinstance(current, type):
        return type(current)(**value)
    if isinstance(value, dict) and set(value) == {"network"}:
        return restored_copy(learner.network, value["network"])
    if isinstance(value, dict):
        return {key: _unpacked(of_key, None, learner) for key, of_key in value.items()}
    return [_unpacked(one, None, learner) for one in value] if isinstance(value, list) else value
