"""The price of each plugin: the second experience of two, against finetuning in the same round."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ours import cell
from texts import Bench, strategy
from timing import Figures, Report, race

from cl.config import Config
from cl.runs.prepare import Prepared

PLUGINS = ("l2", "ewc", "si", "mas", "lwf", "featdistill", "replay", "der", "der++", "er-ace", "agem", "gem", "fgm")
OF_TOKENS = ("extendner", "cfner", "cpfd", "selftrain")
FINETUNE, WIDE = "finetune", "finetune, batch 32"
# They train on 16 remembered beside 16 new examples, as many as finetuning with batches of 32.
ADDING = ("replay", "der", "der++", "er-ace")
LOOKING = ("ewc", "mas")  # once more at all examples, for a Fisher information or an importance
GOALS = {"ewc": "step ≤ 1.05, upkeep ≤ 1.4", "si": "step ≤ 1.05", "mas": "upkeep ≤ 1.4"}
GOALS |= {"lwf": "step ≤ 1.05", "agem": "step ≤ 2"} | dict.fromkeys(ADDING, "token ≤ 1.1")


def run(bench: Bench, report: Report) -> None:
    """A table for tokens and one for sequences."""
    for kind, stream, names in (("token", "types", PLUGINS + OF_TOKENS), ("sequence", "domains", PLUGINS)):
        config, prepared = bench.prepare(stream, train=bench.size(160, 32), epochs=bench.size(3, 1))
        wide = replace(config, training=replace(config.training, batch_size=32))
        turns = {FINETUNE: config, WIDE: wide} | {name: strategy(config, **{name: {}}) for name in names}
        found = race({name: partial(_second, turn, prepared) for name, turn in turns.items()}, bench.rounds)
        report.race(kind, found)
        rows: list[list[Any]] = []
        for name in found:
            ratios = {"step": found.times(name, FINETUNE, "step"), "all": found.times(name, FINETUNE, "wall_seconds")}
            if name in ADDING:
                ratios["token"] = found.times(name, WIDE, "token")
            if name in LOOKING:
                ratios["upkeep"] = found.each(lambda own, plain: own["upkeep"] / plain["pass"], name, FINETUNE)
            for what, ratio in ratios.items():
                report.ratio(f"{kind}: {name}, {what}", ratio)
            cells = [ratios.get(what, "") for what in ("step", "token", "upkeep", "all")]
            sizes = [found.median(name, key) / 1e6 for key in ("stored_bytes", "sent_a_step", "sent_between")]
            rows.append([name, 1000 * found.median(name, "step"), *cells, *sizes, GOALS.get(name, "")])
        title = f"Plugins, {kind}: the second experience of two, {config.trainer['max_epochs']} epochs"
        columns = ["", "ms a step", "step ×", "token × (batch 32)", "upkeep × a pass", "all ×", "stored MB"]
        report.table(title, [*columns, "sent a step MB", "sent an experience MB", "goals"], rows)


def _second(config: Config, prepared: Prepared) -> Figures:
    """What the second experience cost by step and by token, and by example the training of the first and its upkeep."""
    first, second = cell(config, prepared, saves=False, counts=True)
    trained = len(prepared.stream[0].train) * config.trainer["max_epochs"]
    return second | {
        "step": second["seconds"] / second["num_steps"],
        "token": second["seconds"] / second["tokens"],
        "pass": first["seconds"] / trained,
        "upkeep": first["plugin_seconds"] / len(prepared.stream[0].train),
        "sent_a_step": second["sent_in_steps"] / second["num_steps"],
    }
