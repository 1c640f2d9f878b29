"""The sink at Weights & Biases.

A run never stops because of it: every call goes through one door, `_safely`, and what may wait has a limit.
No point is there twice and none is missing, however often a run is killed: every row has a number of its own, a
resumed run hands over all rows of its log anew, and those that the server has got already are left out. An offline
folder holds the whole run; `wandb sync` puts its rows, from the first on, in the place of what the server has.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning_utilities.core.rank_zero import rank_zero_only
from requests.utils import get_netrc_auth

from cl.evaluation.matrix import EvaluationMatrix
from cl.evaluation.metrics import summary
from cl.reporting.figures import save
from cl.reporting.files import read_rows
from cl.reporting.heatmap import matrix_chart
from cl.system.files import write_text

log = logging.getLogger(__name__)
Mode = Literal["online", "offline", "disabled"]
PROJECT = "cl"
OVERRULED = ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_DIR")
LIMITS = {"init_timeout": 20.0, "finish_timeout": 30.0}  # seconds; WANDB_INIT_TIMEOUT, WANDB_FINISH_TIMEOUT


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
        scores = {f"score/{name}": value for name, value in zip(matrix.names, matrix.array()[-1], strict=True)}
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

    def finish(self, matrix: EvaluationMatrix, status: str = "finished") -> None:
        """Log R as a table and as a heat map, set the summary, and end the run.

        An offline run is whole on the disk when the process ends (or after `wandb.teardown()`), not before.
        What W&B did not take is left behind as an offline run.
        """
        self._end(matrix, status)
        if self._failed and self.reopen is not None:
            wandb.teardown()  # its service takes the run for one that is under way
            offline = self.reopen()
            offline.catch_up(matrix)
            offline._end(matrix, status)

    def _end(self, matrix: EvaluationMatrix, status: str) -> None:
        with self._safely() as logger:
            if logger is None:
                return
            metrics = {name: value for name, value in summary(matrix).items() if math.isfinite(value)}
            logger.experiment.summary.update({**metrics, "status": status})
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
            self._send({"R heat map": wandb.Image(f"{folder}/{chart.name}.png")})
        self._send({"R": wandb.Table(columns=_columns(matrix), data=_rows(matrix))})  # asks the server: last

    def _log(self, axes: Mapping[str, int], values: Mapping[str, float], axis: str) -> None:
        with self._safely() as logger:
            if logger is None or not values:
                return
            for name in values.keys() - self._defined:
                if not name.startswith("score/"):  # defined at the start, whatever an experience is called
                    logger.experiment.define_metric(name, step_metric=axis)
                self._defined.add(name)
            self._send({**axes, **values})

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


def open_logger(
    folder: Path,
    *,
    name: str,
    project: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    entity: str | None = None,
    mode: Mode | None = None,
) -> WandbSink:
    """Start a W&B run that keeps its files in `folder`/wandb, or continue the one that was started there before.

    Without a `mode` the run is online if somebody is logged in and offline otherwise; nobody is ever asked to log in.
    What W&B's own variables say (`WANDB_PROJECT`, `WANDB_TAGS`, `WANDB_NOTES`, …) holds where nothing is given here:
    for the project and the tags. `name` and `group` are only what a run is called if no variable says it.
    """
    if getattr(rank_zero_only, "rank", 0) != 0 or mode == "disabled":
        return WandbSink(None)
    sink = WandbSink(None)
    with sink._safely():
        chosen = choose_mode(mode)
        if chosen == "disabled":
            return sink
        settings: dict[str, Any] = {
            "project": project or _from_environment("project", "WANDB_PROJECT") or PROJECT,
            "name": _from_environment("run_name", "WANDB_NAME") or name,
            "group": _from_environment("run_group", "WANDB_RUN_GROUP") or group,
            "tags": list(tags) or None,  # None: those of WANDB_TAGS
            "entity": entity,
            "config": dict(config or {}),
            "dir": str(folder),
            "id": _id(folder),
        }
        _warn_of_overruled()
        run = _start(chosen, settings)
        sink.logger, sink.log = WandbLogger(project=settings["project"], experiment=run), folder / "log.csv"
        sink._first = run.starting_step
        run.define_metric("experience")
        run.define_metric("step")
        run.define_metric("score/*", step_metric="experience")
        if run.offline:
            _supersede(folder, run)
            print(f"W&B is offline; upload with: wandb sync {sink.sync_dir}")
        else:
            sink.reopen = partial(
                open_logger,
                folder,
                name=name,
                project=project,
                group=group,
                tags=tags,
                config=config,
                entity=entity,
                mode="offline",
            )
    return sink


def _from_environment(setting: str, variable: str) -> str | None:
    """What the user set for every run: in the environment, or in W&B's settings files."""
    value = os.environ.get(variable) or getattr(wandb.setup().settings, setting)
    return None if value is None else str(value)


