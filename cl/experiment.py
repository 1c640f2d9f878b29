"""Experiments: a grid of strategies × seeds, cell by cell, and the comparison at its end."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from rich.console import Console

from cl.allocator import freed_memory_kept
from cl.build import Prepared, build_strategy, num_processes, prepare
from cl.cell import Cell, CellRun, cells_of
from cl.config import Config, load, to_yaml
from cl.config.trainer import max_time
from cl.learner import Diverged
from cl.ranks import is_first, on_any
from cl.reporting.cells import load_cells
from cl.reporting.console import print_comparison
from cl.reporting.files import read_json, write_text
from cl.reporting.report import write_report
from cl.signals import Stopped, StopRequest
from cl.streams.stream import Stream
from cl.types import UserError

# How a batch is dealt out is no part of the question: by split invariance the answer is the same.
DEALING = {f"trainer.{key}" for key in ("accelerator", "devices", "num_nodes", "strategy", "accumulate_grad_batches")}


class CellsFailed(RuntimeError):
    """Some cells of the grid failed; the others are finished."""


def run(
    config: Config,
    *,
    resume: bool = False,
    changed: bool = False,
    compare: bool = True,
    stream: Stream | None = None,
) -> None:
    """Runs every cell that is not finished, then writes the comparing report.

    Where going on would lose or mix results, it is refused before anything starts. A cell that fails does not stop
    the others: `CellsFailed` names it at the end. `changed`: a resumed cell may go on with other options of training
    than it began with. `compare`: write the report over all cells. `stream` stands in for the configured one.
    """
    console = Console(quiet=not is_first())
    for name, plugins in config.strategies.items():
        build_strategy(plugins, name)
    discard = config.run.overwrite and not resume
    config = replace(config, run=replace(config.run, overwrite=False))  # what is written must not discard later
    folder = _folder(config)
    cells = cells_of(config)
    if is_first():
        for warning in _refuse_mixture(cells, config, discard, resume, changed):
            _say(console, f"warning: {warning}", "yellow")
    todo = [cell for cell in cells if discard or _status(cell.folder) != "finished"]
    if not todo and ((folder / "report.html").exists() or not compare):
        _say(console, f"{folder}: every cell is finished; nothing to do")
        return
    grid = folder / "grid.yaml" if compare else None
    try:
        failed = _train(todo, config, stream, discard, grid, console) if todo else []
    except (Stopped, KeyboardInterrupt) as stop:
        if isinstance(stop, Stopped) and not is_first():
            raise SystemExit(0) from stop  # as agreed: a launcher must not take it for a failure and kill rank 0
        if grid is None or grid.exists():
            _say(console, f"interrupted; go on with: cl resume {cells[0].folder if grid is None else folder}")
        raise KeyboardInterrupt from stop
    if compare and is_first() and len(failed) < len(cells):
        found = load_cells([folder])
        report = write_report(found, folder)
        print_comparison(found, console)
        _say(console, f"report: {report}")
    if failed and is_first():  # one is enough to tell; a launcher kills rank 0 if another fails
        raise CellsFailed("failed: " + "; ".join(failed) + f". Fix the cause, then: cl resume {folder}")


def _train(
    cells: Sequence[Cell], config: Config, stream: Stream | None, discard: bool, grid: Path | None, console: Console
) -> list[str]:
    """Trains the cells, once it is clear that they can be trained; those that failed, and why."""
    launched = "LOCAL_RANK" in os.environ
    # Processes that failed once cannot be used again: of several cells of several ranks, each gets a group of its own.
    apart = not launched and num_processes(config.trainer) > 1 and len(cells) > 1
    prepared = None if apart else prepare(config, stream)
    if is_first():
        for cell in cells if discard else ():
            shutil.rmtree(cell.folder, ignore_errors=True)
        if grid is not None:
            write_text(grid, to_yaml(config))
    return _run_apart(cells) if prepared is None else _run_here(cells, prepared, discard, console)


def _run_here(cells: Sequence[Cell], prepared: Prepared, discard: bool, console: Console) -> list[str]:
    """The cells that failed, and why."""
    for warning in prepared.warnings:
        _say(console, f"warning: {warning}", "yellow")
    failed, stop = [], StopRequest(max_time=max_time(cells[0].config.trainer))
    with stop.listening(), freed_memory_kept():
        for cell in cells:
            try:
                _run_one(cell, prepared, discard, console, stop)
            except UserError:
                raise
            except Exception as error:
                if torch.distributed.is_initialized() and not isinstance(error, Diverged):
                    raise  # the other ranks wait for this one
                _say(console, f"{cell.name} failed: {error}", "red")
                _say(console, traceback.format_exc(), "dim")
                failed.append(f"{cell.name} ({type(error).__name__}: {error})")
            finally:
                gc.collect()  # learner and trainer refer to each other; the next network needs the room
    return failed


def _run_one(cell: Cell, prepared: Prepared, discard: bool, console: Console, stop: StopRequest) -> None:
    run = CellRun(cell, prepared, console, stop)
    if not discard:  # whether rank 0 has come to delete the old checkpoints or not
        run.restore()
    run.run()
    if is_first():
        write_report(load_cells([cell.folder]), cell.folder)
    if on_any(stop.made):  # while the report was written
        raise Stopped


def _run_apart(cells: Sequence[Cell]) -> list[str]:
    """The cells that failed, each run by a command of its own."""
    failed, clock = [], StopRequest(max_time=max_time(cells[0].config.trainer))
    for cell in cells:
        write_text(cell.folder / "config.yaml", to_yaml(cell.config))
        process = subprocess.Popen([sys.executable, "-m", "cl", "resume", str(cell.folder)])
        # As SIGTERM, whatever came: from a terminal SIGINT reaches both, and a second one would not let it save.
        with StopRequest(process.terminate).listening():
            try:
                code = process.wait(timeout=clock.seconds_left)
            except subprocess.TimeoutExpired:
                process.terminate()  # it saves, and ends as interrupted
                code = process.wait()
        if code == 130:
            raise Stopped
        if code == 2:
            raise SystemExit(2)  # the mistake was told
        if code:
            failed.append(f"{cell.name} (exit code {code})")
    return failed


def _folder(config: Config) -> Path:
    folder = Path(str(config.run.dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"run.dir: cannot write to {folder}: {error.strerror}. Choose another folder") from error
    there = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if there and not (folder / "grid.yaml").exists() and not list(folder.glob("*/seed*/config.yaml")):
        raise UserError(f"run.dir: {folder} holds something that is no run ({sorted(there)[0]}). Choose another folder")
    return folder


def _refuse_mixture(cells: Sequence[Cell], config: Config, discard: bool, resume: bool, told: bool) -> Iterator[str]:
    """Raises `UserError` where a cell is unfinished or under way, or one in the folder answers another question.

    Yields what is different about a resumed cell, where that is as was `told`.
    """
    ours = {cell.folder: cell for cell in cells}
    for folder in (path.parent for path in sorted(Path(str(config.run.dir)).glob("*/seed*/metrics.json"))):
        cell = ours.get(folder)
        if cell and discard:
            continue
        changed = differences(asdict(load(folder / "config.yaml")), asdict(cell.config if cell else config))
        free = ("run", "wandb") if cell else ("run", "wandb", "strategies", "seeds")
        changed = [key for key in changed if key.split(".")[0] not in free and key not in DEALING]
        training = all(key.split(".")[0] in ("training", "trainer") for key in changed)
        if changed and told and cell and training and _status(folder) != "finished":
            yield f"{cell.name} goes on with another configuration than it began with ({', '.join(changed)} differ)"
        elif changed:
            raise UserError(
                f"{folder} holds a run with another configuration ({', '.join(changed)} differ): choose another "
                f"run.dir, or {'discard it with run.overwrite=true' if cell else 'delete it'}"
            )
        if cell and not resume and (status := _status(folder)) != "finished":
            raise UserError(
                f"{folder} holds an unfinished run ({status}): go on with `cl resume {config.run.dir}`, or discard it "
                "with run.overwrite=true"
            )


def _status(folder: Path) -> str | None:
    """What became of a cell, None if it never started."""
    file = folder / "metrics.json"
    return str(read_json(file).get("status")) if file.exists() else None


def differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys by which two nested mappings differ."""
    keys: list[str] = []
    for key in sorted({*a, *b}, key=str):
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            keys += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            keys.append(f"{prefix}{key}")
    return keys


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, soft_wrap=True)
