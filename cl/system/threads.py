"""How the threads of a tensor operation wait for each other, which matters where cores are shared."""

from __future__ import annotations

import os
from pathlib import Path

THEIRS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # what a user may have set instead
SPINS = "10000"


def share_cores() -> None:
    """Sets how OpenMP threads wait, unless the user has: to be called before torch is loaded.

    By default GNU's OpenMP, which torch's wheels ship, lets a thread that waits burn its core for 300,000 rounds:
    where other programs want the core, that keeps away the very thread it waits for (sixty steps of a small network
    took 64 s on two crowded cores, and 2.5 to 3.3 s with threads that sleep or spin less: one round). With 10,000
    rounds a run alone was no slower (one pair). Where cores are scarce already when it starts, threads sleep at once,
    which costs a small network alone some 15 % (one pair). Results are the same in each case.
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
