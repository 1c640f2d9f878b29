"""What watches training from outside: the best epoch, and the progress bar."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from cl.learner import Learner


class BestEpoch(Callback):
    """Scores the validation split after each epoch; stops when it has not improved for `patience` epochs, and
    with `keep_best` takes the best epoch's weights back. Ties go to the earlier epoch.
    """

    def __init__(self, patience: int | None, keep_best: bool) -> None:
        self.patience, self.keep_best = patience, keep_best
        self.best, self.waited = float("-inf"), 0
        self.weights: dict[str, Tensor] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Scores the epoch."""
        assert isinstance(pl_module, Learner)
        row, _ = pl_module.evaluate("valid", [pl_module.experience.index])
        scores = row[pl_module.experience.index]
        assert scores is not None
        pl_module.record({"valid/score": scores["score"]})
        if scores["score"] > self.best:
            self.best, self.waited = scores["score"], 0
            if self.keep_best:
                self.weights = {name: t.clone() for name, t in pl_module.network.state_dict().items()}
        else:
            self.waited += 1
        trainer.should_stop = self.patience is not None and self.waited >= self.patience

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the best weights back."""
        assert isinstance(pl_module, Learner)
        if self.weights:
            pl_module.network.load_state_dict(self.weights)


class ProgressBar(Callback):
    """One line on a terminal: experience, epoch, loss terms, time left. Nothing elsewhere."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self.terms = ""

    def write(self, experience: int, epoch: int, step: int, values: dict[str, float]) -> None:
        """A sink for logged values: the loss terms of the newest step."""
        self.terms = "  ".join(f"{n.removeprefix('loss/')} {v:.3f}" for n, v in values.items() if n.startswith("loss/"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the bar."""
        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[terms]}", style="dim"),
        ]
        self.progress = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.progress.start()
        self.task = self.progress.add_task(self.title, total=int(trainer.estimated_stepping_batches), terms="")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Moves on."""
        if not self.progress.disable:
            text = f"{self.title}  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.progress.update(self.task, completed=trainer.global_step, description=text, terms=self.terms)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes the bar."""
        self.progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Removes the bar."""
        if hasattr(self, "progress"):
            self.progress.stop()
