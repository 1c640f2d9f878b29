"""Checkpoints are whole or absent, and the two that are kept are whole."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.training import checkpoint


def step_of(state: dict[str, Any] | None) -> int:
    assert state is not None
    return int(state["step"])


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in range(4):
        checkpoint.save(tmp_path, 0, step, {"step": torch.tensor(step)})
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == checkpoint.KEPT
    damage(kept[-1])
    assert step_of(checkpoint.load_newest(tmp_path)) == 2
    assert "damaged" in caplog.text


def test_a_damaged_one_is_not_among_the_two_kept(tmp_path: Path) -> None:
    """Not even where it is called newer than the one just written."""
    for step in (3, 6):
        checkpoint.save(tmp_path, 0, step, {"step": step})
    damage(sorted(tmp_path.iterdir())[-1])
    checkpoint.save(tmp_path, 0, 5, {"step": 5})
    found = sorted(tmp_path.iterdir())
    assert len(found) == 2
    damage(found[-1])
    assert step_of(checkpoint.load_newest(tmp_path)) == 3


def test_the_end_of_an_experience_is_newer_than_its_last_step(tmp_path: Path) -> None:
    """Both stand at the same number of steps, and digests sort by chance."""
    for attempt in range(8):
        checkpoint.save(tmp_path, 0, 10, {"step": 10, "attempt": attempt})
        checkpoint.save(tmp_path, 1, 10, {"step": 11, "attempt": attempt})
        assert step_of(checkpoint.load_newest(tmp_path)) == 11


def test_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path, 0, 1, {"step": 1})

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(checkpoint.NoSpace, match=r"needs .* MB"):
        checkpoint.save(tmp_path, 0, 2, {"step": 2})
    assert step_of(checkpoint.load_newest(tmp_path)) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_is_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    checkpoint.save(tmp_path, 0, 1, {"step": Evil()})
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load_newest(tmp_path)
    assert not (tmp_path / "executed").exists()
