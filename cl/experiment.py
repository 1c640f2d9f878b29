"""Experiments: a grid of strategies × seeds, cell by cell, and the comparison at its end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console

from cl.build import build_strategy, prepare
from cl.cell import Cell, CellRun, cells_of
from cl.config import Config, differences, to_yaml
from cl.reporting.cells import load_cells
from cl.reporting.console import print_comparison
from cl.reporting.files import read_json, write_text
from cl.reporting.report import write_report
from cl.streams.check import warnings
from cl.streams.stream import Stream
from cl.types import UserError


class CellsFailed(RuntimeError):
    """Some cells of the grid failed; the others are finished."""


def run(config: Config, *, resume: bool = False, compare: bool = True, stream: Stream | None = None) -> None:
    """Runs every cell that is not finished, then writes the comparing report.

    A cell that exists under another configuration, or unfinished without `resume`, is refused before anything
    starts. A cell that fails does not stop the others: `CellsFailed` names it at the end. `compare`: write the
    report over all cells. `stream` stands in for the configured one.
    """
    console = Console() if rank_zero_only.rank == 0 else Console(quiet=True)
    cells = cells_of(config)
    for name, plugins in config.strategies.items():
        build_strategy(plugins, name)
    todo = [cell for cell in cells if _is_open(cell, resume)] if rank_zero_only.rank == 0 else cells
    folder = Path(config.run.dir or "")
    if not todo:
        console.print(f"{folder}: every cell is finished; nothing to do")
        return
    if compare and rank_zero_only.rank == 0:
        write_text(folder / "grid.yaml", to_yaml(config))
    failed = (
        _run_apart(todo, console) if _processes(config) > 1 and len(cells) > 1 else _run_here(todo, stream, console)
    )
    if compare and rank_zero_only.rank == 0 and len(failed) < len(cells):
        found = load_cells([folder])
        report = write_report(found, folder)
        print_comparison(found, console)
        console.print(f"report: {report}")
    if failed:
        raise CellsFailed("failed: " + "; ".join(failed) + f". Fix the cause, then: cl resume {folder}")


def _run_here(cells: list[Cell], stream: Stream | None, console: Console) -> list[str]:
    prepared = prepare(cells[0].config, stream)
    for warning in warnings(prepared.stream.experiences):
        console.print(f"warning: {warning}", style="yellow", markup=False)
    failed = []
    for cell in cells:
        try:
            run = CellRun(cell, prepared, console)
            run.restore()
            run.run()
        except UserError:
            raise
        except Exception as error:
            if torch.distributed.is_initialized():
                raise  # the other ranks wait for this one
            console.print(f"{cell.name} failed: {error}", style="red", markup=False)
            console.print(traceback.format_exc(), style="dim", markup=False)
            failed.append(f"{cell.name} ({type(error).__name__}: {error})")
            continue
        if rank_zero_only.rank == 0:
            write_report(load_cells([cell.folder]), cell.folder)
    return failed


def _run_apart(cells: list[Cell], console: Console) -> list[str]:
    """Each cell in a process group of its own: ranks that failed once cannot be used again."""
    failed = []
    for cell in cells:
        write_text(cell.folder / "config.yaml", to_yaml(cell.config))
        code = subprocess.run([sys.executable, "-m", "cl", "resume", str(cell.folder)], check=False).returncode
        if code in (2, 130):
            raise SystemExit(code)
        if code:
            failed.append(f"{cell.name} (exit code {code})")
    return failed


def _is_open(cell: Cell, resume: bool) -> bool:
    """Whether a cell is still to be run; raises `UserError` where going on would lose or mix results."""
    config, folder = cell.config, cell.folder
    if config.run.overwrite and not resume:
        shutil.rmtree(folder, ignore_errors=True)
    if not (folder / "metrics.json").exists():
        return True
    there = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    changed = [key for key in differences(_settled(there), _settled(asdict(config))) if key]
    if changed:
        raise UserError(
            f"{folder} holds a run with another configuration ({', '.join(changed)} differ): choose another run.dir, or "
            "discard it with run.overwrite=true"
        )
    status = read_json(folder / "metrics.json")["status"]
    if status != "finished" and not resume:
        raise UserError(
            f"{folder} holds an unfinished run ({status}): go on with `cl resume {config.run.dir}`, or discard it with "
            "run.overwrite=true"
        )
    return bool(status != "finished")


def _settled(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides results."""
    return {key: value for key, value in config.items() if key not in ("run", "wandb")}


def _processes(config: Config) -> int:
    """Processes that Lightning would launch for a cell; 1 where somebody launched this one already."""
    if "LOCAL_RANK" in os.environ:
        return 1
    devices = config.trainer["devices"]
    if devices in ("auto", -1, "-1"):
        devices = max(1, torch.cuda.device_count())
    return (len(devices) if isinstance(devices, list) else int(devices)) * config.trainer.get("num_nodes", 1)
