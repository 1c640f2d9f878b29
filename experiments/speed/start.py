"""From a command to the first thing that it does: processes of their own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from peers import whole
from texts import Bench
from timing import Figures, Report, race

TOY = "stream: {scenario: toy, toy: {domains: 2, types: 0, num_train: 400, num_test: 200}}\n"
FIRST_BATCH = """
import sys, time
started = time.perf_counter()
import cl.runs.grid
imported = time.perf_counter()
from pathlib import Path
from cl.runs.learners import build_learner
from cl.runs.prepare import prepare
from cl.config import load
from cl.data.module import TrainLoader
config = load(Path(sys.argv[1]), [])
learner = build_learner(config, (prepared := prepare(config)), "finetune", 0)
learner.begin(prepared.stream[0])
next(iter(TrainLoader(learner.data(), accumulate=1, rank=0, num_ranks=1)))
print(imported - started, time.perf_counter() - started)
"""
PARSER, HELP, RUN = "import of its parser alone", "cl --help", "cl run, to the first batch"


def run(bench: Bench, report: Report) -> None:
    """What `cl` adds to the start of its parser of arguments, and to the imports that a run needs."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "toy.yaml")
        config.write_text(TOY, encoding="utf-8")
        turns = {
            PARSER: lambda: whole(partial(_python, "-c", "import typer")),
            HELP: lambda: whole(partial(_python, "-m", "cl", "--help")),
            RUN: lambda: _first_batch(config),
        }
        found = report.race("start", race(turns, bench.rounds))
    rows: list[list] = [[name, 1000 * found.median(name)] for name in found]
    rows.append([f"{RUN}: its imports", 1000 * found.median(RUN, "imports")])
    beyond = found.each(lambda ours, parser: 1000 * (ours["seconds"] - parser["seconds"]), HELP, PARSER)
    rows.append([f"{HELP} beyond its parser (goal < 100)", report.ratio("milliseconds of help", beyond)])
    share = found.each(lambda turn: turn["seconds"] / turn["imports"], RUN)
    rows.append([f"{RUN} / its imports (goal ≤ 1.2)", report.ratio("first batch / imports", share)])
    report.table("Start", ["", "ms"], rows)


def _first_batch(config: Path) -> Figures:
    imports, seconds = map(float, _python("-c", FIRST_BATCH, str(config)).split())
    return {"imports": imports, "seconds": seconds}


def _python(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], capture_output=True, check=True, text=True).stdout
