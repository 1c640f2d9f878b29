"""The sink at Weights & Biases.

A run never stops because of it: every call goes through one door, `_safely`, and what may wait has a limit.
No point is there twice and none is missing, however often a run is killed: every row has a number of its own, a
resumed run hands over all rows of its log anew, and those that the server has got already are left out. An offline
folder holds the whole run; `wandb sync` puts its rows, from the first on, in the place of what the server has.
"""

from __future__ import annotations

import logging
import math
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger

from cl.evaluation.matrix import EvaluationMatrix
from cl.evaluation.metrics import summary
from cl.reporting.cost import totals
from cl.reporting.figures import save
from cl.reporting.files import read_rows
from cl.reporting.heatmap import matrix_chart

log = logging.getLogger(__name__)


class WandbSink:
    """One run at W&B: scores and metrics over `experience`, losses over `step`.

    A row's number at W&B is its step plus the rows of scores before it. `logger` is Lightning's, for a trainer that
    wants one; None where there is no run (disabled, failed, other ranks).
    """

    def __init__(self, logger: WandbLogger | None) -> None:
        self.logger = logger
        self.log: Path | None = None  # the same values on disk
        self.reopen: Callable[[], WandbSink] | None = None  # offline, of a run that is not
        self._defined: set[str] = set()
        self._failed = False
        self._number = 0  # of the newest row
        self._first = 0  # of the rows that W&B lacks

    def start(self, logger: WandbLogger, log: Path) -> None:
        """Log to this run from here on, each curve over its own axis; `log` holds the same values on disk."""
        self.logger, self.log, run = logger, log, logger.experiment
        self._first = run.starting_step
        run.define_metric("experience")
        run.define_metric("step")
        run.define_metric("score/*", step_metric="experience")

    @property
    def sync_dir(self) -> str:
        """The folder that `wandb sync` uploads; empty without a run."""
        return "" if self.logger is None else str(self.logger.experiment.settings.sync_dir)

    def write(self, experience: int, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Log training values; the same call as `RunLog.write`."""
        self._number = step + experience
        self._log({"experience": experience, "epoch": epoch, "step": step}, values, axis="step")

    def log_row(self, matrix: EvaluationMatrix) -> None:
        """Log the newest row as `score/<experience>`, and every metric of the rows so far."""
        if self.logger is None:
            return
        scores = dict(zip(score_keys(matrix.names), matrix.array()[-1], strict=True))
        measured = {name: float(v) for name, v in (scores | summary(matrix)).items() if math.isfinite(v)}
        self._number += 1
        self._log({"experience": matrix.num_learnt - 1}, measured, axis="experience")

    def catch_up(self, matrix: EvaluationMatrix) -> None:
        """Log what is on disk already: the rows of the run's log, and those of R."""
        with self._safely() as logger:
            if logger is None or self.log is None:
                return
            moments: defaultdict[int, list[Any]] = defaultdict(list)
            for moment in read_rows(self.log):
                moments[moment[0]].append(moment)
            for experience in range(matrix.num_learnt + 1):
                for moment in moments[experience]:
                    self.write(*moment)
                if experience < matrix.num_learnt:
                    self.log_row(_up_to(matrix, experience + 1))

    def finish(
        self, matrix: EvaluationMatrix, status: str = "finished", cost: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Log R as a table and as a heat map, set the summary, and end the run.

        `cost`: what each experience took. The summary has `cost/…` of the whole run (see `totals`).

        An offline run is whole on the disk when the process ends (or after `wandb.teardown()`), not before.
        What W&B did not take is left behind as an offline run.
        """
        self._end(matrix, status, cost)
        if self._failed and self.reopen is not None:
            wandb.teardown()  # its service takes the run for one that is under way
            offline = self.reopen()
            offline.catch_up(matrix)
            offline._end(matrix, status, cost)

    def _end(self, matrix: EvaluationMatrix, status: str, cost: Sequence[Mapping[str, Any]]) -> None:
        with self._safely() as logger:
            if logger is None:
                return
            metrics = {_key(name): value for name, value in summary(matrix).items() if math.isfinite(value)}
            costs = {f"cost/{name}": value for name, value in totals(cost).items()}
            logger.experiment.summary.update({**metrics, **costs, "status": status})
            if status == "finished":  # others may be resumed, and this row comes last
                self._log_matrix(matrix, logger.experiment.name or "R")
        with self._safely() as logger:  # also where the table could not be logged
            if logger is not None:
                logger.experiment.finish(exit_code=0 if status == "finished" else 1)

    def _log_matrix(self, matrix: EvaluationMatrix, title: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            chart = matrix_chart(matrix, title)
            save(chart, Path(folder))
            self._number += 1
            self._send({"matrix/heat_map": wandb.Image(f"{folder}/{chart.name}.png")})
        self._send({"matrix/table": wandb.Table(columns=_columns(matrix), data=_rows(matrix))})  # asks the server: last

    def _log(self, axes: Mapping[str, int], values: Mapping[str, float], axis: str) -> None:
        with self._safely() as logger:
            if logger is None or not values:
                return
            named = {_key(name): value for name, value in values.items()}
            for name in named.keys() - self._defined:
                if not name.startswith("score/"):  # defined at the start
                    logger.experiment.define_metric(name, step_metric=axis)
                self._defined.add(name)
            self._send({**axes, **named})

    def _send(self, row: Mapping[str, Any]) -> None:
        assert self.logger is not None
        if self._number >= self._first:
            self.logger.experiment.log(dict(row), step=self._number)

    @contextmanager
    def _safely(self) -> Iterator[WandbLogger | None]:
        """The one door: whatever fails behind it is said once and stops nothing."""
        try:
            yield self.logger
        except Exception as error:
            if not self._failed:
                self._failed = True
                log.warning("logging to W&B failed and the run goes on: %r", error)


def score_keys(names: Sequence[str]) -> list[str]:
    """`score/<experience>` for each of a stream's experiences, as W&B can take it; all of them with their numbers,
    `score/0_…`, where two would be the same.
    """
    keys = [_key(name.replace("/", "_")) for name in names]
    same = len({key.lower() for key in keys}) < len(keys)
    return [f"score/{j}_{key}" if same else f"score/{key}" for j, key in enumerate(keys)]


def _key(name: str) -> str:
    """A name as W&B can sort and filter by it: letters, digits and `_`, and `/` between section and name."""
    return re.sub(r"[^\w/]", "_", name)


def _up_to(matrix: EvaluationMatrix, num_learnt: int) -> EvaluationMatrix:
    return replace(matrix, rows=matrix.rows[:num_learnt], pooled=matrix.pooled[:num_learnt])


def _columns(matrix: EvaluationMatrix) -> list[str | int]:
    return ["after", *(f"{j} {name}" for j, name in enumerate(matrix.names))]  # columns must differ, names need not


def _rows(matrix: EvaluationMatrix) -> list[list[Any]]:
    rows = zip(matrix.names, matrix.array().tolist(), strict=False)
    return [[f"{i} {name}", *(v if v == v else None for v in row)] for i, (name, row) in enumerate(rows)]