def _warn_of_overruled() -> None:
    if overruled := [variable for variable in OVERRULED if variable in os.environ]:
        log.warning(
            "%s does not hold here: each cell is a W&B run of its own, which is kept in the cell's folder and goes on "
            "when the cell does",
            ", ".join(overruled),
        )


def choose_mode(mode: Mode | None) -> Mode:
    """The mode to start in: as asked for, here or in `WANDB_MODE`, but never one that would ask for a login."""
    asked = mode or os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
    if asked in ("offline", "dryrun"):
        return "offline"
    if asked == "disabled":
        return "disabled"
    if logged_in():
        return "online"
    if mode is not None:
        log.warning("W&B cannot be %s without a login (`wandb login`): the run is offline", mode)
    return "offline"


def logged_in() -> bool:
    """Whether W&B would find credentials: in the environment, its settings or a netrc file."""
    settings = wandb.setup().settings
    if os.environ.get("WANDB_API_KEY") or settings.api_key or settings.identity_token_file:
        return True
    return get_netrc_auth(settings.base_url) is not None  # where `wandb login` writes


def _id(folder: Path) -> str:
    """What the run in this folder is called at W&B, from its first start on."""
    file = folder / "wandb" / "id"
    if not file.exists():
        write_text(file, secrets.token_hex(4))
    return file.read_text(encoding="utf-8")


def _start(mode: Mode, settings: Mapping[str, Any]) -> Any:
    """The run; an offline one where W&B cannot be reached, so that nothing is lost.

    An offline one never resumes: what `wandb sync` would add to what is there, instead of replacing it.

    `create_new`, and not Lightning's own call: that would continue whatever run is active, such as the previous cell's.
    """
    limits = {name: limit for name, limit in LIMITS.items() if f"WANDB_{name.upper()}" not in os.environ}
    quiet = wandb.Settings(quiet=True, finish_timeout_raises=True, **limits)  # type: ignore[arg-type]
    start = partial(wandb.init, reinit="create_new", **settings)
    if mode != "offline":
        try:
            return start(mode=mode, resume="allow", settings=quiet)
        except wandb.Error as error:
            log.warning("W&B cannot be reached (%s): the run is offline", error)
            wandb.teardown()  # its service takes a run that failed to start for one that is under way
    quiet.silent = True  # where it lies is said by us, in one line instead of three
    return start(mode="offline", settings=quiet)


def _supersede(folder: Path, run: Any) -> None:
    """Has `wandb sync` pass over what this run left offline before: the new folder holds all of it."""
    for old in folder.glob(f"wandb/offline-run-*-{run.id}/run-{run.id}.wandb"):
        if old.parent != Path(run.settings.sync_dir):
            old.with_suffix(".wandb.synced").touch()


def _up_to(matrix: EvaluationMatrix, num_learnt: int) -> EvaluationMatrix:
    return replace(matrix, rows=matrix.rows[:num_learnt], pooled=matrix.pooled[:num_learnt])


def _columns(matrix: EvaluationMatrix) -> list[str | int]:
    return ["after", *(f"{j} {name}" for j, name in enumerate(matrix.names))]  # columns must differ, names need not


def _rows(matrix: EvaluationMatrix) -> list[list[Any]]:
    rows = zip(matrix.names, matrix.array().tolist(), strict=False)
    return [[f"{i} {name}", *(v if v == v else None for v in row)] for i, (name, row) in enumerate(rows)]
