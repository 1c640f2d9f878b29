"""An offline W&B run, read back from its folder."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as proto

BLOCK = 32768


@dataclass
class Offline:
    """`run`: W&B's record of it. `history`: its rows. `axes`: the step metric of each name."""

    run: Any
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    axes: dict[str, str]
    files: Path


def read_offline(cell: Path) -> Offline:
    """The newest offline run of a cell; it is whole after `wandb.teardown()`."""
    path = sorted(cell.glob("wandb/offline-run-*/run-*.wandb"))[-1]
    found = [(record.WhichOneof("record_type"), record) for record in _records(path)]
    runs = [record.run for kind, record in found if kind == "run"]
    return Offline(
        run=runs[0],
        config=items(update for run in runs for update in run.config.update),
        history=[items(record.history.item) for kind, record in found if kind == "history"],
        summary=items(item for kind, record in found if kind == "summary" for item in record.summary.update),
        axes={r.metric.name or r.metric.glob_name: r.metric.step_metric for kind, r in found if kind == "metric"},
        files=path.parent / "files",
    )


def items(found: Any) -> dict[str, Any]:
    """Keys and values of W&B's records."""
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in found}


def _records(path: Path) -> Any:
    """LevelDB's log format after a header of seven bytes."""
    data, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = proto.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
