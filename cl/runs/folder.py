"""What may go into a run folder: the union of all cells that were ever asked for there, on one and the same data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from cl.config import load, to_yaml
from cl.runs.cells import CELLS, CONFIG, DATA, Cell
from cl.runs.disk import empty
from cl.runs.strategies import code_of
from cl.streams.identity import Identity, changes
from cl.system import notices
from cl.system.files import read_json, write_text
from cl.system.state import FILE, FINISHED, LOCK, WAITING, State, holding, is_finished, state_of
from cl.training import checkpoint
from cl.types import UserError

# What is no part of the question. How a batch is dealt out: by split invariance the answer is the same. And what is
# said and measured on the way.
DEALING = ("accelerator", "devices", "num_nodes", "strategy", "accumulate_grad_batches")
TELLING = ("max_time", "log_every_n_steps", "enable_progress_bar", "profiler", "default_root_dir", "detect_anomaly")
FREE = {f"trainer.{key}" for key in (*DEALING, *TELLING)} | {"evaluate.batch_size", "evaluate.predictions"}


def usable(path: str) -> Path:
    """The folder of that name, made if need be. Raises `UserError` where runs cannot be kept."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"run.dir: cannot write to {folder}: {error.strerror}. Choose another folder") from error
    # Folders without a file are those of cells that nothing came of: of a process that was killed, or a full disk.
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    seen = (path for path in files if not any(part.startswith(".") for part in path.parts))
    if not list(folder.glob(CELLS)) and (there := next(seen, None)):
        raise UserError(f"run.dir: {folder} holds something that is no run ({there}). Choose another folder")
    return folder


def refuse_other_config(
    folder: Path, cells: Sequence[Cell], discard: bool, may_change: bool, warn: Callable[[str], None]
) -> None:
    """Raises `UserError` where a cell of the folder answers another question than these cells.

    `discard`: these cells will start anew. `may_change`: unfinished ones may go on with other options of training than
    they began with (`ask_for` notes that); of cells beside them that have other ones is warned.
    """
    ours = {cell.folder.resolve(): cell for cell in cells}
    goes_on = may_change and not all(is_finished(cell.folder) for cell in cells)
    for file in sorted(folder.glob(CELLS)):
        there, cell = file.parent, ours.get(file.parent.resolve())
        state = state_of(there)
        if cell and (discard or (state and state.name == WAITING)):
            continue
        if state is None and (there / "metrics.json").is_file():
            raise UserError(
                f"{there} was run by an earlier edition, which this one cannot go on with (`cl report` reads it): "
                "choose another run.dir, or delete it"
            )
        changed = _changed(file, cell or cells[0], () if cell else ("strategies", "seeds"))
        training = all(key.split(".")[0] in ("training", "trainer") for key in changed)
        if not changed:
            continue
        if goes_on and training:
            if not cell or (state and state.name == FINISHED):
                warn(f"{there} is of another configuration ({'; '.join(changed.values())}): the table compares them")
            continue
        raise UserError(
            f"{there} holds a run with another configuration ({', '.join(changed)} differ): choose another "
            f"run.dir, or {'discard it with run.overwrite=true' if cell else 'delete it'}"
        )


def _changed(file: Path, cell: Cell, leave_out: Iterable[str] = ()) -> dict[str, str]:
    """The keys of the question by which a cell differs from what a file says, each as `key: before → now`."""
    free, (before, now) = {"run", "wandb", *leave_out}, (asdict(load(file)), asdict(cell.config))
    found = (key for key in differences(before, now) if key.split(".")[0] not in free and key not in FREE)
    return {key: f"{key}: {_at(before, key)} → {_at(now, key)}" for key in found}


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def refuse_other_data(folder: Path, now: Sequence[Identity], encoded: str, discarded: Iterable[Cell]) -> None:
    """Raises `UserError` where a cell of the folder was trained on other data, naming what is different.

    `encoded`: a hash of what the tokenizer makes of the data.
    """
    gone = {cell.folder.resolve() for cell in discarded}
    for file in sorted(folder.glob(CELLS)):
        record = file.parent / DATA
        if file.parent.resolve() in gone or not record.is_file():
            continue
        before = read_json(record)
        found = changes(before["experiences"], now)
        if not found and before["encoded"] != encoded:
            found = ["what the tokenizer makes of the same texts"]
        if found:
            raise UserError(
                f"the data is not what {file.parent} began with; changed: {'; '.join(found)}. All cells of a folder "
                "share their data: bring the old data back, choose another run.dir, or start every cell of the folder "
                "anew with run.overwrite=true"
            )


