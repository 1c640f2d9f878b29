"""The state of a cell: a record of its own, beside the lock of whoever works on it.

A cell is a folder `<run>/<strategy>/seed<k>`. The system lets go of a lock however its process ends, so that a state
`running` without a lock is that of a process that was killed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from cl.system.files import read_json, write_json
from cl.types import UserError

WAITING, RUNNING, FINISHED, KILLED = "waiting", "running", "finished", "killed"
FILE, LOCK = "state.json", ".lock"
PATIENCE = 0.2  # seconds: to look at a lock takes it for a moment, which is not to be mistaken for work


@dataclass(frozen=True)
class State:
    """`name`: waiting, running, interrupted, failed, diverged or finished; or killed, of a process that is gone.

    `num_learnt` of `num_experiences`; `reason`: of a failure; `started_in`: the folder that relative paths start from.
    """

    name: str
    num_learnt: int = 0
    num_experiences: int = 0
    reason: str = ""
    started_in: str = ""

    def write(self, cell: Path) -> None:
        """Replaces the record of a cell."""
        write_json(cell / FILE, asdict(self))


def state_of(cell: Path) -> State | None:
    """The state of a cell, None where it has no record. Raises `UserError` for a damaged one."""
    if not (cell / FILE).is_file():
        return None
    try:
        state = State(**read_json(cell / FILE))
    except TypeError as error:
        raise UserError(f"{cell / FILE}: damaged ({error}): restore it, or delete this cell's folder") from error
    return replace(state, name=KILLED) if state.name == RUNNING and not is_held(cell) else state


def is_finished(cell: Path) -> bool:
    """Whether a cell has learnt its whole stream."""
    state = state_of(cell)
    return state is not None and state.name == FINISHED


@contextmanager
def holding(cell: Path) -> Iterator[bool]:
    """Holds the lock of a cell; False where another process does. The folder must exist.

    Raises `UserError` where this user may not write.
    """
    lock = FileLock(cell / LOCK, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except PermissionError as error:
        raise UserError(f"{cell}: you cannot write there: the run is somebody else's") from error
    try:
        yield True
    finally:
        lock.release()


def is_held(cell: Path) -> bool:
    """Whether a live process works on a cell. To look needs no right to write."""
    try:
        file = os.open(cell / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
