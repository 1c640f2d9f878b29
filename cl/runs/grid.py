"""Experiments: a grid of strategies × seeds, cell by cell, and the comparison at its end."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from cl.config import Config, completed, to_yaml
from cl.config.trainer import max_time
from cl.reporting.cells import load_cells
from cl.reporting.console import print_comparison
from cl.reporting.report import reporting_on, write_report
from cl.runs.cell import CellRun
from cl.runs.cells import CONFIG, Cell, cells_in, cells_of, chosen
from cl.runs.disk import is_behind
from cl.runs.folder import ask_for, changed_code, discard, refuse_other_config, refuse_other_data, take_back, usable
from cl.runs.learners import num_processes
from cl.runs.needs import refuse_what_cannot_fit
from cl.runs.prepare import Prepared, prepare
from cl.runs.results import Results
from cl.runs.strategies import build_strategy
from cl.streams.stream import Stream
from cl.system.allocator import freed_memory_kept
from cl.system.files import write_text
from cl.system.notices import Notices, keep
from cl.system.printing import console_for, say
from cl.system.ranks import is_first, on_any
from cl.system.signals import Stopped, StopRequest
from cl.system.state import holding, is_finished, is_held
from cl.training.outcome import Diverged
from cl.types import UserError

log = logging.getLogger(__name__)


class CellsFailed(RuntimeError):
    """Some cells of the grid failed; the others are finished."""


def run(
    config: Config, *, only: Sequence[str] = (), seeds: Sequence[int] = (), stream: Stream | None = None
) -> Results:
    """Runs every cell that is not finished, from its last checkpoint if it has one, then writes the comparison.

    What the run folder then holds is returned.

    `only`, `seeds`: the strategies and seeds to run, default all. Where going on would lose or mix results, it is
    refused before anything starts. A cell that fails does not stop the others: `CellsFailed` names it at the end.
    `stream` stands in for the configured one.
    """
    config = completed(config)
    folder = usable(str(config.run.dir))
    cells = chosen(cells_of(config), only, seeds)
    _run(Grid(folder, cells, discards=config.run.overwrite, compares=True, stream=stream))
    return Results.of(folder)


def resume(folder: Path, overrides: Sequence[str] = (), *, only: Sequence[str] = (), seeds: Sequence[int] = ()) -> None:
    """Goes on with every cell of a run folder that is not finished; or with one, if `folder` is that of a cell.

    An override of `training` or `trainer` lets unfinished cells go on with other options than they began with.
    """
    cells = chosen(cells_in(folder, overrides), only, seeds)
    run_folder = Path(str(cells[0].config.run.dir))
    whole = run_folder.resolve() == folder.resolve()
    _run(Grid(run_folder, cells, may_change=bool(overrides), compares=whole))


@dataclass(frozen=True)
class Grid:
    """What is asked for: some cells of a run folder. `discards`: they start anew. `compares`: write the report at the
    end. `may_change`: unfinished ones may go on with other options of training.
    """

    folder: Path
    cells: Sequence[Cell]
    compares: bool
    discards: bool = False
    may_change: bool = False
    stream: Stream | None = None


def _run(grid: Grid) -> None:
    console = console_for(quiet=not is_first())
    notices = Notices(console)
    with notices.listening():
        for cell in grid.cells:
            build_strategy(cell.config.strategies[cell.strategy], cell.strategy, cell.config.network.adapter)
        if is_first():
            refuse_other_config(grid.folder, grid.cells, grid.discards, grid.may_change, log.warning)
        todo = [cell for cell in grid.cells if grid.discards or not is_finished(cell.folder)]
        if not todo:
            say(console, f"{grid.folder}: every cell is finished; nothing to do")
            for _, text in changed_code(grid.folder, grid.cells):
                log.warning(text)
            if not (grid.compares and is_first() and is_behind(grid.folder)):
                return
        if 0 < len(todo) < len(grid.cells):
            say(console, f"{len(grid.cells) - len(todo)} of {len(grid.cells)} cells are finished already")
        try:
            failed = _train(grid, todo, console, notices) if todo else []
        except (Stopped, KeyboardInterrupt) as stop:
            if isinstance(stop, Stopped) and not is_first():
                raise SystemExit(0) from stop  # as agreed: a launcher must not take it for a failure and kill rank 0
            if grid.cells[0].folder.exists():
                again = grid.folder if grid.compares else grid.cells[0].folder
                say(console, f"{str(stop) or 'interrupted'}; go on with: cl resume {again}")
            else:
                say(console, f"{str(stop) or 'interrupted'} before anything was written")
            raise KeyboardInterrupt from stop
        if grid.compares and is_first() and len(failed) < len(grid.cells):
            _compare(grid.folder, console)
        if failed and is_first():  # one is enough to tell; a launcher kills rank 0 if another fails
            raise CellsFailed("failed: " + "; ".join(failed) + f". Fix the cause, then: cl resume {grid.folder}")


def _train(grid: Grid, todo: Sequence[Cell], console: Console, notices: Notices) -> list[str]:
    """Trains the cells, once it is clear that they can be trained; those that failed, and why."""
    config = todo[0].config
    launched = "LOCAL_RANK" in os.environ
    # Processes that failed once cannot be used again: of several cells of several ranks, each gets a group of its own.
    in_processes = not launched and num_processes(config.trainer) > 1 and len(todo) > 1
    if in_processes and grid.stream is not None:
        raise UserError(
            "a stream made in Python cannot be handed to several processes for several cells: run them one by one "
            "(only=[…], seeds=[…]), or name a function that makes it as stream.scenario"
        )
    prepared = prepare(config, grid.stream)
    every = replace(config, strategies={cell.strategy: cell.config.strategies[cell.strategy] for cell in todo})
    prepared.warnings.extend(
        refuse_what_cannot_fit(every, prepared.backbone, prepared.evaluator, list(every.strategies))
    )
    if is_first():
        refuse_other_data(grid.folder, prepared.identity, prepared.encoded, todo if grid.discards else ())
        if grid.discards and (gone := discard(todo)):
            say(console, f"discarded: {', '.join(gone)}")
        before = ask_for(todo, log.warning)
        for cell, text in changed_code(grid.folder, todo):
            log.warning(text)
            keep(cell.folder, [text])
    else:
        before = {}
    if in_processes:
        return _run_in_processes(todo, console)
    return _run_here(todo, prepared, grid.discards, before, console, notices)


def _run_here(
    cells: Sequence[Cell],
    prepared: Prepared,
    anew: bool,
    before: dict[Path, str],
    console: Console,
    notices: Notices,
) -> list[str]:
    """The cells that failed, and why. `before`: configurations that were changed for this run, see `ask_for`."""
    for warning in prepared.warnings:
        log.warning(warning)
    failed, stop = list[str](), StopRequest(max_time=max_time(cells[0].config.trainer))
    # Closed, so that a lock goes with whatever ends the loop.
    with stop.listening(), freed_memory_kept(), closing(_free(cells, console)) as free:
        for cell in free:
            try:
                _run_one(CellRun(cell, prepared, console, notices, stop), anew)
                if cell is not cells[-1] and on_any(stop.made):  # while the cell came to its end
                    raise Stopped(stop.reason)
            except UserError as error:
                if cell.folder in before and is_first():
                    take_back(cell, before[cell.folder], log.warning)
                if len(cells) == 1 or torch.distributed.is_initialized():
                    raise
                say(console, f"{cell.name} failed: {error}", "red")
                failed.append(f"{cell.name} ({error})")
            except Exception as error:
                if torch.distributed.is_initialized() and not isinstance(error, Diverged):
                    raise  # the other ranks wait for this one
                say(console, f"{cell.name} failed: {error}", "red")
                say(console, traceback.format_exc(), "dim")
                failed.append(f"{cell.name} ({type(error).__name__}: {error})")
            finally:
                gc.collect()  # learner and trainer refer to each other; the next network needs the room
    return failed


def _free(cells: Sequence[Cell], console: Console) -> Generator[Cell]:
    """Cell after cell, with its lock held on rank 0 (others follow it); those of other processes are left to them.

    Raises `UserError` where every cell is.
    """
    busy = []
    for cell in cells:
        if not is_first():
            yield cell
            continue
        with holding(cell.folder) as mine:
            if not mine:
                busy.append(str(cell.folder))
            elif not is_finished(cell.folder):  # by another process, since this one looked
                yield cell
    if len(busy) == len(cells):
        raise UserError(f"{', '.join(busy)}: another process is running this cell; wait for it, or stop it first")
    if busy:
        say(console, f"left to other processes, which are running them: {', '.join(busy)}")


def _run_one(run: CellRun, anew: bool) -> None:
    if not anew:  # whether rank 0 has come to delete the old checkpoints or not
        run.restore()
    run.run()


def _run_in_processes(cells: Sequence[Cell], console: Console) -> list[str]:
    """The cells that failed, each run by a command of its own, which takes the cell's lock."""
    for cell in _free(cells, console):
        write_text(cell.folder / CONFIG, to_yaml(cell.config))
    failed, clock = [], StopRequest(max_time=max_time(cells[0].config.trainer))
    for cell in cells:
        if is_held(cell.folder) or is_finished(cell.folder):
            continue
        process = subprocess.Popen([sys.executable, "-m", "cl", "resume", str(cell.folder.resolve())])
        # As SIGTERM, whatever came: from a terminal SIGINT reaches both, and a second one would not let it save.
        with StopRequest(process.terminate).listening():
            try:
                code = process.wait(timeout=clock.seconds_left)
            except subprocess.TimeoutExpired:
                process.terminate()  # it saves, and ends as interrupted
                code = process.wait()
        if code == 130:
            raise Stopped(clock.reason)
        if code == 2:
            raise SystemExit(2)  # it has printed the mistake
        if code:
            failed.append(f"{cell.name} (exit code {code})")
    return failed


def _compare(folder: Path, console: Console) -> None:
    with reporting_on(folder):
        found = load_cells([folder])
        report = write_report(found, folder)
    print_comparison(found, console)
    say(console, f"report: {report}")