def changed_code(folder: Path, cells: Sequence[Cell]) -> Iterator[tuple[Cell, str]]:
    """Of these cells those with a plugin of the user's whose code is not that of a cell in the folder, and which.

    It is no error, for a mistake may have been mended; but results of two versions are not those of one.
    """
    known: dict[str, dict[str, list[str]]] = {}
    for file in sorted(folder.glob(f"*/seed*/{DATA}")):
        for path, code in read_json(file).get("code", {}).items():
            known.setdefault(path, {}).setdefault(code, []).append(f"{file.parent.parent.name} {file.parent.name}")
    for cell in cells:
        for path, code in code_of(cell.config.strategies[cell.strategy]).items():
            others = [name for other, names in known.get(path, {}).items() if other != code for name in names]
            if others:
                yield cell, f"{path} has changed since {', '.join(others[:3])} began: the table compares two versions"


def discard(cells: Sequence[Cell]) -> list[str]:
    """Empties the folders of those cells that have started, all or none; what was in them.

    Raises `UserError` where another process works on one of them.
    """
    started = [cell for cell in cells if cell.folder.is_dir()]
    with ExitStack() as stack:
        for cell in started:
            if not stack.enter_context(holding(cell.folder)):
                raise UserError(f"{cell.folder}: another process is running this cell: stop it before overwriting it")
        gone = []
        for cell in started:
            if state := state_of(cell.folder):
                gone.append(f"{cell.name} (learnt {state.num_learnt}/{state.num_experiences})")
            # Checkpoints first, and what they were asked for last: nobody may go on with them under another question.
            order = {checkpoint.FOLDER: 0, FILE: 2, CONFIG: 3}
            paths = [path for path in cell.folder.iterdir() if path.name != LOCK]
            for path in sorted(paths, key=lambda path: order.get(path.name, 1)):
                empty(path) if path.is_dir() else path.unlink()
        return gone


def ask_for(cells: Sequence[Cell], warn: Callable[[str], None]) -> dict[Path, str]:
    """Notes in the run folder what is asked for, so that `cl resume` knows of it: cells that are new there, and other
    options of cells that go on, which `warn` is called with and their warnings keep.

    The configuration of each such cell as it was, by folder: for `take_back`.
    """
    before: dict[Path, str] = {}
    for cell in cells:
        try:
            cell.folder.mkdir(parents=True, exist_ok=True)
            with holding(cell.folder) as mine:
                if mine:
                    before |= _note(cell, warn)
        except OSError as error:
            raise UserError(f"{cell.folder}: cannot write there: {error.strerror}. Choose another run.dir") from error
    return before


def take_back(cell: Cell, before: str, warn: Callable[[str], None]) -> None:
    """Gives a cell the configuration that it had before other options were noted, with which it could not go on."""
    text = f"{cell.name} could not go on with these options, and keeps those it had"
    warn(text)
    notices.keep(cell.folder, [text])
    write_text(cell.folder / CONFIG, before)


def _note(cell: Cell, warn: Callable[[str], None]) -> dict[Path, str]:
    state, file = state_of(cell.folder), cell.folder / CONFIG
    if state is None or not file.is_file():
        write_text(file, to_yaml(cell.config))
        State(WAITING, started_in=os.getcwd()).write(cell.folder)
        return {}
    changed = _changed(file, cell) if state.name != FINISHED else {}
    if not changed:
        return {}
    before, was = file.read_text(encoding="utf-8"), "was asked for" if state.name == WAITING else "began"
    text = f"{cell.name} goes on with another configuration than it {was} with: {'; '.join(changed.values())}"
    warn(text)
    notices.keep(cell.folder, [text])
    write_text(file, to_yaml(cell.config))
    return {cell.folder: before}


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
