"""What a user of W&B finds there of a run that was interrupted and resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from offline_wandb import read_offline

from cl.config import load
from cl.reporting.files import read_rows
from cl.runs.cells import cells_of
from cl.runs.facts import facts
from cl.runs.prepare import prepare
from cl.runs.strategies import build_strategy
from cl.runs.streams import build_stream

GRID = "strategies={rehearsed: {replay: {capacity: 7}, new: {plugin: fragile.Fragile}}}"
EXPECTED = {
    "strategy": "rehearsed",
    "seed": 3,
    "replay.capacity": 7,
    "replay.policy": "reservoir",  # by default
    "new.experience": 2,
    "stream": "toy",
    "stream.num_experiences": 3,
    "stream.order": "books, kitchens, person",
    "backbone": "scratch",
    "network.max_length": 32,
    "network.scratch.hidden": 16,
    "training.learning_rate": 0.01,
    "trainer.max_epochs": 1,
}


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    wandb.teardown()


def test_a_resumed_run_is_whole_and_can_be_grouped(cl_command: Any, folder: Path) -> None:
    """Also, W&B says one line and no more, and log.csv has the same points."""
    (folder / "interrupted").write_text("0")
    asked = ("seeds=[3]", "wandb={mode: offline, tags: [small]}")
    code, _ = cl_command("run", "tiny.yaml", "run.dir=out", GRID, *asked)
    assert code == 130
    (folder / "interrupted").unlink()
    code, output = cl_command("resume", "out")
    assert code == 0 and len([line for line in output.splitlines() if "wandb" in line.lower()]) == 1
    wandb.teardown()
    cell = folder / "out" / "rehearsed" / "seed3"
    found = read_offline(cell)

    assert (found.run.project, found.run.run_group, found.run.job_type) == ("cl", "out", "rehearsed")
    assert (found.run.display_name, list(found.run.tags)) == ("rehearsed seed 3", ["small"])
    known = json.loads((cell / "environment.json").read_text())
    assert found.config.items() >= (EXPECTED | {name: known[name] for name in ("data", "commit")}).items()
    assert not [value for name, value in found.config.items() if isinstance(value, dict) and name != "_wandb"]

    measured = json.loads((cell / "metrics.json").read_text())
    assert found.summary["status"] == "finished"
    assert found.summary["average_score"] == measured["metrics"]["average_score"]
    for name, whole in (("train_seconds", sum), ("evaluate_seconds", sum), ("plugin_seconds", sum),
                        ("peak_memory_bytes", max), ("stored_bytes", max)):  # fmt: skip
        assert found.summary[f"cost/{name}"] == whole(row[name] for row in measured["cost"])

    losses = [row for row in found.history if "loss" in row]
    logged = list(read_rows(cell / "log.csv"))
    assert [(row["experience"], row["epoch"], row["step"], row["loss"]) for row in losses] == [
        (*moment[:3], moment[3]["loss"]) for moment in logged
    ]
    assert [row["experience"] for row in found.history if "score/books" in row] == [0, 1, 2]
    steps = [row["_step"] for row in found.history]
    assert steps == sorted(set(steps)) and "matrix/heat_map/path" in found.history[-1]


def test_a_stream_made_in_python_is_not_called_the_configured_one(folder: Path) -> None:
    config = load(folder / "tiny.yaml", ["run.dir=out"])
    (cell,) = cells_of(config)
    strategy = build_strategy({}, "finetune")
    for stream, name in ((None, "toy"), (build_stream(config.stream), "made in Python")):
        known = facts(cell, strategy, prepare(config, stream))
        assert (known["stream"], known["stream.num_experiences"]) == (name, 3)
        assert ("stream.toy.domains" in known) == (stream is None)
