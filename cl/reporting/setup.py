"""What a report's runs have in common, in a line: backbone, adapter, stream, sizes, epochs, rate, seeds, commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from cl.reporting.cells import CellResult


def setup(cells: Sequence[CellResult]) -> str:
    """As the records tell it; where runs differ, each value. Empty without records."""
    configs = [_config(cell) for cell in cells]
    facts = [
        _fact("{} backbone", [_at(config, "network", "backbone") for config in configs]),
        _fact("{} adapter", [_adapter(_at(config, "network", "adapter") or {}) for config in configs]),
        _fact("{} stream", [_at(config, "stream", "scenario") for config in configs]),
        _fact("{} training examples", [_num_training(cell) for cell in cells]),
        _fact("{} epochs", [_at(config, "trainer", "max_epochs") for config in configs]),
        _fact("at most {} steps", [_at(config, "trainer", "max_steps") for config in configs]),
        _fact("learning rate {}", [_at(config, "training", "learning_rate") for config in configs]),
        _fact("batches of {}", [_at(config, "training", "batch_size") for config in configs]),
        _fact("seed {}", [cell.seed for cell in cells]),
        _fact("commit {}", [str(cell.environment.get("commit") or "")[:8] for cell in cells]),
    ]
    return " · ".join(filter(None, facts))


def _config(cell: CellResult) -> dict[str, Any]:
    try:
        read = yaml.safe_load(cell.config)
    except yaml.YAMLError:
        return {}  # the page shows it as it is
    return read if isinstance(read, dict) else {}


def _adapter(options: dict[str, Any]) -> str:
    """`lora (r 8, layers -6)`: its kind, and what else is said of it."""
    others = ", ".join(f"{key} {value}" for key, value in options.items() if key != "kind")
    return f"{options.get('kind', '')} ({others})" if others else str(options.get("kind", ""))


def _fact(text: str, values: Sequence[Any]) -> str:
    known = dict.fromkeys(str(value) for value in values if value not in (None, ""))
    return text.format(", ".join(known)) if known else ""


def _at(config: dict[str, Any], section: str, key: str) -> Any:
    return (config.get(section) or {}).get(key)


def _num_training(cell: CellResult) -> str:
    """How many each experience has: `200`, or `120 to 800`."""
    counts = [experience["splits"]["train"]["examples"] for experience in cell.environment.get("counts", ())]
    least, most = min(counts, default=0), max(counts, default=0)
    each = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    return f"{len(counts)} × {each}" if counts else ""
