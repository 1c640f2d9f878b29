"""What the framework adds to a step, in milliseconds; and what the data path takes of one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ours import batches_alone, cell, same_batches
from step import OURS, SAME
from texts import Bench
from timing import Report, race

from cl.config import NetworkConfig, StreamConfig, ToyConfig
from cl.models.options import Scratch
from cl.runs.prepare import prepare
from cl.types import KINDS

LOADER = "cl's batches alone"


def run(bench: Bench, report: Report) -> None:
    """A table of a tiny network, where the framework is most of a step, and one of the data path."""
    toy = ToyConfig(domains=1, types=0, num_train=bench.size(3200, 640), num_test=2)
    network = NetworkConfig(max_length=64, scratch=Scratch(hidden=16, layers=1, heads=2, vocabulary=400))
    config = replace(bench.plain(), stream=StreamConfig(toy=toy), network=network)
    prepared = prepare(config)
    turns = {SAME: partial(same_batches, config, prepared), OURS: lambda: cell(config, prepared)[0]}
    found = report.race("tiny network", race(turns, bench.rounds))
    steps = found.figures[OURS][0]["num_steps"]
    rows: list[list] = [[name, found.each(lambda turn: 1000 * turn["seconds"] / steps, name)] for name in found]
    added = found.each(lambda ours, same: 1000 * (ours["seconds"] - same["seconds"]) / steps, OURS, SAME)
    rows.append(["added by the framework (goal ≤ 1)", report.ratio("milliseconds added to a step", added)])
    report.table(f"A step of a tiny network, {steps} of them", ["", "ms"], rows)

    rows = []
    for kind in KINDS:
        config, prepared = bench.prepare(kind, train=bench.size(320, 64))
        turns = {LOADER: partial(batches_alone, config, prepared), SAME: partial(same_batches, config, prepared)}
        found = report.race(f"data path, {kind}", race(turns, bench.rounds))
        share = found.each(lambda loader, step: 100 * loader["seconds"] / step["seconds"], LOADER, SAME)
        rows.append([kind, report.ratio(f"{kind}: data path, % of a step", share)])
    report.table("The data path (goal < 1)", ["", "% of a step"], rows)
