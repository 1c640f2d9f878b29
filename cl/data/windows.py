"""Windows over a text that is longer than the limit: full ones, spread evenly, which overlap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

Overflow = Literal["cut", "split"]
"""What becomes of a text that is longer than the limit: its end is cut off, or it is split into windows."""


def starts_of_windows(length: int, size: int, overlap: int) -> list[int]:
    """Where the windows of `size` tokens begin that cover `length` > `size` tokens; neighbours share `overlap` or more.

    As few as possible, the first at the beginning, the last at the end.
    """
    steps = -((size - length) // (size - overlap))
    return [step * (length - size) // steps for step in range(steps + 1)]


def borders(firsts: Sequence[int], size: int) -> list[int]:
    """The token from which on words belong to the next window: the middle of what two neighbours share.

    So each word has context on both sides wherever the text has it.
    """
    return [(first + size + following) // 2 for first, following in pairwise(firsts)]
