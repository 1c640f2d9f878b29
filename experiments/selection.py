"""Choose strengths the honest way: on validation, of the first experiences, with a seed that no table uses.

    CL_DATA=path/to/data python experiments/selection.py configs/run/intent_classes.yaml 4 key=value …

trains the strategies of the config that stand in `GRID`, at each of its strengths, on the first 4 experiences, and
prints each end's average score. The test split is never read: `evaluate.split` is valid.
"""

import sys
from pathlib import Path

from cl.config import load
from cl.runs.grid import run
from cl.runs.streams import build_stream

SEED = 7
GRID = {
    "l2": (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3),
    "ewc": (1e4, 1e5, 1e6, 1e7, 1e8),
    "si": (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6),
    "mas": (0.1, 1.0, 10.0, 30.0, 100.0, 300.0, 1e3),
    "lwf": (1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    "featdistill": (0.1, 1.0, 10.0, 100.0, 1e3),
    "der++": (0.1, 0.5, 2.0),
}


def main(path: str, first: str, *overrides: str) -> None:
    config = load(Path(path), [*overrides, f"seeds=[{SEED}]", "evaluate.split=valid"])
    config.stream.order = [experience.name for experience in build_stream(config.stream).experiences[: int(first)]]
    config.run.dir = f"{config.run.dir or 'runs/' + Path(path).stem}-selection"
    config.strategies = {"finetune": {}} | {
        f"{name} {strength:g}": {name: {**plugins[name], "strength": strength}}
        for name, plugins in config.strategies.items()
        for strength in GRID.get(name, ())
    }
    run(config)


if __name__ == "__main__":
    main(*sys.argv[1:])
