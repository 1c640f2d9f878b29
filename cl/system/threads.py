"""How the threads of a tensor operation wait for each other, which matters where cores are shared."""

from __future__ import annotations

import os
from pathlib import Path

THEIRS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # what a user may have set instead
SPINS = "1000"


def share_cores() -> None:
    """Sets how OpenMP threads wait, unless the user has: to be called before torch is loaded.

    By default GNU's OpenMP, which torch's wheels ship, lets a thread that waits burn its core for 300,000 rounds:
    where other programs want the core, that keeps away the very thread it waits for. Forty steps of a small BERT on
    two cores took 0.97 s alone; beside three busy processes 11.2 s, with 1,000 rounds 4.3 s, and 2.9 s with threads
    that sleep at once (2.4 s would be a fair share; one round). Alone, 1,000 rounds took 0.99 of the default's time,
    and 0.95 on a larger network; sleeping at once took 1.15 and 1.20 (medians of three, on a machine that was not
    quite idle). So threads spin 1,000 rounds, and where cores are scarce already when a run starts, they sleep.
    Results are the same.
    """
    if any(name in os.environ for name in THEIRS):
        return
    if cores_are_scarce():
        os.environ["OMP_WAIT_POLICY"] = "passive"
    else:
        os.environ["GOMP_SPINCOUNT"] = SPINS


def cores_are_scarce(loads: Path = Path("/proc/loadavg")) -> bool:
    """Whether more threads want a core just now, this one included, than there are. Linux alone can tell."""
    try:
        running = int(loads.read_text().split()[3].split("/")[0])
    except (OSError, ValueError, IndexError):
        return False
    return running > num_cores()


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
