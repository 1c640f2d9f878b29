"""The seams: where a plugin may act.

A seam is typed by what it returns, and the type says how plugins compose: *notify* seams return nothing and
run in listed order, *pipe* seams hand their value on, the *sum* seam adds up. There is nothing else: no event
names, no shared loss to mutate, no place in the list that a plugin must have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from cl.batches import Batch, Step
from cl.data.dataset import Dataset, Store
from cl.models.network import Network
from cl.plugins.saving import packed, unpacked
from cl.types import Experience, UserError

if TYPE_CHECKING:
    from cl.training.recipe import Recipe

Gradients = dict[str, Tensor]


class Tools(Protocol):
    """What a plugin may use: the network, the data, and what makes its draws, sums and passes right on any split."""

    @property
    def network(self) -> Network:
        """The network that trains."""

    @property
    def store(self) -> Store:
        """All examples of the stream, encoded. Of earlier experiences use what was kept, of later ones nothing."""

    @property
    def experience(self) -> Experience:
        """The experience that is being learnt."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""

    @property
    def num_steps(self) -> int:
        """Optimizer steps taken in this experience."""

    @property
    def progress(self) -> float:
        """Share of this experience's steps already taken, in [0, 1]."""

    def generator(self, *key: object) -> torch.Generator:
        """A generator on the CPU seeded by (seed, experience, *key): the same on every rank, after every resume."""

    def sum(self, tensors: Gradients) -> Gradients:
        """Each tensor summed over ranks."""

    def batches_of(self, data: Dataset, batch_size: int) -> Iterator[Batch]:
        """This rank's share of `data` in batches on the device, without duplicates, longest first."""

    def with_examples(self, batch: Batch, data: Dataset) -> Batch:
        """`batch` and this share of `data`; `data` is what all shares together add to the global batch."""

    def forward_on(self, data: Dataset, batch: Batch | None = None) -> Step:
        """A forward pass over this share of `data`, all of which is a global batch of its own.

        Shares as those of `batch`, for a loss term; or one a rank and without autocast (None), for gradients that
        are then summed over ranks.
        """

    def record(self, values: dict[str, float]) -> None:
        """Logs values of this moment, by name, to log.csv and W&B: those of the first rank."""


