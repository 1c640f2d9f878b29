"""How much memory there is: on a GPU, or on this machine within the limits of its container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

OWN, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# Of each version of control groups: its folder, the files of the limit and of what is used, and how the part of that is
# called which the system gives back on demand.
FILES = {
    2: ("", "memory.max", "memory.current", "inactive_file"),
    1: ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def available(device: torch.device) -> int:
    """Bytes that may still be taken: of a GPU's own memory, else of the machine's as far as its control groups let."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min([int(psutil.virtual_memory().available), *_left_in_groups()])


def in_use() -> int:
    """Bytes of the machine's memory that this process has now."""
    return int(psutil.Process().memory_info().rss)


def _left_in_groups() -> Iterator[int]:
    """What each control group with a limit leaves. A container may show its own group as the topmost one."""
    for line in OWN.read_text().splitlines() if OWN.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        folder, limit, used, given_back = FILES[1 if controllers else 2]
        top = GROUPS / folder
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(top) and (group / limit).exists():
                most = (group / limit).read_text().strip()
                if most != "max":
                    yield int(most) - int((group / used).read_text()) + _statistic(group, given_back)


def _statistic(group: Path, name: str) -> int:
    lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    return next((int(value) for key, value in lines if key == name), 0)
