"""One of two gloo processes: trains every strategy on every kind of stream and saves how each ended."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from conformance.test_conformance import KINDS, options
from conftest import tiny_config
from runs import configured, train

from cl.build import prepare
from cl.strategies import STRATEGIES


def main(out: Path, rank: int) -> None:
    ends = {}
    for stream in KINDS:
        prepared = prepare(tiny_config(stream))
        for name in ("finetune", *STRATEGIES):
            plugins = {} if name == "finetune" else options(name)
            for accumulate in (1, 2):
                config = configured(stream, plugins, accumulate, devices=2, strategy="ddp")
                end = train(prepared, config, num_experiences=3)
                ends[f"{stream}/{name}/{accumulate}"] = {
                    "weights": end.weights,
                    "plugins": end.plugins,
                    "rows": end.rows,
                }
        # With dropout shares draw differently, and ranks must still end alike.
        config = configured(
            stream, {name: options(name)[name] for name in STRATEGIES if name != "joint"}, devices=2, strategy="ddp"
        )
        end = train(prepared, replace(config, network=replace(config.network, dropout=0.2)), num_experiences=3)
        ends[f"{stream}/dropout"] = {"weights": end.weights, "plugins": end.plugins, "rows": end.rows}
    torch.save(ends, out / f"rank{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
