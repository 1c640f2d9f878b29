"""`cl` as a contender: real cells in a temporary folder, and a bare loop over the very batches that it trains on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Trainer
from peers import whole
from rich.console import Console
from timing import Figures
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from cl.batches import Batch
from cl.config import Config
from cl.data.module import TrainLoader
from cl.models.network import Network
from cl.runs.cell import CellRun
from cl.runs.cells import cells_of
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared
from cl.system.allocator import freed_memory_kept
from cl.system.notices import Notices
from cl.system.signals import StopRequest
from cl.training.learner import Learner
from cl.training.optimizer import optimizer_of


class Cell(CellRun):
    """A cell that also notes, for each experience, `save_seconds` of its checkpoint, `wall_seconds` of all but that
    and evaluation, and where it `counts` the `tokens` that went through the network in training, and the bytes that a
    rank would give to the sums over ranks: `sent_in_steps`, beside DDP's gradients, and `sent_between`.
    """

    def __init__(
        self, config: Config, prepared: Prepared, folder: str, *, saves: bool = True, counts: bool = False
    ) -> None:
        (cell,) = cells_of(replace(config, run=replace(config.run, dir=folder)))
        console = Console(quiet=True)
        super().__init__(cell, prepared, console, Notices(console), StopRequest())
        self.saves = saves
        noted = self.noted = {"save_seconds": 0.0, "tokens": 0, "sent_in_steps": 0, "sent_between": 0}

        def count(network: Network, inputs: tuple[Batch]) -> None:
            noted["tokens"] += int(inputs[0].attention_mask.sum()) if network.training else 0

        if counts:
            self.learner.network.register_forward_pre_hook(count)
            self._count_bytes()

    def experiences_done(self) -> Iterator[Figures]:
        """As `run`, an experience at a time: what it cost."""
        with self._recording():
            for experience in self.experiences:
                self.noted.update(dict.fromkeys(self.noted, 0))
                wall = whole(lambda experience=experience: self._learn(experience))
                cost = self.cost[-1] | self.noted
                wall -= cost["evaluate_seconds"] + cost["save_seconds"]
                yield cost | {"seconds": cost["train_seconds"], "wall_seconds": wall}

    def _count_bytes(self) -> None:
        learner, place = self.learner, "sent_between"
        whole_sum, whole_hook = learner.tools.sum, learner.on_before_optimizer_step

        def summed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            self.noted[place] += sum(t.nbytes for t in tensors.values())
            return whole_sum(tensors)

        def hook(optimizer: Any) -> None:
            nonlocal place
            place = "sent_in_steps"
            whole_hook(optimizer)
            place = "sent_between"

        learner.tools.sum, learner.on_before_optimizer_step = summed, hook  # type: ignore[method-assign]

    def _save(self, training: dict[str, Any] | None) -> None:
        if self.saves:
            self.noted["save_seconds"] += whole(lambda: super(Cell, self)._save(training))


def cell(config: Config, prepared: Prepared, **options: bool) -> list[Figures]:
    """A whole run: what each experience cost."""
    with tempfile.TemporaryDirectory() as folder, freed_memory_kept():  # as `cl run` does
        return list(Cell(config, prepared, folder, **options).experiences_done())


def ready(config: Config, prepared: Prepared) -> tuple[Learner, TrainLoader]:
    """A learner at the start of the first experience, and the loader of its batches."""
    learner = build_learner(config, prepared, "contender", 0)
    learner.begin(prepared.stream[0])
    return learner, TrainLoader(learner.data(), accumulate=1, rank=0, num_ranks=1)


def same_batches(config: Config, prepared: Prepared) -> float:
    """Seconds of what the learner does less the framework: `cl`'s network on its own batches, made before."""
    learner, loader = ready(config, prepared)
    batches, network = list(loader), learner.network
    optimizer = optimizer_of(learner.recipe, network, 0, fused=True)
    with freed_memory_kept():
        return whole(lambda: _train(network, optimizer, batches, config.trainer["precision"] == "bf16-mixed"))


def _train(network: Network, optimizer: Optimizer, batches: list[Batch], bf16: bool) -> None:
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            (output,) = network(batch).values()
            loss = cross_entropy(output.logits, output.targets.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def batches_alone(config: Config, prepared: Prepared) -> float:
    """Seconds of the data path: order and batches of an experience, and nothing done with them."""
    _, loader = ready(config, prepared)
    return whole(lambda: sum(1 for _ in loader))


def at_the_end(config: Config, prepared: Prepared) -> Learner:
    """A learner in the last experience of its stream, which can be asked to evaluate."""
    learner = build_learner(config, prepared, "contender", 0)
    for experience in prepared.stream:
        learner.begin(experience)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    learner.trainer = Trainer(**config.trainer | quiet)  # knows the rank and the precision
    return learner
