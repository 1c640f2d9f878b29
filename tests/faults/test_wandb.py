"""A run that is killed and resumed has every point at W&B, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_wandb import serving
from faults.processes import cell, configure, finish, start, wait_for_training

from cl.reporting.files import read_rows

pytestmark = [pytest.mark.faults, pytest.mark.slow]


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_killed_and_resumed(tmp_path: Path, mode: str) -> None:
    configure(tmp_path, wandb={"mode": mode}, trainer={"max_epochs": 4})
    with serving() as server:
        variables = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": mode}
        process = start(tmp_path, "run", "c.yaml", "run.dir=r", **variables)
        wait_for_training(process, tmp_path)
        time.sleep(0.1)  # three experiences take less than a second
        assert process.poll() is None, "it finished before it could be killed: train for longer"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        folder = cell(tmp_path)
        run = (folder / "wandb" / "id").read_text()
        output = finish(tmp_path, "resume", "r", **variables)
        if mode == "offline":
            subprocess.run(
                [sys.executable, "-m", "wandb", "sync", str(folder / "wandb")], env=os.environ | variables, timeout=60
            )
        rows = server.rows(run)
    logged = [(experience, step) for experience, _, step, _ in read_rows(folder / "log.csv")]
    assert [(row["experience"], row["step"]) for row in rows if "loss" in row] == logged
    assert sum("score/books" in row for row in rows) == 3
    assert len({row["_step"] for row in rows}) == len(rows)
    assert "wandb sync" in output or mode == "online"
