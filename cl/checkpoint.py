"""Checkpoints: whole or absent, tensors and plain values only, the newest two of a cell."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from cl.types import UserError

KEPT = 2


def save(folder: Path, number: int, state: dict[str, Any]) -> None:
    """Writes `experience-<number>.pt` such that a crash leaves it whole or absent, and drops old ones."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _path(folder, number)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    for old in _numbers(folder)[:-KEPT]:
        _path(folder, old).unlink()


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint's state on the CPU, None where there is none."""
    numbers = _numbers(folder)
    if not numbers:
        return None
    path = _path(folder, numbers[-1])
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: damaged ({error}); delete it to resume from the one before") from error
    return state


def _path(folder: Path, number: int) -> Path:
    return folder / f"experience-{number:04d}.pt"


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("experience-*.pt"))
