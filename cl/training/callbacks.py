"""What watches training from outside: the best epoch, checkpoints, the progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from cl.models.snapshot import snapshot, take_back
from cl.system.printing import say
from cl.system.signals import Stopped, StopRequest
from cl.training.learner import Learner


class AfterStep(Callback):
    """A callback that acts at optimizer steps, not at each accumulated batch."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Calls `after_step` where a step was taken."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            assert isinstance(pl_module, Learner)
            self.after_step(trainer, pl_module)

    def after_step(self, trainer: Trainer, learner: Learner) -> None:
        """Acts after an optimizer step."""
        raise NotImplementedError


class BestEpoch(AfterStep):
    """Scores the validation split after each epoch, and after the part of one that `max_steps` ends in; stops when it
    has not improved for `patience` epochs, and with `keep_best` takes the best epoch's weights back. Ties go to the
    earlier epoch. An epoch whose score is undefined is neither better nor worse than others: it is not kept and does
    not stop training.
    """

    def __init__(self, patience: int | None, keep_best: bool) -> None:
        self.patience, self.keep_best = patience, keep_best
        self.best, self.waited = float("-inf"), 0
        self.weights: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """State as tensors and plain values."""
        return {"best": self.best, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.best, self.waited, self.weights = (state_dict[name] for name in ("best", "waited", "weights"))

    def after_step(self, trainer: Trainer, learner: Learner) -> None:
        """Scores the epoch that has just ended, if one has."""
        if not learner.ends_epoch:
            return
        row, _ = learner.evaluate("valid", [learner.experience.index])
        scores = row[learner.experience.index]
        assert scores is not None
        score = scores["score"]
        if math.isnan(score):
            return
        learner.tools.record({"valid/score": score})
        if score > self.best:
            self.best, self.waited = score, 0
            if self.keep_best:
                self.weights = {name: t.clone() for name, t in snapshot(learner.network).items()}
        else:
            self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the best weights back."""
        assert isinstance(pl_module, Learner)
        if self.weights:
            take_back(pl_module.network, self.weights)


class Checkpointer(AfterStep):
    """Saves inside an experience: every `every_steps` steps, or, at 0, as often as costs `SHARE` of the time; and
    when somebody asked any rank to stop, after which training ends with `Stopped` on all of them.

    `training`: the optimizer's part of the checkpoint to go on from, None at the start of an experience. `save`:
    what to do with that part, None on ranks that write nothing.
    """

    SHARE = 0.01
    SHORTEST = 30.0  # seconds between two checkpoints

    def __init__(
        self,
        save: Callable[[dict[str, Any]], None] | None,
        every_steps: int,
        stop: StopRequest,
        best: BestEpoch | None,
        training: dict[str, Any] | None,
    ) -> None:
        self.save, self.every_steps, self.stop, self.best, self.training = save, every_steps, stop, best, training
        self.wait, self.last = self.SHORTEST, time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the optimizer's state back, and listens: Lightning has put its own handlers by now."""
        self.stop.take_over()
        if self.training is None:
            return
        (optimizer,) = trainer.optimizers
        rates = [group["lr"] for group in optimizer.param_groups]  # a function of the step: already right
        optimizer.load_state_dict(self.training["optimizer"])
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        trainer.precision_plugin.load_state_dict(self.training["precision"])
        if self.best is not None and self.training["best"] is not None:  # None: nobody chose by epochs then
            self.best.load_state_dict(self.training["best"])

    def after_step(self, trainer: Trainer, learner: Learner) -> None:
        """Saves if it is time to."""
        if trainer.should_stop or learner.num_steps == learner.plan.num_steps:
            return  # the checkpoint of the experience's end follows
        if self.save is not None and (learner.stopping or self._due(learner)):
            started = time.monotonic()
            self.save(
                {
                    "optimizer": trainer.optimizers[0].state_dict(),
                    "precision": trainer.precision_plugin.state_dict(),
                    "best": None if self.best is None else self.best.state_dict(),
                    "num_parts": trainer.world_size * trainer.accumulate_grad_batches,
                }
            )
            self.last = time.monotonic()
            self.wait = max(self.SHORTEST, (self.last - started) / self.SHARE)
        if learner.stopping:
            raise Stopped(self.stop.reason)

    def _due(self, learner: Learner) -> bool:
        if self.every_steps:
            return learner.num_steps % self.every_steps == 0
        return time.monotonic() - self.last > self.wait


class ProgressBar(AfterStep):
    """One line on a terminal: experience, epoch, loss terms, time left. Elsewhere, such as in a log file, a line a
    minute.
    """

    EVERY = 60.0  # seconds between two lines

    def __init__(self, console: Console, title: str) -> None:
        self.title, self.terms, self.console = title, "", console
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[terms]}", style="dim"),
        ]
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def write(self, experience: int, epoch: int, step: int, values: dict[str, float]) -> None:
        """A sink for logged values: the loss terms of the newest step."""
        self.terms = "  ".join(f"{n.removeprefix('loss/')} {v:.3f}" for n, v in values.items() if n.startswith("loss/"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the bar."""
        assert isinstance(pl_module, Learner)
        self.progress.start()
        self.last = time.monotonic()
        self.task = self.progress.add_task(self.title, total=pl_module.plan.num_steps, terms="")

    def after_step(self, trainer: Trainer, learner: Learner) -> None:
        """Moves on."""
        text = f"{self.title}  epoch {learner.epoch + 1}/{learner.max_epochs}"
        if not self.progress.disable:
            self.progress.update(self.task, completed=learner.num_steps, description=text, terms=self.terms)
        elif time.monotonic() - self.last > self.EVERY:
            self.last = time.monotonic()
            say(self.console, f"{text}  step {learner.num_steps}/{learner.plan.num_steps}  {self.terms}".rstrip())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes the bar."""
        self.progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Removes the bar."""
        self.progress.stop()
