"""How a run at Weights & Biases begins: what it is called, online or offline, anew or where it broke off."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning_utilities.core.rank_zero import rank_zero_only
from requests.utils import get_netrc_auth

from cl.reporting.wandb.sink import WandbSink
from cl.system.files import write_text

log = logging.getLogger(__name__)
Mode = Literal["online", "offline", "disabled"]
PROJECT = "cl"
# What would make the run of a cell another one, and the setting of W&B that holds it.
OVERRULED = {
    "WANDB_RUN_ID": "run_id",
    "WANDB_RESUME": "resume",
    "WANDB_RESUME_FROM": "resume_from",
    "WANDB_FORK_FROM": "fork_from",
    "WANDB_SWEEP_ID": "sweep_id",
    "WANDB_DIR": "",  # beaten by an argument
}
LIMITS = {"init_timeout": 20.0, "finish_timeout": 30.0}  # seconds; WANDB_INIT_TIMEOUT, WANDB_FINISH_TIMEOUT


@dataclass(frozen=True)
class About:
    """What a run is called and known by.

    `project`, `entity` and `tags` are what the user has configured: they beat W&B's own variables. `name`, `group` and
    `job_type` hold where no variable says another. `config`: flat keys to group, filter and plot runs by.
    """

    name: str
    group: str | None = None
    job_type: str | None = None
    project: str | None = None
    entity: str | None = None
    tags: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Those of `wandb.init`; None stands for what W&B finds in its variables."""
        return {
            "project": self.project or _from_environment("project", "WANDB_PROJECT") or PROJECT,
            "name": _from_environment("run_name", "WANDB_NAME") or self.name,
            "group": _from_environment("run_group", "WANDB_RUN_GROUP") or self.group,
            "job_type": _from_environment("run_job_type", "WANDB_JOB_TYPE") or self.job_type,
            "tags": list(self.tags) or None,
            "entity": self.entity,
            "config": dict(self.config),
        }


def open_logger(folder: Path, about: About, mode: Mode | None = None) -> WandbSink:
    """Start a W&B run that keeps its files in `folder`/wandb, or continue the one that was started there before.

    Without a `mode` the run is online if somebody is logged in and offline otherwise; nobody is ever asked to log in.
    One line is printed: where the run can be seen, or how to upload it.
    """
    sink = WandbSink(None)
    if getattr(rank_zero_only, "rank", 0) != 0 or mode == "disabled":
        return sink
    with sink._safely():
        chosen = choose_mode(mode)
        if chosen == "disabled":
            return sink
        _overrule()
        arguments = about.arguments()
        run = _start(chosen, arguments | {"dir": str(folder), "id": _id(folder)})
        sink.start(WandbLogger(project=arguments["project"], experiment=run), folder / "log.csv")
        if run.offline:
            _supersede(folder, run)
            print(f"W&B is offline; upload with: wandb sync {sink.sync_dir}")
        else:
            sink.reopen = partial(open_logger, folder, about, "offline")
            print(f"W&B: {run.url}")
    return sink


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


def _from_environment(setting: str, variable: str) -> str | None:
    """What the user set for every run: in the environment, or in W&B's settings files."""
    value = os.environ.get(variable) or getattr(wandb.setup().settings, setting)
    return None if value is None else str(value)


def _overrule() -> None:
    """Has W&B forget variables under which a cell's run would not be found again, and says which."""
    settings = wandb.setup().settings
    for setting in filter(None, OVERRULED.values()):
        setattr(settings, setting, None)
    if given := [variable for variable in OVERRULED if variable in os.environ]:
        log.warning(
            "%s does not hold here: each cell is a W&B run of its own, which is kept in the cell's folder and goes on "
            "when the cell does",
            ", ".join(given),
        )


def _id(folder: Path) -> str:
    """What the run in this folder is called at W&B, from its first start on."""
    file = folder / "wandb" / "id"
    if not file.exists():
        write_text(file, secrets.token_hex(4))
    return file.read_text(encoding="utf-8")


def _start(mode: Mode, arguments: Mapping[str, Any]) -> Any:
    """The run; an offline one where W&B cannot be reached, so that nothing is lost.

    An offline one never resumes: what `wandb sync` would add to what is there, instead of replacing it.

    `create_new`, and not Lightning's own call: that would continue whatever run is active, such as the previous cell's.
    """
    limits = {name: limit for name, limit in LIMITS.items() if f"WANDB_{name.upper()}" not in os.environ}
    settings = wandb.Settings(silent=True, finish_timeout_raises=True, **limits)  # type: ignore[arg-type]
    wandb.termsetup(settings, None)  # else it speaks of the login before it looks at these settings
    start = partial(wandb.init, reinit="create_new", settings=settings, **arguments)
    if mode != "offline":
        try:
            return start(mode=mode, resume="allow")
        except wandb.Error as error:
            log.warning("W&B cannot be reached (%s): the run is offline", error)
            wandb.teardown()  # its service takes a run that failed to start for one that is under way
            _overrule()
    return start(mode="offline")


def _supersede(folder: Path, run: Any) -> None:
    """Has `wandb sync` pass over what this run left offline before: the new folder holds all of it."""
    for old in folder.glob(f"wandb/offline-run-*-{run.id}/run-{run.id}.wandb"):
        if old.parent != Path(run.settings.sync_dir):
            old.with_suffix(".wandb.synced").touch()
