"""The fixed cost of an experience after the first: one of a single step, less a step."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from ours import cell
from peers import BATCH, Peer, hf_trainer, naive, whole
from texts import Bench, texts_of
from timing import Figures, Report, race

MORE = 10  # steps of the longer experience, beyond the first


def run(bench: Bench, report: Report) -> None:
    """Everyone trains on the same batch once, and 1 + MORE times."""
    config, prepared = bench.prepare("domains", train=BATCH)
    store = prepared.evaluator.store
    texts = texts_of(store.dataset(0, "train"))
    model = Peer(bench.backbone, "sequence", store.views.width(1, "sequence"), store.pad, bench.bf16)

    def ours(steps: int) -> Figures:
        return cell(replace(config, trainer=config.trainer | {"max_epochs": steps}), prepared)[1]

    def ours_without_test() -> Figures:
        one = ours(1)
        return _fixed(one["wall_seconds"], ours(1 + MORE)["wall_seconds"]) | {"save_seconds": one["save_seconds"]}

    def hf(steps: int) -> float:
        own = deepcopy(model)
        return whole(lambda: hf_trainer(own, texts * steps))

    def avalanche(steps: int) -> float:
        return naive(deepcopy(model), texts * steps)

    turns = {
        "cl": ours_without_test,
        "HF Trainer": lambda: _fixed(hf(1), hf(1 + MORE)),
        "Avalanche Naive": lambda: _fixed(avalanche(1), avalanche(1 + MORE)),
    }
    found = report.race("fixed cost", race(turns, bench.rounds))
    rows = [[name, found.each(lambda turn: 1000 * turn["seconds"], name)] for name in found]
    rows.append(["cl: the checkpoint after it, beside", found.each(lambda turn: 1000 * turn["save_seconds"], "cl")])
    report.table("An experience less its steps (goal for cl < 100)", ["", "ms"], rows)
    report.ratio("seconds of cl", found.each(lambda turn: turn["seconds"], "cl"))


def _fixed(one: float, many: float) -> Figures:
    """From the seconds of one step and of 1 + MORE; evaluation and checkpoints, which only `cl` has here, aside."""
    return {"seconds": one - (many - one) / MORE}
