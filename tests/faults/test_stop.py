"""A request to stop, whichever rank it reaches: a checkpoint, every rank ends, exit code 130, and it goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from faults.processes import TWO_RANKS, cell, configure, essence, finish, newest, ranks, start, wait_for_training

from cl.testing.tiny import assert_same

pytestmark = pytest.mark.faults
WHOM = [pytest.param(whom, marks=pytest.mark.slow) for whom in ("first", "second", "both")]


def stop(folder: Path, whom: str, number: signal.Signals) -> None:
    """Starts a run of two ranks and asks these to stop in the middle."""
    configure(folder, TWO_RANKS, run={"checkpoint_steps": 1000})
    process = start(folder, "run", "c.yaml", "run.dir=r")
    wait_for_training(process, folder, beyond=1000)
    first, second = ranks(process)
    for rank in {"first": [first], "second": [second], "both": [first, second]}[whom]:
        os.kill(rank, number)
    output, _ = process.communicate(timeout=60)  # ends when the pipe does: no rank is left behind
    assert process.returncode == 130, output
    assert "go on with: cl resume r" in output
    assert "Traceback" not in output
    assert json.loads((cell(folder) / "metrics.json").read_text())["status"] == "interrupted"
    assert newest(cell(folder))["learner"]["total_steps"] > 0


@pytest.mark.parametrize("whom", WHOM)
def test_two_ranks_agree(tmp_path: Path, whom: str) -> None:
    stop(tmp_path, whom, signal.SIGTERM)


@pytest.mark.slow
def test_two_ranks_go_on_as_if_never_stopped(tmp_path: Path) -> None:
    stop(tmp_path, "second", signal.SIGUSR1)
    finish(tmp_path, "resume", "r")
    finish(tmp_path, "run", "c.yaml", "run.dir=undisturbed")
    assert_same(*(essence(newest(cell(tmp_path, run))) for run in ("r", "undisturbed")))


@pytest.mark.slow
def test_cells_run_apart_are_told(tmp_path: Path) -> None:
    """Of several cells of several ranks each has a command of its own, to which SIGTERM is passed on."""
    configure(tmp_path, TWO_RANKS, run={"checkpoint_steps": 1000})
    process = start(tmp_path, "run", "c.yaml", "run.dir=r", "seeds=[0, 1]")
    wait_for_training(process, tmp_path, beyond=1000)
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert newest(cell(tmp_path))["learner"]["total_steps"] > 0
