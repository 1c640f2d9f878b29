"""What each argument of `lightning.Trainer` means here: one table, so that none does something in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any

from cl.config.options import locate
from cl.system.words import one_of
from cl.training.recipe import LOG_EVERY
from cl.types import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Callback

DEFAULTS = {
    "accelerator": "auto",
    "devices": 1,
    "max_epochs": 3,
    "log_every_n_steps": LOG_EVERY,
    "precision": "32-true",
    "accumulate_grad_batches": 1,
}
PASSED_ON = frozenset(
    {
        "accelerator",
        "accumulate_grad_batches",
        "benchmark",
        "default_root_dir",
        "detect_anomaly",
        "deterministic",
        "devices",
        "enable_autolog_hparams",
        "gradient_clip_algorithm",
        "gradient_clip_val",
        "log_every_n_steps",
        "num_nodes",
        "plugins",
        "precision",
        "profiler",
        "strategy",
        "sync_batchnorm",
    }
)
"""Lightning gets them as they are."""
OF_THE_PLAN = frozenset(
    {
        "callbacks",
        "enable_progress_bar",
        "limit_train_batches",
        "max_epochs",
        "max_steps",
        "max_time",
        "overfit_batches",
    }
)
"""They mean what Lightning documents, of each experience (`max_time`: of the command), and are carried out here.

A batch of `limit_train_batches` and `overfit_batches` is a global batch: one optimizer step. `callbacks`, instances or
dotted paths of classes, join those of cl; a class is made anew for each experience.
"""
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "barebones": ((False,), "it switches off what a run is made of: leave it out"),
    "check_val_every_n_epoch": ((1,), "validation follows each epoch where training.patience or keep_best is set"),
    "enable_checkpointing": ((False,), "checkpoints are written by cl: set run.checkpoint_steps"),
    "enable_model_summary": ((False,), "nothing shows it: leave it out"),
    "fast_dev_run": ((False, 0), "for a quick try set trainer.max_steps, or stream.limit"),
    "inference_mode": ((True,), "scores are always measured without gradients"),
    "limit_predict_batches": ((1.0,), "nothing is predicted but what is scored"),
    "limit_test_batches": ((1.0,), "scores are of whole splits: set stream.limit.test for smaller ones"),
    "limit_val_batches": ((1.0,), "scores are of whole splits: set stream.limit.valid for smaller ones"),
    "logger": ((False,), "losses and scores go to log.csv and to W&B: see the section wandb"),
    "min_epochs": ((), "an experience takes trainer.max_epochs unless training.patience ends it: set these"),
    "min_steps": ((), "an experience takes trainer.max_epochs unless training.patience ends it: set these"),
    "model_registry": ((), "checkpoints stay in the run's folder"),
    "num_sanity_val_steps": ((0,), "cl check looks at the data before a run"),
    "reload_dataloaders_every_n_epochs": ((0,), "the order is drawn anew for each epoch: see training.shuffle"),
    "use_distributed_sampler": ((False,), "cl deals batches to processes itself"),
    "val_check_interval": ((1.0,), "validation follows each epoch where training.patience or keep_best is set"),
}
"""What else they may be set to (besides null), since it is so anyway, and what to use instead."""
ALWAYS = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
    # The plan of an experience counts its own epochs and steps: to Lightning it is one long epoch.
    "max_epochs": 1,
}
SHARDING = ("fsdp", "deepspeed", "model_parallel", "ModelParallel", "FSDP", "DeepSpeed")
"""What the names of Lightning's strategies begin with that give each process a part of the weights alone."""
COUNTS = ("max_epochs", "max_steps", "log_every_n_steps", "accumulate_grad_batches")
CLOCK = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")


