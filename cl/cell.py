"""One cell of a grid: one strategy, one seed, through the whole stream, on disk as it goes."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import resource
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.pytorch import Trainer
from rich.console import Console

from cl import __version__, checkpoint
from cl.build import Prepared, build_learner
from cl.callbacks import BestEpoch, Checkpointer, ProgressBar
from cl.config import Config, to_yaml
from cl.config.trainer import for_lightning
from cl.evaluation.matrix import EvaluationMatrix
from cl.evaluation.metrics import summary
from cl.learner import Diverged
from cl.ranks import is_first, on_any
from cl.reporting.console import print_row
from cl.reporting.files import RunLog, write_json, write_text
from cl.reporting.wandb import WandbSink, open_logger
from cl.signals import Stopped, StopRequest
from cl.strategies.plugin import stored_bytes
from cl.streams.protocols import fingerprint
from cl.types import Experience, UserError

ENDS: dict[type[BaseException], str] = {
    Stopped: "interrupted",
    KeyboardInterrupt: "interrupted",
    Diverged: "diverged",
}


@dataclass(frozen=True)
class Cell:
    """`config` names one strategy and one seed; `folder` is where it leaves its results."""

    config: Config
    strategy: str
    seed: int

    @property
    def folder(self) -> Path:
        """`<run.dir>/<strategy>/seed<k>`."""
        assert self.config.run.dir is not None
        return Path(self.config.run.dir) / self.strategy / f"seed{self.seed}"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.strategy} seed {self.seed}"


def cells_of(config: Config) -> list[Cell]:
    """The cells of a grid, seed by seed, so that a first comparison of all strategies is there early."""
    return [
        Cell(replace(config, strategies={name: config.strategies[name]}, seeds=[seed]), name, seed)
        for seed in config.seeds
        for name in config.strategies
    ]


class CellRun:
    """A cell while it runs: the learner, the matrix so far, and every sink."""

    def __init__(self, cell: Cell, prepared: Prepared, console: Console, stop: StopRequest) -> None:
        self.cell, self.prepared, self.console, self.stop = cell, prepared, console, stop
        self.experiences = prepared.stream.experiences
        self.learner = build_learner(cell.config, prepared, cell.strategy, cell.seed)
        self.learner.asked_to_stop = lambda: stop.made
        names, kinds = zip(*((e.name, e.kind) for e in self.experiences), strict=True)
        self.matrix = EvaluationMatrix(names, kinds)
        self.cost: list[dict[str, float]] = []
        self.status = "running"
        self.log_position = 0
        self.training: dict[str, Any] | None = (
            None  # the optimizer's state, where a checkpoint broke off in mid-experience
        )

    def run(self) -> None:
        """From where the checkpoint stands to the end of the stream. Raises `Stopped` where that was asked for."""
        with self._sinks():
            for experience in self.experiences[self.matrix.num_learnt :]:
                self._learn(experience)
                if on_any(self.stop.made):
                    raise Stopped
            self.status = "finished"

    def restore(self) -> None:
        """Takes up the newest checkpoint, if there is one."""
        state = checkpoint.load_newest(self.cell.folder / "checkpoints")
        if state is None:
            return
        self.matrix = EvaluationMatrix.from_dict(state["matrix"])
        self.cost, self.log_position = state["cost"], state["log_position"]
        self.learner.restore(state["learner"])
        self.training = state["training"]

    def _learn(self, experience: Experience) -> None:
        learner = self.learner
        if self.training is None:
            learner.begin(experience)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with _quiet():
            trainer, progress = self._trainer(experience)
            learner.sinks = [self.log.write, self.wandb.write, progress.write] if is_first() else []
            self._warn_of_other_parts(trainer)
            self.training = None
            try:
                trainer.fit(learner, datamodule=learner.data())
            except SystemExit as error:  # what Lightning makes of KeyboardInterrupt
                raise KeyboardInterrupt from error
            for optimizer in trainer.optimizers:  # in a ring of references, where its state would wait for a collector
                optimizer.state.clear()
        self._note_initial()
        self.matrix.add(learner.row, learner.pooled)
        self.cost.append(
            {
                "experience": experience.index,
                **asdict(learner.cost),
                "peak_memory_bytes": _peak_memory(),
                "stored_bytes": stored_bytes(learner.strategy.state_dict()),
            }
        )
        if is_first():
            self._save(None)
            self.matrix.save(self.cell.folder / "matrix.json")
            self._write_metrics()
            self.wandb.log_row(self.matrix)
            print_row(self.matrix, self.console, self.cell.name)

    def _save(self, training: dict[str, Any] | None) -> None:
        """Writes a checkpoint, inside an experience with what its `training` needs."""
        learner = self.learner
        if training is not None:
            learner.cost.train_seconds += learner.lap()
            self._note_initial()
        state = {
            "learner": learner.state(),
            "training": training,
            "matrix": self.matrix.to_dict(),
            "cost": self.cost,
            "log_position": self.log.position,
        }
        checkpoint.save(self.cell.folder / "checkpoints", self.matrix.num_learnt, learner.total_steps, state)

    def _note_initial(self) -> None:
        if self.learner.initial is not None and self.matrix.initial is None:
            self.matrix.set_initial(self.learner.initial)

    def _warn_of_other_parts(self, trainer: Trainer) -> None:
        parts = trainer.world_size * trainer.accumulate_grad_batches
        if self.training is not None and self.training["num_parts"] != parts:
            self.console.print(
                f"warning: {self.cell.name} goes on inside an experience with {parts} shares a batch where it had "
                f"{self.training['num_parts']}: the same to float tolerance, and dropout draws anew; exact only from "
                "an experience's start",
                style="yellow",
            )

    def _write_metrics(self) -> None:
        metrics = summary(self.matrix) if self.matrix.num_learnt else {}
        write_json(self.cell.folder / "metrics.json", {"status": self.status, "metrics": metrics, "cost": self.cost})

    def _trainer(self, experience: Experience) -> tuple[Trainer, ProgressBar]:
        config = self.cell.config
        title = f"{self.cell.name}  {experience.index + 1}/{len(self.experiences)} {experience.name}"
        progress = ProgressBar(self.console, title)
        chooses = config.training.patience is not None or config.training.keep_best
        best = BestEpoch(config.training.patience, config.training.keep_best) if chooses else None
        save = self._save if is_first() else None
        checkpointer = Checkpointer(save, config.run.checkpoint_steps, self.stop, best, self.training)
        arguments = for_lightning(config.trainer)
        shown = [] if config.trainer.get("enable_progress_bar") is False else [progress]
        # The user's before the checkpointer, which may end training with an exception.
        arguments["callbacks"] = [*shown, *([best] if best else []), *arguments["callbacks"], checkpointer]
        return Trainer(**(arguments | {"logger": self.wandb.logger or False})), progress

    @contextlib.contextmanager
    def _sinks(self) -> Iterator[None]:
        """Opens the sinks on rank 0, and closes them with what became of the run."""
        if not is_first():
            self.wandb = WandbSink(None)
            yield
            return
        folder, options = self.cell.folder, self.cell.config.wandb
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot write there: {error.strerror}. Choose another run.dir") from error
        lock = FileLock(folder / ".lock", blocking=False)  # let go by the system however this process ends
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"{folder}: another process is running this cell; wait for it, or stop it first") from None
        write_text(folder / "config.yaml", to_yaml(self.cell.config))
        write_json(folder / "environment.json", environment(self.cell.seed) | {"split": fingerprint(self.experiences)})
        self.log = RunLog(folder / "log.csv")
        self.log.truncate(self.log_position)
        self._write_metrics()
        self.wandb = open_logger(
            folder,
            project=options.project,
            entity=options.entity,
            name=self.cell.name,
            group=Path(self.cell.config.run.dir or "").name,
            tags=options.tags,
            config=asdict(self.cell.config),
            mode=options.mode,
        )
        self.wandb.catch_up(self.matrix)
        try:
            yield
        except BaseException as error:
            self.status = ENDS.get(type(error), "failed")
            raise
        finally:
            self._write_metrics()
            self.log.close()
            lock.release()
            self.wandb.finish(self.matrix, self.status)


def environment(seed: int) -> dict[str, Any]:
    """What a reader needs to run this again: versions, commit, hardware, seed."""
    packages = ("torch", "lightning", "transformers", "avalanche-lib", "wandb", "omegaconf", "numpy")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return {
        "seed": seed,
        "command": " ".join(sys.argv),
        "cl": __version__,
        "commit": commit.stdout.strip() or None,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _peak_memory() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what Lightning says at every fit: hardware, tips, and advice on data loaders that are not ours."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        try:
            yield
        finally:
            logger.setLevel(level)
