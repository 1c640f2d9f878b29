"""Checkpoints: whole or absent, tensors and plain values only, the newest two whole ones of a cell while it runs.

A file is named `e<experiences learnt>-s<steps taken>-<digest>.pt`, which sorts by age; the digest of its bytes tells
a torn or damaged one.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from cl.config.schema import Keep

log = logging.getLogger(__name__)
FOLDER = "checkpoints"  # in that of a cell
KEPT = 2


class NoSpace(RuntimeError):
    """The disk has no room for a checkpoint; those written before are whole."""


def save(folder: Path, num_learnt: int, num_steps: int, state: dict[str, Any], keep: Keep = "final") -> None:
    """Writes a checkpoint under a temporary name, syncs, renames, and drops all but it and the whole one before.

    With `keep` all, those that end an experience stay too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    import torch  # not above: `cl status` looks at checkpoints without loading any

    temporary = folder / "writing.tmp"
    written: _Written | None = None
    try:
        with temporary.open("wb") as file:
            written = _Written(file)
            torch.save(state, written)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        cause = error if written is None or written.error is None else written.error
        if not isinstance(cause, OSError) or cause.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise NoSpace(
            f"{folder}: a checkpoint needs about {_num_bytes(state) / 1e6:.1f} MB, and "
            f"{shutil.disk_usage(folder).free / 1e6:.1f} MB are free; the one before is whole. Make room, then resume"
        ) from error
    path = folder / f"e{num_learnt:04d}-s{num_steps:08d}-{written.digest}.pt"
    os.replace(temporary, path)
    _sync(folder)
    kept, ends = 1, _ends(folder) if keep == "all" else ()
    for old in reversed(_files(folder)):
        if old == path or old in ends:
            continue
        if kept < KEPT and _whole(old):
            kept += 1
        else:
            old.unlink()


def tidy(folder: Path, keep: Keep) -> None:
    """What stays of a finished cell's checkpoints: the final one, none, or one of the end of each experience."""
    if keep == "none":
        shutil.rmtree(folder)
        return
    stays = _ends(folder) if keep == "all" else _files(folder)[-1:]
    for path in set(_files(folder)) - set(stays):
        path.unlink()


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint's state on the CPU, with a warning for each damaged one; None without any."""
    for path in reversed(_files(folder)):
        if _whole(path):
            return _read(path)
        log.warning("%s is damaged: going on from the checkpoint before it", path)
    return None


def load_end(folder: Path, num_learnt: int) -> dict[str, Any] | None:
    """The state on the CPU at the end of an experience, the last of so many; None where no whole checkpoint has it."""
    found = [path for path in _ends(folder) if path.name.startswith(f"e{num_learnt:04d}-") and _whole(path)]
    return _read(found[0]) if found else None


def newest_step(folder: Path) -> int | None:
    """How many optimizer steps the newest checkpoint has behind it; None without any."""
    files = _files(folder)
    return int(files[-1].name.split("-")[1].removeprefix("s")) if files else None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("e*-s*-*.pt"))


def _ends(folder: Path) -> list[Path]:
    """The checkpoints that were saved at the end of an experience: the first with each number of them learnt."""
    first: dict[str, Path] = {}
    for path in _files(folder):
        first.setdefault(path.name.partition("-")[0], path)
    return [path for learnt, path in first.items() if learnt != "e0000"]


def _read(path: Path) -> dict[str, Any]:
    import torch  # as above

    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _whole(path: Path) -> bool:
    """Whether a file is as it was written."""
    with path.open("rb") as file:
        return path.stem.split("-")[-1] == _short(hashlib.file_digest(file, "sha256"))


def _sync(folder: Path) -> None:
    """Has the names in a folder on the disk, as `fsync` has a file's content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Written:
    """A file that is being written, and the digest of what has been: a checkpoint is never in memory as a whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.error: OSError | None = None  # torch hides it behind one of its own

    def write(self, content: bytes | memoryview) -> int:
        """Writes, and hashes what it writes."""
        self._hash.update(content)
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """As of a file."""
        self._file.flush()

    @property
    def digest(self) -> str:
        """Of all that was written."""
        return _short(self._hash)


def _short(digest: Any) -> str:
    return str(digest.hexdigest()[:16])


def _num_bytes(state: Any) -> int:
    """Bytes of all tensors of a state."""
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(map(_num_bytes, parts)) + getattr(state, "nbytes", 0)