def problems(trainer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Keys of the section `trainer`, and what is wrong with their values."""
    for key, value in trainer.items():
        if problem := _problem(key, value):
            yield f"trainer.{key}", problem
    if trainer.get("limit_train_batches") is not None and trainer.get("overfit_batches"):
        yield "trainer.overfit_batches", " and trainer.limit_train_batches both say how much is trained on: drop one"


def for_lightning(trainer: dict[str, Any]) -> dict[str, Any]:
    """The arguments with which Lightning trains one experience."""
    mine = {key: value for key, value in trainer.items() if key in PASSED_ON}
    return mine | ALWAYS | {"callbacks": callbacks(trainer)}


def callbacks(trainer: dict[str, Any]) -> list[Callback]:
    """The user's callbacks, those that are named by a dotted path made anew."""
    return [_callback(each) if isinstance(each, str) else each for each in _listed(trainer.get("callbacks"))]


def max_time(trainer: dict[str, Any]) -> timedelta | None:
    """How long the command may train, None for as long as it takes. Raises `ValueError` for what Lightning refuses."""
    value = trainer.get("max_time")
    if value is None:
        return None
    if isinstance(value, str):
        if not (parts := CLOCK.fullmatch(value.strip())):
            raise ValueError
        days, hours, minutes, seconds = map(int, parts.groups())
        value = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
    try:
        span = timedelta(**value) if isinstance(value, dict) else value
    except (TypeError, OverflowError) as error:
        raise ValueError from error
    if not isinstance(span, timedelta) or span <= timedelta(0):
        raise ValueError
    return span


def _problem(key: str, value: Any) -> str | None:
    if key in REFUSED:
        harmless, instead = REFUSED[key]
        same = value is None or any(type(value) is type(each) and value == each for each in harmless)
        return None if same else f" is {value!r}: it has no place here: {instead}"
    if key not in PASSED_ON | OF_THE_PLAN:
        from lightning.pytorch import Trainer

        known = sorted(PASSED_ON | OF_THE_PLAN)
        if key in signature(Trainer.__init__).parameters and key != "self":
            return ": this argument of lightning's Trainer is newer than cl: leave it out"
        return f": lightning's Trainer has no such argument.{one_of(key, known)}"
    if key in COUNTS and not (type(value) is int and value > 0):
        return f" is {value!r}: give a whole number from 1 up"
    if key == "strategy" and (value if isinstance(value, str) else type(value).__name__).startswith(SHARDING):
        return (
            f" is {value!r}: it deals each weight to several processes, and penalties, projections and teachers need "
            "it whole. Use ddp; network.adapter on a base in network.dtype=bfloat16 takes little memory in each"
        )
    return _problem_of_plan(key, value)


def _problem_of_plan(key: str, value: Any) -> str | None:
    if key in ("limit_train_batches", "overfit_batches") and not _share_or_number(key, value):
        return f" is {value!r}: give a number of batches from 1 up, or a share of them such as 0.25"
    if key == "enable_progress_bar" and not (value is None or isinstance(value, bool)):
        return f" is {value!r}: give true or false"
    if key == "max_time":
        try:
            max_time({key: value})
        except ValueError:
            return f" is {value!r}: write days, hours, minutes and seconds in quotes, '00:12:00:00', or {{hours: 12}}"
    if key == "callbacks":
        return next(filter(None, map(_problem_of_callback, _listed(value))), None)
    return None


def _share_or_number(key: str, value: Any) -> bool:
    if value is None or (key == "overfit_batches" and value == 0 and not isinstance(value, bool)):
        return True
    return (type(value) is int and value > 0) or (type(value) is float and 0 < value <= 1)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _problem_of_callback(value: Any) -> str | None:
    from lightning.pytorch import Callback

    if isinstance(value, Callback):
        return None
    if not isinstance(value, str):
        return f": {value!r} is no callback: give the dotted path of a class"
    try:
        _callback(value)
    except UserError as error:
        return f": {error}"
    return None


def _callback(path: str) -> Callback:
    from lightning.pytorch import Callback

    cls = locate(path, "trainer.callbacks")
    if not (isinstance(cls, type) and issubclass(cls, Callback)):
        raise UserError(f"{path} is no subclass of lightning.pytorch.Callback")
    try:
        return cls()
    except TypeError as error:
        raise UserError(f"{path} cannot be made without arguments: {error}") from error
