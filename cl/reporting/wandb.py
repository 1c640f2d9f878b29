"""The sink at Weights & Biases. A run never stops because of it: every call goes through one door, `_safely`."""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning_utilities.core.rank_zero import rank_zero_only
from wandb.sdk.lib import wbauth

from cl.evaluation.matrix import EvaluationMatrix
from cl.evaluation.metrics import summary
from cl.reporting.figures import save
from cl.reporting.heatmap import matrix_chart

Mode = Literal["online", "offline", "disabled", "shared"]


class WandbSink:
    """One run at W&B: scores and metrics over `experience`, losses over `step`.

    `logger` is Lightning's, for a trainer that wants one; None where there is no run (disabled, failed, other ranks).
    """

    def __init__(self, logger: WandbLogger | None) -> None:
        self.logger = logger
        self._defined: set[str] = set()
        self._warned = False

    @property
    def sync_dir(self) -> str:
        """The folder that `wandb sync` uploads; empty without a run."""
        return "" if self.logger is None else str(self.logger.experiment.settings.sync_dir)

    def write(self, experience: int, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Log training values; the same call as `RunLog.write`."""
        self._log({"experience": experience, "epoch": epoch, "step": step}, values, axis="step")

    def log_row(self, matrix: EvaluationMatrix) -> None:
        """Log the newest row as `score/<experience>`, and every metric of the rows so far."""
        scores = {f"score/{name}": value for name, value in zip(matrix.names, matrix.array()[-1], strict=True)}
        measured = {name: float(v) for name, v in (scores | summary(matrix)).items() if math.isfinite(v)}
        self._log({"experience": matrix.num_learnt - 1}, measured, axis="experience")

    def finish(self, matrix: EvaluationMatrix, status: str = "finished") -> None:
        """Log R as a table and as a heat map, set the summary, and end the run.

        An offline run is whole on the disk when the process ends (or after `wandb.teardown()`), not before.
        """
        with self._safely() as logger:
            if logger is None:
                return
            logger.log_table("R", columns=_columns(matrix), data=_rows(matrix))
            with tempfile.TemporaryDirectory() as folder:
                chart = matrix_chart(matrix, logger.experiment.name or "R")
                save(chart, Path(folder))
                logger.log_image("R heat map", [f"{folder}/{chart.name}.png"])
            metrics = {name: value for name, value in summary(matrix).items() if math.isfinite(value)}
            logger.experiment.summary.update({**metrics, "status": status})
        with self._safely() as logger:  # also where the table could not be logged
            if logger is not None:
                logger.experiment.finish(exit_code=0 if status == "finished" else 1)

    def _log(self, axes: Mapping[str, int], values: Mapping[str, float], axis: str) -> None:
        with self._safely() as logger:
            if logger is None or not values:
                return
            for name in values.keys() - self._defined:
                if not name.startswith("score/"):  # defined at the start, whatever an experience is called
                    logger.experiment.define_metric(name, step_metric=axis)
                self._defined.add(name)
            logger.log_metrics({**axes, **values})

    @contextmanager
    def _safely(self) -> Iterator[WandbLogger | None]:
        """The one door: whatever fails behind it is said once and stops nothing."""
        try:
            yield self.logger
        except Exception as error:
            if not self._warned:
                self._warned = True
                remedy = f"; what was logged can be uploaded with `wandb sync {self._folder()}`"
                warnings.warn(f"logging to W&B failed and the run goes on ({error!r}){remedy}", stacklevel=4)

    def _folder(self) -> str:
        try:
            return self.sync_dir
        except Exception:  # already on the way to say that W&B failed
            return "<folder of the run>/wandb/…"


def open_logger(
    folder: Path,
    *,
    project: str,
    name: str,
    group: str | None = None,
    tags: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    entity: str | None = None,
    run_id: str | None = None,
    mode: Mode | None = None,
) -> WandbSink:
    """Start a W&B run that keeps its files in `folder`/wandb, or continue the one called `run_id`.

    Without a `mode` the run is online if somebody is logged in and offline otherwise; nobody is ever asked to log in.
    """
    if getattr(rank_zero_only, "rank", 0) != 0 or mode == "disabled":
        return WandbSink(None)
    sink = WandbSink(None)
    with sink._safely():
        chosen = choose_mode(mode)
        if chosen == "disabled":
            return sink
        settings: dict[str, Any] = {"project": project, "name": name, "group": group, "tags": list(tags)}
        settings |= {"config": dict(config or {}), "entity": entity, "id": run_id, "dir": str(folder)}
        folder.mkdir(parents=True, exist_ok=True)
        run = _start(chosen, settings)
        sink.logger = WandbLogger(project=project, experiment=run)
        run.define_metric("experience")
        run.define_metric("step")
        run.define_metric("score/*", step_metric="experience")
        if run.offline:
            print(f"W&B is offline; upload with: wandb sync {sink.sync_dir}")
    return sink


def choose_mode(mode: Mode | None) -> Mode:
    """The mode to start in: as asked for, here or in `WANDB_MODE`, but never one that would ask for a login."""
    asked = mode or os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
    if asked in ("offline", "dryrun"):
        return "offline"
    if asked == "disabled":
        return "disabled"
    if logged_in():
        return "shared" if asked == "shared" else "online"
    if mode is not None:
        warnings.warn(f"W&B cannot be {mode} without a login (`wandb login`): the run is offline", stacklevel=2)
    return "offline"


def logged_in() -> bool:
    """Whether W&B would find credentials: in the environment, its settings, this session or a netrc file."""
    settings = wandb.setup().settings
    if os.environ.get("WANDB_API_KEY") or settings.api_key or settings.identity_token_file:
        return True
    host = settings.base_url
    return bool(wbauth.session_credentials(host=host) or wbauth.read_netrc_auth(host=host))


def _start(mode: Mode, settings: Mapping[str, Any]) -> Any:
    """The run; an offline one where W&B cannot be reached, so that nothing is lost.

    `create_new`, and not Lightning's own call: that would continue whatever run is active, such as the previous cell's.
    """
    quiet = wandb.Settings(quiet=True)
    try:
        return wandb.init(mode=mode, reinit="create_new", resume="allow", settings=quiet, **settings)
    except wandb.Error as error:
        if mode == "offline":
            raise
        warnings.warn(f"W&B cannot be reached ({error}): the run is offline", stacklevel=2)
        return wandb.init(mode="offline", reinit="create_new", resume="allow", settings=quiet, **settings)


def _columns(matrix: EvaluationMatrix) -> list[str]:
    return ["after", *(f"{j} {name}" for j, name in enumerate(matrix.names))]  # columns must differ, names need not


def _rows(matrix: EvaluationMatrix) -> list[list[Any]]:
    rows = zip(matrix.names, matrix.array().tolist(), strict=False)
    return [[f"{i} {name}", *(v if v == v else None for v in row)] for i, (name, row) in enumerate(rows)]
