"""A loss that is not finite stops every rank at the same step, and nothing that was learnt is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faults.processes import TWO_RANKS, cell, configure, start

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_two_ranks_diverge(tmp_path: Path) -> None:
    """EWC's strength is beyond float32: its term is no number from the second experience's first step on."""
    configure(tmp_path, TWO_RANKS, strategies={"tested": {"ewc": {"strength": 1e39}}}, trainer={"max_epochs": 1})
    process = start(tmp_path, "run", "c.yaml", "run.dir=r")
    output, _ = process.communicate(timeout=90)  # ends when the pipe does: no rank is left behind
    assert process.returncode == 1, output
    said = " ".join(output.split())
    assert "the loss is not finite in experience 1 (kitchens), step 0: ewc = nan" in said
    assert json.loads((cell(tmp_path) / "metrics.json").read_text())["status"] == "diverged"
    assert len(json.loads((cell(tmp_path) / "matrix.json").read_text())["scores"]["score"]) == 1
    assert "1,0,7,loss/labels" not in (cell(tmp_path) / "log.csv").read_text()  # stopped at that step
