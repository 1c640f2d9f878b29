"""A run folder: the union of all cells that were ever asked for there, one folder `<strategy>/seed<k>` each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

from cl.config import Config, load, to_yaml
from cl.streams.identity import Identity, changes
from cl.system.files import read_json, write_text
from cl.system.state import FINISHED, LOCK, WAITING, State, holding, is_held, state_of
from cl.system.words import one_of
from cl.training import checkpoint
from cl.types import UserError

CONFIG, DATA = "config.yaml", "data.json"
CELLS = f"*/seed*/{CONFIG}"
# How a batch is dealt out is no part of the question: by split invariance the answer is the same.
DEALING = {f"trainer.{key}" for key in ("accelerator", "devices", "num_nodes", "strategy", "accumulate_grad_batches")}
T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """`config` names one strategy and one seed; `folder` is where it leaves its results."""

    config: Config
    strategy: str
    seed: int

    @property
    def folder(self) -> Path:
        """`<run.dir>/<strategy>/seed<k>`."""
        assert self.config.run.dir is not None
        return Path(self.config.run.dir) / self.strategy / f"seed{self.seed}"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.strategy} seed {self.seed}"


# ------------------------------------------------------------------------------------------ which cells


def cells_of(config: Config) -> list[Cell]:
    """The cells of a grid, seed by seed, so that a first comparison of all strategies is there early."""
    config = replace(config, run=replace(config.run, overwrite=False))  # what is written must not discard later
    return [
        Cell(replace(config, strategies={name: config.strategies[name]}, seeds=[seed]), name, seed)
        for seed in config.seeds
        for name in config.strategies
    ]


def cells_in(folder: Path, overrides: Sequence[str] = ()) -> list[Cell]:
    """The cells that a run folder holds, or the one that `folder` is; each with the configuration it was asked with.

    Raises `UserError` where there is none.
    """
    files = [folder / CONFIG] if (folder / CONFIG).is_file() else sorted(folder.glob(CELLS))
    if not files:
        raise UserError(f"{folder}: no run is here (no <strategy>/seed<k>/{CONFIG}): give the folder `cl run` wrote")
    cells = [_cell_at(file, folder, overrides) for file in files]
    return sorted(cells, key=lambda cell: (cell.seed, cell.strategy))


def _cell_at(file: Path, asked: Path, overrides: Sequence[str]) -> Cell:
    config = load(file, overrides)
    # It may have been moved since.
    config.run.dir = str(asked.resolve().parent.parent if file.parent == asked else asked)
    (cell,) = cells_of(config)
    if cell.folder.resolve() != file.parent.resolve():
        raise UserError(f"{file}: the folder is not that of {cell.name}; it was renamed, or its config was edited")
    return cell


def chosen(cells: Sequence[Cell], strategies: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Cell]:
    """The cells of these strategies and seeds; of all, where none is named. Raises `UserError` for unknown ones."""
    _check_known("--only", "strategies", strategies, [cell.strategy for cell in cells])
    _check_known("--seed", "seeds", seeds, [cell.seed for cell in cells])
    return [c for c in cells if (not strategies or c.strategy in strategies) and (not seeds or c.seed in seeds)]


def _check_known(option: str, key: str, asked: Sequence[T], known: Iterable[T]) -> None:
    names = dict.fromkeys(map(str, known))
    for one in asked:
        if str(one) not in names:
            raise UserError(
                f"{option} {one}: it chooses among the {key} of the configuration, and {one} is none of them."
                f"{one_of(str(one), names)} To add it, set `{key}`"
            )


# --------------------------------------------------------------------------------- what may go in there


def usable(path: str) -> Path:
    """The folder of that name, made if need be. Raises `UserError` where runs cannot be kept."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"run.dir: cannot write to {folder}: {error.strerror}. Choose another folder") from error
    there = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if there and not list(folder.glob(CELLS)):
        raise UserError(f"run.dir: {folder} holds something that is no run ({there[0]}). Choose another folder")
    return folder


def refuse_other_config(
    folder: Path, cells: Sequence[Cell], discard: bool, may_change: bool, warn: Callable[[str], None]
) -> None:
    """Raises `UserError` where a cell of the folder answers another question than these cells.

    `discard`: these cells will start anew. `may_change`: an unfinished one of them may go on with other options of
    training than it began with; what is different is warned of.
    """
    ours = {cell.folder.resolve(): cell for cell in cells}
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
        changed = differences(asdict(load(file)), asdict((cell or cells[0]).config))
        free = ("run", "wandb") if cell else ("run", "wandb", "strategies", "seeds")
        changed = [key for key in changed if key.split(".")[0] not in free and key not in DEALING]
        training = all(key.split(".")[0] in ("training", "trainer") for key in changed)
        if not changed:
            continue
        if may_change and cell and training and not (state and state.name == FINISHED):
            warn(f"{cell.name} goes on with another configuration than it began with ({', '.join(changed)} differ)")
            continue
        raise UserError(
            f"{there} holds a run with another configuration ({', '.join(changed)} differ): choose another "
            f"run.dir, or {'discard it with run.overwrite=true' if cell else 'delete it'}"
        )


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
            for path in cell.folder.iterdir():
                if path.name != LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        return gone


def ask_for(cells: Sequence[Cell]) -> None:
    """Notes cells that are new to their run folder, so that `cl resume` knows of them."""
    for cell in cells:
        try:
            cell.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{cell.folder}: cannot write there: {error.strerror}. Choose another run.dir") from error
        with holding(cell.folder) as mine:
            if mine and state_of(cell.folder) in (None, State(WAITING)):
                write_text(cell.folder / CONFIG, to_yaml(cell.config))
                State(WAITING).write(cell.folder)


# ------------------------------------------------------------------------------------- looking and cleaning


@dataclass(frozen=True)
class Entry:
    """A cell as `cl status` shows it; `num_bytes` of all its files, `checkpoint_bytes` of its checkpoints, of which the
    newest has `step` optimizer steps behind it.
    """

    cell: Cell
    state: State
    num_bytes: int
    checkpoint_bytes: int
    step: int | None


def entries(folder: Path) -> Iterator[Entry]:
    """The cells of a run folder, or the one that it is."""
    for cell in cells_in(folder):
        state = state_of(cell.folder) or State("unknown")
        kept = cell.folder / checkpoint.FOLDER
        yield Entry(cell, state, _size(cell.folder), _size(kept), checkpoint.newest_step(kept))


def clean(folder: Path) -> int:
    """Deletes the checkpoints of finished cells; the bytes that this sets free."""
    freed = 0
    for entry in entries(folder):
        if entry.state.name == FINISHED and not is_held(entry.cell.folder):
            freed += entry.checkpoint_bytes
            shutil.rmtree(entry.cell.folder / checkpoint.FOLDER, ignore_errors=True)
    return freed


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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