@dataclass
class Plugin:
    """One anti-forgetting idea.

    Fields are hyper-parameters, and so the config schema. Fields with `init=False` are state: tensors, plain
    values, dicts and lists of them, dataclasses of them, and frozen networks; they are saved and restored. Anything
    else is refused when it is first saved.
    `traits`: what it does that others may exclude; `excludes`: trait → why it cannot work beside it. `grows`: what is
    stored more with each experience, "" for nothing. `from_the_start`: acts in the first experience too. `bound`: what
    it has that a strategy may not have, such as all data; tables mark it and never call it the best. `adapter`: the
    kind of `network.adapter` that it works on, "" for any and none.
    """

    paper: ClassVar[str] = ""
    traits: ClassVar[frozenset[str]] = frozenset()
    excludes: ClassVar[dict[str, str]] = {}
    grows: ClassVar[str] = ""
    from_the_start: ClassVar[bool] = False
    bound: ClassVar[str] = ""
    adapter: ClassVar[str] = ""
    alias: ClassVar[str] = ""
    """The name that a strategy gives this one where it has several of a kind."""

    def __init_subclass__(cls) -> None:
        """Raises `UserError` for a method whose name is nearly that of a seam, and which nobody would call."""
        super().__init_subclass__()
        for name, value in vars(cls).items():
            near = [] if name.startswith("_") or name in NAMES else get_close_matches(name, NAMES, 1, 0.85)
            if near and callable(value):
                raise UserError(
                    f"{cls.__module__}.{cls.__qualname__}: {name} is no seam, and nothing would call it; did you mean "
                    f"{near[0]!r}? A method of your own needs a name that is less like it"
                )

    def generator(self, tools: Tools, *key: object) -> torch.Generator:
        """`Tools.generator`, with draws of its own for each of several plugins of a kind."""
        return tools.generator(*key, self.alias) if self.alias else tools.generator(*key)

    def remembered(self, tools: Tools) -> Dataset | None:
        """The examples that it keeps, those of the newest experience among them: for the table of what is stored."""
        return None

    def copies(self, num_experiences: int) -> int:
        """How many copies of what trains it holds at most at once, in a stream of so many experiences: for `cl check`,
        which adds up what a run will take.
        """
        return 0

    def stored(self, tools: Tools) -> int:
        """Bytes that it keeps from one experience to the next: for the table of what is stored."""
        return stored_bytes(self.state_dict())

    def adapt_model(self, tools: Tools, experience: Experience) -> None:
        """Notify. The only place where parameters appear, grow or freeze. It may be called again for one experience."""

    def recipe(self, tools: Tools, recipe: Recipe, experience: Experience) -> Recipe:
        """Pipe, when an experience begins. How it is trained: optimizer, learning rates, schedule, batches.

        `replace(recipe, rates={"backbone.": 1e-5})` gives a part of the network a rate of its own, 0 freezes it. A run
        that is resumed inside the experience goes on by what was said at its beginning.
        """
        return recipe

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        """Notify, before the first step, on the device."""

    def train_data(self, tools: Tools, dataset: Dataset, experience: Experience) -> Dataset:
        """Pipe. What to train on."""
        return dataset

    def on_batch(self, tools: Tools, batch: Batch) -> Batch:
        """Pipe. A micro-batch, on the device, before the network sees it."""
        return batch

    def on_step(self, tools: Tools, step: Step) -> Step:
        """Pipe. The forward pass, before any loss: the place to change what labels say (`Step.labelled`) and how much
        they count (`Step.weighed`). Weights of several plugins multiply; a second one that writes labels is an error.
        """
        return step

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        """Sum. This share of a term (see `Step.mean` and `Step.share`); logged as `loss/<plugin>`."""
        return None

    def after_backward(self, tools: Tools, gradients: Gradients) -> None:
        """Notify. What `on_gradients` gets, but of the loss alone, before any penalty: to be read."""

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        """Sum. A term of the parameters alone, once a step on every rank: its value, and its gradient added in place.

        For any number of parts of a batch it costs one pass over the parameters, and nothing is sent between ranks.
        """
        return None

    def on_gradients(self, tools: Tools, gradients: Gradients) -> Gradients:
        """Pipe. Gradients of all trained parameters, by name: reduced over ranks, unscaled, before clipping.

        Zero where no loss term of this step uses a parameter.
        """
        return gradients

    def after_step(self, tools: Tools) -> None:
        """Notify, after each optimizer step."""

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        """Notify, after the last step, on the device, before evaluation."""

    def network_for(self, tools: Tools, network: Network, experience: Experience) -> Network:
        """Pipe. The network that answers for an experience when it is scored."""
        return network

    def state_dict(self) -> dict[str, Any]:
        """State as tensors and plain values."""
        return {f.name: _packed(self, f.name) for f in fields(self) if not f.init}

    def load_state_dict(self, tools: Tools, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, unpacked(value, tools.network))


SEAMS = (
    "adapt_model",
    "recipe",
    "before_experience",
    "train_data",
    "on_batch",
    "on_step",
    "loss",
    "after_backward",
    "penalty",
    "on_gradients",
    "after_step",
    "after_experience",
    "network_for",
)
"""Where a plugin may act, in the order of an experience."""
NAMES = (*SEAMS, "generator", "remembered", "copies", "stored", "state_dict", "load_state_dict")


class PluginError(RuntimeError):
    """A plugin raised: names the plugin and the seam."""


def stored_bytes(state: Any) -> int:
    """Bytes of all tensors in a state."""
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, dict):
        return sum(stored_bytes(value) for value in state.values())
    return sum(stored_bytes(value) for value in state) if isinstance(state, list | tuple) else 0


def _packed(plugin: Plugin, name: str) -> Any:
    try:
        return packed(getattr(plugin, name))
    except TypeError as error:
        raise PluginError(f"{type(plugin).__name__}.{name}: {error}") from error
