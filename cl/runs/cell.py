"""One cell of a grid: one strategy, one seed, through the whole stream, on disk as it goes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from rich.console import Console

from cl.config import to_yaml
from cl.config.trainer import for_lightning
from cl.data.counts import counts
from cl.evaluation import predictions
from cl.evaluation.errors import errors_of
from cl.evaluation.matrix import EvaluationMatrix
from cl.evaluation.metrics import summary
from cl.evaluation.predictions import Predicted
from cl.reporting.console import print_row
from cl.reporting.errors import write_errors
from cl.reporting.files import RunLog
from cl.reporting.wandb import About, WandbSink, open_logger
from cl.runs.cells import CONFIG, DATA, Cell
from cl.runs.facts import facts
from cl.runs.kept import write_model
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared
from cl.runs.strategies import code_of
from cl.streams import protocols
from cl.streams.identity import fingerprint
from cl.system import memory, notices
from cl.system.environment import environment
from cl.system.files import write_json, write_text
from cl.system.notices import Notices
from cl.system.printing import say
from cl.system.ranks import is_first, on_any
from cl.system.signals import Stopped, StopRequest
from cl.system.state import FINISHED, RUNNING, State
from cl.training import checkpoint
from cl.training.callbacks import BestEpoch, Checkpointer, ProgressBar
from cl.training.learner import Learner
from cl.training.outcome import Diverged
from cl.types import Experience

log = logging.getLogger(__name__)
ENDS: dict[type[BaseException], str] = {
    Stopped: "interrupted",
    KeyboardInterrupt: "interrupted",
    Diverged: "diverged",
}


class CellRun:
    """A cell while it runs: the learner, the matrix so far, and every sink."""

    def __init__(self, cell: Cell, prepared: Prepared, console: Console, warned: Notices, stop: StopRequest) -> None:
        self.cell, self.prepared, self.console, self.stop = cell, prepared, console, stop
        self.notices, self.first_notice = warned, len(warned.lines)
        self.experiences = prepared.stream.experiences
        self.learner = build_learner(cell.config, prepared, cell.strategy, cell.seed)
        self.learner.asked_to_stop = lambda: stop.made
        names, kinds = zip(*((e.name, e.kind) for e in self.experiences), strict=True)
        self.matrix = EvaluationMatrix(names, kinds)
        self.cost: list[dict[str, Any]] = []
        self.state, self.reason = RUNNING, ""
        self.log_position = 0
        self.training: dict[str, Any] | None = (
            None  # the optimizer's state, where a checkpoint broke off in mid-experience
        )

    def run(self) -> None:
        """From where the checkpoint stands to the end of the stream. Raises `Stopped` if asked to, before that end."""
        with self._recording():
            for experience in self.experiences[self.matrix.num_learnt :]:
                self._learn(experience)
                if experience is not self.experiences[-1] and on_any(self.stop.made):
                    raise Stopped(self.stop.reason)
            self.state = FINISHED

    def restore(self) -> None:
        """Takes up the newest checkpoint, if there is one."""
        state = checkpoint.load_newest(self.cell.folder / checkpoint.FOLDER)
        if state is None:
            return
        self.matrix = EvaluationMatrix.from_dict(json.loads(state["matrix"]))
        self.cost, self.log_position = state["cost"], state["log_position"]
        self.learner.restore(state["learner"])
        self.training = state["training"]
        now = self.matrix.num_learnt
        if is_first() and now < len(self.experiences):
            inside = f", after step {self.learner.num_steps} of it" if self.training else ""
            where = f"{now + 1}/{len(self.experiences)} {self.experiences[now].name}"
            say(self.console, f"{self.cell.name} goes on with {where}{inside}")

    def _learn(self, experience: Experience) -> None:
        learner = self.learner
        if self.training is None:
            learner.begin(experience)
        memory.reset_peak()
        with _quiet():
            trainer, progress = self._trainer(experience)
            learner.sinks = [self.log.write, self.wandb.write, progress.write] if is_first() else []
            self._warn_of_other_parts(trainer)
            self.training = None
            try:
                learnt = learner.learn(trainer)
            except SystemExit as error:  # what Lightning makes of KeyboardInterrupt
                raise KeyboardInterrupt from error
        self._note_initial()
        self.matrix.add(learnt.row, learnt.pooled)
        self.cost.append(
            {
                "experience": experience.index,
                **asdict(learnt.cost),
                "peak_memory_bytes": memory.peak(),
                "stored_bytes": learner.strategy.stored(learner.tools),
                **_kept(learner),
            }
        )
        if is_first():
            self._keep(learnt.predicted)
            self._save(None)
            self._write_progress()
            self.wandb.log_row(self.matrix)
            print_row(self.matrix, self.console, self.cell.name)

    def _keep(self, predicted: dict[int, Predicted]) -> None:
        """Writes what was predicted, if it is kept, and what was mistaken for what."""
        if not self.cell.config.evaluate.predictions:
            return
        folder, store, now = self.cell.folder, self.prepared.evaluator.store, self.learner.experience
        predictions.save(folder, now.index, predicted, store, "test")
        write_errors(folder, now.name, errors_of(self.experiences, now.index, predicted, store, "test"))

    def _save(self, training: dict[str, Any] | None) -> None:
        """Writes a checkpoint, inside an experience with what its `training` needs."""
        learner = self.learner
        if training is not None:
            learner.cost.train_seconds += learner.elapsed()
            self._note_initial()
        state = {
            "learner": learner.state(),
            "training": training,
            "matrix": self.matrix.to_json(),  # one text: torch looks at every plain value of a state
            "cost": self.cost,
            "log_position": self.log.position,
        }
        folder, keep = self.cell.folder / checkpoint.FOLDER, self.cell.config.run.keep
        checkpoint.save(folder, self.matrix.num_learnt, learner.total_steps, state, keep)

    def _note_initial(self) -> None:
        if self.learner.initial is not None and self.matrix.initial is None:
            self.matrix.set_initial(self.learner.initial)

    def _warn_of_other_parts(self, trainer: Trainer) -> None:
        parts = trainer.world_size * trainer.accumulate_grad_batches
        if self.training is not None and self.training["num_parts"] != parts:
            log.warning(
                "%s goes on inside an experience with %d shares a batch where it had %d: the same to float tolerance, "
                "and dropout draws anew; exact only from an experience's start",
                self.cell.name,
                parts,
                self.training["num_parts"],
            )

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
    def _recording(self) -> Iterator[None]:
        """Writes down what the cell is, and, on rank 0, what becomes of it; opens and closes the sinks."""
        if not is_first():
            self.wandb = WandbSink(None)
            yield
            return
        known = self._write_beginning()
        self.log = RunLog(self.cell.folder / "log.csv")
        self.log.truncate(self.log_position)
        self.wandb = self._open_wandb({name: known[name] for name in ("data", "commit")})
        self.wandb.catch_up(self.matrix)
        try:
            yield
        except BaseException as error:
            self.state = ENDS.get(type(error), "failed")
            self.reason = "" if self.state == "interrupted" else f"{type(error).__name__}: {error}"
            raise
        finally:
            self.log.close()
            self.wandb.finish(self.matrix, self.state, self.cost)
            self._write_progress()
            notices.keep(self.cell.folder, [*self.prepared.warnings, *self.notices.lines[self.first_notice :]])
            if self.state == FINISHED:
                checkpoint.tidy(self.cell.folder / checkpoint.FOLDER, self.cell.config.run.keep)

    def _write_beginning(self) -> dict[str, Any]:
        """What it is, to disk; what is known of its data and its environment."""
        folder, prepared = self.cell.folder, self.prepared
        write_text(folder / CONFIG, to_yaml(self.cell.config))
        write_model(folder, self.experiences, prepared.tokenizer, self.cell.config.network.backbone == "scratch")
        code = code_of(self.cell.config.strategies[self.cell.strategy])
        write_json(folder / DATA, {"experiences": prepared.identity, "encoded": prepared.encoded, "code": code})
        known = environment(self.cell.seed) | {
            "split": protocols.fingerprint(self.experiences),
            "data": fingerprint(prepared.identity),
            "counts": counts(self.experiences, prepared.evaluator.store),
        }
        write_json(folder / "environment.json", known)
        self._write_progress()
        return known

    def _write_progress(self) -> None:
        """The scores, metrics for people, and last the record that a resumed run reads: it says how much is there."""
        learnt, folder = self.matrix.num_learnt, self.cell.folder
        if learnt:
            self.matrix.save(folder / "matrix.json")
        metrics = summary(self.matrix) if learnt else {}
        bound = self.learner.strategy.bound
        write_json(
            folder / "metrics.json", {"status": self.state, "bound": bound, "metrics": metrics, "cost": self.cost}
        )
        State(self.state, learnt, len(self.experiences), self.reason, os.getcwd()).write(folder)

    def _open_wandb(self, known: dict[str, Any]) -> WandbSink:
        cell, options = self.cell, self.cell.config.wandb
        about = About(
            name=cell.name,
            group=Path(cell.config.run.dir or "").name,
            job_type=cell.strategy,
            project=options.project,
            entity=options.entity,
            tags=options.tags,
            config=facts(cell, self.learner.strategy, self.prepared) | known,
        )
        return open_logger(cell.folder, about, options.mode)


def _kept(learner: Learner) -> dict[str, int]:
    """How many different texts the plugins keep, and their bytes."""
    kept, store = learner.strategy.remembered(learner.tools), learner.store
    texts = torch.unique(torch.cat([torch.zeros(0, dtype=torch.int64), *(store.text[data.rows] for data in kept)]))
    return {"kept_examples": len(texts), "kept_bytes": int(store.num_bytes[texts].sum())}


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
