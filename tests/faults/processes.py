"""Runs as processes of their own, to be killed and stopped: how to start one, when it trains, how it ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

CONFIG: dict[str, Any] = {
    "run": {"checkpoint_steps": 3},
    "stream": {"toy": {"domains": 2, "types": 1, "num_train": 48, "num_test": 24}},
    "network": {"scratch": {"hidden": 32, "layers": 1}},
    "strategies": {"tested": {"ewc": {"num_examples": 30}, "lwf": {}, "replay": {"capacity": 20}}},
    "training": {"batch_size": 8, "learning_rate": 1e-3, "schedule": "linear", "keep_best": True, "patience": 12},
    "trainer": {"max_epochs": 20, "accelerator": "cpu", "log_every_n_steps": 1},
    "wandb": {"mode": "disabled"},
}
TWO_RANKS = CONFIG | {"trainer": CONFIG["trainer"] | {"devices": 2}}
ROOT = Path(__file__).parents[2]


def start(
    folder: Path, *arguments: str, launcher: tuple[str, ...] = ("-m", "cl"), **variables: str
) -> subprocess.Popen[str]:
    """`cl` with these arguments, in a process group of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments], cwd=folder, env=environment | variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def finish(folder: Path, *arguments: str, **options: Any) -> str:
    """Runs `cl` to its end, which must be a good one; what it printed."""
    process = start(folder, *arguments, **options)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 0, output
    return output


def configure(folder: Path, config: dict[str, Any] = CONFIG, **changes: dict[str, Any]) -> None:
    """Writes `c.yaml`: the configuration with some sections changed."""
    sections = {n: s if n == "strategies" else {**config.get(n, {}), **s} for n, s in changes.items()}
    (folder / "c.yaml").write_text(yaml.safe_dump(config | sections))


def cell(folder: Path, run: str = "r") -> Path:
    """The one cell of a run."""
    return folder / run / "tested" / "seed0"


def progress(folder: Path) -> int:
    """Bytes in the log."""
    log = cell(folder) / "log.csv"
    return log.stat().st_size if log.exists() else 0


def wait_for_training(process: subprocess.Popen[str], folder: Path, beyond: int = 0) -> None:
    """Until the log has grown beyond that many bytes."""
    while progress(folder) <= beyond:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def newest(folder: Path) -> dict[str, Any]:
    """The newest checkpoint of a cell."""
    path = sorted((folder / "checkpoints").glob("e*.pt"))[-1]
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def essence(state: dict[str, Any]) -> dict[str, Any]:
    """What must be the same: everything but the clock and file positions."""
    learner = {key: value for key, value in state["learner"].items() if key != "cost"}
    return {"learner": learner, "matrix": state["matrix"]}


def ranks(process: subprocess.Popen[str]) -> list[int]:
    """The process ids of a run's ranks: the first is the process that was started."""
    found = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True, check=True)
    return sorted(int(line) for line in found.stdout.split())
