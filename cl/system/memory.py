"""How much memory an experience takes at most: of the GPU, or of the process where there is none."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from cl.system.allocator import give_back

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def reset_peak() -> None:
    """Begins to measure anew, with what earlier experiences have set free given back to the system."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif _can_be_reset():
        give_back()
        RESET.write_text("5")


def peak() -> int | None:
    """The most bytes since `reset_peak`; None where the system only tells of the process's whole life."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    found = PEAK.search(STATUS.read_text()) if _can_be_reset() else None
    return int(found[1]) * 1024 if found else None


def _can_be_reset() -> bool:
    try:
        with RESET.open("w"):
            return True
    except OSError:  # not Linux, or a container that forbids it
        return False
