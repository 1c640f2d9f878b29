"""Runs that never ran: plausible cells on disk for the tests of the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cl.evaluation.matrix import EvaluationMatrix
from cl.evaluation.metrics import summary
from cl.reporting.files import RunLog
from cl.system.files import write_json

KEEP = {"finetune": 0.55, "ewc": 0.72, "lwf": 0.8, "replay": 0.93, "joint": 1.0}  # of a score, an experience
PLUGINS = {"ewc": ("ewc",), "lwf": ("lwf",), "replay": ("replay",)}
DOMAINS = ("books", "dvd", "electronics", "kitchen", "yelp")
TYPES = ("person", "location", "organisation", "product", "event")


def fake_matrix(
    strategy: str, seed: int, names: Sequence[str], kind: str = "sequence", num_learnt: int | None = None
) -> EvaluationMatrix:
    """A matrix that forgets as fast as `KEEP` says; for NER each experience brings one type."""
    rng = np.random.default_rng([seed, sum(strategy.encode()), len(names)])
    size = len(names)
    ceiling = 0.92 - 0.1 * np.random.default_rng(7).random(size)
    floor = 0.5 if kind == "sequence" else 0.05
    matrix = EvaluationMatrix(tuple(names), (kind,) * size)  # type: ignore[arg-type]
    for i in range(size if num_learnt is None else num_learnt):
        age = i - np.arange(size)
        kept = np.where(age >= 0, KEEP.get(strategy, 0.85) ** np.maximum(age, 0), 0.2)
        r = np.clip(floor + (ceiling - floor) * kept + rng.normal(0, 0.012, size), 0, 1)
        cells = [_cell(kind, float(v), j, i) for j, v in enumerate(r)]
        matrix.add(cells, _pooled(kind, r[: i + 1]))
    if kind == "sequence":
        matrix.set_initial([{"score": 0.5, "accuracy": 0.5, "macro_f1": 0.4}] * size)
    return matrix


def _cell(kind: str, value: float, j: int, i: int) -> dict[str, float] | None:
    if kind == "sequence":
        return {"score": value, "accuracy": value, "macro_f1": value - 0.02}
    known = {"score": value, "micro_f1": value, "macro_f1": value, f"f1/{TYPES[j % len(TYPES)]}": value}
    return known if j <= i else None


def _pooled(kind: str, r: Any) -> dict[str, float]:
    types = {f"f1/{TYPES[j % len(TYPES)]}": float(v) for j, v in enumerate(r)} if kind == "token" else {}
    return {"score": float(r.mean()), **types}


def write_cell(
    grid: Path,
    strategy: str,
    seed: int,
    names: Sequence[str] = DOMAINS,
    kind: str = "sequence",
    status: str = "finished",
    num_learnt: int | None = None,
    config: str = "run:\n  dir: runs/demo\nseeds: [0, 1, 2]\nnetwork:\n  backbone: prajjwal1/bert-tiny\n",
) -> Path:
    """Write all files of one run; its folder."""
    folder = grid / strategy / f"seed{seed}"
    matrix = fake_matrix(strategy, seed, names, kind, num_learnt)
    folder.mkdir(parents=True)
    matrix.save(folder / "matrix.json")
    cost = [_cost(strategy, i, seed) for i in range(matrix.num_learnt)]
    write_json(folder / "metrics.json", {"status": status, "metrics": summary(matrix), "cost": cost})
    environment = {"python": "3.11.9", "torch": "2.15.0", "commit": "0f3ac1d", "seed": seed, "hardware": {"cpu": "x86"}}
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    _write_log(folder / "log.csv", strategy, seed, matrix.num_learnt)
    return folder


def _cost(strategy: str, i: int, seed: int) -> dict[str, float]:
    slow = 1.0 + i if strategy == "joint" else 1.0
    extra = {"ewc": 9.0, "lwf": 14.0, "replay": 2.0}.get(strategy, 0.0)
    return {
        "experience": i,
        "train_seconds": 41.0 * slow + seed,
        "plugin_seconds": extra,
        "evaluate_seconds": 6.5,
        "num_steps": 120,
        "peak_memory_bytes": (1.1 + 0.2 * bool(extra)) * 2**30,
        "kept_examples": {"replay": 200, "joint": 400 * (i + 1)}.get(strategy, 0),
        "kept_bytes": {"replay": 12_000, "joint": 24_000 * (i + 1)}.get(strategy, 0),
        "stored_bytes": {"ewc": 35_000_000, "lwf": 17_500_000, "replay": 900_000 * (i + 1)}.get(strategy, 0),
    }


def _write_log(path: Path, strategy: str, seed: int, num_learnt: int) -> None:
    rng = np.random.default_rng(seed)
    log = RunLog(path)
    for step in range(num_learnt * 120):
        local = step % 120
        values = {"loss/labels": 0.15 + 0.6 * np.exp(-local / 25) + rng.normal(0, 0.03), "lr": 5e-5}
        values |= {f"loss/{plugin}": 0.02 * (step // 120) * local / 120 for plugin in PLUGINS.get(strategy, ())}
        log.write(step // 120, 0, step, values)
    log.close()


def write_grid(grid: Path, strategies: Sequence[str] = tuple(KEEP), num_seeds: int = 3, **options: Any) -> Path:
    """Write a grid of finished runs; its folder."""
    for strategy in strategies:
        for seed in range(num_seeds):
            write_cell(grid, strategy, seed, **options)
    return grid
