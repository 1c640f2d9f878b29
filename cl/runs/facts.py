"""What a cell is, as flat keys: what its run at W&B is grouped, filtered and plotted by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from cl.plugins.strategy import Strategy
from cl.runs.cells import Cell
from cl.runs.prepare import Prepared

SECTIONS = ("stream", "network", "training", "trainer", "evaluate")


def facts(cell: Cell, strategy: Strategy, prepared: Prepared) -> dict[str, Any]:
    """`strategy`, `seed`, `stream` (the scenario), `backbone`; the options of each plugin as `replay.capacity`; those
    of the configuration as `training.learning_rate`, defaults and all.
    """
    flat = dict(_flat({name: asdict(cell.config)[name] for name in SECTIONS}))
    if not prepared.described:
        flat = {name: value for name, value in flat.items() if not name.startswith("stream.")}
    experiences = prepared.stream.experiences
    return {
        "strategy": cell.strategy,
        "seed": cell.seed,
        "stream": flat.pop("stream.scenario", "made in Python"),
        "backbone": flat.pop("network.backbone"),
        **flat,
        "stream.num_experiences": len(experiences),
        "stream.order": ", ".join(experience.name for experience in experiences),
        **{f"{name}.{option}": value for name, option, value in _options(strategy)},
    }


def _options(strategy: Strategy) -> Iterator[tuple[str, str, Any]]:
    for name, plugin in strategy.plugins.items():
        yield from ((name, f.name, getattr(plugin, f.name)) for f in fields(plugin) if f.init)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
