"""What the promises are proven with: strategies that are watched or padded, states that went through a file."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch
from lightning.pytorch.plugins.precision import DoublePrecision, MixedPrecision
from torch import Tensor, nn
from torch.nn.functional import pad

from cl.batches import Batch, Step
from cl.config import Config
from cl.plugins.base import Plugin
from cl.plugins.maths.algebra import parameters_of
from cl.plugins.strategy import Strategy
from cl.system.signals import StopRequest
from cl.testing.tiny import assert_same, fit
from cl.training.callbacks import Checkpointer
from cl.training.learner import Learner
from cl.training.outcome import Learnt


class Watched(Strategy):
    """Notes a term's slope along its gradient by the gradient's norm, and checks the plugin's networks."""

    def __init__(self, plugins: dict[str, Plugin], found: list[float]) -> None:
        super().__init__(plugins)
        self.found = found
        (self.name,) = plugins

    def on_batch(self, tools: Any, batch: Batch) -> Batch:
        self.batch = batch  # as it was dealt out
        return super().on_batch(tools, batch)

    def losses(self, tools: Any, step: Step) -> dict[str, Tensor]:
        terms = super().losses(tools, step)
        self._check_networks()
        term = terms.get(self.name)
        if term is not None and term.requires_grad:
            parameters = parameters_of(tools.network)
            gradients = torch.autograd.grad(
                term, list(parameters.values()), retain_graph=True, allow_unused=True, materialize_grads=True
            )
            of_name = dict(zip(parameters, gradients, strict=True))
            self._note(tools, of_name, lambda: super(Watched, self).losses(tools, self._again(tools))[self.name])
            self._again(tools)  # what was remembered of the pass is of these parameters again
        return terms

    def penalties(self, tools: Any, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        added, nowhere = ({name: torch.zeros_like(g) for name, g in gradients.items()} for _ in range(2))
        if super().penalties(tools, added):
            self._note(tools, added, lambda: super(Watched, self).penalties(tools, nowhere)[self.name])
        return super().penalties(tools, gradients)

    def _note(self, tools: Any, gradients: dict[str, Tensor], value: Callable[[], Tensor]) -> None:
        norm = float(torch.stack([g.norm() for g in gradients.values()]).norm())
        if norm <= 1e-9:
            return
        parameters = parameters_of(tools.network)
        here = {name: p.data for name, p in parameters.items()}  # not changed in place: a pass is to be differentiated
        ends = []
        for distance in (1e-5, -1e-5):
            for name, p in parameters.items():
                p.data = here[name] + distance / norm * gradients[name]
            ends.append(float(value()))
        for name, p in parameters.items():
            p.data = here[name]
        self.found.append((ends[0] - ends[1]) / 2e-5 / norm)

    def _again(self, tools: Any) -> Step:
        batch = self.on_batch(tools, self.batch)
        return self.on_step(tools, Step(tools.experience, batch, tools.network(batch)))

    def _check_networks(self) -> None:
        for f in fields(self.plugins[self.name]):
            if isinstance(network := getattr(self.plugins[self.name], f.name), nn.Module):
                assert not network.training, f"{f.name} is in train mode"
                assert not any(p.requires_grad for p in network.parameters()), f"{f.name} has gradients"


class IgnoreSignals(StopRequest):
    """Leaves the signals of the process alone."""

    def take_over(self) -> None:
        pass


def overrides(plugin: type[Plugin], seam: str) -> bool:
    """Whether a plugin acts on a seam."""
    return getattr(plugin, seam) is not getattr(Plugin, seam)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """A state as it is saved and loaded again."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def fit_and_save(learner: Learner, config: Config, every_steps: int) -> tuple[Learnt, list[dict[str, Any]]]:
    """Trains the experience that a learner has begun to its end; with the checkpoints of every so many steps."""
    saved: list[dict[str, Any]] = []

    def save(training: dict[str, Any]) -> None:
        saved.append(through_a_file({"learner": learner.state(), "training": training}))

    return fit(learner, config, callbacks=[Checkpointer(save, every_steps, IgnoreSignals(), None, None)]), saved


def go_on(learner: Learner, config: Config, saved: dict[str, Any]) -> Learnt:
    """Takes up such a checkpoint with a fresh learner, and trains the experience to its end."""
    learner.restore(saved["learner"])
    return fit(learner, config, callbacks=[Checkpointer(None, 0, IgnoreSignals(), None, saved["training"])])


class _Padding(Strategy):
    """Pads every batch that is trained on."""

    def on_batch(self, tools: Any, batch: Batch) -> Batch:
        return _padded(super().on_batch(tools, batch))


def pad_every_batch(learner: Learner) -> None:
    """Pads what a learner trains on, and what its plugins pass through the network."""
    learner.strategy = _Padding(learner.strategy.plugins)
    learner.network.register_forward_pre_hook(lambda network, inputs: (_padded(*inputs),))  # and what plugins pass


def _padded(batch: Batch) -> Batch:
    if not batch.attention_mask[:, -1].any():
        return batch  # it is already
    names = ("input_ids", "attention_mask", "types")
    wider: dict[str, Any] = {n: pad(tensor, (0, 3)) for n in names if (tensor := getattr(batch, n)) is not None}
    return replace(batch, **wider)


def halve_passes(learner: Learner) -> None:
    """Halves the batches in which a learner looks back at data."""
    each = learner.tools.batches_of

    def halved(data: Any, batch_size: int) -> Any:
        return each(data, max(1, batch_size // 2))

    setattr(learner.tools, "batches_of", halved)  # noqa: B010  # it shadows the method of this learner alone


class Scaled(DoublePrecision, MixedPrecision):
    """Double precision, with the scaler of float16: a step whose gradients are not finite is skipped."""

    precision = "16-mixed"  # type: ignore[assignment]

    def __init__(self) -> None:
        self.scaler, self.device = torch.amp.GradScaler("cpu"), "cpu"


def spoil_a_step(learner: Learner, experience: int, step: int) -> None:
    """Gives one step gradients that are not finite, and asserts that its plugins and weights stand as before it."""
    training_step, optimizer_step = learner.training_step, learner.optimizer_step

    def spoiled() -> bool:
        return learner.experience.index == experience and learner.num_steps == step

    def spoil(batch: Batch, batch_idx: int) -> Tensor:
        return training_step(batch, batch_idx) * (math.inf if spoiled() else 1.0)

    def compare(*args: Any, **kwargs: Any) -> None:
        before = through_a_file(_standing(learner)) if spoiled() else None
        optimizer_step(*args, **kwargs)
        if before is not None:
            assert_same(before, _standing(learner))

    setattr(learner, "training_step", spoil)  # noqa: B010
    setattr(learner, "optimizer_step", compare)  # noqa: B010


@contextmanager
def without_warnings() -> Iterator[None]:
    """Within it this package warns of nothing: what a promise provokes is not news to a reader."""
    logger = logging.getLogger("cl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _standing(learner: Learner) -> dict[str, Any]:
    return {"network": learner.network.state_dict(), "plugins": learner.strategy.state_dict()}
