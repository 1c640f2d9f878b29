"""Seconds of a checkpoint inside an experience, and its share of the time at the default cadence.

    python experiments/exactness/overhead.py [BACKBONE]

BACKBONE: `scratch` (the network of the demo), a local folder or a hub id.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

from cl.config import load
from cl.runs.cell import CellRun
from cl.runs.grid import run
from cl.training.callbacks import Checkpointer

DEMO = Path(__file__).parents[2] / "configs" / "run" / "demo.yaml"
PLUGINS = {"ewc": {"num_examples": 20}, "lwf": {}, "replay": {}}  # a checkpoint holds Fisher, teacher and buffer


def main(backbone: str) -> None:
    """Trains two experiences with a checkpoint every 20 steps, and times each of them."""
    seconds: list[float] = []
    save = CellRun._save

    def timed(cell: CellRun, training: dict[str, Any] | None) -> None:
        started = time.perf_counter()
        save(cell, training)
        if training is not None:
            seconds.append(time.perf_counter() - started)

    CellRun._save = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        options = [f"network.backbone={backbone}", "stream.toy.domains=2", "stream.toy.types=0", "seeds=[0]"]
        options += ["run.checkpoint_steps=20", "trainer.max_steps=100", "wandb.mode=disabled", f"run.dir={folder}/r"]
        config = load(DEMO, options)
        config.strategies = {"protected": PLUGINS}
        run(config)
        size = max(path.stat().st_size for path in Path(folder).rglob("*.pt"))
    one = mean(seconds)
    wait = max(Checkpointer.SHORTEST, one / Checkpointer.SHARE)
    print(
        f"{backbone}: {len(seconds)} checkpoints of {size / 1e6:.1f} MB, {one:.3f} s each (longest {max(seconds):.3f})"
    )
    print(f"by default one every {wait:.0f} s of training: {one / (one + wait):.2%} of the time")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["scratch"]))
