"""Memory of a step is the next step's."""

from __future__ import annotations

import ctypes
import os
import resource

import pytest
import torch

from cl.system.allocator import freed_memory_kept

pytestmark = pytest.mark.skipif(
    os.name != "posix" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt"
)
PAGES = 64 * 1024**2 // resource.getpagesize()


def new_pages() -> int:
    """How often the system had to give a page while a block of 64 MiB came and went."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 * 1024**2, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def held() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])


def test_a_freed_block_is_used_again() -> None:
    """After a few: an aligned block takes a little more than it leaves, until free neighbours have become one."""
    with freed_memory_kept():
        assert min(new_pages() for _ in range(20)) < PAGES // 100


def test_at_the_end_all_goes_back_and_blocks_come_and_go_again() -> None:
    with freed_memory_kept():
        new_pages()
        kept = held()
    after = held()
    assert after < kept - PAGES // 2
    new_pages()
    assert held() < after + PAGES // 2  # counted so, for where pages are huge few of them are new
